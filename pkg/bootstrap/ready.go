package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/progress"
)

// errWait is why a wait for a usable cluster ended.
var errWait = errors.New("the cluster did not become usable in time")

// waitUsable waits until the cluster can be used. A wait that runs out is a
// failure that names what is missing.
func waitUsable(ctx context.Context, env *Env, task *progress.Task) error {
	ctx, cancel := context.WithTimeoutCause(ctx, env.Wait, errWait)
	defer cancel()
	err := env.kube.Wait(ctx, UsableConditions(env.Config), func(name string) { task.Update(name) })
	if errors.Is(err, errWait) {
		return errdefs.New(errdefs.ClassTimeout, "NOT-USABLE", "waited %s: %w", env.Wait, err).
			WithLog(env.kubeletLogs(ctx)).
			WithHint("give it longer with --wait, or keep the nodes with --retain and look: petri export logs")
	}
	return err
}

// logTimeout bounds the reading of logs when something has failed already.
const logTimeout = 5 * time.Second

// kubeletLogs are the last lines that each node's kubelet wrote.
func (e *Env) kubeletLogs(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logTimeout)
	defer cancel()
	logs := make([]string, len(e.making()))
	var all sync.WaitGroup
	for i, n := range e.making() {
		all.Go(func() {
			out, err := exec.Output(ctx, e.nodes[n.Name], "journalctl", "--no-pager", "--output=cat", "--unit=kubelet", "--lines=8")
			if err != nil {
				out = []byte(err.Error())
			}
			logs[i] = fmt.Sprintf("--- kubelet on %s ---\n%s", n.Name, strings.TrimSpace(string(out)))
		})
	}
	all.Wait()
	return strings.Join(logs, "\n")
}

// UsableConditions is what "usable" means for a configuration.
func UsableConditions(c *config.Cluster) []kube.Condition {
	var names []string
	for _, n := range c.Nodes {
		names = append(names, n.Name)
	}
	conditions := []kube.Condition{kube.DefaultServiceAccount(), kube.DefaultStorageClass()}
	if c.Networking.CNI == "none" {
		// without a network no node becomes Ready, and no pod starts
		return append(conditions, kube.NodesRegistered(names))
	}
	conditions = append(conditions, kube.NodesReady(names))
	if c.Networking.KubeProxyMode == "none" && c.Networking.CNI == "default" {
		// CoreDNS waits for the API at a Service address that nobody serves
		return conditions
	}
	return append(conditions, kube.DNSServing())
}

// finish makes the token useless and keeps the configuration in the cluster.
func finish(ctx context.Context, env *Env, _ *progress.Task) error {
	if err := env.kube.DeleteToken(ctx, env.tokenID()); err != nil {
		return err
	}
	data, err := config.Encode(env.Config)
	if err != nil {
		return err
	}
	return env.kube.SaveConfig(ctx, data)
}
