package container

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

// specOf is a cluster of one control plane and some workers.
func specOf(workers int) provider.Spec {
	spec := provider.Spec{
		Cluster: "a",
		API:     provider.Publish{Address: "127.0.0.1"},
		Nodes:   []provider.NodeSpec{{Name: "a-control-plane", Role: nodeimage.RoleControlPlane, Image: "img"}},
		Labels:  map[string]string{"team": "lab"},
		Files: func(p provider.Placement) ([]provider.File, error) {
			return []provider.File{{Path: "/petri/plan.json", Data: []byte(p.Node.Name + " " + p.Endpoint.String())}}, nil
		},
	}
	for i := range workers {
		name := fmt.Sprintf("a-worker%d", i+1)
		spec.Nodes = append(spec.Nodes, provider.NodeSpec{Name: name, Role: nodeimage.RoleWorker, Image: "img"})
	}
	return spec
}

func refusePrivileged(e *fakeEngine) {
	e.fail = func(call string, _ int) error {
		for _, c := range e.containers {
			if call == "ContainerStart" && c.host.Privileged && !c.running {
				return errors.New("runc create failed: unable to apply caps: operation not permitted: unknown")
			}
		}
		return nil
	}
}

// TestProgramIsNoMachine: a program does not find out how machines may run, and
// an engine that refuses privileges has nothing to refuse.
func TestProgramIsNoMachine(t *testing.T) {
	e := newFakeEngine()
	refusePrivileged(e)
	p := fakeProvider(t, e)
	spec := specOf(1)
	spec.Nodes = append(spec.Nodes, provider.NodeSpec{Name: "a-lb", Role: nodeimage.RoleLoadBalancer, Image: "img", Command: []string{"serve"}})
	nodes, err := p.Create(t.Context(), spec, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{modeCapabilities, modeCapabilities, modeNone} {
		if nodes[i].Privileges != want {
			t.Errorf("%s runs with %s", nodes[i].Name, nodes[i].Privileges)
		}
	}
	if mode := p.knownMode(e.info.ID); mode != modeCapabilities {
		t.Errorf("learned %q", mode)
	}
}

// TestCalls is the budget: what a cluster costs in calls to the engine, from
// the check to the one command on each node, which tells of its success.
func TestCalls(t *testing.T) {
	for _, test := range []struct {
		workers, want int
		restricted    bool
	}{
		{0, 4 + 4 + 2, false},
		{1, 4 + 2*(4+2), false},
		{3, 4 + 4*(4+2), false},
		// Asking a restricted engine costs five calls, once.
		{0, 4 + 5 + 4 + 2, true},
		{3, 4 + 5 + 4*(4+2), true},
	} {
		e := newFakeEngine()
		if test.restricted {
			refusePrivileged(e)
		}
		p := fakeProvider(t, e)
		nodes, err := p.Create(t.Context(), specOf(test.workers), progress.Discard)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			if err := n.Run(t.Context(), exec.Cmd{Args: []string{"true"}, Succeeded: func() bool { return true }}); err != nil {
				t.Error(err)
			}
		}
		if got := e.count(""); got != test.want {
			t.Errorf("%+v: %d calls, want %d: %q", test, got, test.want, e.calls)
		}
		if limit := 15 + 6*test.workers; test.want > limit {
			t.Errorf("%+v: %d calls, the budget is %d", test, test.want, limit)
		}
	}
}

// TestFirstNode: the first control plane is made before all others, which wait
// for the cluster that it makes. Of nodes that come to one none goes first, once
// it is known how they run.
func TestFirstNode(t *testing.T) {
	worker, controlPlane := provider.NodeSpec{Role: nodeimage.RoleWorker}, provider.NodeSpec{Role: nodeimage.RoleControlPlane}
	for _, test := range []struct {
		nodes []provider.NodeSpec
		known bool
		want  int
	}{
		{[]provider.NodeSpec{worker, controlPlane, controlPlane}, true, 1},
		{[]provider.NodeSpec{worker, worker}, false, 0},
		{[]provider.NodeSpec{worker, worker}, true, 2},
		{nil, true, 0},
	} {
		c := &creation{p: fakeProvider(t, newFakeEngine()), placement: &placement{spec: provider.Spec{Nodes: test.nodes}}}
		if test.known {
			c.p.learnMode(c.info.ID, modePrivileged)
		}
		if got := c.first(); got != test.want {
			t.Errorf("%+v: node %d goes first, want %d", test, got, test.want)
		}
	}
}

// TestStarted: work on the first control plane may begin while the others are made,
// but not where they may turn out to need another placement.
func TestStarted(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*provider.Spec)
		want   string
	}{
		"alone with its port":      {func(*provider.Spec) {}, "a-control-plane, 1 of 3 made"},
		"another port":             {func(s *provider.Spec) { s.Nodes[2].Ports = []node.Port{{ContainerPort: 80}} }, ""},
		"a network that was there": {func(s *provider.Spec) { s.Network = "shared" }, ""},
		"nodes that are all alike": {func(s *provider.Spec) { s.Nodes = s.Nodes[1:] }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := newFakeEngine()
			p := fakeProvider(t, e)
			p.learnMode("", modePrivileged)
			spec, told := specOf(2), ""
			test.change(&spec)
			spec.Started = func(n node.Node) { told += fmt.Sprintf("%s, %d of 3 made", n.Name, e.count("ContainerCreate")) }
			if _, err := p.Create(t.Context(), spec, progress.Discard); err != nil {
				t.Fatal(err)
			}
			if told != test.want {
				t.Errorf("told of %q, want %q", told, test.want)
			}
		})
	}
}

func TestPrivileges(t *testing.T) {
	e := newFakeEngine()
	refusePrivileged(e)
	p := fakeProvider(t, e)
	nodes, err := p.Create(t.Context(), specOf(2), progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		host := e.containers[n.Name].host
		if n.Privileges != modeCapabilities || host.Privileged || !slices.Equal(host.CapDrop, []string{"SYS_RESOURCE"}) ||
			host.MaskedPaths == nil || host.ReadonlyPaths == nil {
			t.Errorf("%s runs %s with %+v", n.Name, n.Privileges, host)
		}
	}
	if got := e.count("ContainerRemove"); got != 1 {
		t.Errorf("the engine was asked by %d nodes, want 1", got)
	}

	// Another process knows from the cache.
	again := newFakeEngine()
	refusePrivileged(again)
	q := newProvider(again, docker(), p.opts)
	if _, err := q.Create(t.Context(), specOf(0), progress.Discard); err != nil || again.count("ContainerRemove") != 0 {
		t.Errorf("with a cache: %v, %d containers made in vain", err, again.count("ContainerRemove"))
	}
	if mode := q.knownMode("ANOTHER"); mode != modeCapabilities {
		t.Errorf("in memory: %q", mode)
	}
	if mode := newProvider(again, docker(), p.opts).knownMode("ANOTHER"); mode != "" {
		t.Errorf("another engine is said to run nodes with %q", mode)
	}
}

func TestPrivilegesExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fakeProvider(t, newFakeEngine())
		p.learnMode("E", modeCapabilities)
		fresh := func() string { return newProvider(nil, docker(), p.opts).knownMode("E") }
		time.Sleep(23 * time.Hour)
		if mode := fresh(); mode != modeCapabilities {
			t.Errorf("after 23 hours: %q", mode)
		}
		time.Sleep(2 * time.Hour)
		if mode := fresh(); mode != "" {
			t.Errorf("after 25 hours: %q, want it forgotten", mode)
		}
		path := filepath.Join(p.opts.CacheDir, "engine-E.json")
		if err := os.WriteFile(path, []byte("{torn"), 0o644); err != nil {
			t.Fatal(err)
		}
		if mode := fresh(); mode != "" {
			t.Errorf("from a torn file: %q", mode)
		}
	})
}

func TestPrivilegesRefused(t *testing.T) {
	e := newFakeEngine()
	e.fail = func(call string, _ int) error {
		if call == "ContainerStart" {
			return errors.New("mount: operation not permitted")
		}
		return nil
	}
	_, err := fakeProvider(t, e).Create(t.Context(), specOf(0), progress.Discard)
	if !errdefs.Is(err, errdefs.ClassUnavailable) || !strings.Contains(err.Error(), "a-control-plane") {
		t.Errorf("got %v, want class unavailable and the node's name", err)
	}
}

// TestEveryFailure fails each call of a creation in turn, and each call of
// the deletion after it: a second Delete always leaves nothing. The networks of
// nodes that run are tried beside these and once more, and may be refused.
func TestEveryFailure(t *testing.T) {
	for name, running := range map[string]bool{"running": true, "stopped": false} {
		t.Run(name, func(t *testing.T) { failEach(t, running) })
	}
}

func failEach(t *testing.T, running bool) {
	broken := errors.New("engine broke")
	for n := 1; ; n++ {
		e := newFakeEngine()
		forgiven := false
		e.fail = func(call string, nth int) error {
			if nth == n {
				forgiven = running && strings.HasPrefix(call, "Network")
				return broken
			}
			return nil
		}
		p := fakeProvider(t, e)
		_, err := p.Create(t.Context(), specOf(2), progress.Discard)
		created := e.count("")
		if n <= created && !errors.Is(err, broken) {
			t.Fatalf("call %d of create: %v, want it to fail", n, err)
		}
		for _, c := range e.containers {
			c.running = c.running && running
		}
		err = p.Delete(t.Context(), "a")
		total := e.count("")
		if n > created && n <= total && !errors.Is(err, broken) && !forgiven {
			t.Errorf("call %d, of delete: %v, want it to fail", n, err)
		}
		if n > total {
			return // no call is left to fail
		}
		if err := p.Delete(t.Context(), "a"); err != nil {
			t.Errorf("call %d: last delete: %v", n, err)
		}
		if len(e.containers) > 0 || len(e.networks) > 1 {
			t.Errorf("call %d: left containers %v, networks %v", n, e.containers, e.networks)
		}
	}
}

func TestPortTaken(t *testing.T) {
	e := newFakeEngine()
	var taken []string
	e.fail = func(call string, _ int) error {
		c := e.containers["a-control-plane"]
		if call == "ContainerStart" && c != nil && !c.running && len(taken) < 2 {
			taken = append(taken, c.config.Labels[nodeimage.LabelPort])
			return errors.New("driver failed programming external connectivity: port is already allocated")
		}
		return nil
	}
	p := fakeProvider(t, e)
	p.learnMode("ENGINE:1", modePrivileged)
	nodes, err := p.Create(t.Context(), specOf(1), progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	endpoint, err := p.Endpoint(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		want := map[string]string{"petri/plan.json": n.Name + " " + endpoint}
		if diff := cmp.Diff(want, untar(t, e.containers[n.Name].files)); diff != "" {
			t.Errorf("files of %s (-want +got):\n%s", n.Name, diff)
		}
	}
	spec := specOf(0)
	spec.Cluster, spec.API.Port = "b", 6443
	spec.Nodes[0].Name = "b-control-plane"
	e.fail = func(call string, _ int) error {
		if call == "ContainerStart" {
			return errors.New("port is already allocated")
		}
		return nil
	}
	_, err = p.Create(t.Context(), spec, progress.Discard)
	if failed, ok := errors.AsType[*errdefs.Error](err); !ok || failed.ID != "PORT-TAKEN" {
		t.Errorf("a port that was asked for is taken: %v", err)
	}
}

func untar(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	files := map[string]string{}
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = string(data)
	}
}

func TestSubnetRetry(t *testing.T) {
	e := newFakeEngine()
	tries := 0
	e.fail = func(call string, _ int) error {
		if tries++; call == "NetworkCreate" && tries < 6 {
			return errors.New("Pool overlaps with other one on this address space")
		}
		return nil
	}
	p := fakeProvider(t, e)
	nodes, err := p.Create(t.Context(), specOf(0), progress.Discard)
	if err != nil || e.count("NetworkCreate") < 2 {
		t.Fatalf("%v after %d tries", err, e.count("NetworkCreate"))
	}
	made := e.networks["petri-a"]
	subnet := netip.MustParsePrefix(made.IPAM.Config[0].Subnet)
	if !subnet.Contains(nodes[0].Addr(false)) || made.Options[optionMTU] != "1450" {
		t.Errorf("node at %v in network %+v", nodes[0].Addrs, made)
	}
}

func TestBootTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newFakeEngine()
		e.console = "booting\r\n\x1b]3008;start=x\x1b\\\x1b[0;31mno cgroups\x1b[0m\r\n"
		p := fakeProvider(t, e)
		nodes, err := p.Create(t.Context(), specOf(0), progress.Discard)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		listed, err := p.Nodes(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []node.Node{nodes[0], listed[0]} {
			err := exec.Run(t.Context(), n, "true")
			failed, ok := errors.AsType[*errdefs.Error](err)
			if !ok || failed.ID != "NODE-BOOT-TIMEOUT" || failed.Class != errdefs.ClassTimeout {
				t.Fatalf("got %v, want a boot timeout", err)
			}
			if diff := cmp.Diff("booting\nno cgroups", failed.Log); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		}
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("took %v, want 30s", took)
		}
	})
}

func TestBootWaitCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newFakeEngine()
		e.console = ""
		p := fakeProvider(t, e)
		nodes, err := p.Create(t.Context(), specOf(0), progress.Discard)
		if err != nil {
			t.Fatal(err)
		}
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		if err := exec.Run(ctx, nodes[0], "true"); !errors.Is(err, why) {
			t.Errorf("got %v, want the cause", err)
		}
		// The console ends with its container, and the watch with it.
		if err := p.Delete(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		err = exec.Run(t.Context(), nodes[0], "true")
		if failed, ok := errors.AsType[*errdefs.Error](err); !ok || failed.ID != "NODE-DIED" {
			t.Errorf("after the delete: %v", err)
		}
	})
}

func TestRun(t *testing.T) {
	e := newFakeEngine()
	p := fakeProvider(t, e)
	nodes, err := p.Create(t.Context(), specOf(0), progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if err := nodes[0].Run(t.Context(), exec.Cmd{Args: []string{"x"}, Stdout: &stdout, Stderr: &stderr}); err != nil {
		t.Fatal(err)
	}
	if stdout.String() != "out" || stderr.String() != "err" {
		t.Errorf("output %q, errors %q", &stdout, &stderr)
	}
	err = exec.Run(t.Context(), nodes[0], "false")
	if failed, ok := errors.AsType[*exec.Error](err); !ok || failed.Code != 1 || string(failed.Stderr) != "err" {
		t.Errorf("got %#v, want exit code 1 with standard error", err)
	}
}

func TestNetworkInUse(t *testing.T) {
	e := newFakeEngine()
	p := fakeProvider(t, e)
	if _, err := p.Create(t.Context(), specOf(0), progress.Discard); err != nil {
		t.Fatal(err)
	}
	e.fail = func(call string, _ int) error {
		if call == "NetworkRemove" {
			return errors.New("network petri-a has active endpoints")
		}
		return nil
	}
	err := p.Delete(t.Context(), "a")
	if failed, ok := errors.AsType[*errdefs.Error](err); !ok || failed.ID != "NETWORK-IN-USE" || !strings.Contains(err.Error(), "stranger") {
		t.Errorf("got %v, want the stranger named", err)
	}
	if len(e.containers) > 0 {
		t.Error("the cluster's own containers are still there")
	}
}

func TestHintOfANodeThatDied(t *testing.T) {
	if hint := diedHint("systemd: Failed to create inotify object: Too many open files"); !strings.Contains(hint, "max_user_instances") {
		t.Errorf("without inotify instances: %s", hint)
	}
	if hint := diedHint("exec format error"); strings.Contains(hint, "inotify") {
		t.Errorf("with something else on the console: %s", hint)
	}
}

// TestDeleteWhileTheEngineMakes deletes what a killed creation left while the
// engine still makes a container for it.
func TestDeleteWhileTheEngineMakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newFakeEngine()
		p := fakeProvider(t, e)
		if _, err := p.Create(t.Context(), specOf(0), progress.Discard); err != nil {
			t.Fatal(err)
		}
		for name, c := range e.containers {
			e.making = c
			delete(e.containers, name)
		}
		if err := p.Delete(t.Context(), specOf(0).Cluster); err != nil {
			t.Error(err)
		}
		if len(e.containers) > 0 || e.making != nil || e.refused != 2 {
			t.Errorf("left %v and %v after %d attempts", e.containers, e.making, e.refused)
		}
	})
}

// TestNetworkGoesBesideFiles removes a network as soon as nobody is on it, and one
// of nodes that do not run after them: they could not be started any more if they
// stayed.
func TestNetworkGoesBesideFiles(t *testing.T) {
	for name, running := range map[string]bool{"running": true, "stopped": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newFakeEngine()
				p := fakeProvider(t, e)
				if _, err := p.Create(t.Context(), specOf(2), progress.Discard); err != nil {
					t.Fatal(err)
				}
				for _, c := range e.containers {
					c.running = running
				}
				e.unlinking = time.Second
				began := time.Now()
				var last time.Duration
				e.fail = func(call string, _ int) error {
					if call == "NetworkRemove" {
						last = time.Since(began)
					}
					return nil
				}
				if err := p.Delete(t.Context(), "a"); err != nil {
					t.Fatal(err)
				}
				if beside := last < e.unlinking; beside != running || len(e.networks) > 1 {
					t.Errorf("the network went after %s, and %v are left", last, e.networks)
				}
			})
		})
	}
}
