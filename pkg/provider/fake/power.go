package fake

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

// Stop implements provider.Power. Nothing takes time, so the limit is not
// reached.
func (p *Provider) Stop(ctx context.Context, n node.Node, _ time.Duration) error {
	return p.power(ctx, "stop", n, func(m *machine) error {
		m.node.State = node.Stopped
		return nil
	})
}

// Start implements provider.Power.
func (p *Provider) Start(ctx context.Context, n node.Node, _ progress.Reporter) (node.Node, error) {
	var started node.Node
	err := p.power(ctx, "start", n, func(m *machine) error {
		if m.node.State == node.Stopped {
			m.boot()
		}
		m.node.State = node.Running
		started = m.handle(p)
		return nil
	})
	return started, err
}

// boot is what is seen of a machine's start from outside. Each is a minute
// after the one before.
func (m *machine) boot() {
	m.node.State = node.Running
	m.boots++
	m.console = append(m.console, "Reached target multi-user.target - Multi-User System.")
}

// Pause implements provider.Power.
func (p *Provider) Pause(ctx context.Context, n node.Node) error {
	return p.power(ctx, "pause", n, func(m *machine) error {
		if m.node.State == node.Stopped {
			return fmt.Errorf("node %s is not running", n.Name)
		}
		m.node.State = node.Paused
		return nil
	})
}

// Unpause implements provider.Power.
func (p *Provider) Unpause(ctx context.Context, n node.Node) error {
	return p.power(ctx, "unpause", n, func(m *machine) error {
		if m.node.State == node.Paused {
			m.node.State = node.Running
		}
		return nil
	})
}

// Started implements provider.Power.
func (p *Provider) Started(ctx context.Context, n node.Node) (time.Time, error) {
	var at time.Time
	err := p.power(ctx, "inspect", n, func(m *machine) error {
		if m.node.State != node.Stopped {
			at = started().Add(time.Duration(m.boots) * time.Minute)
		}
		return nil
	})
	return at, err
}

// power is a call about a node that must be there.
func (p *Provider) power(ctx context.Context, verb string, n node.Node, effect func(*machine) error) error {
	return p.call(ctx, verb+" "+n.Name, func() error {
		m, ok := p.machines[n.Name]
		if !ok {
			return noNode(n.Name)
		}
		return effect(m)
	})
}

// Add implements provider.Growth: the engine is called in the order of the
// spec.
func (p *Provider) Add(ctx context.Context, spec provider.Spec, _ progress.Reporter) ([]node.Node, error) {
	others := map[string]node.Addrs{}
	var subnets []netip.Prefix
	var endpoint netip.AddrPort
	err := p.call(ctx, "list nodes of "+spec.Cluster, func() error {
		for name, m := range p.machines {
			if m.node.Cluster != spec.Cluster {
				continue
			}
			others[name] = m.node.Addrs
			if m.port != 0 {
				endpoint = netip.AddrPortFrom(netip.MustParseAddr(m.address), m.port)
			}
		}
		for _, n := range p.networks {
			for _, addrs := range others {
				if n.subnets[0].Contains(addrs.Of(false)) {
					subnets = n.subnets
				}
			}
		}
		if len(others) == 0 {
			return errdefs.New(errdefs.ClassNotFound, "CLUSTER-NOT-FOUND", "there is no cluster %q", spec.Cluster)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	pl := p.place(spec, subnets, others)
	if pl.serves == "" {
		pl.endpoint = endpoint
	}
	return p.createNodes(ctx, pl)
}

// Remove implements provider.Growth.
func (p *Provider) Remove(ctx context.Context, cluster, name string) error {
	return p.call(ctx, "remove container "+name, func() error {
		if m, ok := p.machines[name]; ok && m.node.Cluster == cluster {
			delete(p.machines, name)
		}
		return nil
	})
}
