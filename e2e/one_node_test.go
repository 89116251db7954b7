//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A cluster of one node is usable when create returns, says so, refuses to be
// made twice, and is cheap on disk.
func TestOneNode(t *testing.T) {
	t.Parallel()
	timeline := filepath.Join(t.TempDir(), "timeline.svg")
	c := create(t, "--timeline", timeline)

	ready := c.must(t, "get", "nodes", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`)
	if ready != "True" {
		t.Errorf("node conditions are %q when create has returned", ready)
	}
	available := c.must(t, "-n", "kube-system", "get", "deployment", "coredns", "-o", "jsonpath={.status.availableReplicas}/{.spec.replicas}")
	if available != "1/1" {
		t.Errorf("CoreDNS replicas are %s, want 1/1", available)
	}
	// as with kubeadm, the control plane is to be seen in the API
	pods := c.must(t, "-n", "kube-system", "get", "pods", "-o", "name")
	for _, component := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		if !strings.Contains(pods, "pod/"+component+"-"+c.name+"-control-plane") {
			t.Errorf("there is no pod of %s when create has returned:\n%s", component, pods)
		}
	}
	c.must(t, "get", "serviceaccount", "default")
	if class := c.must(t, "get", "storageclass", "-o", "name"); class == "" {
		t.Error("there is no StorageClass")
	}
	if svg, err := os.ReadFile(timeline); err != nil || !strings.Contains(string(svg), "<svg") {
		t.Errorf("the timeline is no picture: %v", err)
	}
	t.Run("status", func(t *testing.T) { checkStatus(t, c) })
	t.Run("security", func(t *testing.T) { checkTokens(t, c) })
	t.Run("roles", func(t *testing.T) { checkDefaultRoles(t, c) })
	t.Run("dns", func(t *testing.T) { checkFirstDNS(t, c) })
	t.Run("timers", func(t *testing.T) { checkTimers(t, c.name+"-control-plane", "100000000") })
	t.Run("disk", func(t *testing.T) { checkDisk(t, c) })
	t.Run("twice", func(t *testing.T) {
		r := c.petri(t.Context(), withImage([]string{"create", "cluster", "--name", c.name})...)
		if r.code != 3 || !strings.Contains(r.stderr, "CLUSTER-EXISTS") {
			t.Errorf("exit code %d, want 3\n%s", r.code, r.stderr)
		}
		c.must(t, "get", "nodes") // it was left alone
	})
	t.Run("config", func(t *testing.T) {
		r := c.petri(t.Context(), "get", "config", "--name", c.name)
		if r.code != 0 || !strings.Contains(r.stdout, "podSubnet: 10.244.0.0/16") {
			t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
		}
	})
	t.Run("logs", func(t *testing.T) { checkLogs(t, c) })
}

// checkDefaultRoles wants that the API server, which compares the default roles with
// its own when it starts, had to change none that were made before it came to that.
func checkDefaultRoles(t *testing.T, c *cluster) {
	var list struct {
		Items []struct {
			Kind     string
			Metadata struct {
				Name          string
				ManagedFields []struct{ Manager string }
			}
		}
	}
	raw := c.must(t, "get", "clusterroles,clusterrolebindings,roles,rolebindings", "-A", "-l", "kubernetes.io/bootstrapping=rbac-defaults", "-o", "json", "--show-managed-fields")
	if err := json.Unmarshal([]byte(raw), &list); err != nil {
		t.Fatal(err)
	}
	before := 0
	for _, o := range list.Items {
		managers := map[string]bool{}
		for _, f := range o.Metadata.ManagedFields {
			managers[f.Manager] = true
		}
		if !managers["petri-node"] {
			continue
		}
		before++
		if managers["kube-apiserver"] {
			t.Errorf("the API server has changed %s %s, which is the image's", o.Kind, o.Metadata.Name)
		}
	}
	t.Logf("%d of %d default roles and bindings were made before the API server made them", before, len(list.Items))
	// how many is a question of who was faster
	if before == 0 && image() == "" {
		t.Error("the API server has made all default roles by itself")
	}
}

// checkFirstDNS wants that CoreDNS's first pods, which were there before the
// controllers, are its Deployment's own like any others.
func checkFirstDNS(t *testing.T, c *cluster) {
	type owned struct {
		Metadata struct {
			Name, UID       string
			Annotations     map[string]string
			OwnerReferences []struct{ UID string }
			ManagedFields   []struct{ Manager string }
		}
		Spec struct {
			Replicas int
		}
		Status struct {
			ContainerStatuses []struct{ RestartCount int }
		}
	}
	list := func(kind string) []owned {
		t.Helper()
		var l struct{ Items []owned }
		raw := c.must(t, "-n", "kube-system", "get", kind, "-l", "k8s-app=kube-dns", "-o", "json", "--show-managed-fields")
		if err := json.Unmarshal([]byte(raw), &l); err != nil {
			t.Fatal(err)
		}
		return l.Items
	}
	deployments, sets, pods := list("deployments"), list("replicasets"), list("pods")
	if len(deployments) != 1 || len(sets) != 1 || len(pods) != deployments[0].Spec.Replicas || sets[0].Metadata.Annotations["deployment.kubernetes.io/revision"] != "1" {
		t.Fatalf("CoreDNS has the Deployments %+v, ReplicaSets %+v, pods %+v", deployments, sets, pods)
	}
	for _, pod := range pods {
		if len(pod.Metadata.OwnerReferences) != 1 || len(pod.Status.ContainerStatuses) != 1 || len(pod.Metadata.ManagedFields) == 0 {
			t.Fatalf("pod %+v", pod)
		}
		if pod.Metadata.OwnerReferences[0].UID != sets[0].Metadata.UID || pod.Status.ContainerStatuses[0].RestartCount > 0 {
			t.Errorf("pod %+v of %+v", pod, sets[0])
		}
		if image() == "" && pod.Metadata.ManagedFields[0].Manager != "petri-node" {
			t.Errorf("the controllers have made %s", pod.Metadata.Name)
		}
	}
	c.must(t, "-n", "kube-system", "rollout", "restart", "deployment/coredns")
	c.must(t, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=90s")
	for _, set := range list("replicasets") {
		if old := set.Metadata.UID == sets[0].Metadata.UID; old != (set.Spec.Replicas == 0) {
			t.Errorf("after a rollout: %+v", set)
		}
	}
}

// checkTimers wants that a node that has settled has programs whose timers may be late,
// etcd's by so many nanoseconds.
func checkTimers(t *testing.T, node, etcd string) {
	t.Helper()
	docker(t, "exec", node, "systemctl", "start", "petri-settle.service")
	got := map[string]string{}
	for line := range strings.Lines(docker(t, "exec", node, "sh", "-c",
		`for p in /proc/[0-9]*; do echo "$(cat $p/comm) $(cat $p/timerslack_ns)"; done 2>/dev/null`)) {
		name, late, _ := strings.Cut(strings.TrimSpace(line), " ")
		got[name] = late
	}
	for name, want := range map[string]string{
		"etcd": etcd, "kube-apiserver": "100000000", "kube-controller": "100000000", "kube-scheduler": "100000000",
		"kubelet": "20000000", "containerd": "50000", "coredns": "50000", // what the kernel gives
	} {
		if got[name] != want {
			t.Errorf("timers of %s on %s may be %s ns late, not %s", name, node, got[name], want)
		}
	}
}

func checkStatus(t *testing.T, c *cluster) {
	r := c.petri(t.Context(), "status", "--name", c.name, "-o", "json")
	if r.code != 0 {
		t.Fatalf("exit code %d\n%s", r.code, r.stderr)
	}
	var s struct {
		Usable bool
		Nodes  []struct {
			Ready      bool
			Privileges string
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		t.Fatal(err)
	}
	if !s.Usable || len(s.Nodes) != 1 || !s.Nodes[0].Ready {
		t.Errorf("status is %+v", s)
	}
	if p := s.Nodes[0].Privileges; p != "privileged" && p != "capabilities" {
		t.Errorf("status does not say how nodes may run: %q", p)
	}
}

// checkTokens looks for bootstrap tokens that were left behind, and for the
// kinds of key and access that are promised.
func checkTokens(t *testing.T, c *cluster) {
	secrets := c.must(t, "-n", "kube-system", "get", "secrets", "--field-selector", "type=bootstrap.kubernetes.io/token", "-o", "name")
	if secrets != "" {
		t.Errorf("bootstrap tokens are left: %s", secrets)
	}
	node := c.name + "-control-plane"
	if key := docker(t, "exec", node, "head", "-1", "/etc/kubernetes/pki/ca.key"); !strings.Contains(key, "EC PRIVATE KEY") {
		t.Errorf("the CA's key is %q, want an ECDSA key", key)
	}
	published := docker(t, "port", node, "6443/tcp")
	if !strings.HasPrefix(published, "127.0.0.1:") {
		t.Errorf("the API is published on %s", published)
	}
}

// checkDisk holds a control plane to 30 MB of its own beside etcd's data, whose
// log alone is 64 MB from the start (etcd allocates it whole).
func checkDisk(t *testing.T, c *cluster) {
	node := c.name + "-control-plane"
	etcd := diskUsage(t, node, "/var/lib/etcd")
	all := diskUsage(t, node, "/var") + writableLayer(t, node)
	t.Logf("a new control plane takes %.1f MB of disk, and etcd's data %.1f MB", float64(all-etcd)/1e3, float64(etcd)/1e3)
	if all-etcd > 30_000 {
		t.Errorf("a new control plane takes %d KB of disk beside etcd, 30000 are the most", all-etcd)
	}
}

// diskUsage is what a directory of a node takes, in KB. The preloaded images
// are links out of it and do not count: they are in the image, once.
func diskUsage(t *testing.T, node, dir string) int {
	t.Helper()
	kb, err := strconv.Atoi(strings.Fields(docker(t, "exec", node, "du", "-skx", dir))[0])
	if err != nil {
		t.Fatal(err)
	}
	return kb
}

// writableLayer is what a node wrote outside of its volumes, in KB.
func writableLayer(t *testing.T, node string) int {
	t.Helper()
	bytes, err := strconv.Atoi(docker(t, "inspect", "--size", "-f", "{{.SizeRw}}", node))
	if err != nil {
		t.Fatal(err)
	}
	return bytes / 1000
}

func checkLogs(t *testing.T, c *cluster) {
	dir := filepath.Join(t.TempDir(), "logs")
	r := c.petri(t.Context(), "export", "logs", dir, "--name", c.name)
	if r.code != 0 || strings.TrimSpace(r.stdout) != dir {
		t.Fatalf("exit code %d, printed %q\n%s", r.code, r.stdout, r.stderr)
	}
	node := filepath.Join(dir, c.name+"-control-plane")
	for _, file := range []string{"kubelet.log", "containerd.log", "journal.log", "serial.log", "images.log", "inspect.json", "kubernetes-version.txt"} {
		if info, err := os.Stat(filepath.Join(node, file)); err != nil || info.Size() == 0 {
			t.Errorf("%s is missing or empty: %v", file, err)
		}
	}
	pods, err := filepath.Glob(filepath.Join(node, "pods", "kube-system_kube-apiserver-*", "kube-apiserver", "*.log"))
	if err != nil || len(pods) == 0 {
		t.Errorf("the API server's log is missing: %v", err)
	}
}
