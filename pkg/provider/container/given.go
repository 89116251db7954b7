package container

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/docker/docker/api/types/container"

	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

// On a network that was made without a subnet of its own nobody may choose
// addresses: kind makes its network so. Nodes on it are started first and wait
// for their files, which are rendered from the addresses that they were given.

// tellAddresses puts the files into nodes that run and wait for them, and
// completes what is known of each node.
func (c *creation) tellAddresses(ctx context.Context, nodes []node.Node) error {
	present, err := c.p.containers(ctx, c.placement.spec.Cluster)
	if err != nil {
		return err
	}
	ids := make([]string, len(nodes))
	for _, s := range present {
		i := slices.IndexFunc(c.placement.spec.Nodes, func(n provider.NodeSpec) bool { return n.Name == containerName(s) })
		if i >= 0 {
			ids[i], nodes[i].Addrs = s.ID, c.p.nodeOf(s).Addrs
		}
	}
	on := &c.placement.network
	on.v4.addrs, on.v6.addrs = nil, nil
	for _, n := range nodes {
		if !n.Addr(false).IsValid() || c.placement.spec.IPv6 && !n.Addr(true).IsValid() {
			return fmt.Errorf("node %s was given %v on network %s, and not an address of each family", n.Name, n.Addrs, on.name)
		}
		on.v4.addrs = append(on.v4.addrs, n.Addr(false))
		on.v6.addrs = append(on.v6.addrs, n.Addr(true))
	}
	return each(ids, func(id string) error { return c.tell(ctx, slices.Index(ids, id), id) })
}

// tell puts the files of the i-th node into its container.
func (c *creation) tell(ctx context.Context, i int, id string) error {
	files, err := c.files(i)
	if err == nil {
		err = c.p.engine.CopyToContainer(ctx, id, "/", bytes.NewReader(files), container.CopyToContainerOptions{})
	}
	if err != nil {
		return fmt.Errorf("put files into node %s: %w", c.placement.spec.Nodes[i].Name, err)
	}
	return nil
}

// lastFile ends the files of a node that waits for them.
func lastFile() provider.File {
	return provider.File{Path: nodeimage.CompletePath, Data: []byte("\n")}
}
