package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/health"
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/provider"
)

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
	Name     string           `json:"name"`
	Provider string           `json:"provider"`
	Endpoint string           `json:"endpoint,omitempty"`
	Usable   bool             `json:"usable"`
	Problems []health.Problem `json:"problems,omitempty"`
	Nodes    []NodeStatus     `json:"nodes"`
	Pods     []kube.Pod       `json:"systemPods,omitempty"`
}

// Status says how a cluster is. A cluster that is not usable is no error:
// Usable and Problems say it. Nodes and the API are asked at once, and none is
// waited for longer than some seconds: they may hang.
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
	facts := &health.Facts{Cluster: name, Machines: make([]health.Machine, len(nodes))}
	asked := make(chan error, 1)
	known := map[string]kube.NodeInfo{}
	go func() { asked <- m.askAPI(ctx, facts, nodes, known) }()
	_ = together(nodes, func(i int, n node.Node) error {
		facts.Machines[i] = m.examine(ctx, n)
		return nil
	})
	facts.APIErr = <-asked
	for i, n := range nodes {
		status := fromEngine(n)
		if !n.Beside() && facts.APIErr == nil {
			facts.Machines[i].Known = status.fromAPI(known)
		}
		s.Nodes = append(s.Nodes, status)
	}
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return s, err
	}
	s.Pods, s.Problems = facts.Pods, health.Examine(facts)
	s.Usable = len(s.Problems) == 0
	return s, nil
}

// examine asks a machine how it is, and the engine how one ended.
func (m *Manager) examine(ctx context.Context, n node.Node) health.Machine {
	out := health.Machine{Node: n}
	switch {
	case n.State == node.Running && !n.Beside():
		out.Report, out.ReportErr = health.Ask(ctx, n)
	case n.State == node.Stopped:
		if c, ok := m.provider.(provider.LogCollector); ok {
			// what it cannot say is missing in a sentence
			out.Last, _ = c.Inspect(ctx, n)
		}
	}
	return out
}

func fromEngine(n node.Node) NodeStatus {
	s := NodeStatus{Name: n.Name, Role: n.Role, State: string(n.State), Image: n.Image, Privileges: n.Privileges, Created: n.Created.UTC().Format("2006-01-02T15:04:05Z")}
	// nobody but the engine knows how what is beside nodes is
	s.Ready = n.Beside() && n.State == node.Running
	for _, a := range n.Addrs {
		s.Addresses = append(s.Addresses, a.String())
	}
	return s
}

// fromAPI adds what the API says of a node, and returns that.
func (n *NodeStatus) fromAPI(known map[string]kube.NodeInfo) *kube.NodeInfo {
	info, ok := known[n.Name]
	if !ok {
		n.Problem = "not registered"
		return nil
	}
	n.Ready, n.Problem, n.Version = info.Ready, info.Problem, info.Version
	n.Image = cmp.Or(info.Image, n.Image)
	n.Conditions, n.Resources, n.Capacity = info.Conditions, info.Resources, info.Capacity
	return &info
}

// systemNamespaces hold what petri and kubeadm install.
var systemNamespaces = []string{"kube-system", "local-path-storage"}

// answerLimit bounds what status asks the API, which may hang.
const answerLimit = 8 * time.Second

var errNoAnswer = fmt.Errorf("it did not answer within %s", answerLimit)

// askAPI adds what the API knows, and the conditions that do not hold.
func (m *Manager) askAPI(ctx context.Context, f *health.Facts, nodes []node.Node, known map[string]kube.NodeInfo) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerLimit, errNoAnswer)
	defer cancel()
	err := func() error {
		client, err := m.clientOf(ctx, f.Cluster, nodes)
		if err != nil {
			return err
		}
		all, err := client.Nodes(ctx)
		if err != nil {
			return err
		}
		pods, err := client.Pods(ctx, "")
		if err != nil {
			return err
		}
		conditions, err := m.statusConditions(ctx, client, f.Cluster, nodes)
		if err != nil {
			return err
		}
		if f.Unmet, err = client.Unmet(ctx, conditions); err != nil {
			return err
		}
		dns := func(c kube.Condition) bool { return c.Name == kube.DNSServing().Name }
		f.NoServices = !slices.ContainsFunc(conditions, dns)
		maps.Copy(known, all)
		f.Pods = slices.DeleteFunc(pods, func(p kube.Pod) bool { return !slices.Contains(systemNamespaces, p.Namespace) })
		slices.SortFunc(f.Pods, func(a, b kube.Pod) int { return cmp.Compare(a.Name, b.Name) })
		return nil
	}()
	if err != nil && errors.Is(context.Cause(ctx), errNoAnswer) {
		return errNoAnswer
	}
	return err
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
