package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider/fake"
)

const older = "v1.36.1"

// old is cluster "dev" of an older Kubernetes, in a world with images of some
// versions.
func (s *scene) old(t *testing.T, version string, controlPlanes, workers int) {
	t.Helper()
	s.Manager.OpenStore = s.World.OpenStore
	t.Cleanup(func() {
		if err := s.CloseStores(); err != nil {
			t.Error(err)
		}
	})
	for _, v := range []string{version, "v1.36.4-1"} {
		s.AddImage("petri/node:"+v, clustertest.NodeImage(v))
	}
	c := sized(t, controlPlanes, workers)
	for i := range c.Nodes {
		c.Nodes[i].Image = "petri/node:" + version
	}
	if err := s.Create(t.Context(), c, s.options()); err != nil {
		t.Fatal(err)
	}
}

func upgrading() UpgradeOptions {
	return UpgradeOptions{Image: clustertest.Image, Version: clustertest.Version, DrainTimeout: time.Minute, Wait: time.Minute}
}

// runs wants all nodes to run a version, to take pods, and to bear no mark.
func (s *scene) runs(t *testing.T, when, version string) {
	t.Helper()
	known, err := s.World.API("dev").Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, info := range known {
		if info.Version != version || info.Upgrading != "" || info.Cordoned {
			t.Errorf("%s: %s is %+v, want %s", when, name, info, version)
		}
	}
	c, err := config.Load(s.World.API("dev").Kept().Config, "kept", config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes {
		if n.Image != "petri/node:"+version {
			t.Errorf("%s: the configuration has %s of %s", when, n.Name, n.Image)
		}
	}
}

// steps are what was done in nodes, in order, since a line of the log.
func (s *scene) steps(since int) []string {
	return slices.DeleteFunc(s.World.Log()[since:], func(line string) bool {
		verb, _, _ := strings.Cut(line, " ")
		return !slices.Contains([]string{"kubeadm", "exchange", "Cordon", "Vacate", "put", "restore"}, verb)
	})
}

func TestUpgrade(t *testing.T) {
	s := newScene(t)
	s.old(t, older, 1, 1)
	since := len(s.World.Log())
	if err := s.Upgrade(t.Context(), "dev", upgrading()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"kubeadm upgrade plan dev-control-plane", "kubeadm upgrade apply dev-control-plane",
		"exchange the kubelet dev-control-plane", "Cordon dev-control-plane false",
		"kubeadm upgrade node dev-worker", "Cordon dev-worker true", "Vacate dev-worker",
		"exchange the kubelet dev-worker", "Cordon dev-worker false",
	}
	if diff := cmp.Diff(want, s.steps(since)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	s.runs(t, "upgraded", clustertest.Version)
	store, err := s.NodeStore("dev-worker")
	if err != nil {
		t.Fatal(err)
	}
	if names, err := store.Names(t.Context()); err != nil || !slices.Contains(names, clustertest.ServerImage(clustertest.Version)) {
		t.Errorf("the worker has the images %v (%v)", names, err)
	}
	status, err := s.Status(t.Context(), "dev")
	if err != nil || status.Nodes[1].Version != clustertest.Version || status.Nodes[1].Image != clustertest.Image {
		t.Errorf("status says %+v (%v)", status.Nodes[1], err)
	}

	// once more there is nothing to do
	since = len(s.World.Log())
	if err := s.Upgrade(t.Context(), "dev", upgrading()); err != nil {
		t.Fatal(err)
	}
	if again := s.steps(since); len(again) > 0 {
		t.Errorf("the second time: %q", again)
	}
	if _, err := s.CreateNodes(t.Context(), "dev", adding(1)); err != nil {
		t.Fatal(err)
	}
	nodes, err := s.Nodes(t.Context(), "dev")
	if err != nil || nodes[2].Image != clustertest.Image {
		t.Errorf("a new node is made of %s (%v)", nodes[2].Image, err)
	}
}

// Control planes are exchanged one by one, in the order of the configuration.
// Balancers go on checking the one whose turn it is.
func TestUpgradeHighlyAvailable(t *testing.T) {
	s := newScene(t)
	s.old(t, older, 3, 0)
	leads := map[string]int{}
	s.Handle(func(_ context.Context, n node.Node, cmd exec.Cmd) error {
		f, _ := s.File("dev-control-plane3", nodeimage.BalancerPath)
		leads[n.Name] = strings.Count(string(f.Data), "\n    server ")
		return nil
	}, "flock")
	since := len(s.World.Log())
	if err := s.Upgrade(t.Context(), "dev", upgrading()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"dev-control-plane": 3, "dev-control-plane2": 3, "dev-control-plane3": 3}, leads); diff != "" {
		t.Errorf("balancers led to (-want +got):\n%s", diff)
	}
	f, _ := s.File("dev-control-plane", nodeimage.BalancerPath)
	if n := strings.Count(string(f.Data), "\n    server "); n != 3 {
		t.Errorf("afterwards they lead to %d", n)
	}
	var order []string
	for _, step := range s.steps(since) {
		if name, ok := strings.CutPrefix(step, "exchange the kubelet "); ok {
			order = append(order, name)
		}
	}
	if diff := cmp.Diff([]string{"dev-control-plane", "dev-control-plane2", "dev-control-plane3"}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	s.runs(t, "upgraded", clustertest.Version)
}

func TestPlanUpgrade(t *testing.T) {
	s := newScene(t)
	s.old(t, older, 1, 1)
	since := len(s.World.Log())
	plan, err := s.PlanUpgrade(t.Context(), "dev", upgrading())
	if err != nil {
		t.Fatal(err)
	}
	want := []NodeUpgrade{
		{"dev-control-plane", "control-plane", older, clustertest.Version, []string{"programs and images", "kubeadm upgrade apply", "kubelet"}},
		{"dev-worker", "worker", older, clustertest.Version, []string{"programs and images", "kubeadm upgrade node", "drain", "kubelet", "uncordon"}},
	}
	if diff := cmp.Diff(want, plan.Nodes); diff != "" || plan.From != older || plan.To != clustertest.Version || plan.Done() {
		t.Errorf("plan %+v (-want +got):\n%s", plan, diff)
	}
	if did := s.steps(since); len(did) > 0 {
		t.Errorf("a plan did %q", did)
	}
	s.runs(t, "planned", older)
}

// TestUpgradeVersions holds the versions against what kubeadm allows, before
// anything is changed.
func TestUpgradeVersions(t *testing.T) {
	for _, c := range []struct{ from, to, id, says string }{
		{"v1.36.1", "v1.36.3", "", ""},
		{"v1.35.4", "v1.36.3", "", ""},
		{"v1.36.3", "v1.36.4-1", "", ""},
		{"v1.34.4", "v1.36.3", "UPGRADE-VERSION", "v1.34.4 -> v1.35.x -> v1.36.3"},
		{"v1.33.6", "v1.36.3", "UPGRADE-VERSION", "v1.33.6 -> v1.34.x -> v1.35.x -> v1.36.3"},
		{"v1.36.3", "v1.36.1", "UPGRADE-VERSION", "no way back"},
		{"v1.36.3", "v1.35.4", "UPGRADE-VERSION", "no way back"},
	} {
		s := newScene(t)
		s.old(t, c.from, 1, 1)
		s.AddImage("petri/node:"+c.to, clustertest.NodeImage(c.to))
		opts := upgrading()
		opts.Image, opts.Version = "petri/node:"+c.to, c.to
		since := len(s.World.Log())
		err := s.Upgrade(t.Context(), "dev", opts)
		if c.id == "" {
			if err != nil {
				t.Errorf("%s to %s: %v", c.from, c.to, err)
			}
			s.runs(t, c.from+" to "+c.to, c.to)
			continue
		}
		e := wantError(t, err, errdefs.ClassUsage, c.id)
		if !strings.Contains(e.Hint, c.says) {
			t.Errorf("%s to %s: hint %q, want it to say %q", c.from, c.to, e.Hint, c.says)
		}
		if did := s.steps(since); len(did) > 0 {
			t.Errorf("%s to %s: it did %q", c.from, c.to, did)
		}
	}
}

func TestUpgradeRefused(t *testing.T) {
	s := newScene(t)
	s.old(t, older, 1, 1)
	foreign := clustertest.NodeImage(clustertest.Version)
	foreign.Labels = nil
	s.AddImage("kindest/node:v1", foreign)
	for id, change := range map[string]func(*UpgradeOptions){
		"NODE-IMAGE-MISSING": func(o *UpgradeOptions) { o.Image = "petri/node:none" },
		"NOT-A-PETRI-IMAGE":  func(o *UpgradeOptions) { o.Image = "kindest/node:v1" },
		"KUBERNETES-VERSION": func(o *UpgradeOptions) { o.Version = "v1.36.2" },
	} {
		opts := upgrading()
		change(&opts)
		if e, ok := errors.AsType[*errdefs.Error](s.Upgrade(t.Context(), "dev", opts)); !ok || e.ID != id {
			t.Errorf("%v, want %s", e, id)
		}
	}
	s.SetState("dev-worker", node.Stopped)
	wantError(t, s.Upgrade(t.Context(), "dev", upgrading()), errdefs.ClassFailed, "NODE-NOT-RUNNING", "dev-worker")
	s.SetState("dev-worker", node.Running)
	s.runs(t, "refused", older)
}

// Nodes that were not heard of while the API was away are waited for.
func TestUpgradeWaitsForNodes(t *testing.T) {
	s := newScene(t)
	s.old(t, older, 1, 1)
	s.World.API("dev").Ail("dev-worker", 2)
	wantError(t, s.Upgrade(t.Context(), "dev", upgrading()), errdefs.ClassFailed, "NODE-NOT-READY", "dev-worker", "Kubelet stopped posting")
	s.runs(t, "refused", older)
	s.World.API("dev").Ail("dev-worker", 1)
	if err := s.Upgrade(t.Context(), "dev", upgrading()); err != nil {
		t.Fatal(err)
	}
	s.runs(t, "upgraded", clustertest.Version)
}

// TestUpgradeFailsAtEveryCall wants an error that says where the upgrade
// stands, what ran before to run on, and the next one to finish.
func TestUpgradeFailsAtEveryCall(t *testing.T) {
	for how, inject := range injections {
		t.Run(how, func(t *testing.T) {
			for n := 1; ; n++ {
				s := newScene(t)
				s.old(t, older, 1, 1)
				before := len(s.Calls())
				inject(s, before+n)
				err := s.Upgrade(t.Context(), "dev", upgrading())
				if len(s.Calls()) < before+n {
					if err != nil || n < 30 {
						t.Errorf("after %q: %v", s.Calls()[before:], err)
					}
					return
				}
				when := s.Calls()[before+n-1]
				if !errors.Is(err, errBroken) {
					t.Errorf("%s: the error is another one: %v", when, err)
				}
				known, apiErr := s.World.API("dev").Nodes(t.Context())
				if apiErr != nil {
					t.Fatal(apiErr)
				}
				for name, info := range known {
					// a mark stays where only the end of a step is left to do
					if info.Upgrading != "" && info.Version == older || info.Cordoned {
						t.Errorf("%s: %s is left as %+v", when, name, info)
					}
				}
				if err := s.Upgrade(t.Context(), "dev", upgrading()); err != nil {
					t.Errorf("%s: repeated: %v", when, err)
				}
				s.runs(t, when, clustertest.Version)
			}
		})
	}
}

func TestUpgradeFailsWithTheAPI(t *testing.T) {
	for _, method := range []string{"ServerVersion", "Annotate", "Cordon", "Vacate", "Apply", "Wait", "SaveConfig"} {
		s := newScene(t)
		s.old(t, older, 1, 1)
		s.World.Break(method, errBroken)
		if err := s.Upgrade(t.Context(), "dev", upgrading()); !errors.Is(err, errBroken) {
			t.Errorf("%s: error %v", method, err)
		}
		s.World.Break(method, nil)
		if err := s.Upgrade(t.Context(), "dev", upgrading()); err != nil {
			t.Errorf("%s: repeated: %v", method, err)
		}
		s.runs(t, method, clustertest.Version)
	}
}

// kubeadm that fails explains itself, and what it left is taken back.
func TestKubeadmUpgradeFails(t *testing.T) {
	s := newScene(t)
	s.old(t, older, 1, 1)
	s.Handle(fake.Fail(1, ""), "flock")
	since := len(s.World.Log())
	err := s.Upgrade(t.Context(), "dev", upgrading())
	e := wantError(t, err, errdefs.ClassFailed, "KUBEADM-FAILED", "kubeadm upgrade plan: exit code 1", "nodes that are left: dev-control-plane, dev-worker")
	if e.Log != "kubeadm explains itself" || !strings.Contains(e.Hint, "petri upgrade cluster --name dev") {
		t.Errorf("log %q, hint %q", e.Log, e.Hint)
	}
	if did := s.steps(since); !slices.Contains(did, "restore the static pods dev-control-plane") {
		t.Errorf("it did %q", did)
	}
	s.runs(t, "failed", older)
}

// A kubelet that does not get Ready is put back.
func TestKubeletFails(t *testing.T) {
	s := newScene(t)
	s.old(t, older, 1, 1)
	s.Handle(func(ctx context.Context, n node.Node, cmd exec.Cmd) error {
		if cmd.Args[3] == "exchange the kubelet" {
			return nil // and nothing comes of it
		}
		return s.UpgradeScript(ctx, n, cmd)
	}, "sh", "-c")
	synctest.Test(t, func(t *testing.T) {
		err := s.Upgrade(t.Context(), "dev", upgrading())
		wantError(t, err, errdefs.ClassTimeout, "NOT-USABLE", "its kubelet is "+older)
	})
	if log := s.World.Log(); !slices.Contains(log, "put the kubelet back dev-control-plane") {
		t.Errorf("it did %q", log)
	}
}

func TestUpgradeDrainRunsOut(t *testing.T) {
	s := newScene(t)
	s.old(t, older, 1, 1)
	s.World.API("dev").Stick("dev-worker")
	synctest.Test(t, func(t *testing.T) {
		err := s.Upgrade(t.Context(), "dev", upgrading())
		e := wantError(t, err, errdefs.ClassTimeout, "DRAIN-TIMEOUT", "waited 1m0s", "nodes on v1.36.3: dev-control-plane; nodes that are left: dev-worker")
		if !strings.Contains(e.Hint, "--drain-timeout") {
			t.Errorf("hint %q", e.Hint)
		}
	})
	forced := upgrading()
	forced.Force = true
	synctest.Test(t, func(t *testing.T) {
		if err := s.Upgrade(t.Context(), "dev", forced); err != nil {
			t.Error(err)
		}
	})
	s.runs(t, "forced", clustertest.Version)
}

// A node that the user had cordoned is so afterwards.
func TestUpgradeLeavesCordonedNodes(t *testing.T) {
	s := newScene(t)
	s.old(t, older, 1, 1)
	if err := s.World.API("dev").Cordon(t.Context(), "dev-worker", true); err != nil {
		t.Fatal(err)
	}
	if err := s.Upgrade(t.Context(), "dev", upgrading()); err != nil {
		t.Fatal(err)
	}
	known, err := s.World.API("dev").Nodes(t.Context())
	if err != nil || !known["dev-worker"].Cordoned || known["dev-worker"].Upgrading != "" {
		t.Errorf("afterwards the nodes are %+v, %v", known, err)
	}
}

// An interrupt ends it between two steps, and the next upgrade goes on.
func TestUpgradeInterrupted(t *testing.T) {
	s := newScene(t)
	s.old(t, older, 1, 1)
	ctx, cancel := context.WithCancel(t.Context())
	s.Handle(func(called context.Context, n node.Node, cmd exec.Cmd) error {
		cancel()
		if called.Err() != nil {
			t.Error("kubeadm was cut short")
		}
		return nil
	}, "flock")
	if err := s.Upgrade(ctx, "dev", upgrading()); !errors.Is(err, context.Canceled) || errdefs.ExitCode(err) != 130 {
		t.Errorf("error %v", err)
	}
	s.runs(t, "interrupted", older)
	if err := s.Upgrade(t.Context(), "dev", upgrading()); err != nil {
		t.Fatal(err)
	}
	s.runs(t, "gone on", clustertest.Version)
}

// TestKilledUpgrade takes up what a killed petri left: a node that is cordoned,
// with the mark of an upgrade.
func TestKilledUpgrade(t *testing.T) {
	s := newScene(t)
	s.old(t, older, 1, 1)
	api := s.World.API("dev")
	mark := map[string]string{nodeimage.AnnotationUpgrading: clustertest.Version}
	if err := errors.Join(api.Annotate(t.Context(), "dev-worker", mark), api.Cordon(t.Context(), "dev-worker", true)); err != nil {
		t.Fatal(err)
	}
	if err := s.Upgrade(t.Context(), "dev", upgrading()); err != nil {
		t.Fatal(err)
	}
	s.runs(t, "taken up", clustertest.Version)
}

// A cluster that was scaled to one control plane keeps its load balancer, which
// goes on leading there while the control plane is upgraded.
func TestUpgradeScaledToOne(t *testing.T) {
	s := newScene(t)
	s.old(t, older, 3, 1)
	if err := s.Scale(t.Context(), "dev", controlPlanes(1), AddOptions{}, removing); err != nil {
		t.Fatal(err)
	}
	if err := s.Upgrade(t.Context(), "dev", upgrading()); err != nil {
		t.Fatal(err)
	}
	s.runs(t, "upgraded", clustertest.Version)
	if got := len(backendsOf(t, s, loadBalancer)); got != 1 {
		t.Errorf("the load balancer leads to %d", got)
	}
}

// A plan changes nothing, also when the API cannot be reached without a change.
func TestPlanUpgradeWithoutLoadBalancer(t *testing.T) {
	for how, end := range map[string]func(s *scene) error{
		"stopped": func(s *scene) error { s.SetState(loadBalancer, node.Stopped); return nil },
		"gone":    func(s *scene) error { return s.Remove(t.Context(), "dev", loadBalancer) },
	} {
		s := newScene(t)
		s.old(t, older, 3, 0)
		if err := end(s); err != nil {
			t.Fatal(err)
		}
		before, objects := len(s.Calls()), s.Objects()
		_, err := s.PlanUpgrade(t.Context(), "dev", upgrading())
		e := wantError(t, err, errdefs.ClassUnavailable, "CONTROL-PLANE-DOWN", "load balancer does not run")
		if hint := map[string]string{"stopped": "petri start cluster --name dev", "gone": "petri scale cluster --name dev"}[how]; !strings.Contains(e.Hint, hint) {
			t.Errorf("%s: hint %q", how, e.Hint)
		}
		for _, call := range s.Calls()[before:] {
			if !strings.HasPrefix(call, "list ") && !strings.HasSuffix(call, " cat") {
				t.Errorf("%s: a plan did %q", how, call)
			}
		}
		if diff := cmp.Diff(objects, s.Objects()); diff != "" {
			t.Errorf("%s: objects (-before +after):\n%s", how, diff)
		}
	}
}

// What kubeadm made is what a later failure goes back to: it is kept before the
// kubelet is exchanged, which may fail, and only when kubeadm has succeeded.
func TestUpgradeKeepsNewManifests(t *testing.T) {
	s := newScene(t)
	s.old(t, older, 1, 0)
	s.Handle(fake.Fail(1, ""), "flock")
	if err := s.Upgrade(t.Context(), "dev", upgrading()); err == nil {
		t.Fatal("kubeadm failed, and the upgrade did not")
	}
	if log := s.World.Log(); slices.Contains(log, "keep the new static pods dev-control-plane") {
		t.Errorf("kubeadm failed, and what it left was kept: %q", log)
	}
	s.Handle(s.KubeadmUpgrade, "flock")
	since := len(s.World.Log())
	if err := s.Upgrade(t.Context(), "dev", upgrading()); err != nil {
		t.Fatal(err)
	}
	log := slices.DeleteFunc(s.World.Log()[since:], func(line string) bool {
		verb, _, _ := strings.Cut(line, " ")
		return !slices.Contains([]string{"keep", "kubeadm", "exchange", "finish"}, verb)
	})
	want := []string{
		"keep what runs dev-control-plane", "kubeadm upgrade plan dev-control-plane", "kubeadm upgrade apply dev-control-plane",
		"keep the new static pods dev-control-plane", "exchange the kubelet dev-control-plane", "finish dev-control-plane",
	}
	if diff := cmp.Diff(want, log); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// A node of another tool's, or of an image that is not petri's, is refused
// wherever it is in the order.
func TestUpgradeForeignNode(t *testing.T) {
	s := newScene(t)
	s.old(t, older, 1, 1)
	told, err := s.Plan("dev-worker")
	if err != nil {
		t.Fatal(err)
	}
	told.Foreign = true
	data, err := json.Marshal(told)
	if err != nil {
		t.Fatal(err)
	}
	s.PutFile("dev-worker", nodeimage.PlanPath, data)
	since := len(s.World.Log())
	wantError(t, s.Upgrade(t.Context(), "dev", upgrading()), errdefs.ClassUsage, "NOT-A-PETRI-NODE", "node dev-worker ")
	if did := s.steps(since); len(did) > 0 {
		t.Errorf("it did %q", did)
	}
	s.runs(t, "refused", older)

	nodes := []node.Node{{Name: "a", State: node.Running}, {Name: "b", State: node.Running, Foreign: true}}
	known := map[string]kube.NodeInfo{"a": {Ready: true}, "b": {Ready: true}}
	u := &upgrade{members: &members{nodes: nodes, known: known, config: dev(t, 1)}}
	wantError(t, u.checkNodes(), errdefs.ClassUsage, "NOT-A-PETRI-NODE", "node b ")
}

// Another image of the same Kubernetes is refused: nodes that run it would not
// get its addons' images. Another name of the same image is none.
func TestUpgradeToAnotherImage(t *testing.T) {
	s := newScene(t)
	s.old(t, older, 1, 1)
	rebuilt, again := clustertest.NodeImage(clustertest.Version), clustertest.NodeImage(clustertest.Version)
	rebuilt.ID, again.ID = "sha256:other", fmt.Sprintf("sha256:%064x", []byte(clustertest.Image))
	s.AddImage("rebuilt:"+clustertest.Version, rebuilt)
	s.AddImage("again:"+clustertest.Version, again)
	other := upgrading()
	other.Image = "rebuilt:" + clustertest.Version
	refused := func(when, nodeName, has string) {
		t.Helper()
		since := len(s.World.Log())
		e := wantError(t, s.Upgrade(t.Context(), "dev", other), errdefs.ClassUsage, "UPGRADE-VERSION", "node "+nodeName+" runs v1.36.3 of image "+has, other.Image)
		if !strings.Contains(e.Hint, "--image "+has) || !strings.Contains(e.Hint, "petri create node --name dev --image "+other.Image) {
			t.Errorf("%s: hint %q", when, e.Hint)
		}
		if did := s.World.Log()[since:]; slices.ContainsFunc(did, func(line string) bool { return strings.HasPrefix(line, "A") }) || len(s.steps(since)) > 0 {
			t.Errorf("%s: it did %q", when, did)
		}
	}

	// the first node is done, and the next one is not
	s.World.Break("Vacate", errBroken)
	if err := s.Upgrade(t.Context(), "dev", upgrading()); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	s.World.Break("Vacate", nil)
	refused("on the way", "dev-control-plane", clustertest.Image)
	if err := s.Upgrade(t.Context(), "dev", upgrading()); err != nil {
		t.Fatal(err)
	}
	refused("upgraded", "dev-control-plane", clustertest.Image)
	s.runs(t, "upgraded", clustertest.Version)
	other.Image = "again:" + clustertest.Version
	if err := s.Upgrade(t.Context(), "dev", other); err != nil {
		t.Errorf("another name: %v", err)
	}

	s = newScene(t)
	s.old(t, clustertest.Version, 1, 0)
	s.AddImage("rebuilt:"+clustertest.Version, rebuilt)
	other.Image = "rebuilt:" + clustertest.Version
	refused("made of it", "dev-control-plane", clustertest.Image)
}

// A node whose kubelet is new and whose upgrade was not ended is taken up again,
// also after another attempt that failed.
func TestUpgradeEndsWhatItExchanged(t *testing.T) {
	s := newScene(t)
	s.old(t, older, 1, 0)
	failing := func(does string) {
		s.Handle(func(ctx context.Context, n node.Node, cmd exec.Cmd) error {
			if cmd.Args[3] == does {
				return fake.Exit(cmd, 1, "no space left")
			}
			return s.UpgradeScript(ctx, n, cmd)
		}, "sh", "-c")
	}
	for _, does := range []string{"finish", "keep what runs"} {
		failing(does)
		if err := s.Upgrade(t.Context(), "dev", upgrading()); err == nil || !strings.Contains(err.Error(), does) {
			t.Errorf("%s: error %v", does, err)
		}
	}
	failing("nothing")
	since := len(s.World.Log())
	if err := s.Upgrade(t.Context(), "dev", upgrading()); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(s.World.Log()[since:], "finish dev-control-plane") {
		t.Errorf("it did %q", s.World.Log()[since:])
	}
	s.runs(t, "ended", clustertest.Version)
}
