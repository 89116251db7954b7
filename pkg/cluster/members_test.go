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
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider/fake"
)

func adding(count int) AddOptions {
	return AddOptions{Role: nodeimage.RoleWorker, Count: count, Wait: time.Minute}
}

func workers(count int) Size { return Size{Workers: &count} }

var removing = RemoveOptions{DrainTimeout: time.Minute}

// holds wants engine, API and both copies of the configuration to agree on
// the workers of "dev", and no way to join to be left.
func (s *scene) holds(t *testing.T, when string, workers ...string) {
	t.Helper()
	slices.Sort(workers)
	want := append([]string{"dev-control-plane"}, workers...)
	nodes, err := s.World.Nodes(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	var engine []string
	for _, n := range nodes {
		engine = append(engine, n.Name)
	}
	kept := s.World.API("dev").Kept()
	file, _ := s.File("dev-control-plane", nodeimage.ConfigPath)
	for what, got := range map[string][]string{
		"engine": engine, "API": kept.Nodes, "ConfigMap": nodesOf(t, kept.Config), "file": nodesOf(t, file.Data),
	} {
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", when, what, diff)
		}
	}
	if len(kept.Cordoned) > 0 {
		t.Errorf("%s: %v are left cordoned", when, kept.Cordoned)
	}
}

func nodesOf(t *testing.T, data []byte) []string {
	t.Helper()
	c, err := config.Load(data, "kept", config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range c.Nodes {
		names = append(names, n.Name)
	}
	return names
}

func TestCreateNodes(t *testing.T) {
	s := newScene(t)
	c := dev(t, 1)
	c.Nodes[1].Labels = map[string]string{"tier": "front"}
	c.Nodes[1].Taints = []config.Taint{{Key: "dedicated", Effect: "NoSchedule"}}
	c.Nodes[1].Ports = []config.PortMapping{
		{ContainerPort: 80, HostPort: 8080, ListenAddress: "127.0.0.1", Protocol: "tcp"},
		{ContainerPort: 81, ListenAddress: "127.0.0.1", Protocol: "tcp"},
	}
	if err := s.Create(t.Context(), c, s.options()); err != nil {
		t.Fatal(err)
	}
	opts := adding(2)
	opts.Labels = map[string]string{"disk": "fast"}
	names, err := s.CreateNodes(t.Context(), "dev", opts)
	if diff := cmp.Diff([]string{"dev-worker2", "dev-worker3"}, names); err != nil || diff != "" {
		t.Fatalf("%v (-want +got):\n%s", err, diff)
	}
	s.holds(t, "after two", "dev-worker", "dev-worker2", "dev-worker3")
	if got := s.World.API("dev").Kept().Deleted; got != "abcdef" {
		t.Errorf("token %q was deleted", got)
	}
	conf, ok := s.File("dev-worker2", nodeimage.KubeadmConfigPath)
	if !ok {
		t.Fatal("the new node has no documents for kubeadm")
	}
	for _, want := range []string{"tlsBootstrapToken: " + clustertest.Token, "disk=fast,tier=front", "key: dedicated", "dev-control-plane:6443"} {
		if !strings.Contains(string(conf.Data), want) {
			t.Errorf("the documents lack %q:\n%s", want, conf.Data)
		}
	}
	plan, err := s.Plan("dev-worker2")
	if err != nil || plan.APIServer == "" || plan.Address == plan.APIServer {
		t.Errorf("plan %+v, %v", plan, err)
	}
	nodes, err := s.World.Nodes(t.Context(), "dev")
	if err != nil || len(nodes[2].Ports) != 1 || nodes[2].Ports[0].ContainerPort != 81 {
		t.Errorf("%s publishes %v, want only what has no fixed port (%v)", nodes[2].Name, nodes[2].Ports, err)
	}

	if err := s.DeleteNodes(t.Context(), "dev", []string{"dev-worker2"}, removing); err != nil {
		t.Fatal(err)
	}
	s.holds(t, "after a delete", "dev-worker", "dev-worker3")
	if names, err := s.CreateNodes(t.Context(), "dev", adding(2)); err != nil || !slices.Equal(names, []string{"dev-worker2", "dev-worker4"}) {
		t.Errorf("the free names are %v, %v", names, err)
	}
	s.holds(t, "with the gap filled", "dev-worker", "dev-worker2", "dev-worker3", "dev-worker4")
}

// TestFirstWorker adds to a cluster that had no worker to be like.
func TestFirstWorker(t *testing.T) {
	s := newScene(t)
	s.create(t, 0)
	names, err := s.CreateNodes(t.Context(), "dev", adding(1))
	if err != nil || !slices.Equal(names, []string{"dev-worker"}) {
		t.Errorf("%v, %v", names, err)
	}
	s.holds(t, "one", "dev-worker")
}

func TestCreateNodesRefused(t *testing.T) {
	s := newScene(t)
	s.create(t, 1)
	balancer, none, labels, image := adding(1), adding(0), adding(1), adding(1)
	balancer.Role = nodeimage.RoleLoadBalancer
	labels.Labels = map[string]string{"not a label": "x"}
	image.Image = "petri/node:none"
	for id, opts := range map[string]AddOptions{
		"NODE-ROLE": balancer, "NODE-COUNT": none, "CONFIG-INVALID": labels, "NODE-IMAGE-MISSING": image,
	} {
		_, err := s.CreateNodes(t.Context(), "dev", opts)
		if e, ok := errors.AsType[*errdefs.Error](err); !ok || e.ID != id {
			t.Errorf("%v, want %s", err, id)
		}
		s.holds(t, id, "dev-worker")
	}
	_, err := s.CreateNodes(t.Context(), "other", adding(1))
	wantError(t, err, errdefs.ClassNotFound, "CLUSTER-NOT-FOUND")
	s.SetState("dev-control-plane", node.Stopped)
	_, err = s.CreateNodes(t.Context(), "dev", adding(1))
	wantError(t, err, errdefs.ClassUnavailable, "CONTROL-PLANE-DOWN")
}

// TestCreateNodesFailsAtEveryCall wants an error, nothing of the new nodes
// left, and the next attempt to succeed.
func TestCreateNodesFailsAtEveryCall(t *testing.T) {
	for how, inject := range injections {
		t.Run(how, func(t *testing.T) {
			for n := 1; ; n++ {
				s := newScene(t)
				s.create(t, 1)
				before := len(s.Calls())
				inject(s, before+n)
				_, err := s.CreateNodes(t.Context(), "dev", adding(2))
				if err == nil {
					if n < 12 || len(s.Calls()) >= before+n {
						t.Errorf("it succeeded although call %d of %q failed", n, s.Calls()[before:])
					}
					return
				}
				when := s.Calls()[before+n-1]
				if !errors.Is(err, errBroken) {
					t.Errorf("%s: the error is another one: %v", when, err)
				}
				if kept := s.World.API("dev").Kept(); len(s.Objects()) == 3 {
					if !slices.Equal(kept.Nodes, []string{"dev-control-plane", "dev-worker"}) {
						t.Errorf("%s: the API knows %v", when, kept.Nodes)
					}
				} else if when != "exec dev-control-plane cp" {
					t.Errorf("%s: left %q", when, s.Objects())
				}
				if err := s.Scale(t.Context(), "dev", workers(3), AddOptions{Wait: time.Minute}, removing); err != nil {
					t.Errorf("%s: repeated: %v", when, err)
				}
				if when != "exec dev-control-plane cp" {
					s.holds(t, when, "dev-worker", "dev-worker2", "dev-worker3")
				}
			}
		})
	}
}

// TestKilledCreateNode takes up what a killed petri left: a node that never
// joined, and one that did.
func TestKilledCreateNode(t *testing.T) {
	s := newScene(t)
	s.create(t, 1)
	before := s.World.API("dev").Kept().Config
	if _, err := s.CreateNodes(t.Context(), "dev", adding(2)); err != nil {
		t.Fatal(err)
	}
	if err := s.World.API("dev").SaveConfig(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	s.World.API("dev").Forget("dev-worker2")
	if err := s.Scale(t.Context(), "dev", workers(3), AddOptions{Wait: time.Minute}, removing); err != nil {
		t.Fatal(err)
	}
	s.holds(t, "settled", "dev-worker", "dev-worker2", "dev-worker3")
	if joins := slices.DeleteFunc(s.World.Log(), func(line string) bool { return line != "join dev-worker2" }); len(joins) != 2 {
		t.Errorf("dev-worker2 joined %d times, want it made anew", len(joins))
	}
}

func TestCreateNodesInterrupted(t *testing.T) {
	s := newScene(t)
	s.create(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	s.Handle(func(ctx context.Context, n node.Node, cmd exec.Cmd) error {
		cancel()
		return hang(ctx, n, cmd)
	}, nodeimage.HelperPath, "join")
	if _, err := s.CreateNodes(ctx, "dev", adding(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	s.holds(t, "interrupted", "dev-worker")
}

func TestDeleteNodes(t *testing.T) {
	s := newScene(t)
	s.create(t, 3)
	wantError(t, s.DeleteNodes(t.Context(), "dev", []string{"dev-worker", "dev-control-plane"}, removing), errdefs.ClassUsage, "LAST-CONTROL-PLANE", "dev-control-plane")
	s.holds(t, "refused", "dev-worker", "dev-worker2", "dev-worker3")
	for range 2 { // the second time they are gone
		if err := s.DeleteNodes(t.Context(), "dev", []string{"dev-worker", "dev-worker3"}, removing); err != nil {
			t.Fatal(err)
		}
		s.holds(t, "deleted", "dev-worker2")
	}
	if !slices.ContainsFunc(s.Commands(), func(c fake.Command) bool {
		return c.Node == "dev-worker3" && strings.HasPrefix(strings.Join(c.Args, " "), "kubeadm reset")
	}) {
		t.Error("kubeadm did not take the node out")
	}
}

func TestDeleteDeadNode(t *testing.T) {
	s := newScene(t)
	s.create(t, 1)
	s.SetState("dev-worker", node.Stopped)
	s.World.API("dev").Stick("dev-worker") // its pods cannot end
	if err := s.DeleteNodes(t.Context(), "dev", []string{"dev-worker"}, removing); err != nil {
		t.Fatal(err)
	}
	s.holds(t, "dead")
}

func TestDeleteNodeThatHoldsData(t *testing.T) {
	s := newScene(t)
	s.create(t, 2)
	s.World.API("dev").Hold("dev-worker2", "volume of claim default/data")
	err := s.DeleteNodes(t.Context(), "dev", []string{"dev-worker2"}, removing)
	wantError(t, err, errdefs.ClassFailed, "NODE-HOLDS-DATA", "volume of claim default/data on dev-worker2")
	err = s.Scale(t.Context(), "dev", workers(1), AddOptions{}, removing)
	wantError(t, err, errdefs.ClassFailed, "NODE-HOLDS-DATA")
	s.holds(t, "refused", "dev-worker", "dev-worker2")
	if err := s.DeleteNodes(t.Context(), "dev", []string{"dev-worker2"}, RemoveOptions{DrainTimeout: time.Minute, Force: true}); err != nil {
		t.Fatal(err)
	}
	s.holds(t, "forced", "dev-worker")
}

func TestDrainRunsOut(t *testing.T) {
	s := newScene(t)
	s.create(t, 2)
	s.World.API("dev").Stick("dev-worker")
	synctest.Test(t, func(t *testing.T) {
		err := s.DeleteNodes(t.Context(), "dev", []string{"dev-worker", "dev-worker2"}, removing)
		wantError(t, err, errdefs.ClassTimeout, "DRAIN-TIMEOUT", "waited 1m0s")
	})
	s.holds(t, "in time", "dev-worker", "dev-worker2") // and none is cordoned
	synctest.Test(t, func(t *testing.T) {
		if err := s.DeleteNodes(t.Context(), "dev", []string{"dev-worker"}, RemoveOptions{DrainTimeout: time.Minute, Force: true}); err != nil {
			t.Error(err)
		}
	})
	s.holds(t, "forced", "dev-worker2")
}

// A node that the user had cordoned is so again after a deletion that failed.
func TestDrainLeavesCordonedNodes(t *testing.T) {
	s := newScene(t)
	s.create(t, 2)
	api := s.World.API("dev")
	api.Stick("dev-worker")
	if err := api.Cordon(t.Context(), "dev-worker2", true); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		err := s.DeleteNodes(t.Context(), "dev", []string{"dev-worker", "dev-worker2"}, removing)
		wantError(t, err, errdefs.ClassTimeout, "DRAIN-TIMEOUT")
	})
	known, err := api.Nodes(t.Context())
	if err != nil || known["dev-worker"].Cordoned || !known["dev-worker2"].Cordoned {
		t.Errorf("afterwards the nodes are %+v, %v", known, err)
	}
}

// TestDeleteNodesFailsAtEveryCall wants an error, and the next deletion to
// finish.
func TestDeleteNodesFailsAtEveryCall(t *testing.T) {
	for how, inject := range injections {
		t.Run(how, func(t *testing.T) {
			for n := 1; ; n++ {
				s := newScene(t)
				s.create(t, 2)
				before := len(s.Calls())
				inject(s, before+n)
				err := s.DeleteNodes(t.Context(), "dev", []string{"dev-worker2"}, removing)
				if len(s.Calls()) < before+n {
					if err != nil || n < 7 {
						t.Errorf("after %q: %v", s.Calls()[before:], err)
					}
					return
				}
				when := s.Calls()[before+n-1]
				// the machine goes whatever comes of the reset
				if !errors.Is(err, errBroken) && when != "exec dev-worker2 kubeadm" {
					t.Errorf("%s: the error is another one: %v", when, err)
				}
				if err := s.DeleteNodes(t.Context(), "dev", []string{"dev-worker2"}, removing); err != nil {
					t.Errorf("%s: repeated: %v", when, err)
				}
				s.holds(t, when, "dev-worker")
			}
		})
	}
}

func TestChangesFailWithTheAPI(t *testing.T) {
	create := func(s *scene) error { _, err := s.CreateNodes(t.Context(), "dev", adding(1)); return err }
	remove := func(s *scene) error { return s.DeleteNodes(t.Context(), "dev", []string{"dev-worker2"}, removing) }
	for _, c := range []struct {
		method string
		do     func(*scene) error
		kept   []string
	}{
		{"Nodes", create, []string{"dev-worker", "dev-worker2"}},
		{"Wait", create, []string{"dev-worker", "dev-worker2"}},
		{"SaveConfig", create, []string{"dev-worker", "dev-worker2"}},
		{"OnlyHere", remove, []string{"dev-worker", "dev-worker2"}},
		{"Drain", remove, []string{"dev-worker", "dev-worker2"}},
		{"DeleteNode", remove, []string{"dev-worker"}},
		{"SaveConfig", remove, []string{"dev-worker"}},
	} {
		s := newScene(t)
		s.create(t, 2)
		s.World.Break(c.method, errBroken)
		if err := c.do(s); !errors.Is(err, errBroken) {
			t.Errorf("%s: error %v", c.method, err)
		}
		s.World.Break(c.method, nil)
		if len(c.kept) == 2 {
			s.holds(t, c.method, c.kept...)
		}
		if err := remove(s); err != nil {
			t.Errorf("%s: afterwards: %v", c.method, err)
		}
		s.holds(t, c.method+", and then a deletion", "dev-worker")
	}
}

func TestScale(t *testing.T) {
	s := newScene(t)
	s.create(t, 1)
	for _, count := range []int{12, 12, 9, 0, 2} {
		if err := s.Scale(t.Context(), "dev", Size{Workers: &count}, AddOptions{Wait: time.Minute}, removing); err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := range count {
			want = append(want, config.NodeName("dev", nodeimage.RoleWorker, i+1))
		}
		s.holds(t, "scaled", want...)
	}
	wantError(t, s.Scale(t.Context(), "dev", workers(-1), AddOptions{}, removing), errdefs.ClassUsage, "NODE-COUNT")
}
