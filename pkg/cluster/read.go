package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/kubeconfig"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
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
	running, err := runningControlPlanes(name, nodes)
	if err != nil {
		return nil, err
	}
	return running[0].ReadFile(ctx, nodeimage.ConfigPath)
}

// NodeStatus is one node as the engine and the API see it.
type NodeStatus struct {
	Name       string            `json:"name"`
	Role       string            `json:"role"`
	State      string            `json:"state"` // of the machine: running, stopped, paused
	Ready      bool              `json:"ready"`
	Version    string            `json:"version,omitempty"` // kubelet's
	Addresses  []string          `json:"addresses"`
	Image      string            `json:"image"`
	Privileges string            `json:"privileges,omitempty"`
	Created    string            `json:"created"` // RFC 3339
	Problem    string            `json:"problem,omitempty"`
	Conditions []string          `json:"conditions,omitempty"`
	Resources  map[string]string `json:"resources,omitempty"` // that pods can have
	Capacity   map[string]string `json:"capacity,omitempty"`  // that the machine has
}

// Status is a cluster as it is now.
type Status struct {
	Name     string       `json:"name"`
	Provider string       `json:"provider"`
	Endpoint string       `json:"endpoint,omitempty"`
	Usable   bool         `json:"usable"`
	Problems []string     `json:"problems,omitempty"`
	Nodes    []NodeStatus `json:"nodes"`
	Pods     []kube.Pod   `json:"systemPods,omitempty"`
}

// Status says how a cluster is. A cluster that is not usable is no error:
// Usable and Problems say it.
func (m *Manager) Status(ctx context.Context, name string) (Status, error) {
	nodes, err := m.machines(ctx, name)
	if err != nil {
		return Status{}, err
	}
	return m.statusOf(ctx, name, nodes)
}

// statusOf is the status of a cluster whose nodes are known.
func (m *Manager) statusOf(ctx context.Context, name string, nodes []node.Node) (Status, error) {
	var err error
	s := Status{Name: name, Provider: m.provider.Name()}
	if s.Endpoint, err = m.provider.Endpoint(ctx, name); err != nil && !errdefs.Is(err, errdefs.ClassNotFound) {
		return s, err
	}
	for _, n := range nodes {
		s.Nodes = append(s.Nodes, fromEngine(n))
		if n.State != node.Running {
			s.Problems = append(s.Problems, fmt.Sprintf("%s is %s", described(n), n.State))
		}
	}
	if err := m.fromAPI(ctx, &s, nodes); err != nil {
		s.Problems = append(s.Problems, err.Error())
	}
	s.Usable = len(s.Problems) == 0
	return s, nil
}

// described is a node as sentences have it.
func described(n node.Node) string {
	switch n.Role {
	case nodeimage.RoleLoadBalancer:
		return "load balancer " + n.Name
	case nodeimage.RoleImageServer:
		return "image server " + n.Name
	}
	return "node " + n.Name
}

func fromEngine(n node.Node) NodeStatus {
	s := NodeStatus{Name: n.Name, Role: n.Role, State: string(n.State), Image: n.Image, Privileges: n.Privileges, Created: n.Created.UTC().Format("2006-01-02T15:04:05Z")}
	// nobody but the engine knows how what is beside nodes is
	s.Ready = isBeside(n) && n.State == node.Running
	for _, a := range n.Addrs {
		s.Addresses = append(s.Addresses, a.String())
	}
	return s
}

// systemNamespaces hold what petri and kubeadm install.
var systemNamespaces = []string{"kube-system", "local-path-storage"}

// fromAPI adds what the API knows, and the conditions that do not hold.
func (m *Manager) fromAPI(ctx context.Context, s *Status, nodes []node.Node) error {
	client, err := m.clientOf(ctx, s.Name, nodes)
	if err != nil {
		return err
	}
	known, err := client.Nodes(ctx)
	if err != nil {
		return err
	}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if isBeside(nodes[i]) {
			continue // the API does not know it
		}
		info, ok := known[n.Name]
		if !ok {
			n.Problem = "not registered"
			continue
		}
		n.Ready, n.Problem, n.Version = info.Ready, info.Problem, info.Version
		n.Image = cmp.Or(info.Image, n.Image)
		n.Conditions, n.Resources, n.Capacity = info.Conditions, info.Resources, info.Capacity
	}
	if s.Pods, err = client.Pods(ctx, ""); err != nil {
		return err
	}
	s.Pods = slices.DeleteFunc(s.Pods, func(p kube.Pod) bool { return !slices.Contains(systemNamespaces, p.Namespace) })
	slices.SortFunc(s.Pods, func(a, b kube.Pod) int { return cmp.Compare(a.Name, b.Name) })
	conditions, err := m.statusConditions(ctx, client, s.Name, nodes)
	if err != nil {
		return err
	}
	s.Problems = append(s.Problems, client.Unmet(ctx, conditions)...)
	return nil
}

// statusConditions is what usable means now, for the nodes that run.
func (m *Manager) statusConditions(ctx context.Context, client API, name string, nodes []node.Node) ([]kube.Condition, error) {
	data, err := configOf(ctx, client, name, nodes)
	conditions, err := usableConditions(name, kubeNames(nodes), data, err)
	power, ok := m.provider.(provider.Power)
	if !ok || err != nil {
		return conditions, err
	}
	running := slices.DeleteFunc(slices.Clone(nodes), func(n node.Node) bool { return n.State != node.Running })
	started, err := startTimes(ctx, power, running)
	if err != nil {
		return nil, err
	}
	return append(conditions, since(conditions, started)...), nil
}

// kubeNames are the names of the nodes that run Kubernetes.
func kubeNames(nodes []node.Node) []string {
	var names []string
	for _, n := range nodes {
		if !isBeside(n) {
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
		s.Nodes = len(slices.DeleteFunc(nodes, isBeside))
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
