package cluster

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/node"
)

// The load balancer of several control planes stops last and starts with them:
// without it nobody reaches the API from the host.
func TestPowerOfSeveralControlPlanes(t *testing.T) {
	s := newScene(t)
	s.createHA(t, 1)
	all := func(state node.State) []node.State { return []node.State{state, state, state, state, state} }
	if err := s.Stop(t.Context(), "dev", StopOptions{Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all(node.Stopped), s.states(t)); diff != "" {
		t.Errorf("after the stop (-want +got):\n%s", diff)
	}
	if err := s.Start(t.Context(), "dev", StartOptions{Wait: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all(node.Running), s.states(t)); diff != "" {
		t.Errorf("after the start (-want +got):\n%s", diff)
	}
	s.SetState("dev-external-load-balancer", node.Stopped)
	if err := s.Start(t.Context(), "dev", StartOptions{Nodes: []string{"dev-external-load-balancer"}, Wait: time.Minute}); err != nil {
		t.Errorf("the load balancer alone: %v", err)
	}
}
