package fake

import (
	"cmp"
	"context"
	"slices"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

// CreateRegistry implements provider.Registries.
func (p *Provider) CreateRegistry(ctx context.Context, spec provider.RegistrySpec, _ progress.Reporter) (provider.Registry, error) {
	var made provider.Registry
	err := p.call(ctx, "create registry "+spec.Name, func() error {
		if p.registries[spec.Name] != nil {
			return errdefs.New(errdefs.ClassExists, "REGISTRY-EXISTS", "there is a registry %q already", spec.Name)
		}
		if _, ok := p.local[spec.Image]; !ok {
			return errdefs.New(errdefs.ClassNotFound, "NODE-IMAGE-MISSING", "the engine has no image %s", spec.Image)
		}
		port := p.complete(node.Port{HostPort: spec.Publish.Port})
		made = provider.Registry{
			Name: spec.Name, Container: "petri-registry-" + spec.Name, Address: port.ListenAddress, Port: port.HostPort,
			Upstream: spec.Upstream, Image: spec.Image, State: string(node.Running), Created: started(),
		}
		p.registries[spec.Name] = &made
		return nil
	})
	return made, err
}

// Registries implements provider.Registries.
func (p *Provider) Registries(ctx context.Context) ([]provider.Registry, error) {
	var out []provider.Registry
	err := p.call(ctx, "list registries", func() error {
		for _, r := range p.registries {
			one := *r
			one.Clusters = slices.Sorted(slices.Values(r.Clusters))
			out = append(out, one)
		}
		return nil
	})
	slices.SortFunc(out, func(a, b provider.Registry) int { return cmp.Compare(a.Name, b.Name) })
	return out, err
}

// ConnectRegistry implements provider.Registries.
func (p *Provider) ConnectRegistry(ctx context.Context, name, cluster string) error {
	return p.call(ctx, "connect registry "+name+" to "+cluster, func() error {
		r := p.registries[name]
		if r == nil {
			return errdefs.New(errdefs.ClassNotFound, "REGISTRY-NOT-FOUND", "there is no registry %q", name)
		}
		if !slices.Contains(r.Clusters, cluster) {
			r.Clusters = append(r.Clusters, cluster)
		}
		return nil
	})
}

// DisconnectRegistry implements provider.Registries.
func (p *Provider) DisconnectRegistry(ctx context.Context, name, cluster string) error {
	return p.call(ctx, "disconnect registry "+name+" from "+cluster, func() error {
		if r := p.registries[name]; r != nil {
			r.Clusters = without(r.Clusters, cluster)
		}
		return nil
	})
}

func without(list []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == one })
}

// DeleteRegistry implements provider.Registries.
func (p *Provider) DeleteRegistry(ctx context.Context, name string) error {
	return p.call(ctx, "delete registry "+name, func() error {
		delete(p.registries, name)
		return nil
	})
}
