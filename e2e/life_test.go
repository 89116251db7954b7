//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/petri-cluster/petri/pkg/kube"
)

// A cluster is stopped, started, restarted, paused, and its nodes are killed,
// while a pod writes to a volume and a client to the API. No write that was
// acknowledged is lost, and the pod is the same all the while.
func TestStopStart(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	c := create(t, "--workers", "1")
	t.Logf("create took %s", time.Since(begin))
	w := c.startWork(t)
	kubeconfig, err := os.ReadFile(c.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}

	t.Run("Stop and start", func(t *testing.T) {
		c.timed(t, "stop", "cluster")
		if running := c.containers(t); len(running) > 0 {
			t.Errorf("%v run after the stop", running)
		}
		if r := c.petri(t.Context(), "status", "--name", c.name); r.code == 0 {
			t.Errorf("a stopped cluster is said to be usable:\n%s", r.stdout)
		}
		c.timed(t, "stop", "cluster") // it is stopped already
		c.timed(t, "start", "cluster")
		c.usable(t)
		w.check(t)
		c.timed(t, "start", "cluster") // it runs already
	})
	t.Run("Restart", func(t *testing.T) {
		c.timed(t, "restart", "cluster")
		c.usable(t)
		w.check(t)
	})
	t.Run("One node", func(t *testing.T) {
		c.timed(t, "stop", "node", c.name+"-worker")
		if running := c.containers(t); len(running) != 1 {
			t.Errorf("%v run, want the control plane", running)
		}
		c.timed(t, "start", "node", c.name+"-worker")
		c.usable(t)
		w.check(t)
	})
	t.Run("Pause", func(t *testing.T) {
		c.timed(t, "pause", "cluster")
		c.timed(t, "pause", "cluster") // it is paused already
		for node, cpu := range c.cpuPercent(t) {
			if cpu != "0.00%" {
				t.Errorf("%s takes %s of a CPU while it is paused", node, cpu)
			}
		}
		c.timed(t, "unpause", "cluster")
		c.timed(t, "unpause", "cluster") // it runs already
		c.usable(t)
		w.check(t)
	})
	t.Run("Nodes killed", func(t *testing.T) { nodesKilled(t, c, w) })
	t.Run("Another address", func(t *testing.T) { anotherAddress(t, c, w) })

	after, err := os.ReadFile(c.kubeconfig)
	if err != nil || string(after) != string(kubeconfig) {
		t.Errorf("the kubeconfig has changed (%v)", err)
	}
}

// nodesKilled ends nodes in ways that nobody was told of.
func nodesKilled(t *testing.T, c *cluster, w *work) {
	if os.Geteuid() != 0 {
		t.Skip("only root can kill processes of containers")
	}
	nodes := []string{c.name + "-worker", c.name + "-control-plane"}
	for range times {
		for _, node := range nodes {
			c.killInit(t, node)
		}
		// the engine starts them again
		c.usable(t)
		w.check(t)

		// killed by hand they stay where they are, and come in any order
		docker(t, append([]string{"kill"}, nodes...)...)
		for _, node := range nodes {
			docker(t, "start", node)
		}
		c.usable(t)
		w.check(t)
	}
}

// anotherAddress lets the control plane come back at another address, as nodes
// do on a network on which the engine chooses: what kubeadm bound to the old
// one is made anew.
func anotherAddress(t *testing.T, c *cluster, w *work) {
	node, network := c.name+"-control-plane", "petri-"+c.name
	address := func() string {
		return c.must(t, "get", "node", node, "-o", `jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`)
	}
	before := address()
	c.timed(t, "stop", "cluster")
	other := before[:strings.LastIndex(before, ".")] + ".200"
	docker(t, "network", "disconnect", network, node)
	docker(t, "network", "connect", "--ip", other, network, node)
	c.timed(t, "start", "cluster")
	c.usable(t)
	w.check(t)
	eventually(t, 30*time.Second, func() error {
		if got := address(); got != other {
			return fmt.Errorf("the node is registered at %s, was at %s, and is at %s", got, before, other)
		}
		return nil
	})
	for _, file := range []string{"manifests/etcd.yaml", "manifests/kube-apiserver.yaml", "controller-manager.conf", "scheduler.conf"} {
		if text := docker(t, "exec", node, "cat", "/etc/kubernetes/"+file); strings.Contains(text, before+":") || !strings.Contains(text, other+":") {
			t.Errorf("%s names the old address, or not the new one:\n%s", file, text)
		}
	}
}

// killInit kills a node's init process, as the kernel does that is out of
// memory.
func (c *cluster) killInit(t *testing.T, node string) {
	t.Helper()
	pid, err := strconv.Atoi(docker(t, "inspect", "--format", "{{.State.Pid}}", node))
	if err != nil || pid < 2 {
		t.Fatalf("process of node %s: %d, %v", node, pid, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// Nodes are added to a cluster, deleted and scaled while it works.
func TestNodes(t *testing.T) {
	t.Parallel()
	c := create(t, "--workers", "1")
	w := c.startWork(t)
	name := func(n string) string { return c.name + "-" + n }

	begin := time.Now()
	r := c.timed(t, "create", "node", "--count", "3", "--labels", "tier=late")
	three := time.Since(begin)
	if want := fmt.Sprintf("%s\n%s\n%s\n", name("worker2"), name("worker3"), name("worker4")); r.stdout != want {
		t.Errorf("the new nodes are %q, want %q", r.stdout, want)
	}
	if got := c.nodesWith(t, "tier=late"); len(got) != 3 {
		t.Errorf("%v have the label", got)
	}
	c.usable(t)
	if tokens := c.must(t, "-n", "kube-system", "get", "secrets", "--field-selector", "type=bootstrap.kubernetes.io/token", "-o", "name"); tokens != "" {
		t.Errorf("tokens are left: %s", tokens)
	}

	// a pod on a node that goes moves to another, and one without an owner keeps it
	if r := c.kubectl(t.Context(), t, pod("alone", name("worker3")), "apply", "-f", "-"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	c.waitReady(t, "default", "pod/alone")
	r = c.petri(t.Context(), "delete", "node", name("worker3"), "--name", c.name)
	if r.code == 0 || !strings.Contains(r.stderr, "NODE-HOLDS-DATA") || !strings.Contains(r.stderr, "default/alone") {
		t.Errorf("a node with a pod of its own was deleted: exit code %d\n%s", r.code, r.stderr)
	}
	c.timed(t, "delete", "node", name("worker3"), "--force")
	c.timed(t, "delete", "node", name("worker3")) // it is gone already
	c.wantNodes(t, "control-plane", "worker", "worker2", "worker4")
	c.usable(t)

	// the lowest free number is used again, and dead nodes go too
	begin = time.Now()
	if r := c.timed(t, "create", "node"); r.stdout != name("worker3")+"\n" {
		t.Errorf("the new node is %q", r.stdout)
	}
	t.Logf("three workers took %s, and one took %s", three, time.Since(begin))
	docker(t, "kill", name("worker2"))
	c.timed(t, "delete", "node", name("worker2"))
	c.wantNodes(t, "control-plane", "worker", "worker3", "worker4")

	// the volume is on the first worker, which is not the last
	c.timed(t, "scale", "cluster", "--workers", "1")
	c.wantNodes(t, "control-plane", "worker")
	c.timed(t, "scale", "cluster", "--workers", "2")
	c.timed(t, "scale", "cluster", "--workers", "2") // it is so already
	c.wantNodes(t, "control-plane", "worker", "worker2")
	r = c.petri(t.Context(), "scale", "cluster", "--workers", "0", "--name", c.name)
	if r.code == 0 || !strings.Contains(r.stderr, "volume of claim default/work") {
		t.Errorf("a volume was deleted with its node: exit code %d\n%s", r.code, r.stderr)
	}
	c.usable(t)
	w.check(t)
	if r := c.petri(t.Context(), "get", "config", "--name", c.name); strings.Count(r.stdout, "role: worker") != 2 {
		t.Errorf("the configuration that is kept:\n%s", r.stdout)
	}
}

// timed runs a command of petri's about the cluster, which must succeed.
func (c *cluster) timed(t *testing.T, args ...string) result {
	t.Helper()
	begin := time.Now()
	r := c.petri(t.Context(), append(args, "--name", c.name)...)
	t.Logf("petri %s took %.1fs", strings.Join(args, " "), time.Since(begin).Seconds())
	if r.code != 0 {
		t.Fatalf("petri %s: exit code %d\n%s", strings.Join(args, " "), r.code, r.stderr)
	}
	return r
}

// usable waits until petri says that the cluster can be used.
func (c *cluster) usable(t *testing.T) {
	t.Helper()
	begin := time.Now()
	eventually(t, 3*time.Minute, func() error {
		if r := c.petri(t.Context(), "status", "--name", c.name); r.code != 0 {
			return fmt.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		return nil
	})
	t.Logf("usable after %.1fs", time.Since(begin).Seconds())
}

// containers are the names of the cluster's nodes that run.
func (c *cluster) containers(t *testing.T) []string {
	t.Helper()
	return strings.Fields(docker(t, "ps", "--filter", "label=dev.petri.cluster="+c.name, "--format", "{{.Names}}"))
}

// cpuPercent is what the engine measures over a second.
func (c *cluster) cpuPercent(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	args := append([]string{"stats", "--no-stream", "--format", "{{json .}}"}, c.name+"-control-plane", c.name+"-worker")
	for line := range strings.Lines(docker(t, args...)) {
		var row struct{ Name, CPUPerc string }
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		out[row.Name] = row.CPUPerc
	}
	if len(out) != 2 {
		t.Fatalf("the engine measured %v", out)
	}
	return out
}

func (c *cluster) nodesWith(t *testing.T, label string) []string {
	t.Helper()
	return strings.Fields(c.must(t, "get", "nodes", "-l", label, "-o", "jsonpath={.items[*].metadata.name}"))
}

// wantNodes holds the engine, the API and the volumes against names.
func (c *cluster) wantNodes(t *testing.T, suffixes ...string) {
	t.Helper()
	var want []string
	for _, s := range suffixes {
		want = append(want, c.name+"-"+s)
	}
	text := strings.Join(want, " ")
	if got := strings.Join(c.nodesWith(t, ""), " "); got != text {
		t.Errorf("the API knows %s, want %s", got, text)
	}
	r := c.petri(t.Context(), "get", "nodes", "--name", c.name, "-o", "name")
	if got := strings.Join(strings.Fields(r.stdout), " "); got != text {
		t.Errorf("the engine has %s, want %s", got, text)
	}
	volumes := strings.Fields(docker(t, "volume", "ls", "--quiet", "--filter", "label=dev.petri.cluster="+c.name))
	if len(volumes) != len(want) {
		t.Errorf("there are %d volumes of %d nodes", len(volumes), len(want))
	}
}

// worker counts in a file of a volume, one line a number, each synced.
const worker = `apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: work}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 10Mi}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: work}
spec:
  serviceName: work
  selector: {matchLabels: {app: work}}
  template:
    metadata: {labels: {app: work}}
    spec:
      containers:
      - name: work
        image: ` + shell + `
        command:
        - /usr/bin/busybox
        - sh
        - -c
        - |
          trap 'exit 0' TERM
          n=$(busybox tail -n 1 /data/log 2>/dev/null || echo 0)
          while true; do
            n=$((n + 1))
            echo $n >> /data/log
            busybox fsync /data/log
            busybox sleep 0.2
          done
        volumeMounts: [{name: data, mountPath: /data}]
      volumes:
      - name: data
        persistentVolumeClaim: {claimName: work}
`

// work is what goes on in a cluster while things are done to it: a pod counts
// in a volume, and this process in a ConfigMap.
type work struct {
	*cluster
	t      *testing.T // the test that it goes on in, of which others are parts
	uid    string     // of the pod
	volume int        // the last number that was read from it
	client *kube.Client
	stop   func() int // ends the counting in the API; the last acknowledged number
}

func (c *cluster) startWork(t *testing.T) *work {
	t.Helper()
	c.apply(t, worker)
	c.must(t, "rollout", "status", "statefulset/work", "--timeout=90s")
	w := &work{cluster: c, t: t, uid: c.podUID(t)}
	kubeconfig, err := os.ReadFile(c.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if w.client, err = kube.Connect(kubeconfig, ""); err != nil {
		t.Fatal(err)
	}
	w.count(0)
	t.Cleanup(func() { w.stop() })
	return w
}

func (c *cluster) podUID(t *testing.T) string {
	t.Helper()
	return c.must(t, "get", "pod", "work-0", "-o", "jsonpath={.metadata.uid}")
}

// count writes ever larger numbers to a ConfigMap until stop is called. While
// there is no API none is acknowledged.
func (w *work) count(from int) {
	ctx, cancel := context.WithCancel(w.t.Context())
	acknowledged := make(chan int, 1)
	go func() {
		n := from
		for ctx.Err() == nil {
			// an attempt that is given up may have been carried out: the next has
			// another number, so that what is read at last tells
			attempt, done := context.WithTimeout(ctx, 2*time.Second)
			err := w.client.Apply(attempt, fmt.Appendf(nil, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: work}\ndata: {count: '%d'}\n", n+1))
			done()
			if err == nil {
				n++
			}
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		}
		acknowledged <- n
	}()
	last := -1
	w.stop = func() int {
		cancel()
		if last < 0 {
			last = <-acknowledged
		}
		return last
	}
}

// check wants both counters to go on from where they were, and nothing of
// either to be missing.
func (w *work) check(t *testing.T) {
	t.Helper()
	if uid := w.podUID(t); uid != w.uid {
		t.Errorf("the pod is another one: %s was %s", uid, w.uid)
	}
	last := w.stop()
	kept, err := strconv.Atoi(w.must(t, "get", "configmap", "work", "-o", "jsonpath={.data.count}"))
	if err != nil || kept < last || kept > last+1 {
		t.Errorf("the API holds %d (%v), and %d was acknowledged last", kept, err, last)
	}
	var n int
	eventually(t, time.Minute, func() error {
		r := w.kubectl(t.Context(), t, "", "exec", "work-0", "--", "busybox", "cat", "/data/log")
		lines := strings.Fields(r.stdout)
		for i, line := range lines {
			if line != strconv.Itoa(i+1) {
				return fmt.Errorf("line %d of the volume is %s", i+1, line)
			}
		}
		if n = len(lines); r.code != 0 || n <= w.volume {
			return fmt.Errorf("the volume holds %d numbers, and held %d before %s", n, w.volume, r.stderr)
		}
		return nil
	})
	t.Logf("the API was written %d times, the volume %d times", last, n)
	w.volume = n
	w.count(kept)
}
