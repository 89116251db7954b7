package cluster

import (
	"context"
	"fmt"
	"slices"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/kubeconfig"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// Kubeconfig returns the administrator's kubeconfig of a cluster, with the
// address at which the host reaches it; internal: at which its nodes do.
func (m *Manager) Kubeconfig(ctx context.Context, name string, internal bool) (kubeconfig.Entry, error) {
	var none kubeconfig.Entry
	nodes, err := m.Nodes(ctx, name)
	if err != nil {
		return none, err
	}
	cp, admin, err := admin(ctx, name, nodes)
	if err != nil {
		return none, err
	}
	server, err := m.internalServer(ctx, cp)
	if err != nil {
		return none, err
	}
	if !internal {
		endpoint, err := m.provider.Endpoint(ctx, name)
		if err != nil {
			return none, err
		}
		server = "https://" + endpoint
	}
	return kubeconfig.FromAdmin(admin, m.entryName(name, []node.Node{cp}), server)
}

// internalServer is the API as whoever is on the cluster's network reaches it:
// the load balancer where there is one, else the control plane.
func (m *Manager) internalServer(ctx context.Context, controlPlane node.Node) (string, error) {
	all, err := m.machines(ctx, controlPlane.Cluster)
	if err != nil {
		return "", err
	}
	name := controlPlane.Name
	if i := slices.IndexFunc(all, isLoadBalancer); i >= 0 {
		name = all[i].Name
	}
	return fmt.Sprintf("https://%s:%d", name, nodeimage.APIServerPort), nil
}

// ExportKubeconfig puts a cluster's entry into a kubeconfig file and makes it
// the current context.
func (m *Manager) ExportKubeconfig(ctx context.Context, name, path string, internal bool) error {
	entry, err := m.Kubeconfig(ctx, name, internal)
	if err != nil {
		return err
	}
	if err := kubeconfig.Merge(ctx, path, entry); err != nil {
		return err
	}
	return forget(name)
}

// Config returns the configuration that a cluster was made from, from the
// cluster itself, or from its control plane when the API is down.
func (m *Manager) Config(ctx context.Context, name string) ([]byte, error) {
	nodes, err := m.Nodes(ctx, name)
	if err != nil {
		return nil, err
	}
	client, err := m.clientOf(ctx, name, nodes)
	if err != nil {
		return nil, err
	}
	return configOf(ctx, client, name, nodes)
}

// configOf is the configuration of a cluster whose API and nodes are known.
func configOf(ctx context.Context, client API, name string, nodes []node.Node) ([]byte, error) {
	data, err := client.LoadConfig(ctx)
	if err == nil {
		return data, nil
	}
	if kept, keptErr := keptConfig(ctx, name, nodes); keptErr == nil {
		return kept, nil
	}
	return nil, err
}

// keptConfig is the copy of the configuration that control planes have.
func keptConfig(ctx context.Context, name string, nodes []node.Node) ([]byte, error) {
	_, data, err := fromControlPlane(ctx, name, nodes, nodeimage.ConfigPath)
	return data, err
}

// kubeNames are the names of the nodes that run Kubernetes.
func kubeNames(nodes []node.Node) []string {
	var names []string
	for _, n := range nodes {
		if !n.Beside() {
			names = append(names, n.Name)
		}
	}
	return names
}

// Summary is a cluster at a glance, as the engine sees it.
type Summary struct {
	Name     string `json:"name"`
	Nodes    int    `json:"nodes"`
	State    string `json:"state"` // running, stopped, paused, or partly
	Endpoint string `json:"endpoint,omitempty"`
	Image    string `json:"image,omitempty"`
}

// Summaries returns all clusters at a glance, sorted by name.
func (m *Manager) Summaries(ctx context.Context) ([]Summary, error) {
	names, err := m.provider.Clusters(ctx)
	if err != nil {
		return nil, err
	}
	out := []Summary{}
	for _, name := range names {
		nodes, err := m.provider.Nodes(ctx, name)
		if err != nil {
			return nil, err
		}
		s := Summary{Name: name, State: stateOf(nodes)}
		if len(nodes) > 0 {
			s.Image = nodes[0].Image
		}
		s.Nodes = len(slices.DeleteFunc(nodes, node.Node.Beside))
		endpoint, err := m.provider.Endpoint(ctx, name)
		if err != nil && !errdefs.Is(err, errdefs.ClassNotFound) {
			return nil, err
		}
		s.Endpoint = endpoint
		out = append(out, s)
	}
	return out, nil
}

// stateOf is the state that all nodes share.
func stateOf(nodes []node.Node) string {
	if len(nodes) == 0 {
		return "incomplete"
	}
	for _, n := range nodes[1:] {
		if n.State != nodes[0].State {
			return "partly"
		}
	}
	return string(nodes[0].State)
}
