// Package shutdown ends the pods of a node before its init system ends all
// else: ordinary pods first, while there is an API, then the system's and the
// control plane, etcd last, so that it closes its files when nobody writes any
// more. Left to itself the init system would tell every process at once. It
// runs inside a node, asks the container runtime, and knows nothing of the
// host.
package shutdown

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
)

// Limits of each wave. Their sum is less than what the node itself may take.
const (
	// podLimit is the most that an ordinary pod gets of the time that it asks
	// for.
	podLimit = 10 * time.Second
	// systemLimit is less than CoreDNS waits for those who still ask it: they
	// have been told to end as well.
	systemLimit  = time.Second
	controlLimit = 4 * time.Second
	etcdLimit    = 5 * time.Second
)

// wave is containers that are stopped together, after those of earlier waves.
type wave int

const (
	ordinary wave = iota
	system
	store
	waves
)

// Run stops every container of the node's pods, in order. What goes wrong with
// one does not keep the others from their time; it is in the error.
func Run(ctx context.Context, root string, r exec.Runner) error {
	containers, err := list(ctx, r)
	if err != nil {
		return err
	}
	deaf := deafContainers(root)
	var errs []error
	for w := range waves {
		var mu sync.Mutex
		var all sync.WaitGroup
		for _, c := range containers {
			if c.wave != w {
				continue
			}
			if deaf[c.id] {
				c.limit = 0
			}
			all.Go(func() {
				err := exec.Run(ctx, r, "crictl", "stop", "--timeout="+strconv.Itoa(int(c.limit.Seconds())), c.id)
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			})
		}
		all.Wait()
	}
	return errors.Join(errs...)
}

// container is a container that runs, and how it is stopped.
type container struct {
	id    string
	wave  wave
	limit time.Duration
}

// Names that the kubelet gives to the runtime (k8s.io/kubernetes
// pkg/kubelet/kuberuntime/labels.go, pkg/kubelet/types/constants.go).
const (
	containerName = "io.kubernetes.container.name"
	podNamespace  = "io.kubernetes.pod.namespace"
	podGrace      = "io.kubernetes.pod.terminationGracePeriod"
	configSource  = "kubernetes.io/config.source"
)

// list asks the runtime which containers run, and of which pods.
func list(ctx context.Context, r exec.Runner) ([]container, error) {
	var pods struct {
		Items []struct {
			ID          string
			Annotations map[string]string
		}
	}
	if err := ask(ctx, r, &pods, "pods"); err != nil {
		return nil, err
	}
	static := map[string]bool{}
	for _, p := range pods.Items {
		static[p.ID] = p.Annotations[configSource] == "file"
	}
	var running struct {
		Containers []struct {
			ID                  string
			PodSandboxID        string `json:"podSandboxId"`
			Labels, Annotations map[string]string
		}
	}
	if err := ask(ctx, r, &running, "ps"); err != nil {
		return nil, err
	}
	var out []container
	for _, c := range running.Containers {
		stop := container{id: c.ID, wave: ordinary, limit: podLimit}
		switch {
		case static[c.PodSandboxID] && c.Labels[containerName] == "etcd":
			stop.wave, stop.limit = store, etcdLimit
		case static[c.PodSandboxID]:
			stop.wave, stop.limit = system, controlLimit
		case c.Labels[podNamespace] == "kube-system":
			stop.wave, stop.limit = system, systemLimit
		}
		if grace, err := strconv.Atoi(c.Annotations[podGrace]); err == nil {
			stop.limit = min(stop.limit, time.Duration(grace)*time.Second)
		}
		out = append(out, stop)
	}
	return out, nil
}

func ask(ctx context.Context, r exec.Runner, into any, what string) error {
	out, err := exec.Output(ctx, r, "crictl", what, "--output=json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("read crictl %s: %w", what, err)
	}
	return nil
}
