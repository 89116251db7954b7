package bootstrap

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	first := env.nodes[env.Config.ControlPlanes()[0].Name]
	err := env.helper(ctx, first, "init", func(e nodeimage.NodeEvent) {
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
	r, w := io.Pipe()
	reader := &eventReader{reporter: e.Reporter, node: n.Name, on: on}
	read := make(chan error, 1)
	go func() { read <- reader.read(r) }()
	cmd := exec.Cmd{Args: append([]string{nodeimage.HelperPath}, args...), Stdout: w}
	if input != nil {
		cmd.Stdin = bytes.NewReader(input)
	}
	err := n.Run(ctx, cmd)
	w.Close()
	return end(task, reader.verdict(n.Name, phase, err, <-read))
}

// eventReader follows the events of one node helper.
type eventReader struct {
	reporter progress.Reporter
	node     string
	on       func(nodeimage.NodeEvent)
	begun    map[string]time.Time
	finished bool
	failure  *nodeimage.NodeEvent
}

// maxEvent bounds one line: a manifest is the largest.
const maxEvent = 4 << 20

func (r *eventReader) read(from io.ReadCloser) error {
	defer from.Close() // the writer must not block when reading ends early
	r.begun = map[string]time.Time{}
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		var event nodeimage.NodeEvent
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return fmt.Errorf("node %s said what is not an event: %w", r.node, err)
		}
		r.take(event)
	}
	return lines.Err()
}

func (r *eventReader) take(event nodeimage.NodeEvent) {
	at := time.UnixMilli(event.Time)
	switch event.Kind {
	case nodeimage.PhaseStarted:
		r.begun[event.Phase] = at
	case nodeimage.PhaseDone:
		took := at.Sub(r.begun[event.Phase])
		r.reporter.Report(progress.Event{
			Time: at, Phase: event.Phase, Title: path.Base(event.Phase), Node: r.node,
			Status: progress.Done, Duration: took, Seconds: took.Seconds(),
		})
	case nodeimage.Finished:
		r.finished = true
	case nodeimage.NodeFailed:
		r.failure = &event
	}
	r.on(event)
}

// verdict is what came of a helper: nil only when it said that it finished.
func (r *eventReader) verdict(name, phase string, run, read error) error {
	if r.failure != nil {
		return errdefs.New(errdefs.ClassFailed, "KUBEADM-FAILED", "node %s: %s", name, r.failure.Error).
			WithLog(r.failure.Log).
			WithHint("keep the nodes to look at them: petri create cluster --retain; then: petri export logs")
	}
	if err := errors.Join(run, read); err != nil {
		return fmt.Errorf("node %s: %s: %w", name, phase, err)
	}
	if !r.finished {
		return fmt.Errorf("node %s: %s ended without saying how", name, phase)
	}
	return nil
}
