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

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/health"
	"github.com/petri-cluster/petri/pkg/node"
)

// verbs are what is done to the power of "dev", and the state that all its
// nodes are in afterwards.
var verbs = map[string]struct {
	do   func(context.Context, *scene) error
	from node.State // before
	to   node.State
}{
	"stop": {func(ctx context.Context, s *scene) error {
		return s.Stop(ctx, "dev", StopOptions{Timeout: time.Minute})
	}, node.Running, node.Stopped},
	"start":   {func(ctx context.Context, s *scene) error { return s.Start(ctx, "dev", StartOptions{Wait: time.Minute}) }, node.Stopped, node.Running},
	"resume":  {func(ctx context.Context, s *scene) error { return s.Start(ctx, "dev", StartOptions{Wait: time.Minute}) }, node.Paused, node.Running},
	"pause":   {func(ctx context.Context, s *scene) error { return s.Pause(ctx, "dev", nil) }, node.Running, node.Paused},
	"unpause": {func(ctx context.Context, s *scene) error { return s.Unpause(ctx, "dev", nil) }, node.Paused, node.Running},
	"restart": {func(ctx context.Context, s *scene) error {
		return s.Restart(ctx, "dev", StopOptions{Timeout: time.Minute}, StartOptions{Wait: time.Minute})
	}, node.Running, node.Running},
}

// devIn is "dev" with two workers, all nodes in a state.
func devIn(t *testing.T, state node.State) *scene {
	t.Helper()
	s := newScene(t)
	s.create(t, 2)
	for _, name := range []string{"dev-control-plane", "dev-worker", "dev-worker2"} {
		s.SetState(name, state)
	}
	return s
}

func (s *scene) states(t *testing.T) []node.State {
	t.Helper()
	nodes, err := s.World.Nodes(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	var out []node.State
	for _, n := range nodes {
		out = append(out, n.State)
	}
	return out
}

func all(state node.State) []node.State { return []node.State{state, state, state} }

func TestVerbs(t *testing.T) {
	for name, v := range verbs {
		t.Run(name, func(t *testing.T) {
			s := devIn(t, v.from)
			before := s.kubeconfigText(t)
			for range 2 { // the second time it is so already
				if err := v.do(t.Context(), s); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(all(v.to), s.states(t)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
			if s.kubeconfigText(t) != before {
				t.Error("the kubeconfig was changed")
			}
		})
	}
}

// TestVerbsFailAtEveryCall fails each call to the engine in turn, and wants
// the verb to say so, and to finish when it is repeated.
func TestVerbsFailAtEveryCall(t *testing.T) {
	for name, v := range verbs {
		for how, inject := range injections {
			t.Run(name+" "+how, func(t *testing.T) {
				for n := 1; ; n++ {
					s := devIn(t, v.from)
					before := len(s.Calls())
					inject(s, before+n)
					err := v.do(t.Context(), s)
					if len(s.Calls()) < before+n {
						if err != nil || n < 4 {
							t.Errorf("after %q: %v", s.Calls()[before:], err)
						}
						return
					}
					when := s.Calls()[before+n-1]
					// that nobody could read whether data is in memory keeps no
					// cluster from being stopped
					if !errors.Is(err, errBroken) && !strings.HasPrefix(when, "exec dev-control-plane cat") {
						t.Errorf("%s: the error is another one: %v", when, err)
					}
					if err := v.do(t.Context(), s); err != nil {
						t.Errorf("%s: repeated: %v", when, err)
					}
					if diff := cmp.Diff(all(v.to), s.states(t)); diff != "" {
						t.Errorf("%s: (-want +got):\n%s", when, diff)
					}
				}
			})
		}
	}
}

func TestStopOrder(t *testing.T) {
	s := devIn(t, node.Running)
	before := len(s.Calls())
	if err := s.Stop(t.Context(), "dev", StopOptions{Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	var stops []string
	for _, call := range s.Calls()[before:] {
		if strings.HasPrefix(call, "stop ") {
			stops = append(stops, call)
		}
	}
	if len(stops) != 3 || stops[2] != "stop dev-control-plane" {
		t.Errorf("stopped in the order %q, want the control plane last", stops)
	}
}

func TestSomeNodes(t *testing.T) {
	s := devIn(t, node.Running)
	names := []string{"dev-worker2", "dev-worker2"}
	if err := s.Stop(t.Context(), "dev", StopOptions{Nodes: names, Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]node.State{node.Running, node.Running, node.Stopped}, s.states(t)); diff != "" {
		t.Errorf("stopped (-want +got):\n%s", diff)
	}
	s.World.API("dev").Silence("dev-worker", true) // it is not waited for
	if err := s.Start(t.Context(), "dev", StartOptions{Nodes: names, Wait: time.Minute}); err != nil {
		t.Fatal(err)
	}
	err := s.Pause(t.Context(), "dev", []string{"dev-worker", "other", "else"})
	wantError(t, err, errdefs.ClassNotFound, "NODE-NOT-FOUND", "other", "else")
	if diff := cmp.Diff(all(node.Running), s.states(t)); diff != "" {
		t.Errorf("after a wrong name (-want +got):\n%s", diff)
	}
}

func TestPauseStopped(t *testing.T) {
	s := devIn(t, node.Stopped)
	wantError(t, s.Pause(t.Context(), "dev", nil), errdefs.ClassFailed, "NODE-STOPPED", "cluster dev")
	s.SetState("dev-worker", node.Running)
	wantError(t, s.Unpause(t.Context(), "dev", []string{"dev-worker", "dev-worker2"}), errdefs.ClassFailed, "NODE-STOPPED", "dev-worker, dev-worker2")
	if err := s.Pause(t.Context(), "dev", nil); err != nil { // those that run
		t.Error(err)
	}
}

// TestStartWaits takes a node that the API has not heard of since it was
// started, although it is Ready by what is known.
func TestStartWaits(t *testing.T) {
	s := devIn(t, node.Stopped)
	s.World.API("dev").Silence("dev-worker", true)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := s.Start(t.Context(), "dev", StartOptions{Wait: 2 * time.Minute})
		wantError(t, err, errdefs.ClassTimeout, "NOT-USABLE", "waited 2m0s", "dev-worker")
		if took := time.Since(began); took != 2*time.Minute {
			t.Errorf("it waited %s", took)
		}
	})
	status, err := s.Status(t.Context(), "dev")
	if err != nil || status.Usable || !slices.ContainsFunc(status.Problems, func(p health.Problem) bool { return strings.Contains(p.Seen, "dev-worker") }) {
		t.Errorf("status %+v, %v", status, err)
	}
	if err := s.Start(t.Context(), "dev", StartOptions{}); err != nil {
		t.Errorf("without waiting: %v", err)
	}
	s.World.API("dev").Silence("dev-worker", false)
	if err := s.Start(t.Context(), "dev", StartOptions{Wait: time.Minute}); err != nil {
		t.Error(err)
	}
}

// TestEphemeral wants data in memory to be kept unless told otherwise.
func TestEphemeral(t *testing.T) {
	ephemeralDev := func(t *testing.T) *scene {
		t.Helper()
		s := newScene(t)
		c := dev(t, 1)
		c.Ephemeral = true
		if err := s.Create(t.Context(), c, s.options()); err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, state := range []node.State{node.Running, node.Paused} {
		s := ephemeralDev(t)
		s.SetState("dev-control-plane", state)
		err := s.Stop(t.Context(), "dev", StopOptions{Timeout: time.Minute})
		wantError(t, err, errdefs.ClassFailed, "DATA-IN-MEMORY", "dev-control-plane")
		if diff := cmp.Diff([]node.State{state, node.Running}, s.states(t)); diff != "" {
			t.Errorf("after the refusal (-want +got):\n%s", diff)
		}
	}
	s := ephemeralDev(t)
	if err := s.Stop(t.Context(), "dev", StopOptions{Nodes: []string{"dev-worker"}, Timeout: time.Minute}); err != nil {
		t.Errorf("a worker: %v", err)
	}
	if err := s.Stop(t.Context(), "dev", StopOptions{Timeout: time.Minute, Force: true}); err != nil {
		t.Fatal(err)
	}
	wantError(t, s.Start(t.Context(), "dev", StartOptions{Wait: time.Minute}), errdefs.ClassFailed, "DATA-LOST", "dev-control-plane")
}
