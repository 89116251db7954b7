package cluster

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/petri-cluster/petri/pkg/bootstrap"
	"github.com/petri-cluster/petri/pkg/cluster/clustertest"
	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider/fake"
)

// injections are the two ways in which a call to the engine fails.
var injections = map[string]func(*scene, int){
	"refused": func(s *scene, n int) { s.FailAt(n, errBroken) },
	"lost":    func(s *scene, n int) { s.LoseAt(n, errBroken) },
}

// TestCreateFailsAtEveryCall fails each call to the engine in turn, and wants
// nothing left of the cluster each time.
func TestCreateFailsAtEveryCall(t *testing.T) {
	for name, inject := range injections {
		t.Run(name, func(t *testing.T) { createFailsAtEveryCall(t, inject, dev(t, 1), 15) })
		t.Run(name+", three and three", func(t *testing.T) { createFailsAtEveryCall(t, inject, sized(t, 3, 3), 35) })
	}
}

func createFailsAtEveryCall(t *testing.T, inject func(*scene, int), c *config.Cluster, least int) {
	for n := 1; ; n++ {
		s := newScene(t)
		inject(s, n)
		err := s.Create(t.Context(), c, s.options())
		if err == nil {
			if n < least || len(s.Calls()) >= n {
				t.Errorf("creation succeeded although call %d of %q failed", n, s.Calls())
			}
			return
		}
		when := s.Calls()[n-1]
		if !errors.Is(err, errBroken) {
			t.Errorf("%s: the error is another one: %v", when, err)
		}
		s.untouched(t, when)
	}
}

// TestDeleteFailsAtEveryCall wants an error, and the next deletion to finish.
func TestDeleteFailsAtEveryCall(t *testing.T) {
	for name, inject := range injections {
		t.Run(name, func(t *testing.T) {
			for n := 1; ; n++ {
				s := newScene(t)
				s.create(t, 1)
				before := len(s.Calls())
				inject(s, before+n)
				err := s.Delete(t.Context(), "dev", []string{s.kubeconfig})
				if err == nil {
					if n < 5 || len(s.Calls()) >= before+n {
						t.Errorf("deletion succeeded although call %d of %q failed", n, s.Calls()[before:])
					}
					return
				}
				when := s.Calls()[before+n-1]
				if !errors.Is(err, errBroken) {
					t.Errorf("%s: the error is another one: %v", when, err)
				}
				if err := s.Delete(t.Context(), "dev", []string{s.kubeconfig}); err != nil {
					t.Errorf("%s: the next deletion: %v", when, err)
				}
				if left := s.Objects(); len(left) > 0 || strings.Contains(s.kubeconfigText(t), "petri-dev") {
					t.Errorf("%s: left %q, kubeconfig\n%s", when, left, s.kubeconfigText(t))
				}
			}
		})
	}
}

// TestUndoFails wants both errors told, and how to finish.
func TestUndoFails(t *testing.T) {
	s := newScene(t)
	s.World.Break("SaveConfig", errBroken)
	other := errors.New("engine is gone")
	calls := s.calls(func() { _ = s.Create(t.Context(), dev(t, 0), s.options()) })
	s.FailAt(2*calls-1, other) // in the same creation once more: the removal of the node or the network
	err := s.Create(t.Context(), dev(t, 0), s.options())
	if !errors.Is(err, errBroken) || !errors.Is(err, other) || !strings.Contains(err.Error(), "petri delete cluster --name dev") {
		t.Errorf("error: %v", err)
	}
}

func TestCreateFailsWithTheAPI(t *testing.T) {
	for _, method := range []string{"Connect", "WaitServing", "Apply", "Wait", "DeleteToken", "SaveConfig"} {
		t.Run(method, func(t *testing.T) {
			s := newScene(t)
			s.World.Break(method, errBroken)
			if err := s.Create(t.Context(), dev(t, 1), s.options()); !errors.Is(err, errBroken) {
				t.Errorf("error: %v", err)
			}
			s.untouched(t, method)
			s.World.Break(method, nil)
			s.create(t, 1)
		})
	}
}

func TestRetain(t *testing.T) {
	s := newScene(t)
	s.World.Break("SaveConfig", errBroken)
	opts := s.options()
	opts.Retain = true
	if err := s.Create(t.Context(), dev(t, 1), opts); !errors.Is(err, errBroken) {
		t.Errorf("error: %v", err)
	}
	if got := len(s.Objects()); got != 3 {
		t.Errorf("kept %q, want two nodes and a network", s.Objects())
	}
	if s.kubeconfigText(t) != others {
		t.Error("the kubeconfig was changed")
	}
}

// TestHelperFails lets the node helper end in every wrong way.
func TestHelperFails(t *testing.T) {
	type handle = func(s *scene)
	good := clustertest.InitEvents("dev")
	without := func(kind nodeimage.EventKind) handle {
		events := slices.DeleteFunc(slices.Clone(good), func(e nodeimage.NodeEvent) bool { return e.Kind == kind })
		return func(s *scene) { s.InitSays(events...) }
	}
	does := func(verb string, h fake.Handler) handle {
		return func(s *scene) { s.Handle(h, nodeimage.HelperPath, verb) }
	}
	for name, c := range map[string]struct {
		play handle
		want string
	}{
		"init ends silently":      {func(s *scene) { s.InitSays(good[:5]...) }, "node dev-control-plane: init ended without saying how"},
		"init says nothing":       {does("init", fake.Print("")), "init ended without saying how"},
		"init prints garbage":     {does("init", fake.Print("panic: oh\n")), "node dev-control-plane said what is not an event"},
		"init is not there":       {does("init", fake.Fail(127, "petri-node: not found")), "petri-node: not found"},
		"init is killed":          {does("init", fake.Fail(137, "")), "137"},
		"init without kubeconfig": {without(nodeimage.KubeconfigReady), "init finished without event kubeconfig-ready"},
		"init takes no nodes":     {without(nodeimage.JoinReady), "init finished without event join-ready"},
		"init without admin.conf": {without(nodeimage.AdminReady), "init finished without event admin-ready"},
		"join ends silently":      {does("join", fake.Print("")), "node dev-worker: join ended without saying how"},
		"join prints garbage":     {does("join", fake.Print("{}\nnull\n[]\n")), "node dev-worker said what is not an event"},
		"join is killed":          {does("join", fake.Fail(137, "")), "node dev-worker: join"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			c.play(s)
			synctest.Test(t, func(t *testing.T) {
				// what waits for ever ends at once here
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				err := s.Create(ctx, dev(t, 1), s.options())
				if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v, want it to say %q", err, c.want)
				}
			})
			s.untouched(t, name)
		})
	}
}

func TestKubeadmFails(t *testing.T) {
	s := newScene(t)
	s.Handle(fake.Events(
		nodeimage.NodeEvent{Kind: nodeimage.PhaseStarted, Phase: "etcd"},
		nodeimage.NodeEvent{Kind: nodeimage.NodeFailed, Error: "phase etcd: it did not start", Log: "etcd: no space left"},
	), nodeimage.HelperPath, "init")
	err := s.Create(t.Context(), dev(t, 1), s.options())
	e := wantError(t, err, errdefs.ClassFailed, "KUBEADM-FAILED", "node dev-control-plane: phase etcd: it did not start")
	if e.Log != "etcd: no space left" || !strings.Contains(e.Hint, "--retain") {
		t.Errorf("log %q, hint %q", e.Log, e.Hint)
	}
	s.untouched(t, "kubeadm fails")
	for _, phase := range []string{"api", "join", "addons"} {
		if s.events.had(phase, "", progress.Failed) {
			t.Errorf("phase %s is reported as failed; init is the one that failed", phase)
		}
	}
}

// hang is a helper that ends with its context only.
func hang(ctx context.Context, _ node.Node, cmd exec.Cmd) error {
	_, _ = io.WriteString(cmd.Stdout, `{"kind":"phase-started","phase":"certs"}`+"\n")
	<-ctx.Done()
	return context.Cause(ctx)
}

// TestInterrupt ends the context as each phase begins and when it is done.
func TestInterrupt(t *testing.T) {
	manifest := filepath.Join(t.TempDir(), "cni.yaml") // so that no phase is skipped
	if err := os.WriteFile(manifest, []byte("kind: DaemonSet\nmetadata: {name: cni}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, phase := range bootstrap.Phases() {
		for _, status := range []progress.Status{progress.Started, progress.Done} {
			when := phase.ID + " " + string(status)
			s := newScene(t)
			ctx := s.events.cancelAt(t.Context(), phase.ID, status)
			c := dev(t, 1)
			c.Networking.CNI, c.ShareEngine = manifest, true
			err := s.Create(ctx, c, s.options())
			if !errors.Is(err, context.Canceled) || errdefs.ExitCode(err) != 130 {
				t.Errorf("%s: error %v with exit code %d, want it to be cancelled", when, err, errdefs.ExitCode(err))
			}
			s.untouched(t, when)
		}
	}
}

func TestInterruptHangingHelper(t *testing.T) {
	for verb, phase := range map[string]string{"init": "api", "join": "join"} {
		s := newScene(t)
		s.Handle(hang, nodeimage.HelperPath, verb)
		ctx := s.events.cancelAt(t.Context(), phase, progress.Started)
		if err := s.Create(ctx, dev(t, 1), s.options()); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v", verb, err)
		}
		s.untouched(t, verb+" hangs")
	}
}

func TestInterruptedBefore(t *testing.T) {
	s := newScene(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Create(ctx, dev(t, 0), s.options()); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	s.untouched(t, "before")
}

// TestWaitRunsOut takes a cluster without a StorageClass.
func TestWaitRunsOut(t *testing.T) {
	s := newScene(t)
	events := clustertest.InitEvents("dev")
	for i := range events {
		if events[i].Name == nodeimage.StorageManifestPath {
			events[i].Data = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: empty}\n"
		}
	}
	s.InitSays(events...)
	synctest.Test(t, func(t *testing.T) {
		opts := s.options()
		opts.Wait = 3 * time.Minute
		began := time.Now()
		err := s.Create(t.Context(), dev(t, 0), opts)
		wantError(t, err, errdefs.ClassTimeout, "NOT-USABLE", "waited 3m0s", "a default StorageClass is there")
		if took := time.Since(began); took != opts.Wait {
			t.Errorf("it waited %s", took)
		}
		if strings.Contains(err.Error(), "CoreDNS") {
			t.Errorf("%v: names what holds", err)
		}
	})
	s.untouched(t, "the wait runs out")
}
