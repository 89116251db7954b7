package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/cluster/clustertest"
	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/image/imagetest"
	"github.com/petri-cluster/petri/pkg/node"
)

// app is the image that is loaded.
var app = imagetest.Image{Name: "petri-test/app:1", Layers: [][]byte{imagetest.Layer("app", []byte("content"))}}

// changes are all that change a cluster which is there.
var changes = map[string]struct {
	before func(t *testing.T, s *scene) // beside the cluster; nil: nothing
	do     func(ctx context.Context, s *scene) error
	least  int // calls to the engine
}{
	"delete": {nil, func(ctx context.Context, s *scene) error {
		return s.Delete(ctx, "dev", []string{s.kubeconfig})
	}, 5},
	"stop": {nil, func(ctx context.Context, s *scene) error {
		return s.Stop(ctx, "dev", StopOptions{Timeout: time.Second})
	}, 3},
	"start": {func(t *testing.T, s *scene) {
		if err := s.Stop(t.Context(), "dev", StopOptions{Timeout: time.Second}); err != nil {
			t.Fatal(err)
		}
	}, func(ctx context.Context, s *scene) error {
		return s.Start(ctx, "dev", StartOptions{Wait: time.Minute})
	}, 5},
	"pause": {nil, func(ctx context.Context, s *scene) error { return s.Pause(ctx, "dev", nil) }, 3},
	"unpause": {func(t *testing.T, s *scene) {
		if err := s.Pause(t.Context(), "dev", nil); err != nil {
			t.Fatal(err)
		}
	}, func(ctx context.Context, s *scene) error { return s.Unpause(ctx, "dev", nil) }, 3},
	"scale up": {nil, func(ctx context.Context, s *scene) error {
		return s.Scale(ctx, "dev", workers(3), adding(0), removing)
	}, 8},
	"scale down": {nil, func(ctx context.Context, s *scene) error {
		return s.Scale(ctx, "dev", workers(0), adding(0), removing)
	}, 5},
	"delete node": {nil, func(ctx context.Context, s *scene) error {
		return s.DeleteNodes(ctx, "dev", []string{"dev-worker"}, removing)
	}, 5},
	"load image": {func(_ *testing.T, s *scene) { s.AddImage(app.Name, clustertest.AppImage(app)) }, func(ctx context.Context, s *scene) error {
		_, err := s.LoadImages(ctx, "dev", []string{app.Name}, LoadOptions{})
		return err
	}, 2},
}

// after is all that is there when a verb has ended: machines with their states,
// what the API knows, and the kubeconfig.
type after struct {
	Objects    []string
	States     map[string]node.State
	Known      []string
	Cordoned   []string
	Config     []string // the nodes of the configuration that is kept, in any order
	Kubeconfig string
}

func (s *scene) after(t *testing.T) after {
	t.Helper()
	out := after{Objects: s.Objects(), States: map[string]node.State{}, Kubeconfig: s.kubeconfigText(t)}
	nodes, err := s.World.Nodes(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		out.States[n.Name] = n.State
	}
	kept := s.World.API("dev").Kept()
	out.Known, out.Cordoned = slices.Sorted(slices.Values(kept.Nodes)), kept.Cordoned
	c, err := config.Load(kept.Config, "kept", config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes {
		out.Config = append(out.Config, n.Name+" "+n.Role+" "+n.Image)
	}
	slices.Sort(out.Config)
	return out
}

// ends says how a verb is cut short at a call to the engine.
type ends struct {
	at func(s *scene, call int, cancel func())
	// dead: its process has ended, and nothing is undone.
	dead bool
}

var endings = map[string]ends{
	"interrupted":   {at: func(s *scene, call int, cancel func()) { s.At(call, cancel) }},
	"killed before": {at: func(s *scene, call int, _ func()) { s.DieAt(call, false) }, dead: true},
	"killed after":  {at: func(s *scene, call int, _ func()) { s.DieAt(call, true) }, dead: true},
}

// TestInterruptedAtEveryCall interrupts and kills each verb at each of its calls
// to the engine, and wants it to succeed when it is repeated, with all that is
// there as if it had never been cut short.
func TestInterruptedAtEveryCall(t *testing.T) {
	for verb := range changes {
		for how, end := range endings {
			t.Run(verb+" "+how, func(t *testing.T) {
				var want after
				synctest.Test(t, func(t *testing.T) { want = undisturbed(t, verb) })
				for n, more := 1, true; more; n++ {
					synctest.Test(t, func(t *testing.T) { more = cutShort(t, verb, end, n, want) })
				}
			})
		}
	}
}

// prepared is a scene with what the verb is for.
func prepared(t *testing.T, verb string) *scene {
	t.Helper()
	s := newScene(t)
	s.Manager.OpenStore = s.World.OpenStore
	t.Cleanup(func() { _ = s.CloseStores() })
	s.create(t, 1)
	if before := changes[verb].before; before != nil {
		before(t, s)
	}
	return s
}

func undisturbed(t *testing.T, verb string) after {
	s := prepared(t, verb)
	calls := s.calls(func() {
		if err := changes[verb].do(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	})
	if calls < changes[verb].least {
		t.Errorf("%s made only %d calls", verb, calls)
	}
	return s.after(t)
}

// cutShort reports whether there was an n-th call to be cut short at.
func cutShort(t *testing.T, verb string, end ends, n int, want after) bool {
	s := prepared(t, verb)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := len(s.Calls())
	end.at(s, first+n, cancel)
	err := changes[verb].do(ctx, s)
	s.Revive()
	if len(s.Calls()) < first+n {
		return false
	}
	when := s.Calls()[first+n-1]
	// a signal that comes when all is done changes nothing
	if err != nil && !end.dead && (!errors.Is(err, context.Canceled) || errdefs.ExitCode(err) != 130) {
		t.Errorf("%s: error %v with exit code %d, want it to be cancelled", when, err, errdefs.ExitCode(err))
	}
	if err := changes[verb].do(t.Context(), s); err != nil {
		t.Errorf("%s: once more: %v", when, err)
		return true
	}
	if diff := cmp.Diff(want, s.after(t)); diff != "" {
		t.Errorf("%s: what is there differs (-undisturbed +repeated):\n%s", when, diff)
	}
	return true
}

// TestDeleteWhileDeleting: two deletions at once both succeed, and one beside
// another change says who makes it and touches nothing.
func TestDeleteWhileDeleting(t *testing.T) {
	s := newScene(t)
	s.create(t, 1)
	done := make(chan error, 2)
	for range 2 {
		go func() { done <- s.Delete(t.Context(), "dev", []string{s.kubeconfig}) }()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	s.create(t, 1)
	before := s.Objects()
	release, err := lock("dev")
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, s.Delete(t.Context(), "dev", []string{s.kubeconfig}), errdefs.ClassExists, "LOCKED", "held by process")
	wantError(t, s.Create(t.Context(), dev(t, 0), s.options()), errdefs.ClassExists, "LOCKED", "held by process")
	if !slices.Equal(before, s.Objects()) || !strings.Contains(s.kubeconfigText(t), "petri-dev") {
		t.Errorf("objects %q, were %q; kubeconfig\n%s", s.Objects(), before, s.kubeconfigText(t))
	}
	release()
	if err := s.Delete(t.Context(), "dev", []string{s.kubeconfig}); err != nil {
		t.Error(err)
	}
}
