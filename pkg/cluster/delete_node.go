package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/bootstrap"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
)

// RemoveOptions say how nodes leave a cluster.
type RemoveOptions struct {
	// DrainTimeout bounds the wait for the pods of each node to end.
	DrainTimeout time.Duration
	// Force deletes nodes also with what is on them alone, and with pods that
	// did not end in time.
	Force bool
}

// DeleteNodes removes nodes from a cluster: no new pods are scheduled to them,
// their pods are evicted, the members of etcd among them are removed, kubeadm
// takes the node out, and machine, volumes and Node object go. One that is not
// there is no error, and one that does not run goes as well. Nodes that
// hold what would be lost with them are refused unless forced, and so is a
// node whose pods do not end in time; then the node is as it was. The last
// control plane is refused always, and so is one without which etcd would have
// no majority.
func (m *Manager) DeleteNodes(ctx context.Context, name string, nodes []string, opts RemoveOptions) error {
	return m.withMembers(ctx, name, nodes, func(s *members) error { return s.remove(ctx, nodes, opts) })
}

func (s *members) remove(ctx context.Context, names []string, opts RemoveOptions) error {
	for _, name := range names {
		if name == s.loadBalancer() || name == bootstrap.ImageServerName(s.name) {
			return errdefs.New(errdefs.ClassUsage, "NODE-ROLE", "%s is no node of cluster %q, but serves its nodes, and goes with it", name, s.name)
		}
	}
	names, err := s.mayLeave(ctx, names)
	if err != nil {
		return err
	}
	if !opts.Force {
		if err := s.refuseHolders(ctx, names); err != nil {
			return err
		}
	}
	// all are closed before the first is emptied: pods do not move from one to
	// the next
	err = s.cordon(ctx, names, true)
	if err == nil {
		err = s.drain(ctx, names, opts)
	}
	if err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		open := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return s.known[n].Cordoned })
		return errors.Join(err, s.cordon(undo, open, false))
	}
	task := progress.Start(s.reporter, "remove", "Removing "+strings.Join(names, ", "), "")
	return task.Done(s.end(ctx, names))
}

// role is that of a node by its machine or, when that is gone, by the
// configuration; empty for one that is not there.
func (s *members) role(name string) string {
	for _, n := range s.nodes {
		if n.Name == name {
			return n.Role
		}
	}
	for _, n := range s.config.Nodes {
		if n.Name == name {
			return n.Role
		}
	}
	return ""
}

// refuseHolders fails when a node has what would be lost with it.
func (s *members) refuseHolders(ctx context.Context, names []string) error {
	var held []string
	for _, name := range names {
		on, err := s.api.OnlyHere(ctx, name)
		if err != nil {
			return err
		}
		for _, what := range on {
			held = append(held, what+" on "+name)
		}
	}
	if len(held) == 0 {
		return nil
	}
	return errdefs.New(errdefs.ClassFailed, "NODE-HOLDS-DATA", "it would be lost: %s", strings.Join(held, ", ")).
		WithHint("save or delete it first, or use --force")
}

func (s *members) cordon(ctx context.Context, names []string, cordoned bool) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, s.api.Cordon(ctx, name, cordoned))
	}
	return errors.Join(errs...)
}

// errDrain is why the draining of a node ended.
var errDrain = errors.New("its pods did not end in time")

// drain evicts the pods of all nodes that run, at once. Pods of one that does
// not run cannot end: they go with the Node object.
func (s *members) drain(ctx context.Context, names []string, opts RemoveOptions) error {
	running := slices.DeleteFunc(slices.Clone(s.nodes), func(n node.Node) bool {
		return !slices.Contains(names, n.Name) || n.State != node.Running || !s.known[n.Name].Ready
	})
	return together(running, func(_ int, n node.Node) error {
		task := progress.Start(s.reporter, "drain", "Draining "+n.Name, n.Name)
		ctx, cancel := context.WithTimeoutCause(ctx, opts.DrainTimeout, errDrain)
		defer cancel()
		err := s.api.Drain(ctx, n.Name, func(pods int) { task.Update(fmt.Sprintf("%d pods left", pods)) })
		if errors.Is(err, errDrain) {
			if opts.Force {
				task.Skip(err.Error())
				return nil
			}
			err = errdefs.New(errdefs.ClassTimeout, "DRAIN-TIMEOUT", "waited %s: %w", opts.DrainTimeout, err).
				WithHint("give it longer with --drain-timeout, or use --force")
		}
		return task.Done(err)
	})
}

// resetTimeout bounds what kubeadm does on a node that is leaving.
const resetTimeout = 30 * time.Second

// end takes nodes out that nothing is on any more, also those whose machine is
// gone, and writes it down.
func (s *members) end(ctx context.Context, names []string) error {
	var leaving []node.Node
	for _, name := range names {
		leaving = append(leaving, s.machine(name))
	}
	if err := s.takeOut(ctx, leaving); err != nil {
		return err
	}
	for _, name := range names {
		if err := s.api.DeleteNode(ctx, name); err != nil {
			return err
		}
	}
	return s.keep(ctx, s.rest())
}

// machine is a node of the cluster, or what is known of one that is gone.
func (s *members) machine(name string) node.Node {
	for _, n := range s.nodes {
		if n.Name == name {
			return n
		}
	}
	return node.Node{Name: name, Role: s.role(name), State: node.Stopped}
}

// takeOut ends machines: workers all at once, and one control plane after
// another. On those that leave, kubeadm cleans up; others never joined.
func (s *members) takeOut(ctx context.Context, nodes []node.Node) error {
	var workers, controlPlanes []node.Node
	for _, n := range nodes {
		if n.Role == nodeimage.RoleControlPlane {
			controlPlanes = append(controlPlanes, n)
		} else {
			workers = append(workers, n)
		}
	}
	err := together(workers, func(_ int, n node.Node) error {
		s.reset(ctx, n)
		return s.growth.Remove(ctx, s.name, n.Name)
	})
	if err != nil {
		return err
	}
	return s.takeOutControlPlanes(ctx, controlPlanes)
}

// reset has kubeadm clean up. The machine is removed whatever comes of it, and
// with it all that would have been cleaned.
func (s *members) reset(ctx context.Context, n node.Node, flags ...string) {
	if n.State != node.Running || !slices.Contains(s.leaving, n.Name) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, resetTimeout)
	defer cancel()
	_ = exec.Run(ctx, n, append([]string{"kubeadm", "reset", "--force"}, flags...)...)
}
