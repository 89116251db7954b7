package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// members is a cluster whose nodes are about to change: what the engine, the
// API and the cluster's own configuration say of them, brought to agree.
type members struct {
	*Manager
	growth provider.Growth // nil when nothing may be changed
	name   string
	first  node.Node // a control plane that runs, and does not leave
	api    API
	config *config.Cluster
	nodes  []node.Node
	known  map[string]kube.NodeInfo
	// leaving are the names of nodes that are to be deleted.
	leaving []string
	// balanced: every node has a balancer over the control planes.
	balanced bool
	// fronted: a load balancer took the API's port from a node that is stopped.
	fronted bool
}

// withMembers runs change on a cluster that is locked.
func (m *Manager) withMembers(ctx context.Context, name string, leaving []string, change func(*members) error) (err error) {
	growth, ok := m.provider.(provider.Growth)
	if !ok {
		return errdefs.New(errdefs.ClassUnavailable, "NO-GROWTH", "provider %s cannot add nodes to a cluster", m.provider.Name())
	}
	release, err := lock(name)
	if err != nil {
		return err
	}
	defer release()
	if err := forget(name); err != nil {
		return err
	}
	s := &members{Manager: m, growth: growth, name: name, leaving: leaving}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.giveBack(ctx))
		}
	}()
	if err := s.load(ctx); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	return change(s)
}

func (s *members) load(ctx context.Context) error {
	all, err := s.machines(ctx, s.name)
	if err != nil {
		return err
	}
	s.nodes = slices.DeleteFunc(slices.Clone(all), node.Node.Beside)
	if err := s.openWay(ctx, all); err != nil {
		return err
	}
	if s.api, err = s.client(ctx, s.name); err != nil {
		return err
	}
	if s.fronted {
		if err := s.api.WaitServing(ctx); err != nil {
			return err
		}
	}
	data, err := s.api.LoadConfig(ctx)
	if err != nil {
		return err
	}
	if s.config, err = s.decode(data); err != nil {
		return err
	}
	if s.known, err = s.api.Nodes(ctx); err != nil {
		return err
	}
	s.first, err = s.stays()
	return err
}

func (s *members) decode(data []byte) (*config.Cluster, error) {
	c, err := config.Load(data, "petri-config", config.Options{})
	if err != nil {
		return nil, fmt.Errorf("read the configuration of cluster %q: %w", s.name, err)
	}
	return c, nil
}

// settle ends what an interrupted change left. A worker that nobody wrote down
// is one if it joined, and was never of use if it did not, as a control plane
// that nobody wrote down; a node that is written down and has no machine was
// deleted, unless it is a member of etcd.
func (s *members) settle(ctx context.Context) error {
	before, machines := slices.Clone(s.config.Nodes), len(s.nodes)
	for _, n := range slices.Clone(s.nodes) {
		if s.configured(n.Name) || slices.Contains(s.leaving, n.Name) {
			continue
		}
		if _, joined := s.known[n.Name]; joined && n.Role == nodeimage.RoleWorker {
			s.config.Nodes = append(s.config.Nodes, config.Node{Name: n.Name, Role: n.Role, Image: n.Image})
			continue
		}
		task := progress.Start(s.reporter, "settle", "Removing "+n.Name+", which never joined", "")
		if err := task.Done(errors.Join(s.takeOut(ctx, []node.Node{n}), s.api.DeleteNode(ctx, n.Name))); err != nil {
			return err
		}
		s.nodes = slices.DeleteFunc(s.nodes, func(o node.Node) bool { return o.Name == n.Name })
	}
	s.config.Nodes = slices.DeleteFunc(s.config.Nodes, func(n config.Node) bool {
		return !s.there(n.Name) && (n.Role == nodeimage.RoleWorker || s.left(ctx, n.Name))
	})
	return s.settled(ctx, before, len(s.nodes) < machines)
}

// settled writes down what settle found, when that is news. What was removed
// may be written down on a control plane alone.
func (s *members) settled(ctx context.Context, before []config.Node, removed bool) error {
	for _, n := range before {
		if s.configured(n.Name) {
			continue
		}
		removed = true
		if err := s.api.DeleteNode(ctx, n.Name); err != nil {
			return err
		}
		delete(s.known, n.Name)
	}
	if !removed && len(before) == len(s.config.Nodes) {
		return nil
	}
	return s.keep(ctx, s.config)
}

func (s *members) configured(name string) bool {
	return slices.ContainsFunc(s.config.Nodes, func(n config.Node) bool { return n.Name == name })
}

func (s *members) there(name string) bool {
	return slices.ContainsFunc(s.nodes, func(n node.Node) bool { return n.Name == name })
}

// keep writes the configuration down: in the cluster, and on the control
// planes.
func (s *members) keep(ctx context.Context, c *config.Cluster) error {
	data, err := config.Encode(c)
	if err != nil {
		return err
	}
	errs := []error{s.api.SaveConfig(ctx, data)}
	for _, n := range s.nodes {
		if n.Role == nodeimage.RoleControlPlane && n.State == node.Running && !slices.Contains(s.leaving, n.Name) {
			errs = append(errs, n.WriteFile(ctx, nodeimage.ConfigPath, data))
		}
	}
	return errors.Join(errs...)
}

// rest is the configuration without the nodes that are leaving.
func (s *members) rest() *config.Cluster {
	rest := *s.config
	rest.Nodes = slices.DeleteFunc(slices.Clone(rest.Nodes), func(n config.Node) bool { return slices.Contains(s.leaving, n.Name) })
	return &rest
}

// env is what phases of bootstrap need to change the cluster into c.
func (s *members) env(c *config.Cluster, wait time.Duration) *bootstrap.Env {
	env := &bootstrap.Env{
		Config: c, Provider: s.provider, Reporter: s.reporter, Wait: wait,
		NodeEnv: s.NodeEnv, Balanced: s.balanced, Labels: s.labels(c, ""),
	}
	delete(env.Labels, nodeimage.LabelCreation) // they come later
	env.Labels[nodeimage.LabelDialect] = s.nodes[0].Dialect
	return env
}
