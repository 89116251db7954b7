package container

import (
	"cmp"
	"context"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// containers are the containers of a cluster, or of all when it is empty,
// running or not. They are found by kind's labels, which petri's nodes have
// too: clusters that kind made are clusters like others.
func (p *Provider) containers(ctx context.Context, cluster string) ([]container.Summary, error) {
	filter := labelFilter(nodeimage.LabelKindCluster, cluster)
	found, err := p.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: filter})
	return found, p.engineError(err, "list the containers of clusters")
}

// Clusters implements provider.Provider.
func (p *Provider) Clusters(ctx context.Context) ([]string, error) {
	found, err := p.containers(ctx, "")
	if err != nil {
		return nil, err
	}
	networks, err := p.engine.NetworkList(ctx, network.ListOptions{Filters: clusterFilter("")})
	if err != nil {
		return nil, p.engineError(err, "list the networks of clusters")
	}
	names := map[string]struct{}{}
	for _, c := range found {
		names[c.Labels[nodeimage.LabelKindCluster]] = struct{}{}
	}
	for _, n := range networks {
		names[n.Labels[nodeimage.LabelCluster]] = struct{}{}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// Nodes implements provider.Provider.
func (p *Provider) Nodes(ctx context.Context, cluster string) ([]node.Node, error) {
	found, err := p.containers(ctx, cluster)
	if err != nil {
		return nil, err
	}
	nodes := make([]node.Node, 0, len(found))
	for _, c := range found {
		nodes = append(nodes, p.nodeOf(c))
	}
	slices.SortFunc(nodes, func(a, b node.Node) int {
		return cmp.Or(cmp.Compare(roleRank(a), roleRank(b)), strings.Compare(a.Name, b.Name))
	})
	return nodes, nil
}

func roleRank(n node.Node) int {
	if n.Role == nodeimage.RoleControlPlane {
		return 0
	}
	return 1
}

func (p *Provider) nodeOf(c container.Summary) node.Node {
	// what kind makes is privileged, and has kind's labels alone
	name, mode := containerName(c), cmp.Or(c.Labels[nodeimage.LabelMode], modePrivileged)
	p.mu.Lock()
	b := p.booting[c.ID]
	p.mu.Unlock()
	return node.Node{
		Runner:     &runner{p: p, id: c.ID, name: name, mode: mode, boot: b},
		Cluster:    c.Labels[nodeimage.LabelKindCluster],
		Name:       name,
		Role:       c.Labels[nodeimage.LabelKindRole],
		Image:      c.Image,
		Addrs:      containerAddrs(c),
		State:      nodeState(c.State),
		Created:    time.Unix(c.Created, 0),
		Ports:      containerPorts(c),
		Privileges: mode,
		Foreign:    c.Labels[nodeimage.LabelCluster] == "",
		Dialect:    dialectOf(c),
		Creation:   c.Labels[nodeimage.LabelCreation],
		Ephemeral:  c.Labels[nodeimage.LabelEphemeral] != "",
		ServesAPI:  c.Labels[nodeimage.LabelPort] != "",
	}
}

func dialectOf(c container.Summary) string {
	if c.Labels[nodeimage.LabelCluster] == "" {
		return nodeimage.DialectKind
	}
	return cmp.Or(c.Labels[nodeimage.LabelDialect], nodeimage.DialectPetri)
}

func containerName(c container.Summary) string {
	if len(c.Names) == 0 {
		return c.ID
	}
	return strings.TrimPrefix(c.Names[0], "/")
}

func nodeState(s container.ContainerState) node.State {
	switch s {
	case container.StateRunning:
		return node.Running
	case container.StatePaused:
		return node.Paused
	}
	return node.Stopped
}

// containerAddrs are a container's addresses: those it has, or, while it is
// stopped, those that are kept for it.
func containerAddrs(c container.Summary) node.Addrs {
	if c.NetworkSettings == nil {
		return nil
	}
	var addrs node.Addrs
	for _, name := range slices.Sorted(maps.Keys(c.NetworkSettings.Networks)) {
		endpoint := c.NetworkSettings.Networks[name]
		v4, v6 := endpoint.IPAddress, endpoint.GlobalIPv6Address
		if endpoint.IPAMConfig != nil {
			v4 = cmp.Or(v4, endpoint.IPAMConfig.IPv4Address)
			v6 = cmp.Or(v6, endpoint.IPAMConfig.IPv6Address)
		}
		for _, s := range []string{v4, v6} {
			if addr, err := netip.ParseAddr(s); err == nil {
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs
}

func containerPorts(c container.Summary) []node.Port {
	var ports []node.Port
	for _, port := range c.Ports {
		if port.PublicPort == 0 {
			continue
		}
		ports = append(ports, node.Port{
			ContainerPort: port.PrivatePort, HostPort: port.PublicPort,
			ListenAddress: port.IP, Protocol: port.Type,
		})
	}
	slices.SortFunc(ports, func(a, b node.Port) int {
		return cmp.Or(cmp.Compare(a.ContainerPort, b.ContainerPort), strings.Compare(a.ListenAddress, b.ListenAddress))
	})
	return ports
}

// Endpoint implements provider.Provider. It is known from labels, so that it
// is the same while the cluster is stopped.
func (p *Provider) Endpoint(ctx context.Context, cluster string) (string, error) {
	p.mu.Lock()
	made := p.endpoints[cluster]
	p.mu.Unlock()
	if made != "" {
		return made, nil
	}
	found, err := p.containers(ctx, cluster)
	if err != nil {
		return "", err
	}
	for _, c := range found {
		if port := c.Labels[nodeimage.LabelPort]; port != "" {
			return p.endpoint(c.Labels[labelAddress], port), nil
		}
	}
	if port, ok := foreignAPI(found); ok {
		return p.endpoint(port.ListenAddress, strconv.Itoa(int(port.HostPort))), nil
	}
	return "", errdefs.New(errdefs.ClassNotFound, "NO-ENDPOINT", "cluster %s publishes no API", cluster).
		WithHint("See what there is: petri get clusters.")
}

// foreignAPI is where a cluster that kind made publishes its API, while it
// runs: at its load balancer, or at its only control plane.
func foreignAPI(nodes []container.Summary) (node.Port, bool) {
	for _, role := range endpointRoles {
		for _, c := range nodes {
			if c.Labels[nodeimage.LabelKindRole] != role {
				continue
			}
			for _, port := range containerPorts(c) {
				if port.ContainerPort == nodeimage.APIServerPort {
					return port, true
				}
			}
		}
	}
	return node.Port{}, false
}

// endpoint is the "host:port" by which the host reaches what the engine
// publishes at an address.
func (p *Provider) endpoint(address, port string) string {
	return net.JoinHostPort(p.reachable(address), port)
}

// reachable is the host by which an address that the engine listens on is
// reached from here. "Every address" of another machine is that machine.
func (p *Provider) reachable(address string) string {
	addr, err := netip.ParseAddr(address)
	if err != nil || !addr.IsUnspecified() {
		return cmp.Or(address, "127.0.0.1")
	}
	if daemon, err := url.Parse(p.engine.DaemonHost()); err == nil && daemon.Scheme == "tcp" && daemon.Hostname() != "" {
		return daemon.Hostname()
	}
	if addr.Is6() {
		return "::1"
	}
	return "127.0.0.1"
}
