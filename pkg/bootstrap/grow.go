package bootstrap

import (
	"context"
	"errors"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

// Addition is what nodes need that join a cluster which is there.
type Addition struct {
	// Nodes are the new ones; they are in the configuration too.
	Nodes []config.Node
	// Token is a bootstrap token that the cluster knows, a secret. It is of no
	// use any more when Grow has returned without error.
	Token string
	// Discovery is a kubeconfig with the cluster's address and CA.
	Discovery string
	// Member is a control plane of the cluster, which runs.
	Member node.Node
	// API is the cluster's.
	API API
	// Secrets are what the other nodes know of registries.
	Secrets RegistrySecrets
	// Joined is called when control planes among the nodes have joined.
	Joined func(context.Context) error
}

// Grow makes nodes of the cluster that env.Config describes, with them in it,
// and returns when they are Ready. Like Run it undoes nothing.
func Grow(ctx context.Context, env *Env, add Addition) error {
	env.adding, env.token, env.kube, env.secrets = add.Nodes, add.Token, add.API, add.Secrets
	env.member, env.joined = add.Member, add.Joined
	env.discovery.set(add.Discovery)
	return Run(ctx, env, GrowthPhases())
}

// GrowthPhases is adding nodes to a cluster, in the order in which a person
// would tell it.
func GrowthPhases() []Phase {
	return []Phase{
		{ID: "image", Title: "Checking the node image", Run: checkImages},
		{ID: "registries", Title: "Looking up registries", Skip: noRegistries, Run: findRegistries},
		{ID: "provision", Title: "Starting nodes", After: []string{"image", "registries"}, Run: provisionMore},
		{ID: "join", Title: "Joining nodes", After: []string{"provision"}, Run: joinMore},
		{ID: "ready", Title: "Waiting until the nodes are Ready", After: []string{"join"}, Skip: noWait, Run: waitReady},
		{ID: "finish", Title: "Keeping the configuration", After: []string{"join", "ready"}, Run: finish},
	}
}

// making are the nodes that are made: all, or those that are added.
func (e *Env) making() []config.Node {
	if e.adding != nil {
		return e.adding
	}
	return e.Config.Nodes
}

// provisionMore makes the new machines beside those that are there.
func provisionMore(ctx context.Context, env *Env, _ *progress.Task) error {
	growth, ok := env.Provider.(provider.Growth)
	if !ok {
		return noGrowth(env.Provider)
	}
	nodes, err := growth.Add(ctx, env.spec(), env.Reporter)
	env.nodes = map[string]node.Node{}
	for _, n := range nodes {
		env.nodes[n.Name] = n
	}
	return err
}

// joinMore runs the node helper on every new worker, at once, and on one new
// control plane after another: etcd wants a member to have caught up, and to
// know how many others there are, before it takes the next.
func joinMore(ctx context.Context, env *Env, task *progress.Task) error {
	discovery, err := env.discovery.get(ctx)
	if err != nil {
		return err
	}
	controlPlanes, workers := split(env.adding)
	if err := env.join(ctx, workers, nodeimage.JoinInput{Discovery: discovery}); err != nil || len(controlPlanes) == 0 {
		return err
	}
	certificates, err := sharedCertificates(ctx, env.member)
	if err != nil {
		return err
	}
	for _, n := range controlPlanes {
		task.Update(n.Name)
		if err := env.join(ctx, []config.Node{n}, nodeimage.JoinInput{Discovery: discovery, Certificates: certificates}); err != nil {
			return err
		}
	}
	return env.joined(ctx)
}

func split(nodes []config.Node) (controlPlanes, workers []config.Node) {
	for _, n := range nodes {
		if n.Role == nodeimage.RoleControlPlane {
			controlPlanes = append(controlPlanes, n)
		} else {
			workers = append(workers, n)
		}
	}
	return controlPlanes, workers
}

// Front puts a load balancer in front of the control planes of a cluster that
// has none. It publishes the API where the configuration says.
func Front(ctx context.Context, env *Env) error {
	growth, ok := env.Provider.(provider.Growth)
	if !ok {
		return noGrowth(env.Provider)
	}
	env.adding = []config.Node{}
	spec := env.spec()
	spec.Nodes = []provider.NodeSpec{env.loadBalancer()}
	_, err := growth.Add(ctx, spec, env.Reporter)
	return err
}

func noGrowth(p provider.Provider) error {
	return errdefs.New(errdefs.ClassUnavailable, "NO-GROWTH", "provider %s cannot add nodes to a cluster", p.Name())
}

// waitReady waits until the new nodes are Ready. Without a network none ever
// is, and they have to be registered.
func waitReady(ctx context.Context, env *Env, task *progress.Task) error {
	ctx, cancel := context.WithTimeoutCause(ctx, env.Wait, errWait)
	defer cancel()
	var names []string
	for _, n := range env.adding {
		names = append(names, n.Name)
	}
	condition := kube.NodesReady(names)
	if env.Config.Networking.CNI == "none" {
		condition = kube.NodesRegistered(names)
	}
	err := env.kube.Wait(ctx, []kube.Condition{condition}, func(name string) { task.Update(name) })
	if errors.Is(err, errWait) {
		return errdefs.New(errdefs.ClassTimeout, "NOT-USABLE", "waited %s: %w", env.Wait, err).
			WithLog(env.kubeletLogs(ctx)).
			WithHint("give it longer with --wait")
	}
	return err
}
