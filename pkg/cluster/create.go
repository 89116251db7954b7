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
	"github.com/petri-cluster/petri/pkg/kubeconfig"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/version"
)

// CreateOptions are what a creation may be told beside the configuration.
type CreateOptions struct {
	// Kubeconfig is the file that gets the cluster's entry; empty: none.
	Kubeconfig string
	// Wait bounds the waiting until the cluster is usable; 0: do not wait.
	Wait time.Duration
	// Retain keeps the nodes when creation fails.
	Retain bool
}

// undoTimeout bounds the removal of a cluster whose creation failed. The
// caller's context may have ended: that may be why it failed.
const undoTimeout = 60 * time.Second

// Create makes a cluster and returns when it can be used. When it fails, or
// ctx ends, everything it made is removed again unless asked to retain. A
// cluster of that name is an error of class exists, and is left alone; what a
// creation left that was killed is removed first.
func (m *Manager) Create(ctx context.Context, c *config.Cluster, opts CreateOptions) (err error) {
	release, err := lock(c.Name)
	if err != nil {
		return err
	}
	defer release()
	if err := m.refuseExisting(ctx, c.Name); err != nil {
		return err
	}
	if opts.Kubeconfig != "" {
		// tried now: a cluster that nobody can reach would be built for nothing
		if err := kubeconfig.Probe(ctx, opts.Kubeconfig); err != nil {
			return err
		}
	}
	m.warnOfEven(len(c.ControlPlanes()))
	this, err := begin(c.Name)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && !opts.Retain && !errdefs.Is(err, errdefs.ClassExists) {
			err = m.undo(ctx, c.Name, this, err)
			return
		}
		this.end()
	}()
	env := &bootstrap.Env{
		Config: c, Provider: m.provider, Reporter: m.reporter, Wait: opts.Wait,
		Network: m.Network, NodeEnv: m.NodeEnv,
		Labels:    m.labels(c, this.id),
		Preflight: func(info provider.Info) error { return m.preflight(ctx, c, info) },
		Connect:   func(kubeconfig []byte, server string) (bootstrap.API, error) { return m.connect(kubeconfig, server) },
	}
	if err := bootstrap.Run(ctx, env, bootstrap.Phases()); err != nil {
		return err
	}
	return m.export(ctx, env, c.Name, opts.Kubeconfig)
}

// warnOfEven says what an even number of control planes is worth.
func (m *Manager) warnOfEven(n int) {
	if n%2 == 0 {
		m.note(fmt.Sprintf("An even number of control planes, %d, tolerates no more failures than %d: etcd needs more than half of them.", n, n-1))
	}
}

// note tells the user something that is no step.
func (m *Manager) note(text string) {
	m.reporter.Report(progress.Event{Time: time.Now(), Status: progress.Note, Message: text})
}

// labels are those of everything that a new cluster is made of.
func (m *Manager) labels(c *config.Cluster, creation string) map[string]string {
	labels := map[string]string{
		nodeimage.LabelVersion: version.String(), nodeimage.LabelDialect: m.Dialect, nodeimage.LabelCreation: creation,
	}
	if c.Ephemeral {
		labels[nodeimage.LabelEphemeral] = "true"
	}
	return labels
}

// refuseExisting fails when there is a cluster of that name, and removes what
// a killed creation left.
func (m *Manager) refuseExisting(ctx context.Context, name string) error {
	id, err := killed(name)
	if err != nil {
		return fmt.Errorf("read the note of an earlier creation: %w", err)
	}
	if id != "" {
		if free, err := m.removeKilled(ctx, name, id); free || err != nil {
			return err
		}
	}
	names, err := m.provider.Clusters(ctx)
	if err != nil || !slices.Contains(names, name) {
		return err
	}
	nodes, err := m.provider.Nodes(ctx, name)
	if err != nil {
		return err
	}
	if len(nodes) > 0 {
		return errdefs.New(errdefs.ClassExists, "CLUSTER-EXISTS", "there is a cluster %q already, with %d nodes", name, len(nodes)).
			WithHint("choose another --name, or remove it: petri delete cluster --name %s", name)
	}
	return m.provider.Delete(ctx, name)
}

// undo removes a cluster whose creation failed, and returns why it failed. When
// the removal fails too, the note stays: the next creation finishes it.
func (m *Manager) undo(ctx context.Context, name string, failed creation, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	task := progress.Start(m.reporter, "undo", "Removing what was made", "")
	if err := task.Done(m.provider.Delete(ctx, name)); err != nil {
		return errors.Join(cause, fmt.Errorf("removing what was made failed too, finish with petri delete cluster --name %s: %w", name, err))
	}
	failed.end()
	return cause
}

// export puts the new cluster into the kubeconfig file.
func (m *Manager) export(ctx context.Context, env *bootstrap.Env, name, path string) error {
	if path == "" {
		return nil
	}
	admin, err := env.Admin(ctx)
	if err != nil {
		return err
	}
	endpoint, err := m.provider.Endpoint(ctx, name)
	if err != nil {
		return err
	}
	entry, err := kubeconfig.FromAdmin(admin, m.entryName(name, nil), "https://"+endpoint)
	if err != nil {
		return err
	}
	return kubeconfig.Merge(ctx, path, entry)
}
