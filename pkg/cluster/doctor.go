package cluster

import (
	"context"
	"fmt"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/doctor"
	"github.com/petri-cluster/petri/pkg/kubeconfig"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/provider"
)

// DoctorOptions are what an examination is told beside the configuration.
type DoctorOptions struct {
	// Kubeconfig is the file that creation would write; empty: none.
	Kubeconfig string
	// Named: a cluster that has the configuration's name is in the way.
	Named bool
}

// Doctor examines the engine and, where the engine runs on it, this machine:
// would creating c work? It changes nothing. An engine that does not answer is
// a finding.
func (m *Manager) Doctor(ctx context.Context, c *config.Cluster, opts DoctorOptions) doctor.Report {
	f := &doctor.Facts{Host: m.host(ctx), Cluster: c, Named: opts.Named, Kubectl: doctor.Kubectl(ctx)}
	f.Engine, f.EngineErr = m.provider.Check(ctx)
	if f.EngineErr == nil {
		f.EngineErr = m.askEngine(ctx, f)
	}
	if opts.Kubeconfig != "" {
		f.KubeconfigErr = kubeconfig.Probe(ctx, opts.Kubeconfig)
	}
	return doctor.Examine(f)
}

// askEngine asks what a creation would find out by itself.
func (m *Manager) askEngine(ctx context.Context, f *doctor.Facts) error {
	f.Survey, f.Images = &provider.Survey{}, map[string]doctor.Image{}
	if s, ok := m.provider.(provider.Surveyor); ok {
		survey, err := s.Survey(ctx)
		if err != nil {
			return err
		}
		f.Survey = &survey
	}
	store, ok := m.provider.(provider.ImageStore)
	if !ok {
		return nil
	}
	for _, n := range f.Cluster.Nodes {
		image, err := store.Image(ctx, n.Image)
		f.Images[n.Image] = doctor.Image{Image: image, Err: err}
	}
	return nil
}

// preflight is the part of an examination that costs a creation nothing. It
// warns in a line each, and fails before anything is made.
func (m *Manager) preflight(ctx context.Context, c *config.Cluster, info provider.Info) error {
	report := doctor.Examine(&doctor.Facts{Host: m.host(ctx), Cluster: c, Engine: info})
	for _, f := range report.Of(doctor.Warning) {
		m.note(fmt.Sprintf("warning %s: %s. Do: %s", f.ID, f.Seen, f.Fix))
	}
	return report.Err()
}

func (m *Manager) host(ctx context.Context) doctor.Host {
	if m.Host != nil {
		return *m.Host
	}
	return doctor.ThisHost(ctx)
}

// examineExisting examines what the nodes of a cluster run on. Its
// configuration is not asked for: it may be the API that is sick.
func (m *Manager) examineExisting(ctx context.Context, name string, nodes []node.Node) doctor.Report {
	c := &config.Cluster{Name: name}
	for _, n := range nodes {
		if !n.Beside() {
			c.Nodes = append(c.Nodes, config.Node{Name: n.Name, Role: n.Role, Image: n.Image})
		}
	}
	return m.Doctor(ctx, c, DoctorOptions{})
}
