package doctor

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/hostnet"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/provider"
)

// endpoint is a port of the host that the configuration fixes.
type endpoint struct {
	protocol string
	address  string
	port     uint16
	what     string // it is for
}

func (e endpoint) String() string {
	return net.JoinHostPort(e.address, strconv.Itoa(int(e.port))) + "/" + e.protocol
}

// endpoints are the ports of the host that are not left to petri.
func endpoints(c *config.Cluster) []endpoint {
	out := []endpoint{{"tcp", c.Networking.APIServerAddress.String(), c.Networking.APIServerPort, "networking.apiServerPort"}}
	for _, n := range c.Nodes {
		for _, p := range n.Ports {
			out = append(out, endpoint{p.Protocol, p.ListenAddress, p.HostPort, "extraPortMappings of " + n.Name})
		}
	}
	return slices.DeleteFunc(out, func(e endpoint) bool { return e.port == 0 })
}

func checkPorts(f *Facts) []Finding {
	wanted := endpoints(f.Cluster)
	var found []Finding
	for _, e := range wanted {
		// what this user may not listen on, the engine may
		err := f.Host.Listen(e.protocol, net.JoinHostPort(e.address, strconv.Itoa(int(e.port))))
		if !errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		by := "another program"
		if name := hostnet.Listener(f.Host.FS, e.protocol, e.port); name != "" {
			by = name
		}
		found = append(found, portTaken(e, by))
	}
	return or(found, "%d fixed, all free", len(wanted))
}

func portTaken(e endpoint, by string) Finding {
	return fatal(errdefs.ClassFailed, "PORT-TAKEN", "%s, which %s asks for, is taken by %s", e, e.what, by).
		because("the engine cannot publish a port that somebody listens on").
		fix("stop what listens there, or choose another port; without one petri picks a free one")
}

// checkPublished looks at what containers publish, which this machine does not
// see when the engine is another one.
func checkPublished(f *Facts) []Finding {
	var found []Finding
	for _, e := range endpoints(f.Cluster) {
		wanted := node.Port{HostPort: e.port, ListenAddress: e.address, Protocol: e.protocol}
		for _, c := range f.Survey.Containers {
			if slices.ContainsFunc(c.Ports, wanted.Collides) {
				found = append(found, portTaken(e, "container "+c.Name))
			}
		}
	}
	return or(found, "none is in the way")
}

// span is a network of the cluster that is known beforehand.
type span struct {
	field  string // of networking, that names it
	subnet netip.Prefix
}

func spans(c *config.Cluster) []span {
	var out []span
	for _, of := range []struct {
		field   string
		subnets []netip.Prefix
	}{
		{"podSubnet", c.Networking.PodSubnets},
		{"serviceSubnet", c.Networking.ServiceSubnets},
		{"nodeSubnet", c.Networking.NodeSubnets},
	} {
		for _, subnet := range of.subnets {
			out = append(out, span{of.field, subnet})
		}
	}
	return out
}

func checkRoutes(f *Facts) []Finding {
	var found []Finding
	for _, r := range hostnet.Routes(f.Host.FS) {
		for _, own := range spans(f.Cluster) {
			if own.subnet.Overlaps(r.Subnet) {
				found = append(found, overlap(own, fmt.Sprintf("the route to %s by %s", r.Subnet, r.Device)))
			}
		}
	}
	return or(found, "none overlaps with the cluster's networks")
}

func overlap(own span, with string) Finding {
	return warning("SUBNET-ROUTED", "networking.%s, %s, overlaps with %s", own.field, own.subnet, with).
		because("what has an address there can no longer be reached: from pods, or from this machine").
		fix("choose another networking.%s in the configuration", own.field)
}

func checkNameServers(f *Facts) []Finding {
	var found []Finding
	servers := nameServers(f.Host.text("etc/resolv.conf"))
	if len(servers) == 0 {
		return []Finding{warning("DNS-NONE", "/etc/resolv.conf names no name server").
			because("images cannot be pulled by name, and pods find nothing outside of the cluster").
			fix("look at resolvectl status, or write a name server into /etc/resolv.conf")}
	}
	for _, s := range servers {
		for _, own := range spans(f.Cluster) {
			if own.subnet.Contains(s) {
				found = append(found, overlap(own, fmt.Sprintf("the name server %s", s)))
			}
		}
	}
	return or(found, "%s", strings.Join(config.Texts(servers), ", "))
}

func nameServers(resolvConf string) []netip.Addr {
	var out []netip.Addr
	for line := range strings.Lines(resolvConf) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil {
			out = append(out, addr)
		}
	}
	return out
}

// checkProxies never shows a proxy's user and password.
func checkProxies(f *Facts) []Finding {
	var found []Finding
	var set []string
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY"} {
		value := f.Host.Getenv(name)
		if value == "" {
			value = f.Host.Getenv(strings.ToLower(name))
		}
		if value == "" {
			continue
		}
		host, ok := proxyHost(value)
		if !ok {
			found = append(found, warning("PROXY-UNUSABLE", "%s is no address of a proxy", name).
				because("nodes get it as it is, and cannot pull images").fix("export %s=http://HOST:PORT", name))
			continue
		}
		if addr, err := netip.ParseAddr(host); host == "localhost" || err == nil && addr.IsLoopback() {
			found = append(found, warning("PROXY-UNUSABLE", "%s is a proxy on %s", name, host).
				because("in a node that is the node itself, so that it cannot pull images").
				fix("let the proxy listen on an address that containers reach, and name that"))
			continue
		}
		set = append(set, name+" leads to "+host)
	}
	if len(set) == 0 {
		return or(found, "none")
	}
	return or(found, "%s; nodes get it, with their own names and networks added to NO_PROXY", strings.Join(set, ", "))
}

// proxyHost is the host of a proxy's address, whose scheme may be left out.
func proxyHost(value string) (string, bool) {
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" {
		return "", false
	}
	return u.Hostname(), true
}

func checkNetworks(f *Facts) []Finding {
	var found []Finding
	for _, n := range f.Survey.Networks {
		if n.Cluster == f.Cluster.Name {
			continue
		}
		for _, own := range spans(f.Cluster) {
			found = append(found, checkNetwork(n, own)...)
		}
	}
	return or(found, "%d, none overlaps with the cluster's", len(f.Survey.Networks))
}

// checkNetwork looks at a network of the engine beside one of the cluster's.
func checkNetwork(n provider.Network, own span) []Finding {
	i := slices.IndexFunc(n.Subnets, own.subnet.Overlaps)
	switch {
	case i < 0:
		return nil
	case own.field == "nodeSubnet":
		return []Finding{fatal(errdefs.ClassUsage, "SUBNET-TAKEN", "networking.nodeSubnet, %s, overlaps with network %s, %s", own.subnet, n.Name, n.Subnets[i]).
			because("the engine refuses a network whose addresses another one has").
			fix("choose another networking.nodeSubnet, or leave it out and petri picks a free one")}
	}
	return []Finding{overlap(own, fmt.Sprintf("network %s, %s", n.Name, n.Subnets[i]))}
}
