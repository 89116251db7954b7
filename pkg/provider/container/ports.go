package container

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

// placement is a cluster's place: every address and port it will have.
type placement struct {
	spec    provider.Spec
	network clusterNetwork
	// endpoint is where the API is published, on the host, by the node of
	// endpointNode; both are zero when no node serves the API.
	endpoint     netip.AddrPort
	endpointNode string
	// ports are what each node publishes, in the order of the spec.
	ports [][]node.Port
	// picked says that a port was picked, so that another would do as well.
	picked bool
	// others are the nodes that the cluster has already, by name.
	others map[string]node.Addrs
}

// place picks the host ports that the spec leaves open.
func (p *Provider) place(ctx context.Context, spec provider.Spec, n clusterNetwork) (*placement, error) {
	pl := &placement{spec: spec, network: n, endpointNode: endpointNode(spec.Nodes)}
	return pl, pl.pick(ctx, spec.API)
}

func (pl *placement) pick(ctx context.Context, publish provider.Publish) error {
	// All stay bound until the last is picked, so that no two are the same.
	var bound []io.Closer
	defer func() {
		for _, b := range bound {
			b.Close()
		}
	}()
	pick := func(port node.Port) (node.Port, error) {
		pl.picked = pl.picked || port.HostPort == 0
		port, closer, err := pickPort(ctx, port)
		if closer != nil {
			bound = append(bound, closer)
		}
		return port, err
	}
	for _, n := range pl.spec.Nodes {
		var ports []node.Port
		if n.Name == pl.endpointNode {
			api, err := pick(apiPort(publish))
			if err != nil {
				return err
			}
			addr, err := netip.ParseAddr(api.ListenAddress)
			if err != nil {
				return errdefs.New(errdefs.ClassUsage, "API-ADDRESS", "publish the API: %w", err)
			}
			pl.endpoint = netip.AddrPortFrom(addr, api.HostPort)
			ports = append(ports, api)
		}
		for _, port := range n.Ports {
			picked, err := pick(withDefaults(port))
			if err != nil {
				return err
			}
			ports = append(ports, picked)
		}
		pl.ports = append(pl.ports, ports)
	}
	return nil
}

// endpointRoles are the roles of nodes that may serve the API to the host, the
// one that does first.
var endpointRoles = []string{nodeimage.RoleLoadBalancer, nodeimage.RoleControlPlane}

// endpointNode is the node that serves the API to the host: the load balancer
// where there is one, else the first control plane.
func endpointNode(nodes []provider.NodeSpec) string {
	for _, role := range endpointRoles {
		for _, n := range nodes {
			if n.Role == role {
				return n.Name
			}
		}
	}
	return ""
}

func apiPort(api provider.Publish) node.Port {
	return withDefaults(node.Port{
		ContainerPort: nodeimage.APIServerPort, HostPort: api.Port, ListenAddress: api.Address,
	})
}

// withDefaults keeps what nobody said to be public on the loopback.
func withDefaults(port node.Port) node.Port {
	if port.Protocol == "" {
		port.Protocol = "tcp"
	}
	if port.ListenAddress == "" {
		port.ListenAddress = "127.0.0.1"
	}
	return port
}

// pickPort fills in a host port that is left open. It stays bound until the
// Closer, which may be nil, is closed.
func pickPort(ctx context.Context, port node.Port) (node.Port, io.Closer, error) {
	if port.HostPort != 0 {
		return port, nil, nil
	}
	free, closer, err := freePort(ctx, port.ListenAddress, port.Protocol)
	port.HostPort = free
	return port, closer, err
}

// freePort is a port that nobody on this host listens on, kept until the
// Closer is closed. On an address that is not this host's, which only an
// engine elsewhere can have, it is a guess and the Closer is nil.
func freePort(ctx context.Context, address, protocol string) (uint16, io.Closer, error) {
	var listen net.ListenConfig
	where := net.JoinHostPort(address, "0")
	if protocol == "udp" {
		conn, err := listen.ListenPacket(ctx, "udp", where)
		if err != nil {
			return guessPort(ctx)
		}
		port, err := portOf(conn.LocalAddr())
		return port, conn, err
	}
	l, err := listen.Listen(ctx, "tcp", where)
	if err != nil {
		return guessPort(ctx)
	}
	port, err := portOf(l.Addr())
	return port, l, err
}

// guessPort guesses above the ports that services are registered for and below
// those that kernels hand to clients.
func guessPort(ctx context.Context) (uint16, io.Closer, error) {
	if ctx.Err() != nil {
		return 0, nil, context.Cause(ctx)
	}
	const low, high = 20000, 32000
	return uint16(low + rand.IntN(high-low)), nil, nil
}

func portOf(addr net.Addr) (uint16, error) {
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return 0, fmt.Errorf("pick a free port: %w", err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return uint16(n), err
}
