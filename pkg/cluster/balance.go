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
// are accepted all the while. What does not run keeps what it had; an error
// names each node that could not be told. A cluster without a load balancer
// has nothing to change.
func (m *Manager) Balance(ctx context.Context, name string, leaving ...string) error {
	all, err := m.machines(ctx, name)
	if err != nil || !slices.ContainsFunc(all, isLoadBalancer) {
		return err
	}
	var backends []balancer.Backend
	for _, n := range all {
		if n.Role == nodeimage.RoleControlPlane && !slices.Contains(leaving, n.Name) {
			backends = append(backends, balancer.Backend{Name: n.Name, Addr: n.Addr(false)})
		}
	}
	errs := make([]error, len(all))
	var group errgroup.Group
	for i, n := range all {
		if n.State != node.Running || n.Role == nodeimage.RoleImageServer {
			continue
		}
		group.Go(func() error {
			errs[i] = balancer.Update(ctx, n, backends)
			return nil
		})
	}
	return errors.Join(append(errs, group.Wait())...)
}
