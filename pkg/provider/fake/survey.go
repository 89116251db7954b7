package fake

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"

	"github.com/petri-cluster/petri/pkg/provider"
)

// Survey implements provider.Surveyor.
func (p *Provider) Survey(ctx context.Context) (provider.Survey, error) {
	var out provider.Survey
	err := p.call(ctx, "survey", func() error {
		out.Containers = slices.Clone(p.strangers)
		for _, m := range p.machines {
			out.Containers = append(out.Containers, provider.Container{
				Name: m.node.Name, Cluster: m.node.Cluster, Role: m.node.Role, State: m.node.State, Ports: m.node.Ports,
			})
		}
		for _, name := range slices.Sorted(maps.Keys(p.networks)) {
			n := p.networks[name]
			out.Networks = append(out.Networks, provider.Network{Name: name, Cluster: n.cluster, Subnets: n.subnets})
		}
		slices.SortFunc(out.Containers, func(a, b provider.Container) int { return cmp.Compare(a.Name, b.Name) })
		return nil
	})
	return out, err
}

// AddContainer puts a container on the engine that is no node of a cluster, or
// was left of one.
func (p *Provider) AddContainer(c provider.Container) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.strangers = append(p.strangers, c)
}

// AddNetwork puts a network on the engine that is no cluster's.
func (p *Provider) AddNetwork(name string, subnet netip.Prefix) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.networks[name] = &network{subnets: []netip.Prefix{subnet}}
}
