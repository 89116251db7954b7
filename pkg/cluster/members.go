package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
	growth provider.Growth
	name   string
	first  node.Node // a control plane that runs
	api    API
	config *config.Cluster
	nodes  []node.Node
	known  map[string]kube.NodeInfo
}

// withMembers runs change on a cluster that is locked.
func (m *Manager) withMembers(ctx context.Context, name string, change func(*members) error) error {
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
	s := &members{Manager: m, growth: growth, name: name}
	if err := s.load(ctx); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	return change(s)
}

func (s *members) load(ctx context.Context) (err error) {
	if s.nodes, err = s.Nodes(ctx, s.name); err != nil {
		return err
	}
	if s.first, err = s.controlPlane(ctx, s.name); err != nil {
		return err
	}
	if s.api, err = s.client(ctx, s.name); err != nil {
		return err
	}
	data, err := s.Config(ctx, s.name)
	if err != nil {
		return err
	}
	if s.config, err = config.Load(data, "petri-config", config.Options{}); err != nil {
		return fmt.Errorf("read the configuration of cluster %q: %w", s.name, err)
	}
	s.known, err = s.api.Nodes(ctx)
	return err
}

// settle ends what an interrupted change left. A worker that nobody wrote down
// is one if it joined, and was never of use if it did not; one that is written
// down and has no machine was deleted.
func (s *members) settle(ctx context.Context) error {
	for _, n := range slices.Clone(s.nodes) {
		if n.Role != nodeimage.RoleWorker || s.configured(n.Name) {
			continue
		}
		if _, joined := s.known[n.Name]; joined {
			s.config.Nodes = append(s.config.Nodes, config.Node{Name: n.Name, Role: n.Role, Image: n.Image})
			continue
		}
		task := progress.Start(s.reporter, "settle", "Removing "+n.Name+", which never joined", "")
		if err := task.Done(s.growth.Remove(ctx, s.name, n.Name)); err != nil {
			return err
		}
		s.nodes = slices.DeleteFunc(s.nodes, func(o node.Node) bool { return o.Name == n.Name })
	}
	s.config.Nodes = slices.DeleteFunc(s.config.Nodes, func(n config.Node) bool {
		return n.Role == nodeimage.RoleWorker && !s.there(n.Name)
	})
	return nil
}

func (s *members) configured(name string) bool {
	return slices.ContainsFunc(s.config.Nodes, func(n config.Node) bool { return n.Name == name })
}

func (s *members) there(name string) bool {
	return slices.ContainsFunc(s.nodes, func(n node.Node) bool { return n.Name == name })
}

// keep writes the configuration down: in the cluster, and on the control
// plane.
func (s *members) keep(ctx context.Context, c *config.Cluster) error {
	data, err := config.Encode(c)
	if err != nil {
		return err
	}
	return errors.Join(s.api.SaveConfig(ctx, data), s.first.WriteFile(ctx, nodeimage.ConfigPath, data))
}
