package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petri-cluster/petri/pkg/cluster/clustertest"
	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/progress"
)

var errBroken = errors.New("it broke")

// scene is a world, a Manager of it, and a kubeconfig file of somebody who
// has other clusters.
type scene struct {
	*clustertest.World
	*Manager
	events     *watch
	kubeconfig string
}

// others is what the kubeconfig file holds before.
const others = `apiVersion: v1
kind: Config
clusters:
- cluster: {server: "https://elsewhere.example"} # not petri's
  name: elsewhere
current-context: elsewhere
`

func newScene(t *testing.T) *scene {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir()) // where locks are
	s := &scene{World: clustertest.New(), events: &watch{Recorder: progress.NewRecorder()}}
	s.Manager = New(s.World, s.events)
	s.Manager.Connect = func(kubeconfig []byte, server string) (API, error) { return s.World.Connect(kubeconfig, server) }
	s.kubeconfig = filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(s.kubeconfig, []byte(others), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *scene) options() CreateOptions {
	return CreateOptions{Kubeconfig: s.kubeconfig, Wait: time.Minute}
}

// dev is the configuration of cluster "dev" with one control plane and a
// number of workers.
func dev(t *testing.T, workers int) *config.Cluster {
	t.Helper()
	return sized(t, 1, workers)
}

// sized is the configuration of cluster "dev" with a number of nodes.
func sized(t *testing.T, controlPlanes, workers int) *config.Cluster {
	t.Helper()
	c, err := config.Load(nil, "test", config.Options{
		DefaultImage: func(string) string { return clustertest.Image },
		Overrides:    config.Overrides{Name: "dev", ControlPlanes: &controlPlanes, Workers: &workers},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// create makes "dev", which must succeed.
func (s *scene) create(t *testing.T, workers int) {
	t.Helper()
	if err := s.Create(t.Context(), dev(t, workers), s.options()); err != nil {
		t.Fatal(err)
	}
}

// untouched says what is left of a cluster that should have left nothing.
func (s *scene) untouched(t *testing.T, when string) {
	t.Helper()
	if left := s.Objects(); len(left) > 0 {
		t.Errorf("%s: left %q", when, left)
	}
	if text := s.kubeconfigText(t); text != others {
		t.Errorf("%s: the kubeconfig was changed:\n%s", when, text)
	}
	beside, err := os.ReadDir(filepath.Dir(s.kubeconfig))
	if err != nil || len(beside) != 1 {
		t.Errorf("%s: beside the kubeconfig are %v (%v)", when, beside, err)
	}
}

func (s *scene) kubeconfigText(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(s.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// calls is how many calls to the engine fn makes.
func (s *scene) calls(fn func()) int {
	before := len(s.Calls())
	fn()
	return len(s.Calls()) - before
}

// watch records events, and calls on for each.
type watch struct {
	*progress.Recorder
	mu sync.Mutex
	on func(progress.Event)
}

func (w *watch) Report(e progress.Event) {
	w.Recorder.Report(e)
	w.mu.Lock()
	on := w.on
	w.mu.Unlock()
	if on != nil {
		on(e)
	}
}

// call has fn called for each event from now on; nil: nothing.
func (w *watch) call(fn func(progress.Event)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.on = fn
}

// cancelAt ends a context when a phase of the whole cluster has a status.
func (w *watch) cancelAt(ctx context.Context, phase string, status progress.Status) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	w.call(func(e progress.Event) {
		if e.Phase == phase && e.Node == "" && e.Status == status {
			cancel()
		}
	})
	return ctx
}

// had says whether a phase had a status, on a node; "": of the whole cluster.
func (w *watch) had(phase, node string, status progress.Status) bool {
	return slices.ContainsFunc(w.Events(), func(e progress.Event) bool {
		return e.Phase == phase && e.Node == node && e.Status == status
	})
}

// wantError checks the class, the ID and words of an error.
func wantError(t *testing.T, err error, class errdefs.Class, id string, words ...string) *errdefs.Error {
	t.Helper()
	e, ok := errors.AsType[*errdefs.Error](err)
	if !ok || e.Class != class || e.ID != id {
		t.Fatalf("error %v, want %s of class %d", err, id, class)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
	return e
}
