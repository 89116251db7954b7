// Package bootstrap turns a booted node into a member of a cluster: it runs
// kubeadm with what the host left in the plan and in kubeadm.conf, and tells
// the host what happens as JSON lines. One process per node does all of it, so
// that the host makes one call. It decides nothing kubeadm would decide, and makes
// nothing that Kubernetes would not make by itself, if later.
package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// Node is the node to bootstrap. Files are below Root, "/" except in tests.
type Node struct {
	Root   string
	Runner exec.Runner
	Events *Events
	// Adopt does what petri's entrypoint would have done, on a node that
	// another one has booted.
	Adopt func(context.Context) error
	// Lead lets the name of the control plane's endpoint mean this node, and
	// its balancer have a configuration.
	Lead func(ctx context.Context, name string, configuration []byte) error
	// PodNetwork writes the CNI configuration for the node's ranges of pods.
	PodNetwork func(ranges []netip.Prefix) error

	// nothing, except in tests: the API server's state, its client for the user of
	// a kubeconfig, where it listens, and how long a certificate is waited for
	probe   func(context.Context) apiState
	as      func(kubeconfig string) *http.Client
	api     string
	signing time.Duration
}

// Events writes NodeEvents as JSON lines. It is safe for concurrent use.
type Events struct {
	mu  sync.Mutex
	enc *json.Encoder
}

// NewEvents returns Events that write to w.
func NewEvents(w io.Writer) *Events { return &Events{enc: json.NewEncoder(w)} }

// Send writes one event with the current time.
func (e *Events) Send(event nodeimage.NodeEvent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	event.Time = time.Now().UnixMilli()
	// a host that went away ends this process by its own signal
	_ = e.enc.Encode(event)
}

// phase reports that a phase has begun, and by calling end that it is done.
func (e *Events) phase(id string) (end func()) {
	e.Send(nodeimage.NodeEvent{Kind: nodeimage.PhaseStarted, Phase: id})
	return func() { e.Send(nodeimage.NodeEvent{Kind: nodeimage.PhaseDone, Phase: id}) }
}

func flags(plan nodeimage.Plan) []string {
	var out []string
	if len(plan.IgnorePreflight) > 0 {
		out = append(out, "--ignore-preflight-errors="+strings.Join(plan.IgnorePreflight, ","))
	}
	return out
}

func (n *Node) plan() (nodeimage.Plan, error) {
	var plan nodeimage.Plan
	data, err := os.ReadFile(n.path(nodeimage.PlanPath))
	if err != nil {
		return plan, err
	}
	if err := json.Unmarshal(data, &plan); err != nil {
		return plan, fmt.Errorf("%s: %w", nodeimage.PlanPath, err)
	}
	return plan, nil
}

// bootInterval is how often a booting node is looked at.
const bootInterval = 10 * time.Millisecond

// waitBooted returns when the container runtime serves: the init system
// starts it last. A node that another entrypoint has booted is adopted then.
func (n *Node) waitBooted(ctx context.Context, plan nodeimage.Plan) error {
	if err := n.waitRuntime(ctx); err != nil || !plan.Foreign {
		return err
	}
	if err := n.Adopt(ctx); err != nil {
		return err
	}
	return n.waitRuntime(ctx) // which may have been started again
}

// waitRuntime returns when containerd takes connections, and has told systemd that
// it serves: in between it refuses what kubeadm asks of it.
func (n *Node) waitRuntime(ctx context.Context) error {
	if err := n.waitSocket(ctx); err != nil {
		return err
	}
	return exec.Run(ctx, n.Runner, "systemctl", "start", "containerd")
}

func (n *Node) waitSocket(ctx context.Context) error {
	tick := time.NewTicker(bootInterval)
	defer tick.Stop()
	socket := n.path(strings.TrimPrefix(nodeimage.ContainerdSocket, "unix://"))
	for {
		if conn, err := net.Dial("unix", socket); err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// until returns when a check holds, and after a limit all the same: what comes next
// knows best what to say then. It fails when ctx ends.
func until(ctx context.Context, limit, interval time.Duration, check func() bool) error {
	late := time.After(limit)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for !check() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late:
			return nil
		case <-tick.C:
		}
	}
	return nil
}

// kubeadm runs args and reports a phase for each section of its output.
func (n *Node) kubeadm(ctx context.Context, args, env []string) error {
	sections := &sectionWriter{events: n.Events}
	var tail exec.Tail
	err := n.Runner.Run(ctx, exec.Cmd{
		Args:   args,
		Env:    env,
		Stdout: io.MultiWriter(sections, &tail),
		Stderr: &tail,
	})
	sections.close()
	if err == nil {
		return nil
	}
	// one that was cut short ends with the error of another command
	if e, ok := errors.AsType[*exec.Error](err); ok && ctx.Err() == nil {
		e.Stderr = tail.Bytes() // kubeadm explains itself on both streams
	}
	return err
}

// fail sends err with the log lines that explain it, and returns it.
func (n *Node) fail(ctx context.Context, err error) error {
	event := nodeimage.NodeEvent{Kind: nodeimage.NodeFailed, Error: err.Error()}
	if e, ok := errors.AsType[*exec.Error](err); ok {
		event.Error = fmt.Sprintf("%s: exit code %d", strings.Join(e.Args, " "), e.Code)
		event.Log = lastLines(string(e.Stderr), 30)
	}
	if logs := n.componentLogs(); logs != "" {
		event.Log += "\n" + logs
	}
	if kubelet := n.kubeletLog(ctx); kubelet != "" {
		event.Log += "\n--- kubelet ---\n" + kubelet
	}
	event.Log = strings.TrimPrefix(event.Log, "\n")
	n.Events.Send(event)
	return err
}

// logTimeout bounds the collecting of logs of a node that has failed.
const logTimeout = 5 * time.Second

func (n *Node) kubeletLog(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	out, err := exec.Output(ctx, n.Runner, "journalctl", "--no-pager", "--output=cat", "--unit=kubelet", "--lines=15")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func lastLines(text string, count int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}

func (n *Node) path(p string) string { return filepath.Join(n.Root, p) }
