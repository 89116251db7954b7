package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/bootstrap"
	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/noderelease"
	"github.com/petri-cluster/petri/pkg/progress"
)

// UpgradeOptions say what a cluster is upgraded to, and how.
type UpgradeOptions struct {
	// Image is a node image of petri's, with the Kubernetes to upgrade to.
	Image string
	// Version is what the image must carry; empty: whatever it does.
	Version string
	// DrainTimeout bounds the wait for the pods of each worker to go.
	DrainTimeout time.Duration
	// Force goes on also when pods did not go in time.
	Force bool
	// Wait bounds the waiting for each part that is exchanged to serve again.
	Wait time.Duration
}

// Upgrade brings a cluster to the Kubernetes of a node image, in the nodes that
// it has: control planes one by one, then workers one by one, with their pods
// elsewhere meanwhile. All that nodes need is brought to all of them before
// anything changes. Where it stands is what nodes run: what is done already is
// not done again, so that an upgrade which failed or was interrupted goes on
// when it is called once more. A step that fails is taken back, and what ran
// before goes on.
func (m *Manager) Upgrade(ctx context.Context, name string, opts UpgradeOptions) error {
	return m.withMembers(ctx, name, nil, func(s *members) error {
		u := &upgrade{members: s, opts: opts}
		if err := u.survey(ctx); err != nil {
			return err
		}
		if u.plan.Done() && u.kept() {
			return nil
		}
		return u.standing(u.run(ctx))
	})
}

// upgrade is an upgrade under way.
type upgrade struct {
	*members
	opts    UpgradeOptions
	release *noderelease.Release
	plan    UpgradePlan
	order   []node.Node // in which nodes are upgraded
	done    []string    // nodes that are
}

// kept reports whether the configuration names the image for all nodes: it is
// written last.
func (u *upgrade) kept() bool {
	for _, n := range u.config.Nodes {
		if n.Image != u.opts.Image {
			return false
		}
	}
	return true
}

func (u *upgrade) run(ctx context.Context) error {
	left := u.left()
	if err := u.stage(ctx, left); err != nil {
		return err
	}
	addons := false
	for _, n := range left {
		if n.Role == nodeimage.RoleWorker && !addons {
			addons = true
			if err := u.updateAddons(ctx); err != nil {
				return err
			}
		}
		if err := u.upgradeNode(ctx, n); err != nil {
			return err
		}
		u.done = append(u.done, n.Name)
	}
	if !addons {
		if err := u.updateAddons(ctx); err != nil {
			return err
		}
	}
	if err := u.waitUsable(ctx); err != nil {
		return err
	}
	return u.insist(ctx, func() error { return u.keep(ctx, u.upgraded()) })
}

// left are the nodes that are to be upgraded.
func (u *upgrade) left() []node.Node {
	var left []node.Node
	for i, n := range u.order {
		if len(u.plan.Nodes[i].Steps) > 0 {
			left = append(left, n)
		} else {
			u.done = append(u.done, n.Name)
		}
	}
	return left
}

// updateAddons brings petri's addons to the version of the image. Those of
// kubeadm came with the last control plane.
func (u *upgrade) updateAddons(ctx context.Context) error {
	task := progress.Start(u.reporter, "addons", "Updating network and storage", "")
	return task.Done(u.insist(ctx, func() error {
		return bootstrap.UpdateAddons(ctx, u.config, u.api, u.release.Addons)
	}))
}

func (u *upgrade) waitUsable(ctx context.Context) error {
	task := progress.Start(u.reporter, "ready", "Waiting until the cluster is usable", "")
	ctx, cancel := context.WithTimeoutCause(ctx, u.opts.Wait, errUpgraded)
	defer cancel()
	err := u.api.Wait(ctx, bootstrap.UsableConditions(u.config), func(name string) { task.Update(name) })
	return task.Done(u.timedOut(err))
}

// errUpgraded is why a wait for what was exchanged ended.
var errUpgraded = errors.New("it did not become usable in time")

// timedOut says what can be done when a wait ran out.
func (u *upgrade) timedOut(err error) error {
	if !errors.Is(err, errUpgraded) {
		return err
	}
	return errdefs.New(errdefs.ClassTimeout, "NOT-USABLE", "waited %s: %w", u.opts.Wait, err).
		WithHint("give it longer with --wait, or look: petri status --name %s, petri export logs --name %s", u.name, u.name)
}

// upgraded is the configuration of the cluster as it is now: nodes that are
// added later are made of the image.
func (u *upgrade) upgraded() *config.Cluster {
	c := *u.config
	c.Nodes = slices.Clone(c.Nodes)
	for i := range c.Nodes {
		c.Nodes[i].Image = u.opts.Image
	}
	if c.KubernetesVersion != "" {
		c.KubernetesVersion = u.plan.To
	}
	return &c
}

// standing adds to an error where the upgrade stands, and how it goes on.
func (u *upgrade) standing(err error) error {
	if err == nil {
		return nil
	}
	var left []string
	for _, n := range u.plan.Nodes {
		if !slices.Contains(u.done, n.Name) {
			left = append(left, n.Name)
		}
	}
	where := fmt.Sprintf("nodes on %s: %s; nodes that are left: %s", u.plan.To, listed(u.done), listed(left))
	hint := fmt.Sprintf("the same command goes on from there: petri upgrade cluster --name %s --image %s --yes", u.name, u.opts.Image)
	if e, ok := errors.AsType[*errdefs.Error](err); ok {
		if e.Hint != "" {
			hint = e.Hint + "; then " + hint
		}
		return &errdefs.Error{ID: e.ID, Class: e.Class, Err: fmt.Errorf("%w; %s", err, where), Hint: hint, Log: e.Log}
	}
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w; %s", err, where)
	}
	return errdefs.New(errdefs.ClassFailed, "UPGRADE-FAILED", "%w; %s", err, where).WithHint("%s", hint)
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
