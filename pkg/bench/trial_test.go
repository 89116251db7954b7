package bench

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
)

// newTestTrial is a trial of petri at a place that answers by script.
func newTestTrial(t *testing.T, answers ...answer) (*trial, *script) {
	t.Helper()
	p, s := scripted(answers...)
	b := &bench{opts: valid(), place: p, launchers: []launcher{petriAt("petri")}}
	b.opts.Image = "petri/node:x"
	trial, err := b.newTrial(b.launchers[0], Scenario{controlPlanes: 1, workers: 2}, "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := trial.close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(trial.target.dir); !os.IsNotExist(err) {
			t.Errorf("its directory is left: %v", err)
		}
	})
	return trial, s
}

func TestCommandLines(t *testing.T) {
	dir := t.TempDir()
	of := func(l launcher) target {
		return target{program: l.program, name: "c", image: "img", controlPlanes: 3, workers: 2, dir: dir, nodes: nodeNames("c", 3, 2)}
	}
	petri, kind := petriAt("/petri"), kindAt("/kind")
	created, err := petri.create(of(petri))
	if err != nil {
		t.Fatal(err)
	}
	kindCreated, err := kind.create(of(kind))
	if err != nil {
		t.Fatal(err)
	}
	for want, got := range map[string][]string{
		"/petri create cluster --name c --image img --control-planes 3 --workers 2":         created,
		"/petri delete cluster --name c":                                                    petri.remove(of(petri)),
		"/petri create node --name c":                                                       petri.join(of(petri)),
		"/petri load image app:1 --name c":                                                  petri.load(of(petri), "app:1"),
		"/petri stop cluster --name c":                                                      petri.stop(of(petri)),
		"/petri start cluster --name c":                                                     petri.start(of(petri)),
		"/kind create cluster --name c --image img --config " + dir + "/kind.yaml":          kindCreated,
		"/kind delete cluster --name c":                                                     kind.remove(of(kind)),
		"/kind load docker-image app:1 --name c":                                            kind.load(of(kind), "app:1"),
		"docker stop c-control-plane c-control-plane2 c-control-plane3 c-worker c-worker2":  kind.stop(of(kind)),
		"docker start c-control-plane c-control-plane2 c-control-plane3 c-worker c-worker2": kind.start(of(kind)),
	} {
		diff(t, want, strings.Join(got, " "))
	}
	config, err := os.ReadFile(dir + "/kind.yaml")
	if err != nil || strings.Count(string(config), "control-plane") != 3 || strings.Count(string(config), "worker") != 2 {
		t.Errorf("kind's configuration is %s (%v)", config, err)
	}
	ephemeral := of(petri)
	ephemeral.ephemeral = true
	if args, _ := petri.create(ephemeral); args[len(args)-1] != "--ephemeral" {
		t.Errorf("got %q", args)
	}
	if _, err := kind.create(ephemeral); !isNotMeasured(err) {
		t.Errorf("kind makes an ephemeral cluster: %v", err)
	}
}

func isNotMeasured(err error) bool {
	_, ok := errors.AsType[*notMeasured](err)
	return ok
}

// A wrong use of petri is something that this petri cannot do; any other
// failure is a failure, and so is every one of kind's.
func TestRefusals(t *testing.T) {
	usage := &exec.Error{Args: []string{"petri"}, Code: 2, Stderr: []byte("Creating\npetri: error USAGE: unknown command \"load\" for \"petri\"\nhint: see petri --help\n")}
	failed := &exec.Error{Args: []string{"petri"}, Code: 1, Stderr: []byte("petri: error KUBEADM-FAILED\n")}
	petri, kind := petriAt("petri"), kindAt("kind")
	if err := petri.refused(usage); !isNotMeasured(err) || err.Error() != `petri: error USAGE: unknown command "load" for "petri"` {
		t.Errorf("got %v", err)
	}
	for _, err := range []error{petri.refused(failed), kind.refused(usage), petri.refused(context.Canceled)} {
		if err == nil || isNotMeasured(err) {
			t.Errorf("got %v, want a failure", err)
		}
	}
	if err := petri.refused(nil); err != nil {
		t.Errorf("got %v for a command that did it", err)
	}
}

// A launcher that returns before everything is gone gains nothing by it.
func TestDeleteWaitsUntilNothingIsLeft(t *testing.T) {
	trial, s := newTestTrial(t,
		answer{prefix: "docker ps", prints: "abc", once: true}, // which volumes there are
		answer{prefix: "docker container inspect", prints: "vol1 ", once: true},
		answer{prefix: "docker volume ls", prints: "vol1\n", once: true}, // still there at the first look
	)
	if err := trial.delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	looks := 0
	for _, line := range s.ran {
		if line == "docker volume ls --quiet" {
			looks++
		}
	}
	if looks != 2 || s.ran[2] != "petri delete cluster --name c" {
		t.Errorf("looked %d times; ran\n%s", looks, strings.Join(s.ran, "\n"))
	}
	if trial.values[figureDelete] <= 0 {
		t.Errorf("values are %v", trial.values)
	}
}

func TestUndo(t *testing.T) {
	cause := errors.New("it failed")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel() // as an interruption does
	trial, s := newTestTrial(t, answer{prefix: "petri delete", err: errors.New("busy"), once: true})
	if err := trial.undo(cancelled, cause); !errors.Is(err, cause) || strings.Contains(err.Error(), "busy") {
		t.Errorf("got %v", err)
	}
	if s.ran[0] != "petri delete cluster --name c" || s.ran[1] != s.ran[0] {
		t.Errorf("ran\n%s", strings.Join(s.ran, "\n"))
	}
}

// What would be pulled is not measured, and nothing is started.
func TestImagesThatAreMissing(t *testing.T) {
	for name, test := range map[string]struct {
		controlPlanes int
		have          string
		measured      bool
	}{"one control plane": {1, "", true}, "there": {3, "envoyproxy/envoy:v1", true}, "missing": {3, "", false}} {
		p, s := scripted(answer{prefix: "docker image ls", prints: test.have})
		b := &bench{opts: valid(), place: p}
		took := false
		_, err := b.sample(t.Context(), kindAt("kind"), Scenario{controlPlanes: test.controlPlanes, take: func(*trial, context.Context) error {
			took = true
			return nil
		}})
		if took != test.measured || isNotMeasured(err) == test.measured || !test.measured && len(s.ran) != 1 {
			t.Errorf("%s: %v; ran %q", name, err, s.ran)
		}
	}
}

// A sample that takes too long has failed, and its cluster is removed.
func TestSampleTimesOut(t *testing.T) {
	p, s := scripted()
	b := &bench{opts: valid(), place: p}
	b.opts.Timeout = time.Millisecond
	_, err := b.sample(t.Context(), petriAt("petri"), Scenario{take: func(_ *trial, ctx context.Context) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}})
	if err == nil || !strings.Contains(err.Error(), "it took longer than 1ms") || s.ran[0] != "petri delete cluster --name petri-bench" {
		t.Errorf("got %v; ran %q", err, s.ran)
	}
}
