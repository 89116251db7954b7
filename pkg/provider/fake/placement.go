package fake

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

// placement is where the nodes of a spec are.
type placement struct {
	spec     provider.Spec
	subnets  []netip.Prefix
	addrs    map[string]node.Addrs
	endpoint netip.AddrPort
	serves   string // the node that publishes the API
	ports    [][]node.Port
}

// place gives the nodes of a spec their places beside others, which the
// cluster has already and which serve its API when there are any.
func (p *Provider) place(spec provider.Spec, subnets []netip.Prefix, others map[string]node.Addrs) *placement {
	p.mu.Lock()
	defer p.mu.Unlock()
	pl := &placement{spec: spec, subnets: subnets, addrs: make(map[string]node.Addrs)}
	maps.Copy(pl.addrs, others)
	if len(others) == 0 || slices.ContainsFunc(spec.Nodes, isLoadBalancer) {
		pl.serves = endpointNode(spec.Nodes)
	}
	for _, subnet := range subnets {
		addr := subnet.Addr().Next() // the gateway
		for _, n := range spec.Nodes {
			for addr = addr.Next(); p.addrTaken(addr); addr = addr.Next() {
			}
			pl.addrs[n.Name] = append(pl.addrs[n.Name], addr)
		}
	}
	for _, n := range spec.Nodes {
		var ports []node.Port
		if n.Name == pl.serves {
			ports = append(ports, node.Port{
				ContainerPort: nodeimage.APIServerPort, HostPort: spec.API.Port, ListenAddress: spec.API.Address,
			})
		}
		ports = append(ports, n.Ports...)
		for i := range ports {
			ports[i] = p.complete(ports[i])
		}
		if n.Name == pl.serves {
			// An address that is none is the caller's mistake; real engines
			// say so, the fake leaves the endpoint empty.
			host, _ := netip.ParseAddr(ports[0].ListenAddress)
			pl.endpoint = netip.AddrPortFrom(host, ports[0].HostPort)
		}
		pl.ports = append(pl.ports, ports)
	}
	return pl
}

func isLoadBalancer(n provider.NodeSpec) bool { return n.Role == nodeimage.RoleLoadBalancer }

func endpointNode(nodes []provider.NodeSpec) string {
	for _, role := range []string{nodeimage.RoleLoadBalancer, nodeimage.RoleControlPlane} {
		for _, n := range nodes {
			if n.Role == role {
				return n.Name
			}
		}
	}
	return ""
}

func (p *Provider) addrTaken(addr netip.Addr) bool {
	for _, m := range p.machines {
		if slices.Contains(m.node.Addrs, addr) {
			return true
		}
	}
	return false
}

func (p *Provider) complete(port node.Port) node.Port {
	port.Protocol = cmp.Or(port.Protocol, "tcp")
	port.ListenAddress = cmp.Or(port.ListenAddress, "127.0.0.1")
	if port.HostPort == 0 {
		p.nextPort++
		port.HostPort = p.nextPort
	}
	return port
}

// render renders the files of all nodes at once.
func (pl *placement) render() ([][]provider.File, error) {
	files := make([][]provider.File, len(pl.spec.Nodes))
	if pl.spec.Files == nil {
		return files, nil
	}
	errs := make([]error, len(files))
	var all sync.WaitGroup
	for i, n := range pl.spec.Nodes {
		all.Go(func() {
			var err error
			if files[i], err = pl.spec.Files(pl.of(n)); err == nil {
				err = checkFiles(files[i])
			}
			if err != nil {
				errs[i] = fmt.Errorf("create node %s: render its files: %w", n.Name, err)
			}
		})
	}
	all.Wait()
	return files, errors.Join(errs...)
}

func (pl *placement) of(n provider.NodeSpec) provider.Placement {
	return provider.Placement{
		Node: n, Addrs: pl.addrs[n.Name], Nodes: maps.Clone(pl.addrs), Endpoint: pl.endpoint,
		Gateway: pl.subnets[0].Addr().Next(), Subnet: pl.subnets[0],
	}
}

// checkFiles refuses what real engines lose.
func checkFiles(files []provider.File) error {
	for _, f := range files {
		clean := path.Clean(f.Path)
		lost := !path.IsAbs(f.Path) || clean == "/"
		for _, dir := range []string{"/tmp/", "/run/", "/var/run/", "/dev/", "/proc/", "/sys/"} {
			lost = lost || strings.HasPrefix(clean, dir)
		}
		if lost {
			return errdefs.New(errdefs.ClassUsage, "FILE-PATH", "put file %q into a node: it would be lost", f.Path)
		}
	}
	return nil
}

// machine is the i-th node, made but not started.
func (pl *placement) machine(i int) *machine {
	spec := pl.spec.Nodes[i]
	m := &machine{
		node: node.Node{
			Cluster: pl.spec.Cluster, Name: spec.Name, Role: spec.Role, Image: spec.Image,
			Addrs: pl.addrs[spec.Name], State: node.Stopped, Created: started(),
			Ports: pl.ports[i], Privileges: "privileged",
			Creation:  pl.spec.Labels[nodeimage.LabelCreation],
			Ephemeral: pl.spec.Labels[nodeimage.LabelEphemeral] != "",
			Dialect:   cmp.Or(pl.spec.Labels[nodeimage.LabelDialect], nodeimage.DialectPetri),
		},
		files: make(map[string]provider.File),
	}
	if spec.Role == nodeimage.RoleControlPlane {
		m.env = append(m.env, "KUBECONFIG="+nodeimage.AdminConfPath)
	}
	m.env = append(m.env, spec.Env...)
	if spec.Name == pl.serves {
		m.port, m.address = pl.endpoint.Port(), pl.endpoint.Addr().String()
	}
	return m
}
