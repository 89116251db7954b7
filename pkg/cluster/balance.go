package cluster

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/petri-cluster/petri/pkg/balancer"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// Balance makes the load balancer of a cluster and the balancers of its nodes
// lead to the control planes that there are now, but for those that are about
// to leave. It is called when one has come, and before one goes. Connections
// are accepted all the while. What does not run keeps what it had until it is
// started; an error names each node that could not be told. A cluster with one
// control plane and no load balancer has nothing to change, and the balancers of
// one that another tool made are not petri's.
//
// When all control planes are about to leave, nothing is changed: a balancer
// that leads nowhere is of use to nobody.
func (m *Manager) Balance(ctx context.Context, name string, leaving ...string) error {
	all, err := m.machines(ctx, name)
	if err != nil || !isBalanced(all) {
		return err
	}
	to := backends(all, leaving)
	if len(to) == 0 {
		return nil
	}
	errs := make([]error, len(all))
	var group errgroup.Group
	for i, n := range all {
		if n.State != node.Running || n.Role == nodeimage.RoleImageServer {
			continue
		}
		group.Go(func() error {
			errs[i] = balancer.Update(ctx, n, to)
			return nil
		})
	}
	return errors.Join(append(errs, group.Wait())...)
}

// isBalanced reports whether balancers of petri's choose among control planes.
func isBalanced(all []node.Node) bool {
	if slices.ContainsFunc(all, func(n node.Node) bool { return n.Foreign }) {
		return false
	}
	controlPlanes := 0
	for _, n := range all {
		if isLoadBalancer(n) {
			return true
		}
		if n.Role == nodeimage.RoleControlPlane {
			controlPlanes++
		}
	}
	return controlPlanes > 1
}

// backends are the control planes but for those that are leaving.
func backends(all []node.Node, leaving []string) []balancer.Backend {
	var out []balancer.Backend
	for _, n := range all {
		if n.Role == nodeimage.RoleControlPlane && !slices.Contains(leaving, n.Name) {
			out = append(out, balancer.Backend{Name: n.Name, Addr: n.Addr(false)})
		}
	}
	return out
}
