//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/knftables"
)

// fakeKernel is a network stack in memory.
type fakeKernel struct {
	mtu int

	mu     sync.Mutex
	routes []route
	fail   error // of Replace
}

func (k *fakeKernel) MTU() (int, error) { return k.mtu, nil }

func (k *fakeKernel) Routes() ([]route, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.routes), nil
}

func (k *fakeKernel) Replace(r route) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	k.routes = slices.DeleteFunc(k.routes, func(o route) bool { return o.to == r.to })
	k.routes = append(k.routes, r)
	slices.SortFunc(k.routes, func(a, b route) int { return cmp.Or(a.to.Compare(b.to), a.via.Compare(b.via)) })
	return nil
}

func (k *fakeKernel) Delete(r route) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.routes = slices.DeleteFunc(k.routes, func(o route) bool { return o == r })
	return nil
}

// set replaces the routes and the error of Replace behind the agent's back.
func (k *fakeKernel) set(routes []route, fail error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.routes, k.fail = routes, fail
}

func (k *fakeKernel) texts() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []string
	for _, r := range k.routes {
		out = append(out, r.to.String()+" via "+r.via.String())
	}
	return out
}

func node(name, addr string, pods ...string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.NodeSpec{PodCIDRs: pods},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeHostName, Address: name},
			{Type: corev1.NodeInternalIP, Address: addr},
		}},
	}
}

func subnet(text string) netip.Prefix { return netip.MustParsePrefix(text) }

func newAgent(t *testing.T, k *fakeKernel) *agent {
	return &agent{
		settings: settings{node: "a", pods: []netip.Prefix{subnet("10.244.0.0/16")}},
		members:  newMembers(),
		kernel:   k,
		nft:      knftables.NewFake(knftables.InetFamily, masqTable),
		guard:    func(context.Context) error { return nil },
		conflist: filepath.Join(t.TempDir(), "10-petri.conflist"),
		log:      slog.New(slog.DiscardHandler),
	}
}

// start runs a in the current synctest bubble and stops it with the test.
func start(t *testing.T, a *agent) {
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); a.run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	synctest.Wait()
}

func TestAgentFollowsNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leftover := route{subnet("10.244.9.0/24"), netip.MustParseAddr("172.18.0.9")}
		k := &fakeKernel{mtu: 1450, routes: []route{leftover}}
		a := newAgent(t, k)
		start(t, a)
		if len(k.texts()) != 1 {
			t.Fatal("routes were touched before the nodes were known")
		}
		step := func(name string, change error, want ...string) {
			t.Helper()
			if change != nil {
				t.Fatal(change)
			}
			synctest.Wait()
			if diff := gocmp.Diff(want, k.texts()); diff != "" {
				t.Errorf("%s: routes (-want +got):\n%s", name, diff)
			}
		}
		step("own node without a range", a.members.Replace([]any{node("a", "172.18.0.2")}, ""))
		if _, err := os.Stat(a.conflist); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a configuration without a range of pods: %v", err)
		}
		step("own range", a.members.Update(node("a", "172.18.0.2", "10.244.0.0/24")))
		if _, err := os.Stat(a.conflist); err != nil {
			t.Errorf("no configuration: %v", err)
		}
		step("another", a.members.Add(node("b", "172.18.0.3", "10.244.1.0/24")), "10.244.1.0/24 via 172.18.0.3")
		step("new address", a.members.Update(node("b", "172.18.0.7", "10.244.1.0/24")), "10.244.1.0/24 via 172.18.0.7")
		step("gone", a.members.Delete(node("b", "172.18.0.7", "10.244.1.0/24")))
	})
}

func TestAgentTriesAgainAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &fakeKernel{fail: errors.New("network is unreachable")}
		a := newAgent(t, k)
		start(t, a)
		a.members.Replace([]any{node("a", "172.18.0.2", "10.244.0.0/24"), node("b", "172.18.0.3", "10.244.1.0/24")}, "")
		synctest.Wait()
		if _, err := os.Stat(a.conflist); err != nil {
			t.Errorf("a failed route kept the configuration from being written: %v", err)
		}
		k.set(nil, nil)
		time.Sleep(retry)
		synctest.Wait()
		if len(k.texts()) != 1 {
			t.Errorf("routes after a second try: %v", k.texts())
		}
	})
}

func TestAgentPutsThingsRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var guarded atomic.Int32
		k := &fakeKernel{}
		a := newAgent(t, k)
		a.guard = func(context.Context) error { guarded.Add(1); return nil }
		start(t, a)
		if guarded.Load() != 1 {
			t.Errorf("guarded %d times at the start, want 1", guarded.Load())
		}
		a.members.Replace([]any{node("a", "172.18.0.2", "10.244.0.0/24"), node("b", "172.18.0.3", "10.244.1.0/24")}, "")
		synctest.Wait()
		k.set(nil, nil)
		if err := os.Remove(a.conflist); err != nil {
			t.Fatal(err)
		}
		time.Sleep(resync)
		synctest.Wait()
		if len(k.texts()) != 1 || guarded.Load() != 2 {
			t.Errorf("after %v: routes %v, guarded %d times", resync, k.texts(), guarded.Load())
		}
		if _, err := os.Stat(a.conflist); err != nil {
			t.Errorf("configuration is not back: %v", err)
		}
	})
}

func TestAgentSaysThatItWaitsForTheAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		a := newAgent(t, &fakeKernel{})
		a.log = slog.New(slog.NewTextHandler(&log, nil))
		ctx, stop := context.WithTimeout(t.Context(), patience+time.Second)
		defer stop()
		a.run(ctx)
		if got := strings.Count(log.String(), "has not listed the nodes"); got != 1 {
			t.Errorf("said %d times, want once in %v:\n%s", got, patience, &log)
		}
	})
}

func TestMembersSignalOnlyWhatMatters(t *testing.T) {
	s := newMembers()
	signalled := func() bool {
		select {
		case <-s.changed:
			return true
		default:
			return false
		}
	}
	n := node("a", "172.18.0.2", "10.244.0.0/24")
	s.Replace([]any{n}, "")
	if !signalled() {
		t.Error("the first list was not signalled")
	}
	heartbeat := n.DeepCopy()
	heartbeat.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady}}
	s.Update(heartbeat)
	s.Replace([]any{heartbeat}, "")
	if signalled() {
		t.Error("a heartbeat was signalled")
	}
	s.Update(node("a", "172.18.0.5", "10.244.0.0/24"))
	if !signalled() {
		t.Error("a new address was not signalled")
	}
	if err := s.Update("text"); err == nil {
		t.Error("a stranger was taken for a node")
	}
}
