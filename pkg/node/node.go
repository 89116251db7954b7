// Package node is the handle on one machine of a cluster: the facts that were
// known when it was listed, and the means to run commands in it. A node is a
// place to run commands; who provides it is the provider's business.
package node

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// State is whether a node runs.
type State string

// The states of a node.
const (
	Running State = "running"
	Stopped State = "stopped"
	Paused  State = "paused"
)

// Port is a port of the node that is published on the host.
type Port struct {
	ContainerPort uint16
	HostPort      uint16
	ListenAddress string
	Protocol      string // "tcp", "udp", "sctp"
}

// Collides reports whether two ports of the host cannot both be published.
func (p Port) Collides(with Port) bool {
	return p.HostPort == with.HostPort && p.Protocol == with.Protocol &&
		(p.ListenAddress == with.ListenAddress || everywhere(p.ListenAddress) || everywhere(with.ListenAddress))
}

// everywhere reports whether an address to listen on is all of them. What is no
// address may be any.
func everywhere(address string) bool {
	addr, err := netip.ParseAddr(address)
	return err != nil || addr.IsUnspecified()
}

// Node is one machine. Facts are as of the listing that made it. Running a
// command waits until the node has booted.
type Node struct {
	exec.Runner
	Cluster    string
	Name       string
	Role       string // nodeimage.Role*
	Image      string // reference it was made from
	Addrs      Addrs
	State      State
	Created    time.Time
	Ports      []Port
	Privileges string // how it was allowed to run: "privileged" or "capabilities"
	// ServesAPI: the cluster's API is published on the host by this node, while
	// it runs.
	ServesAPI bool
	// Ephemeral: the cluster keeps etcd's data in memory.
	Ephemeral bool
	// Creation is the ID of the creation that made it; empty when it came later
	// or another tool made it.
	Creation string
	// Foreign: another tool made it, with kind's labels.
	Foreign bool
	// Dialect is whose names the cluster has: nodeimage.Dialect*.
	Dialect string
}

// Beside reports whether it is there for the nodes, and is none: it runs one
// program, which the API knows nothing of.
func (n Node) Beside() bool {
	return n.Role == nodeimage.RoleLoadBalancer || n.Role == nodeimage.RoleImageServer
}

// Title is a node as sentences have it: "node dev-worker".
func (n Node) Title() string {
	switch n.Role {
	case nodeimage.RoleLoadBalancer:
		return "load balancer " + n.Name
	case nodeimage.RoleImageServer:
		return "image server " + n.Name
	}
	return "node " + n.Name
}

// Addr is the first address of the wanted family, or the zero Addr.
func (n Node) Addr(v6 bool) netip.Addr { return n.Addrs.Of(v6) }

// Addrs are the addresses of a machine, those of IPv4 before those of IPv6.
type Addrs []netip.Addr

// Of is the first address of the wanted family, or the zero Addr.
func (addrs Addrs) Of(v6 bool) netip.Addr {
	for _, a := range addrs {
		if a.Is6() == v6 {
			return a
		}
	}
	return netip.Addr{}
}

// ReadFile returns the content of a file in the node.
func (n Node) ReadFile(ctx context.Context, path string) ([]byte, error) {
	data, err := exec.Output(ctx, n, "cat", path)
	if err != nil {
		return nil, fmt.Errorf("read %s on node %s: %w", path, n.Name, err)
	}
	return data, nil
}

// WriteFile writes a file in the node, whose directory must exist.
func (n Node) WriteFile(ctx context.Context, path string, data []byte) error {
	err := n.Run(ctx, exec.Cmd{Args: []string{"cp", "/dev/stdin", path}, Stdin: bytes.NewReader(data)})
	if err != nil {
		return fmt.Errorf("write %s on node %s: %w", path, n.Name, err)
	}
	return nil
}
