//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"

	library "github.com/petri-cluster/petri/pkg/cluster"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider/all"
)

// A cluster of three control planes loses any one of them, or its load
// balancer, and no write that was acknowledged. One cluster goes through all of
// it, with a client that never stops writing. No other test makes clusters
// beside it: a node has about twenty inotify instances, of which a kernel allows
// 128 by default, and one that starts again must find some.
func TestHighAvailability(t *testing.T) {
	c := create(t, "--control-planes", "3", "--workers", "1")
	h := &highlyAvailable{cluster: c, writer: startWriter(t, c)}
	t.Run("all are there", h.allAreThere)
	t.Run("members catch up", h.membersCatchUp)
	t.Run("timers", func(t *testing.T) { checkTimers(t, h.controlPlanes()[0], "20000000") })
	t.Run("etcd trusts members only", h.etcdTrustsMembersOnly)
	t.Run("kind knows it", h.kindKnowsIt)
	t.Run("balancers are told", h.balancersAreTold)
	t.Run("a control plane dies", func(t *testing.T) { h.controlPlaneDies(t, c.name+"-control-plane2") })
	t.Run("the first control plane dies", func(t *testing.T) { h.controlPlaneDies(t, c.name+"-control-plane") })
	t.Run("the load balancer restarts", h.loadBalancerRestarts)
	t.Run("without a load balancer", h.withoutLoadBalancer)
	t.Run("all of it stops and starts", h.stopsAndStarts)
	h.writer.check(t)
}

// membersCatchUp wants that each member of etcd but the first had the others' data when
// the kubelet started it, was known at once, and left nothing behind.
func (h *highlyAvailable) membersCatchUp(t *testing.T) {
	for _, node := range h.controlPlanes()[1:] {
		log := docker(t, "exec", node, "sh", "-c", "cat /var/log/pods/kube-system_etcd-*/etcd/0.log")
		if !strings.Contains(log, "server has already been initialized") {
			t.Errorf("etcd on %s was started with nothing", node)
		}
		if strings.Contains(log, "failed to publish local member") {
			t.Errorf("etcd on %s had to make itself known again", node)
		}
		if left := docker(t, "exec", node, "ctr", "--namespace=k8s.io", "containers", "ls"); strings.Contains(left, "petri-etcd") {
			t.Errorf("on %s there are the containers\n%s", node, left)
		}
	}
}

// stopsAndStarts stops the cluster, with its load balancer, and finds it as it
// was when it is started again.
func (h *highlyAvailable) stopsAndStarts(t *testing.T) {
	h.must(t, "create", "configmap", "kept", "--from-literal=key=value")
	if r := h.petri(t.Context(), "stop", "cluster", "--name", h.name); r.code != 0 {
		t.Fatalf("stop: exit code %d\n%s", r.code, r.stderr)
	}
	if out := docker(t, "ps", "--quiet", "--filter", "label=dev.petri.cluster="+h.name); out != "" {
		t.Errorf("after the stop there run %s", out)
	}
	start := time.Now()
	if r := h.petri(t.Context(), "start", "cluster", "--name", h.name, "--wait", "4m"); r.code != 0 {
		t.Fatalf("start: exit code %d\n%s", r.code, r.stderr)
	}
	t.Logf("started after %s", time.Since(start).Round(100*time.Millisecond))
	if got := h.must(t, "get", "configmap", "kept", "-o", "jsonpath={.data.key}"); got != "value" {
		t.Errorf("after the start the ConfigMap has %q", got)
	}
	h.membersAre(t, 3)
}

type highlyAvailable struct {
	*cluster
	writer *writer
	asked  string // the node that is asked about others; empty: the last control plane
}

func (h *highlyAvailable) loadBalancer() string { return h.name + "-external-load-balancer" }

func (h *highlyAvailable) controlPlanes() []string {
	return []string{h.name + "-control-plane", h.name + "-control-plane2", h.name + "-control-plane3"}
}

func (h *highlyAvailable) allAreThere(t *testing.T) {
	r := h.petri(t.Context(), "status", "--name", h.name)
	if r.code != 0 {
		t.Errorf("status: %s", r.stderr)
	}
	for _, node := range append(h.controlPlanes(), h.name+"-worker", h.loadBalancer()) {
		if !strings.Contains(r.stdout, node+" ") {
			t.Errorf("%s is not in\n%s", node, r.stdout)
		}
	}
	h.membersAre(t, 3)
}

// membersAre waits until etcd has a number of members, all of which vote and
// answer.
func (h *highlyAvailable) membersAre(t *testing.T, want int) {
	t.Helper()
	eventually(t, 2*time.Minute, func() error {
		r := h.etcdctl(t, "--cert=/etc/kubernetes/pki/etcd/server.crt", "--key=/etc/kubernetes/pki/etcd/server.key", "endpoint", "health", "--cluster")
		// it says so on either stream
		if n := strings.Count(r.stdout+r.stderr, " is healthy"); r.code != 0 || n != want {
			return fmt.Errorf("%d members are healthy:\n%s%s", n, r.stdout, r.stderr)
		}
		return nil
	})
}

// inner is the node in which others are asked about, which no test stops.
func (h *highlyAvailable) inner() string {
	if h.asked != "" {
		return h.asked
	}
	return h.controlPlanes()[2]
}

// etcdctl asks a member of etcd. Which loopback address one has depends on the
// cluster's family.
func (h *highlyAvailable) etcdctl(t *testing.T, args ...string) result {
	const address = "https://localhost:2379"
	command := []string{"docker", "exec", h.inner(), "etcdctl", "--endpoints=" + address, "--cacert=/etc/kubernetes/pki/etcd/ca.crt"}
	return run(t.Context(), "", "", append(command, args...)...)
}

func (h *highlyAvailable) etcdTrustsMembersOnly(t *testing.T) {
	if r := h.etcdctl(t, "member", "list"); r.code == 0 {
		t.Errorf("etcd tells anybody who is in it:\n%s", r.stdout)
	}
	r := h.etcdctl(t, "--cert=/etc/kubernetes/pki/etcd/server.crt", "--key=/etc/kubernetes/pki/etcd/server.key", "member", "list")
	if r.code != 0 || strings.Count(r.stdout, "started") != 3 || strings.Count(r.stdout, ", false") != 3 {
		t.Errorf("members are\n%s%s", r.stdout, r.stderr)
	}
}

// kindKnowsIt asks kind's own binary. What it runs in nodes it runs with all
// privileges, which not every engine allows.
func (h *highlyAvailable) kindKnowsIt(t *testing.T) {
	r := run(t.Context(), h.kubeconfig, "", installKind(t), "get", "nodes", "--name", h.name)
	for _, node := range append(h.controlPlanes(), h.name+"-worker") {
		if !slices.Contains(strings.Fields(r.stdout), node) {
			t.Errorf("kind does not list %s:\n%s%s", node, r.stdout, r.stderr)
		}
	}
}

// balancersAreTold takes a control plane out of all balancers and puts it back:
// no request fails, and a restart forgets nothing.
func (h *highlyAvailable) balancersAreTold(t *testing.T) {
	p, err := all.Detect(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	manager := library.New(p, progress.Discard)
	servers := func(node string) int {
		return strings.Count(docker(t, "exec", node, "cat", "/var/lib/petri/haproxy.cfg"), "\n    server ")
	}
	programs := func() string { return docker(t, "top", h.loadBalancer(), "-o", "pid,cmd") }
	failures, before := h.writer.failed(), programs()
	if err := manager.Balance(t.Context(), h.name, h.controlPlanes()[1]); err != nil {
		t.Fatal(err)
	}
	for _, node := range append(h.controlPlanes(), h.name+"-worker", h.loadBalancer()) {
		if n := servers(node); n != 2 {
			t.Errorf("%s leads to %d control planes", node, n)
		}
	}
	eventually(t, 10*time.Second, func() error {
		if now := programs(); now == before {
			return fmt.Errorf("the load balancer runs what it ran before:\n%s", now)
		}
		return nil
	})
	h.writer.writes(t, 20)
	if now := h.writer.failed(); len(now) > len(failures) {
		t.Errorf("while balancers were told: %q", now[len(failures):])
	}
	docker(t, "restart", h.loadBalancer())
	if n := servers(h.loadBalancer()); n != 2 {
		t.Errorf("after a restart the load balancer leads to %d control planes", n)
	}
	if err := manager.Balance(t.Context(), h.name); err != nil {
		t.Fatal(err)
	}
	if n := servers(h.loadBalancer()); n != 3 {
		t.Errorf("the load balancer leads to %d control planes", n)
	}
	h.writer.writes(t, 20)
}

// controlPlaneDies kills a control plane with all that it holds open, and
// starts it again.
func (h *highlyAvailable) controlPlaneDies(t *testing.T, node string) {
	h.writer.survives(t, "the death of "+node, func() { docker(t, "kill", node) })
	h.writer.survives(t, "the return of "+node, func() {
		docker(t, "start", node)
		h.membersAre(t, 3)
	})
	h.nodesAreReady(t, append(h.controlPlanes(), h.name+"-worker")...)
}

func (h *highlyAvailable) nodesAreReady(t *testing.T, nodes ...string) {
	t.Helper()
	args := []string{"wait", "--for=condition=Ready", "--timeout=3m"}
	for _, n := range nodes {
		args = append(args, "node/"+n)
	}
	h.must(t, args...)
}

func (h *highlyAvailable) loadBalancerRestarts(t *testing.T) {
	h.writer.survives(t, "a restart of the load balancer", func() { docker(t, "restart", h.loadBalancer()) })
}

// withoutLoadBalancer kills the load balancer, and a control plane on top:
// kubelets go on to renew their leases.
func (h *highlyAvailable) withoutLoadBalancer(t *testing.T) {
	docker(t, "kill", h.loadBalancer())
	nodes := append(h.controlPlanes(), h.name+"-worker")
	h.leasesAreRenewed(t, nodes...)
	docker(t, "kill", h.controlPlanes()[0])
	h.leasesAreRenewed(t, nodes[1:]...)
	ready := h.inside(t, "get", "node", h.name+"-worker", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
	if ready != "True" {
		t.Errorf("the worker is Ready: %s", ready)
	}
	h.writer.survives(t, "the return of the load balancer", func() {
		docker(t, "start", h.loadBalancer(), h.controlPlanes()[0])
		h.membersAre(t, 3)
	})
	h.nodesAreReady(t, nodes...)
}

// leasesAreRenewed waits until each kubelet has renewed its lease twice.
func (h *highlyAvailable) leasesAreRenewed(t *testing.T, nodes ...string) {
	t.Helper()
	for range 2 {
		before := map[string]string{}
		for _, n := range nodes {
			before[n] = h.lease(t, n)
		}
		for _, n := range nodes {
			eventually(t, 40*time.Second, func() error {
				if h.lease(t, n) == before[n] {
					return fmt.Errorf("the kubelet of %s has not renewed its lease since %s", n, before[n])
				}
				return nil
			})
		}
	}
}

func (h *highlyAvailable) lease(t *testing.T, node string) string {
	t.Helper()
	return h.inside(t, "-n", "kube-node-lease", "get", "lease", node, "-o", "jsonpath={.spec.renewTime}")
}

// inside runs kubectl in a control plane, which asks its own balancer.
func (h *highlyAvailable) inside(t *testing.T, args ...string) string {
	t.Helper()
	var out string
	command := append([]string{"docker", "exec", h.inner(), "kubectl", "--request-timeout=5s"}, args...)
	eventually(t, time.Minute, func() error {
		r := run(t.Context(), "", "", command...)
		if out = strings.TrimSpace(r.stdout); r.code != 0 || out == "" {
			return fmt.Errorf("kubectl %v: %s", args, r.stderr)
		}
		return nil
	})
	return out
}

// writer counts in a ConfigMap, through the port that the API has on the host.
type writer struct {
	maps typedv1.ConfigMapInterface

	mu    sync.Mutex
	acks  []time.Time // of each write that was acknowledged
	last  int         // the number that was acknowledged last
	lost  []string
	errs  []string
	ended chan struct{}
}

func startWriter(t *testing.T, c *cluster) *writer {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.Timeout = 3 * time.Second
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{maps: client.CoreV1().ConfigMaps("default"), ended: make(chan struct{})}
	_, err = w.maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "counter"}, Data: map[string]string{"n": "0"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	go w.run(ctx)
	t.Cleanup(func() {
		stop()
		<-w.ended
	})
	return w
}

func (w *writer) run(ctx context.Context) {
	defer close(w.ended)
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		if err := w.write(ctx); err != nil && ctx.Err() == nil {
			w.mu.Lock()
			w.errs = append(w.errs, time.Now().Format(time.TimeOnly)+" "+err.Error())
			w.mu.Unlock()
		}
	}
}

// write reads the number and writes the next. The version that was read must
// still be there, so that a write which was given up, and comes late, cannot
// undo another.
func (w *writer) write(ctx context.Context) error {
	counter, err := w.maps.Get(ctx, "counter", metav1.GetOptions{})
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(counter.Data["n"])
	if err != nil {
		return err
	}
	w.mu.Lock()
	if n < w.last {
		w.lost = append(w.lost, fmt.Sprintf("%d was acknowledged, and %d is there", w.last, n))
	}
	w.mu.Unlock()
	counter.Data["n"] = strconv.Itoa(n + 1)
	if _, err := w.maps.Update(ctx, counter, metav1.UpdateOptions{}); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = n + 1
	w.acks = append(w.acks, time.Now())
	return nil
}

func (w *writer) acknowledged() []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.acks)
}

func (w *writer) failed() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.errs)
}

// writes waits until a number of further writes were acknowledged.
func (w *writer) writes(t *testing.T, count int) {
	t.Helper()
	before := len(w.acknowledged())
	eventually(t, time.Minute, func() error {
		if n := len(w.acknowledged()) - before; n < count {
			return fmt.Errorf("%d writes were acknowledged; %q", n, lastOf(w.failed()))
		}
		return nil
	})
}

// observed is how long writes are watched after a fault: some have late
// consequences, such as a balancer's checks.
const observed = 12 * time.Second

// survives does harm, and measures the longest time without an acknowledged
// write from then on.
func (w *writer) survives(t *testing.T, what string, harm func()) {
	t.Helper()
	before, failures := len(w.acknowledged()), len(w.failed())
	began := time.Now()
	harm()
	eventually(t, time.Since(began)+observed+time.Minute, func() error {
		acks := w.acknowledged()
		if len(acks) == before || acks[len(acks)-1].Before(began.Add(observed)) {
			return fmt.Errorf("%s: writes do not go on; %q", what, lastOf(w.failed()))
		}
		return nil
	})
	pause, last := time.Duration(0), began
	for _, at := range w.acknowledged()[before:] {
		pause, last = max(pause, at.Sub(last)), at
	}
	t.Logf("%s: the longest time without a write was %s, and %d writes failed", what, pause.Round(time.Millisecond), len(w.failed())-failures)
	if pause > longestPause {
		t.Errorf("%s: no write for %s; %q", what, pause, w.failed()[failures:])
	}
}

// check wants every acknowledged write to be there.
func (w *writer) check(t *testing.T) {
	t.Helper()
	w.writes(t, 1) // which reads what is there first
	w.mu.Lock()
	defer w.mu.Unlock()
	t.Logf("%d writes were acknowledged, %d failed", len(w.acks), len(w.errs))
	for _, lost := range w.lost {
		t.Error(lost)
	}
}

func lastOf(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1]
}
