package cluster

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider/fake"
)

func addingControlPlanes(count int) AddOptions {
	opts := adding(count)
	opts.Role = nodeimage.RoleControlPlane
	return opts
}

func controlPlanes(count int) Size { return Size{ControlPlanes: &count} }

// planes wants the cluster "dev" to consist of nodes, in whatever is asked: the
// engine, the API, both configurations on each control plane, etcd, and all
// balancers.
func (s *scene) planes(t *testing.T, when string, names ...string) {
	t.Helper()
	slices.Sort(names)
	nodes, err := s.Nodes(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	kept := s.World.API("dev").Kept()
	got := map[string][]string{"API": kept.Nodes, "ConfigMap": nodesOf(t, kept.Config), "engine": nil}
	var members, backends []string
	for _, n := range nodes {
		got["engine"] = append(got["engine"], n.Name)
		if n.Role != nodeimage.RoleControlPlane {
			continue
		}
		members = append(members, n.Name)
		backends = append(backends, n.Name+" "+n.Addr(false).String()+":6443")
		file, _ := s.File(n.Name, nodeimage.ConfigPath)
		got["file of "+n.Name] = nodesOf(t, file.Data)
	}
	for what, have := range got {
		slices.Sort(have)
		if diff := cmp.Diff(names, have); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", when, what, diff)
		}
	}
	slices.Sort(kept.Etcd)
	if diff := cmp.Diff(members, kept.Etcd); diff != "" {
		t.Errorf("%s: etcd (-want +got):\n%s", when, diff)
	}
	if len(kept.Cordoned) > 0 {
		t.Errorf("%s: %v are left cordoned", when, kept.Cordoned)
	}
	for _, n := range nodes {
		if diff := cmp.Diff(backends, backendsOf(t, s, n.Name)); diff != "" {
			t.Errorf("%s: %s leads to (-want +got):\n%s", when, n.Name, diff)
		}
	}
	endpoint, err := s.Endpoint(t.Context(), "dev")
	if err != nil || !strings.Contains(s.kubeconfigText(t), endpoint) {
		t.Errorf("%s: the API is published at %s (%v), and the kubeconfig says\n%s", when, endpoint, err, s.kubeconfigText(t))
	}
}

func TestGrowControlPlanes(t *testing.T) {
	s := newScene(t)
	s.create(t, 1)
	names, err := s.CreateNodes(t.Context(), "dev", addingControlPlanes(2))
	if err != nil || !slices.Equal(names, []string{"dev-control-plane2", "dev-control-plane3"}) {
		t.Fatalf("%v, %v", names, err)
	}
	s.planes(t, "grown", "dev-control-plane", "dev-control-plane2", "dev-control-plane3", "dev-worker")
	if got := s.World.API("dev").Kept().Endpoint; got != "dev-external-load-balancer:6444" {
		t.Errorf("kube-proxy is led to %s", got)
	}
	log := s.Log()
	for _, pair := range [][2]string{
		{"extend dev-control-plane", "extend dev-worker"},
		{"extend dev-worker", "Redirect dev-external-load-balancer:6444"},
		{"Redirect dev-external-load-balancer:6444", "join dev-control-plane2"},
		{"join dev-control-plane2", "join dev-control-plane3"},
	} {
		first, second := slices.Index(log, pair[0]), slices.Index(log, pair[1])
		if first < 0 || second < first {
			t.Errorf("%q is not followed by %q in %q", pair[0], pair[1], log)
		}
	}
	for _, name := range names {
		told, err := s.Plan(name)
		if err != nil || told.Balanced != loadBalancer || len(told.PodRanges) > 0 || len(told.EtcdMembers) > 0 {
			t.Errorf("plan of %s: %+v, %v", name, told, err)
		}
	}
	// a worker of a cluster that was prepared has a balancer too, also when one
	// control plane is left
	if err := s.Scale(t.Context(), "dev", controlPlanes(1), AddOptions{}, removing); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateNodes(t.Context(), "dev", adding(1)); err != nil {
		t.Fatal(err)
	}
	s.planes(t, "back", "dev-control-plane", "dev-worker", "dev-worker2")
}

// TestReplaceFirstControlPlane takes the node away that a cluster began with,
// and publishes its API.
func TestReplaceFirstControlPlane(t *testing.T) {
	s := newScene(t)
	s.create(t, 1)
	if err := s.Scale(t.Context(), "dev", controlPlanes(3), AddOptions{Wait: time.Minute}, removing); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteNodes(t.Context(), "dev", []string{"dev-control-plane"}, removing); err != nil {
		t.Fatal(err)
	}
	s.planes(t, "without the first", "dev-control-plane2", "dev-control-plane3", "dev-worker")
	want := []string{"dev-control-plane2 10.201.0.4:6443", "dev-control-plane3 10.201.0.5:6443"}
	if diff := cmp.Diff(want, backendsOf(t, s, loadBalancer)); diff != "" {
		t.Errorf("the load balancer leads to (-want +got):\n%s", diff)
	}
	names, err := s.CreateNodes(t.Context(), "dev", addingControlPlanes(1))
	if err != nil || !slices.Equal(names, []string{"dev-control-plane"}) {
		t.Errorf("the new one is %v, %v", names, err)
	}
	s.planes(t, "replaced", "dev-control-plane", "dev-control-plane2", "dev-control-plane3", "dev-worker")
	told, err := s.Plan("dev-control-plane")
	if err != nil || len(told.PodRanges) > 0 || told.APIServer != "10.201.0.4" {
		t.Errorf("the new one takes itself for the first: %+v, %v", told, err)
	}
	if got := len(backendsOf(t, s, loadBalancer)); got != 3 {
		t.Errorf("the load balancer leads to %d", got)
	}
	if err := s.Scale(t.Context(), "dev", controlPlanes(1), AddOptions{}, removing); err != nil {
		t.Fatal(err)
	}
	s.planes(t, "back to one", "dev-control-plane", "dev-worker")
}

func TestLastControlPlane(t *testing.T) {
	s := newScene(t)
	s.createHA(t, 1)
	all := []string{"dev-control-plane", "dev-control-plane2", "dev-control-plane3"}
	wantError(t, s.DeleteNodes(t.Context(), "dev", all, removing), errdefs.ClassUsage, "LAST-CONTROL-PLANE")
	wantError(t, s.DeleteNodes(t.Context(), "dev", []string{loadBalancer}, removing), errdefs.ClassUsage, "NODE-ROLE", loadBalancer)
	wantError(t, s.Scale(t.Context(), "dev", controlPlanes(0), AddOptions{}, removing), errdefs.ClassUsage, "NODE-COUNT")
	s.planes(t, "refused", append(all, "dev-worker")...)
}

// TestQuorum refuses to take away what etcd needs, and lets the dead go first.
func TestQuorum(t *testing.T) {
	s := newScene(t)
	s.createHA(t, 0)
	s.SetState("dev-control-plane3", node.Stopped)
	err := s.DeleteNodes(t.Context(), "dev", []string{"dev-control-plane2"}, removing)
	wantError(t, err, errdefs.ClassFailed, "QUORUM-LOST", "only 1 of 2 members", "dev-control-plane3 does not answer")
	s.SetState("dev-control-plane2", node.Stopped)
	err = s.DeleteNodes(t.Context(), "dev", []string{"dev-control-plane3"}, removing)
	wantError(t, err, errdefs.ClassFailed, "QUORUM-LOST")
	s.SetState("dev-control-plane2", node.Running)
	if err := s.DeleteNodes(t.Context(), "dev", []string{"dev-control-plane2", "dev-control-plane3"}, removing); err != nil {
		t.Fatal(err)
	}
	s.planes(t, "both", "dev-control-plane")
}

// TestDeleteDeadControlPlane takes out one that is stopped or gone, whichever
// it is.
func TestDeleteDeadControlPlane(t *testing.T) {
	for _, grown := range []bool{false, true} {
		for _, dead := range []string{"dev-control-plane", "dev-control-plane2"} {
			for name, kill := range map[string]func(*testing.T, *scene){
				"stopped": func(_ *testing.T, s *scene) { s.SetState(dead, node.Stopped) },
				"gone": func(t *testing.T, s *scene) {
					if err := s.Remove(t.Context(), "dev", dead); err != nil {
						t.Fatal(err)
					}
				},
			} {
				s := newScene(t)
				if grown {
					s.create(t, 1)
					if err := s.Scale(t.Context(), "dev", controlPlanes(3), AddOptions{Wait: time.Minute}, removing); err != nil {
						t.Fatal(err)
					}
				} else {
					s.createHA(t, 1)
				}
				kill(t, s)
				if err := s.DeleteNodes(t.Context(), "dev", []string{dead}, removing); err != nil {
					t.Fatalf("%s %s: %v", dead, name, err)
				}
				left := []string{"dev-control-plane", "dev-control-plane2", "dev-control-plane3", "dev-worker"}
				s.planes(t, dead+" "+name, slices.DeleteFunc(left, func(n string) bool { return n == dead })...)
			}
		}
	}
}

// TestRefusalGivesThePortBack: the first node is stopped, and stays after all.
func TestRefusalGivesThePortBack(t *testing.T) {
	s := newScene(t)
	s.create(t, 1)
	if err := s.Scale(t.Context(), "dev", controlPlanes(3), AddOptions{Wait: time.Minute}, removing); err != nil {
		t.Fatal(err)
	}
	s.SetState("dev-control-plane", node.Stopped)
	err := s.DeleteNodes(t.Context(), "dev", []string{"dev-control-plane2"}, removing)
	wantError(t, err, errdefs.ClassUnavailable, "CONTROL-PLANE-DOWN", "published by dev-control-plane, which is stopped")
	s.World.API("dev").Hold("dev-control-plane", "volume of claim default/data")
	err = s.DeleteNodes(t.Context(), "dev", []string{"dev-control-plane"}, removing)
	wantError(t, err, errdefs.ClassFailed, "NODE-HOLDS-DATA")
	if slices.Contains(s.Objects(), "node "+loadBalancer) {
		t.Error("the first node cannot be started any more: a load balancer has its port")
	}
	if err := s.Start(t.Context(), "dev", StartOptions{Wait: time.Minute}); err != nil {
		t.Fatal(err)
	}
	s.planes(t, "as it was", "dev-control-plane", "dev-control-plane2", "dev-control-plane3", "dev-worker")
}

func TestPrepareNeedsAllNodes(t *testing.T) {
	s := newScene(t)
	s.create(t, 1)
	s.SetState("dev-worker", node.Stopped)
	_, err := s.CreateNodes(t.Context(), "dev", addingControlPlanes(2))
	wantError(t, err, errdefs.ClassFailed, "NODE-STOPPED", "dev-worker is stopped")
	s.SetState("dev-worker", node.Running)
	if _, err := s.CreateNodes(t.Context(), "dev", addingControlPlanes(2)); err != nil {
		t.Fatal(err)
	}
	s.SetState("dev-worker", node.Stopped) // it is prepared
	if err := s.DeleteNodes(t.Context(), "dev", []string{"dev-control-plane3"}, removing); err != nil {
		t.Fatal(err)
	}
	if got := len(backendsOf(t, s, "dev-worker")); got != 3 {
		t.Errorf("a node that does not run leads to %d", got)
	}
	if err := s.Start(t.Context(), "dev", StartOptions{Wait: time.Minute}); err != nil {
		t.Fatal(err)
	}
	s.planes(t, "started", "dev-control-plane", "dev-control-plane2", "dev-worker")
}

func TestScaleWarnsOfEven(t *testing.T) {
	s := newScene(t)
	s.create(t, 0)
	if err := s.Scale(t.Context(), "dev", controlPlanes(2), AddOptions{Wait: time.Minute}, removing); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(s.events.Events(), func(e progress.Event) bool {
		return e.Status == progress.Note && strings.Contains(e.Message, "even number of control planes, 2")
	}) {
		t.Error("nobody was warned")
	}
}

// changesOfControlPlanes are begun in a cluster that was made with one, and
// made once more after each failure.
var changesOfControlPlanes = map[string]struct {
	before int
	do     func(*testing.T, *scene) error
	nodes  []string
}{
	"grow": {1, func(t *testing.T, s *scene) error {
		return s.Scale(t.Context(), "dev", controlPlanes(3), AddOptions{Wait: time.Minute}, removing)
	}, []string{"dev-control-plane", "dev-control-plane2", "dev-control-plane3", "dev-worker"}},
	"delete the first": {3, func(t *testing.T, s *scene) error {
		return s.DeleteNodes(t.Context(), "dev", []string{"dev-control-plane"}, removing)
	}, []string{"dev-control-plane2", "dev-control-plane3", "dev-worker"}},
	"shrink": {3, func(t *testing.T, s *scene) error {
		return s.Scale(t.Context(), "dev", controlPlanes(1), AddOptions{Wait: time.Minute}, removing)
	}, []string{"dev-control-plane", "dev-worker"}},
}

// TestControlPlanesFailAtEveryCall wants an error at each call to the engine
// that fails, and the same command to finish afterwards.
func TestControlPlanesFailAtEveryCall(t *testing.T) {
	for how, inject := range injections {
		for name, change := range changesOfControlPlanes {
			t.Run(name+", "+how, func(t *testing.T) {
				for n := 1; ; n++ {
					s := newScene(t)
					s.create(t, 1)
					if err := s.Scale(t.Context(), "dev", controlPlanes(change.before), AddOptions{Wait: time.Minute}, removing); err != nil {
						t.Fatal(err)
					}
					before := len(s.Calls())
					inject(s, before+n)
					err := change.do(t, s)
					if len(s.Calls()) < before+n {
						if err != nil || n < 15 {
							t.Errorf("after %q: %v", s.Calls()[before:], err)
						}
						return
					}
					when := s.Calls()[before+n-1]
					if err != nil && !errors.Is(err, errBroken) {
						t.Errorf("%s: the error is another one: %v", when, err)
					}
					if err := change.do(t, s); err != nil {
						t.Fatalf("call %d, %s: repeated: %v", n, when, err)
					}
					// the file is written last: what was to be had is had, and the
					// next change writes it
					if !strings.HasSuffix(when, " cp") {
						s.planes(t, when, change.nodes...)
					}
				}
			})
		}
	}
}

// TestControlPlanesFailWithTheAPI is the same for calls to the API.
func TestControlPlanesFailWithTheAPI(t *testing.T) {
	for name, change := range changesOfControlPlanes {
		for _, method := range []string{"ClusterConfiguration", "Redirect", "Wait", "SaveConfig", "WaitServing", "OnlyHere", "Drain", "DeleteNode", "Cordon"} {
			s := newScene(t)
			s.create(t, 1)
			if err := s.Scale(t.Context(), "dev", controlPlanes(change.before), AddOptions{Wait: time.Minute}, removing); err != nil {
				t.Fatal(err)
			}
			s.World.Break(method, errBroken)
			err := change.do(t, s)
			s.World.Break(method, nil)
			if err != nil && !errors.Is(err, errBroken) {
				t.Errorf("%s, %s: %v", name, method, err)
			}
			if err := change.do(t, s); err != nil {
				t.Errorf("%s, %s: repeated: %v", name, method, err)
			}
			s.planes(t, name+", "+method, change.nodes...)
		}
	}
}

// TestKilledGrowth takes up what a killed petri left: a control plane that
// joined and was not written down, and a load balancer that was not made.
func TestKilledGrowth(t *testing.T) {
	s := newScene(t)
	s.create(t, 1)
	before := s.World.API("dev").Kept().Config
	if _, err := s.CreateNodes(t.Context(), "dev", addingControlPlanes(2)); err != nil {
		t.Fatal(err)
	}
	after := s.World.API("dev").Kept().Config
	if err := s.World.API("dev").SaveConfig(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	if err := s.Scale(t.Context(), "dev", controlPlanes(1), AddOptions{}, removing); err != nil {
		t.Fatal(err)
	}
	s.planes(t, "settled", "dev-control-plane", "dev-worker")

	if err := s.Scale(t.Context(), "dev", controlPlanes(3), AddOptions{Wait: time.Minute}, removing); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(after), string(s.World.API("dev").Kept().Config)); diff != "" {
		t.Errorf("made anew it is another one:\n%s", diff)
	}
	if err := s.DeleteNodes(t.Context(), "dev", []string{"dev-control-plane"}, removing); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), "dev", loadBalancer); err != nil {
		t.Fatal(err)
	}
	if err := s.Scale(t.Context(), "dev", workers(2), AddOptions{Wait: time.Minute}, removing); err != nil {
		t.Fatal(err)
	}
	s.planes(t, "with a new load balancer", "dev-control-plane2", "dev-control-plane3", "dev-worker", "dev-worker2")
	c, err := config.Load(after, "kept", config.Options{})
	if err != nil || c.Networking.APIServerPort == 0 {
		t.Errorf("the port is not written down: %v", err)
	}
}

func TestGrowthNeedsTheImage(t *testing.T) {
	s := newScene(t)
	s.create(t, 0)
	s.Handle(fake.Fail(1, "it is not there"), nodeimage.HelperPath, "extend")
	_, err := s.CreateNodes(t.Context(), "dev", addingControlPlanes(1))
	if err == nil || !strings.Contains(err.Error(), "prepare node dev-control-plane for several control planes") {
		t.Errorf("error %v", err)
	}
	if got := len(s.Objects()); got != 2 {
		t.Errorf("left %q", s.Objects())
	}
}
