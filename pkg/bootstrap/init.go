package bootstrap

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"time"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
)

// initControlPlane runs the node helper on the first control plane, and hands
// what it announces to the phases that wait for it.
func initControlPlane(ctx context.Context, env *Env, _ *progress.Task) error {
	first, err := env.started.get(ctx)
	if err != nil {
		return err
	}
	err = env.helper(ctx, first, "init", func(e nodeimage.NodeEvent) {
		switch e.Kind {
		case nodeimage.JoinReady:
			env.discovery.set(e.Data)
		case nodeimage.AdminReady:
			env.admin.set([]byte(e.Data))
		case nodeimage.KubeconfigReady:
			env.superuser.set([]byte(e.Data))
		case nodeimage.ManifestFound:
			env.manifests.put(e.Name, e.Data)
		}
	}, nil, "init")
	if err != nil {
		return err
	}
	return env.announced(first.Name)
}

// announced fails when the helper left out what other phases wait for, and
// would for ever.
func (e *Env) announced(name string) error {
	for _, a := range []struct {
		kind  nodeimage.EventKind
		known bool
	}{
		{nodeimage.JoinReady, e.discovery.known()},
		{nodeimage.AdminReady, e.admin.known()},
		{nodeimage.KubeconfigReady, e.superuser.known()},
	} {
		if !a.known {
			return fmt.Errorf("node %s: init finished without event %s", name, a.kind)
		}
	}
	return nil
}

// helper runs a command of the node helper, which reads input. Its phases are reported as the
// node's; on receives every event; a failure carries the node's own words.
func (e *Env) helper(ctx context.Context, n node.Node, phase string, on func(nodeimage.NodeEvent), input []byte, args ...string) error {
	task := progress.Start(e.Reporter, phase, "", n.Name)
	events := &eventWriter{reporter: e.Reporter, node: n.Name, on: on, begun: map[string]time.Time{}}
	cmd := exec.Cmd{
		Args:      append([]string{nodeimage.HelperPath}, args...),
		Stdout:    events,
		Succeeded: func() bool { return events.finished },
	}
	if input != nil {
		cmd.Stdin = bytes.NewReader(input)
	}
	err := n.Run(ctx, cmd)
	return end(task, events.verdict(phase, err))
}

// eventWriter follows the events of one node helper, which are lines of JSON.
type eventWriter struct {
	reporter progress.Reporter
	node     string
	on       func(nodeimage.NodeEvent)
	begun    map[string]time.Time
	line     []byte // the beginning of one that has not ended
	finished bool
	failure  *nodeimage.NodeEvent
}

// maxEvent bounds one line: a manifest is the largest.
const maxEvent = 4 << 20

// Write implements io.Writer. It fails on what is not an event.
func (w *eventWriter) Write(p []byte) (int, error) {
	w.line = append(w.line, p...)
	for {
		line, rest, ended := bytes.Cut(w.line, []byte("\n"))
		if !ended && len(line) < maxEvent {
			return len(p), nil
		}
		var event nodeimage.NodeEvent
		if err := json.Unmarshal(line, &event); err != nil {
			return 0, fmt.Errorf("node %s said what is not an event: %w", w.node, err)
		}
		w.line = rest
		w.take(event)
	}
}

func (w *eventWriter) take(event nodeimage.NodeEvent) {
	at := time.UnixMilli(event.Time)
	switch event.Kind {
	case nodeimage.PhaseStarted:
		w.begun[event.Phase] = at
	case nodeimage.PhaseDone:
		var took time.Duration // of a phase that never began, or whose clock went back, nobody knows
		if begun, ok := w.begun[event.Phase]; ok {
			took = max(0, at.Sub(begun))
		}
		w.reporter.Report(progress.Event{
			Time: at, Phase: event.Phase, Title: path.Base(event.Phase), Node: w.node,
			Status: progress.Done, Duration: took, Seconds: took.Seconds(),
		})
	case nodeimage.Finished:
		w.finished = true
	case nodeimage.NodeFailed:
		w.failure = &event
	}
	w.on(event)
}

// verdict is what came of a helper: nil only when it said that it finished.
func (w *eventWriter) verdict(phase string, run error) error {
	if w.failure != nil {
		return errdefs.New(errdefs.ClassFailed, "KUBEADM-FAILED", "node %s: %s", w.node, w.failure.Error).
			WithLog(w.failure.Log).
			WithHint("keep the nodes to look at them: petri create cluster --retain; then: petri export logs")
	}
	if run != nil {
		return fmt.Errorf("node %s: %s: %w", w.node, phase, run)
	}
	if !w.finished {
		return fmt.Errorf("node %s: %s ended without saying how", w.node, phase)
	}
	return nil
}
