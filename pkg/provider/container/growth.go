package container

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

// Add implements provider.Growth. It reports as Create does.
func (p *Provider) Add(ctx context.Context, spec provider.Spec, r progress.Reporter) ([]node.Node, error) {
	info, err := p.engineInfo(ctx)
	if err != nil {
		return nil, err
	}
	present, err := p.containers(ctx, spec.Cluster)
	if err != nil {
		return nil, err
	}
	if len(present) == 0 {
		return nil, errdefs.New(errdefs.ClassNotFound, "CLUSTER-NOT-FOUND", "there is no cluster %q", spec.Cluster)
	}
	on, err := p.networkAround(ctx, present, spec)
	if err != nil {
		return nil, err
	}
	return p.attempt(ctx, info, r, on, func(on clusterNetwork) (*placement, error) {
		pl := &placement{spec: spec, network: on, others: map[string]node.Addrs{}}
		// else one of the nodes that are there serves the API to the host
		if i := slices.IndexFunc(spec.Nodes, isLoadBalancer); i >= 0 {
			pl.endpointNode = spec.Nodes[i].Name
		}
		for _, c := range present {
			pl.others[containerName(c)] = containerAddrs(c)
			var err error
			if pl.endpoint, err = publishedAPI(c, pl.endpoint); err != nil {
				return nil, err
			}
		}
		return pl, pl.pick(ctx, spec.API)
	})
}

func isLoadBalancer(n provider.NodeSpec) bool { return n.Role == nodeimage.RoleLoadBalancer }

// networkAround is the network that a cluster is on, with addresses for the
// spec's nodes. Those that nodes have stay theirs while they are stopped.
func (p *Provider) networkAround(ctx context.Context, present []container.Summary, spec provider.Spec) (clusterNetwork, error) {
	found, err := p.networkNamed(ctx, networkOf(present[0]))
	if err != nil {
		return clusterNetwork{}, err
	}
	if found.Labels[nodeimage.LabelCluster] == "" {
		// shared with others: they are asked for too
		return p.adoptNetwork(ctx, found, spec)
	}
	on, err := describeNetwork(found, spec.IPv6)
	if err != nil {
		return clusterNetwork{}, err
	}
	taken, err := p.addrsOn(ctx, found) // registries are on it too
	if err != nil {
		return clusterNetwork{}, err
	}
	return on, on.assign(len(spec.Nodes), firstFree, taken)
}

// networkNamed is the network of a cluster, by its name.
func (p *Provider) networkNamed(ctx context.Context, name string) (network.Summary, error) {
	all, err := p.engine.NetworkList(ctx, network.ListOptions{})
	if err != nil {
		return network.Summary{}, p.engineError(err, "list networks")
	}
	i := slices.IndexFunc(all, func(n network.Summary) bool { return n.Name == name })
	if i < 0 {
		return network.Summary{}, errdefs.New(errdefs.ClassFailed, "NETWORK-GONE", "network %q of the cluster is not there", name).
			WithHint("Delete the cluster, and make it anew.")
	}
	return all[i], nil
}

// networkOf is the name of the network that a container is on.
func networkOf(c container.Summary) string {
	if c.NetworkSettings == nil {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(c.NetworkSettings.Networks)) {
		return name
	}
	return ""
}

// publishedAPI is where a container's labels say that it publishes the API;
// or known, when they do not.
func publishedAPI(c container.Summary, known netip.AddrPort) (netip.AddrPort, error) {
	text := c.Labels[nodeimage.LabelPort]
	if text == "" {
		return known, nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return known, errdefs.New(errdefs.ClassNotFound, "NO-ENDPOINT", "label %s of %s is no port: %q", nodeimage.LabelPort, containerName(c), text)
	}
	addr, err := netip.ParseAddr(c.Labels[labelAddress])
	if err != nil {
		addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.AddrPortFrom(addr, uint16(port)), nil
}

// Remove implements provider.Growth.
func (p *Provider) Remove(ctx context.Context, cluster, name string) error {
	c, err := p.containerOf(ctx, cluster, name)
	if errdefs.Is(err, errdefs.ClassNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.removeContainer(ctx, c.ID)
}
