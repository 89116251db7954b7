package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
)

// The names of subjects that are not peers.
const (
	Petri = "petri"
	Floor = "floor"
)

// launcher is a program that makes clusters, as command lines. A nil one is
// something that the launcher has no command for.
type launcher struct {
	name    string
	program string
	version []string
	create  func(target) ([]string, error)
	remove  func(target) []string
	join    func(target) []string
	load    func(t target, image string) []string
	stop    func(target) []string
	start   func(target) []string
	// balancer is the repository of an image, not of the node image, that the
	// launcher runs in front of several control planes; empty: it needs none.
	balancer string
	// refusal says whether a failed command means that this launcher cannot do
	// what was asked, as against that it failed.
	refusal func(*exec.Error) bool
}

// target is the cluster that a command is about.
type target struct {
	program       string
	name          string
	image         string
	controlPlanes int
	workers       int
	dir           string   // for the command's own files
	nodes         []string // names, control planes first
	ephemeral     bool
	kubeconfig    string // path
}

// nodeNames are those that kind and petri both give.
func nodeNames(cluster string, controlPlanes, workers int) []string {
	return append(numbered(cluster+"-control-plane", controlPlanes), numbered(cluster+"-worker", workers)...)
}

// numbered are n names, of which the first has no number.
func numbered(stem string, n int) []string {
	var out []string
	for i := range n {
		name := stem
		if i > 0 {
			name += fmt.Sprint(i + 1)
		}
		out = append(out, name)
	}
	return out
}

// petriAt is petri itself, or another build of it.
func petriAt(path string) launcher {
	cluster := func(t target, words ...string) []string {
		return append(append([]string{t.program}, words...), "--name", t.name)
	}
	return launcher{
		name: Petri, program: path, version: []string{"version", "--output", "name"},
		create: func(t target) ([]string, error) {
			args := cluster(t, "create", "cluster")
			args = append(args, "--image", t.image, "--control-planes", fmt.Sprint(t.controlPlanes), "--workers", fmt.Sprint(t.workers))
			if t.ephemeral {
				args = append(args, "--ephemeral")
			}
			return args, nil
		},
		remove:  func(t target) []string { return cluster(t, "delete", "cluster") },
		join:    func(t target) []string { return cluster(t, "create", "node") },
		load:    func(t target, image string) []string { return cluster(t, "load", "image", image) },
		stop:    func(t target) []string { return cluster(t, "stop", "cluster") },
		start:   func(t target) []string { return cluster(t, "start", "cluster") },
		refusal: func(e *exec.Error) bool { return e.Code == errdefs.ClassUsage.ExitCode() },
	}
}

// kindAt is kind. It has no command that stops a cluster: people stop and
// start the containers of its nodes.
func kindAt(path string) launcher {
	return launcher{
		name: "kind", program: path, version: []string{"version", "--quiet"}, balancer: "envoyproxy/envoy",
		create: func(t target) ([]string, error) {
			if t.ephemeral {
				return nil, &notMeasured{"kind has no such profile"}
			}
			config := filepath.Join(t.dir, "kind.yaml")
			args := []string{t.program, "create", "cluster", "--name", t.name, "--image", t.image, "--config", config}
			return args, os.WriteFile(config, kindConfig(t.controlPlanes, t.workers), 0o644)
		},
		remove: func(t target) []string { return []string{t.program, "delete", "cluster", "--name", t.name} },
		load: func(t target, image string) []string {
			return []string{t.program, "load", "docker-image", image, "--name", t.name}
		},
		stop:    func(t target) []string { return append([]string{"docker", "stop"}, t.nodes...) },
		start:   func(t target) []string { return append([]string{"docker", "start"}, t.nodes...) },
		refusal: func(*exec.Error) bool { return false },
	}
}

func kindConfig(controlPlanes, workers int) []byte {
	return []byte("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n" +
		strings.Repeat("- role: control-plane\n", controlPlanes) + strings.Repeat("- role: worker\n", workers))
}

// peers are the launchers that petri can be compared with, by name.
var peers = map[string]func(path string) launcher{"kind": kindAt}

// notMeasured is the reason that a subject has no samples of a scenario.
type notMeasured struct{ why string }

// Error is the reason.
func (n *notMeasured) Error() string { return n.why }

// refused turns the failure of a command into the reason that nothing is
// measured, if that is what it means.
func (l launcher) refused(err error) error {
	e, ok := errors.AsType[*exec.Error](err)
	if !ok || !l.refusal(e) {
		return err
	}
	for line := range strings.Lines(string(e.Stderr)) {
		if strings.Contains(line, "error") {
			return &notMeasured{strings.TrimSpace(line)}
		}
	}
	return &notMeasured{err.Error()}
}

// subject asks the launcher who it is. Each answers with one word.
func (l launcher) subject(ctx context.Context, r exec.Runner) (Subject, error) {
	out, err := exec.Output(ctx, r, append([]string{l.program}, l.version...)...)
	if err != nil {
		return Subject{}, errdefs.New(errdefs.ClassUsage, "BENCH-PROGRAM", "ask %s for its version: %w", l.name, err)
	}
	words := strings.Fields(string(out))
	if len(words) != 1 {
		return Subject{}, errdefs.New(errdefs.ClassUsage, "BENCH-PROGRAM", "%s is not %s: asked for its version it says %q", l.program, l.name, out)
	}
	return Subject{Name: l.name, Version: words[0]}, nil
}
