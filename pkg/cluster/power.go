package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/petri-cluster/petri/pkg/bootstrap"
	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

// StopOptions say what is stopped, and how.
type StopOptions struct {
	// Nodes are names; none: every node of the cluster.
	Nodes []string
	// Timeout is how long each node may take to shut down before it is ended.
	Timeout time.Duration
	// Force stops also what loses its data by it.
	Force bool
}

// StartOptions say what is started.
type StartOptions struct {
	// Nodes are names; none: every node of the cluster.
	Nodes []string
	// Wait bounds the waiting until what was started can be used; 0: do not
	// wait.
	Wait time.Duration
}

// Stop shuts nodes down: workers first, so that their pods end while there is
// an API, then all control planes together, so that no member of etcd is left
// to wait for others. What is stopped already is no error. A cluster that
// keeps etcd's data in memory is refused unless forced.
func (m *Manager) Stop(ctx context.Context, name string, opts StopOptions) error {
	return m.withPower(name, func(power provider.Power) error { return m.stop(ctx, power, name, opts) })
}

// Start boots nodes, all at once, lets paused ones go on, and returns when the
// cluster can be used; when only some nodes are named, when these are Ready.
// What runs already is no error.
func (m *Manager) Start(ctx context.Context, name string, opts StartOptions) error {
	return m.withPower(name, func(power provider.Power) error { return m.start(ctx, power, name, opts) })
}

// Restart is Stop and then Start.
func (m *Manager) Restart(ctx context.Context, name string, stop StopOptions, start StartOptions) error {
	return m.withPower(name, func(power provider.Power) error {
		if err := m.stop(ctx, power, name, stop); err != nil {
			return err
		}
		return m.start(ctx, power, name, start)
	})
}

// Pause freezes nodes, all at once: they take no CPU time, and keep their
// memory. Named none, it is all that run.
func (m *Manager) Pause(ctx context.Context, name string, nodes []string) error {
	return m.withPower(name, func(power provider.Power) error {
		return m.freeze(ctx, name, nodes, "pause", "Pausing", power.Pause)
	})
}

// Unpause lets paused nodes go on where they were, all at once.
func (m *Manager) Unpause(ctx context.Context, name string, nodes []string) error {
	return m.withPower(name, func(power provider.Power) error {
		return m.freeze(ctx, name, nodes, "unpause", "Unpausing", power.Unpause)
	})
}

// withPower runs do with the cluster locked.
func (m *Manager) withPower(name string, do func(provider.Power) error) error {
	power, ok := m.provider.(provider.Power)
	if !ok {
		return errdefs.New(errdefs.ClassUnavailable, "NO-POWER", "provider %s cannot stop and start nodes", m.provider.Name())
	}
	release, err := lock(name)
	if err != nil {
		return err
	}
	defer release()
	if err := forget(name); err != nil {
		return err
	}
	return do(power)
}

// pick is the named nodes of a cluster, or all, with its load balancer.
func (m *Manager) pick(ctx context.Context, name string, names []string) ([]node.Node, error) {
	nodes, err := m.machines(ctx, name)
	if err != nil || len(names) == 0 {
		return nodes, err
	}
	var picked []node.Node
	var errs []error
	for _, wanted := range names {
		i := slices.IndexFunc(nodes, func(n node.Node) bool { return n.Name == wanted })
		if i < 0 {
			errs = append(errs, noNode(name, wanted))
		} else if !slices.ContainsFunc(picked, func(n node.Node) bool { return n.Name == wanted }) {
			picked = append(picked, nodes[i])
		}
	}
	return picked, errors.Join(errs...)
}

func noNode(cluster, name string) error {
	return errdefs.New(errdefs.ClassNotFound, "NODE-NOT-FOUND", "cluster %q has no node %s", cluster, name).
		WithHint("see what there is: petri get nodes --name %s", cluster)
}

// subject is what a verb acts on, for people.
func subject(cluster string, names []string) string {
	if len(names) == 0 {
		return "cluster " + cluster
	}
	return strings.Join(names, ", ")
}

// together does the same to all nodes at once, waits for all, and joins the
// errors.
func together(nodes []node.Node, do func(i int, n node.Node) error) error {
	errs := make([]error, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { errs[i] = do(i, n) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (m *Manager) stop(ctx context.Context, power provider.Power, name string, opts StopOptions) error {
	nodes, err := m.pick(ctx, name, opts.Nodes)
	if err != nil {
		return err
	}
	if !opts.Force {
		if err := refuseLoss(nodes); err != nil {
			return err
		}
	}
	task := progress.Start(m.reporter, "stop", "Stopping "+subject(name, opts.Nodes), "")
	for _, group := range stopOrder(nodes) {
		err := together(group, func(_ int, n node.Node) error { return power.Stop(ctx, n, opts.Timeout) })
		if err != nil {
			return task.Done(err)
		}
	}
	return task.Done(nil)
}

// stopOrder is groups of nodes that stop one after another.
func stopOrder(nodes []node.Node) [][]node.Node {
	var workers, controlPlanes, beside []node.Node
	for _, n := range nodes {
		switch n.Role {
		case nodeimage.RoleWorker:
			workers = append(workers, n)
		case nodeimage.RoleLoadBalancer, nodeimage.RoleImageServer:
			beside = append(beside, n)
		default:
			controlPlanes = append(controlPlanes, n)
		}
	}
	return [][]node.Node{workers, controlPlanes, beside}
}

// refuseLoss fails when a control plane among the nodes keeps etcd's data in
// memory.
func refuseLoss(nodes []node.Node) error {
	for _, n := range nodes {
		if n.Role == nodeimage.RoleControlPlane && n.State != node.Stopped && n.Ephemeral {
			return errdefs.New(errdefs.ClassFailed, "DATA-IN-MEMORY", "cluster %q keeps the data of its API in memory: it is lost when %s stops", n.Cluster, n.Name).
				WithHint("petri pause cluster --name %s keeps it; --force stops it all the same", n.Cluster)
		}
	}
	return nil
}

func (m *Manager) start(ctx context.Context, power provider.Power, name string, opts StartOptions) error {
	nodes, err := m.pick(ctx, name, opts.Nodes)
	if err != nil {
		return err
	}
	task := progress.Start(m.reporter, "start", "Starting "+subject(name, opts.Nodes), "")
	running := make([]node.Node, len(nodes))
	err = together(nodes, func(i int, n node.Node) (err error) {
		running[i], err = power.Start(ctx, n, m.reporter)
		return err
	})
	if err := task.Done(err); err != nil {
		return err
	}
	for i, n := range running {
		if n.Role == nodeimage.RoleControlPlane && nodes[i].State == node.Stopped && n.Ephemeral {
			return errdefs.New(errdefs.ClassFailed, "DATA-LOST", "cluster %q kept the data of its API in memory, and lost it when %s stopped", name, n.Name).
				WithHint("make it anew: petri delete cluster --name %s, then petri create cluster", name)
		}
	}
	if opts.Wait == 0 {
		return nil
	}
	return m.waitStarted(ctx, power, name, running, len(opts.Nodes) == 0, opts.Wait)
}

// errStart is why a wait for what was started ended.
var errStart = errors.New("it did not become usable in time")

// waitStarted waits until a cluster can be used, or only until some nodes are
// Ready.
func (m *Manager) waitStarted(ctx context.Context, power provider.Power, name string, nodes []node.Node, whole bool, wait time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, wait, errStart)
	defer cancel()
	task := progress.Start(m.reporter, "ready", "Waiting until it can be used", "")
	err := func() error {
		client, err := m.client(ctx, name)
		if err != nil {
			return err
		}
		if err := client.WaitServing(ctx); err != nil {
			return err
		}
		// control planes may have come and gone while a node was stopped
		if err := m.Balance(ctx, name); err != nil {
			return err
		}
		started, err := startTimes(ctx, power, nodes)
		if err != nil {
			return err
		}
		conditions, err := m.startedConditions(ctx, name, nodes, started, whole)
		if err != nil {
			return err
		}
		return client.Wait(ctx, conditions, func(name string) { task.Update(name) })
	}()
	if errors.Is(err, errStart) {
		err = errdefs.New(errdefs.ClassTimeout, "NOT-USABLE", "waited %s: %w", wait, err).
			WithHint("give it longer with --wait, or look: petri status --name %s, petri export logs --name %s", name, name)
	}
	return task.Done(err)
}

// startTimes is when each node was started that runs Kubernetes, by name.
func startTimes(ctx context.Context, power provider.Power, nodes []node.Node) (map[string]time.Time, error) {
	times := make([]time.Time, len(nodes))
	err := together(nodes, func(i int, n node.Node) (err error) {
		times[i], err = power.Started(ctx, n)
		return err
	})
	out := map[string]time.Time{}
	for i, n := range nodes {
		if !n.Beside() {
			out[n.Name] = times[i]
		}
	}
	return out, err
}

// startedConditions is what must hold once nodes were started: for a whole
// cluster, all that "usable" means, and that it was said since then.
func (m *Manager) startedConditions(ctx context.Context, name string, nodes []node.Node, started map[string]time.Time, whole bool) ([]kube.Condition, error) {
	names := kubeNames(nodes)
	conditions, err := m.conditions(ctx, name, names)
	if err != nil {
		return nil, err
	}
	if !whole {
		some := []kube.Condition{kube.NodesReported(started)}
		if slices.ContainsFunc(conditions, func(c kube.Condition) bool { return c.Name == kube.NodesReady(nil).Name }) {
			some = append(some, kube.NodesReady(names))
		}
		return some, nil
	}
	return append(conditions, since(conditions, started)...), nil
}

// since adds to what "usable" means for a cluster that it holds now, and not
// only before its nodes were started.
func since(conditions []kube.Condition, started map[string]time.Time) []kube.Condition {
	out := []kube.Condition{kube.NodesReported(started)}
	for _, c := range conditions {
		if c.Name == kube.DNSServing().Name {
			out = append(out, kube.DNSStarted(started))
		}
	}
	return out
}

// freeze pauses or unpauses nodes. One that is stopped can be neither; when a
// whole cluster is meant, those that run are.
func (m *Manager) freeze(ctx context.Context, name string, names []string, verb, title string, do func(context.Context, node.Node) error) error {
	nodes, err := m.pick(ctx, name, names)
	if err != nil {
		return err
	}
	on := slices.DeleteFunc(slices.Clone(nodes), func(n node.Node) bool { return n.State == node.Stopped })
	if len(on) == 0 || (len(names) > 0 && len(on) < len(nodes)) {
		return errdefs.New(errdefs.ClassFailed, "NODE-STOPPED", "%s %s: it is stopped", verb, subject(name, names)).
			WithHint("start it: petri start cluster --name %s", name)
	}
	task := progress.Start(m.reporter, verb, title+" "+subject(name, names), "")
	return task.Done(together(on, func(_ int, n node.Node) error { return do(ctx, n) }))
}

// conditions is what usable means for this cluster: by its own configuration
// where it kept one, else for the named nodes.
func (m *Manager) conditions(ctx context.Context, name string, names []string) ([]kube.Condition, error) {
	data, err := m.Config(ctx, name)
	return usableConditions(name, names, data, err)
}

// usableConditions are the conditions of a cluster with this configuration, or
// of one for which the configuration could not be read for this reason.
func usableConditions(name string, names []string, data []byte, err error) ([]kube.Condition, error) {
	if errdefs.Is(err, errdefs.ClassNotFound) {
		return []kube.Condition{kube.NodesReady(names), kube.DNSServing(), kube.DefaultServiceAccount(), kube.DefaultStorageClass()}, nil
	}
	if err != nil {
		return nil, err
	}
	c, err := config.Load(data, "petri-config", config.Options{})
	if err != nil {
		return nil, fmt.Errorf("read the configuration of cluster %q: %w", name, err)
	}
	return bootstrap.UsableConditions(c), nil
}
