//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Every field of the configuration does on a real cluster what it says.
func TestConfigFields(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	shared := filepath.Join(dir, "shared")
	if err := os.Mkdir(shared, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(shared, "file"), []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	name := testName(t)
	text := fmt.Sprintf(`apiVersion: petri.dev/v1alpha1
kind: Cluster
name: %s
kubernetesVersion: v1.36.3
nodes:
- role: control-plane
- role: worker
  labels: {tier: front}
  taints: [{key: dedicated, value: gpu, effect: NoSchedule}]
  extraMounts:
  - {hostPath: %s, containerPath: /shared, readOnly: true}
  kubeadmConfigPatches:
  - |
    kind: JoinConfiguration
    nodeRegistration:
      taints: [{key: patched, effect: NoSchedule}]
networking:
  podSubnet: 10.10.0.0/16
  serviceSubnet: 10.20.0.0/16
  dnsDomain: dev.internal
  kubeProxyMode: iptables
featureGates: {ContextualLogging: true}
runtimeConfig: {api/alpha: "true"}
containerdConfigPatches:
- |
  [debug]
    level = 'debug'
kubeadmConfigPatches:
- |
  kind: KubeletConfiguration
  maxPods: 77
kubeadm:
- apiVersion: kubeadm.k8s.io/v1beta4
  kind: ClusterConfiguration
  apiServer:
    extraArgs: [{name: event-ttl, value: 2h0m0s}]
`, name, shared)
	path := filepath.Join(dir, "cluster.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c := create(t, "--config", path)
	cp, worker := name+"-control-plane", name+"-worker"
	jsonpath := func(kind, object, p string) string { return c.must(t, "get", kind, object, "-o", "jsonpath="+p) }
	checks := []struct{ what, got, want string }{
		{"label", jsonpath("node", worker, "{.metadata.labels.tier}"), "front"},
		{"patched taint", jsonpath("node", worker, `{.spec.taints[?(@.key=="patched")].effect}`), "NoSchedule"},
		{"control plane's taint", jsonpath("node", cp, `{.spec.taints[?(@.key=="node-role.kubernetes.io/control-plane")].effect}`), "NoSchedule"},
		{"mount", docker(t, "exec", worker, "cat", "/shared/file"), "from the host"},
		{"pods' range", strings.Join(strings.Split(jsonpath("node", worker, "{.spec.podCIDR}"), ".")[:2], "."), "10.10"},
		{"Service range", jsonpath("service", "kubernetes", "{.spec.clusterIP}"), "10.20.0.1"},
		{"maxPods of the control plane", jsonpath("node", cp, "{.status.capacity.pods}"), "77"},
		{"maxPods of the worker", jsonpath("node", worker, "{.status.capacity.pods}"), "77"},
		{"containerd's level", strings.TrimSpace(docker(t, "exec", worker, "sh", "-c", "containerd config dump 2>/dev/null | grep -A9 '^\\[debug\\]' | grep level")), "level = 'debug'"},
	}
	for _, check := range checks {
		if check.got != check.want {
			t.Errorf("%s is %q, want %q", check.what, check.got, check.want)
		}
	}
	apiserver := c.must(t, "-n", "kube-system", "get", "pod", "kube-apiserver-"+cp, "-o", "jsonpath={.spec.containers[0].command}")
	for _, flag := range []string{"--event-ttl=2h0m0s", "--feature-gates=ContextualLogging=true", "--runtime-config=api/alpha=true"} {
		if !strings.Contains(apiserver, flag) {
			t.Errorf("the API server runs without %s: %s", flag, apiserver)
		}
	}
	proxy := c.must(t, "-n", "kube-system", "get", "configmap", "kube-proxy", "-o", `jsonpath={.data.config\.conf}`)
	if !strings.Contains(proxy, "mode: iptables") {
		t.Errorf("kube-proxy's configuration is\n%s", proxy)
	}
	if corefile := c.must(t, "-n", "kube-system", "get", "configmap", "coredns", "-o", "jsonpath={.data.Corefile}"); !strings.Contains(corefile, "dev.internal") {
		t.Errorf("CoreDNS does not serve dev.internal:\n%s", corefile)
	}
	serviceByIptables(t, c, cp)
	configComesBack(t, c, text)
}

// serviceByIptables reaches a Service from a pod where kube-proxy uses
// iptables: with the API, which is always there.
func serviceByIptables(t *testing.T, c *cluster, node string) {
	t.Helper()
	c.apply(t, pod("client", node))
	c.waitReady(t, "default", "pod/client")
	eventually(t, 30*time.Second, func() error {
		r := c.kubectl(t.Context(), t, "", "exec", "client", "--", "busybox", "nc", "-w", "3", "kubernetes.default.svc.dev.internal", "443")
		if r.code != 0 {
			return fmt.Errorf("exit code %d %s", r.code, r.stderr)
		}
		return nil
	})
}

// configComesBack reads the configuration from the cluster, and finds that it
// makes the same cluster.
func configComesBack(t *testing.T, c *cluster, text string) {
	t.Helper()
	r := c.petri(t.Context(), "get", "config", "--name", c.name, "-o", "json")
	var got, again any
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatalf("%v\n%s", err, r.stderr)
	}
	yaml := c.petri(t.Context(), "get", "config", "--name", c.name).stdout
	r = run(t.Context(), c.kubeconfig, yaml, petriBinary(), "get", "config", "--defaults", "--config", "-", "-o", "json")
	if err := json.Unmarshal([]byte(r.stdout), &again); err != nil {
		t.Fatalf("%v\n%s\n%s", err, r.stderr, text)
	}
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(again)
	if string(a) != string(b) {
		t.Errorf("the configuration does not come back as it was:\n%s\n%s", a, b)
	}
}

// With cni: none create returns when nodes are registered, and a CNI that is
// given as a file is installed in the place of the default one.
func TestOtherCNI(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := testName(t)
	write := func(file, text string) string {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := "apiVersion: petri.dev/v1alpha1\nkind: Cluster\nname: " + name + "\nnetworking: {cni: %s}\n"
	c := create(t, "--config", write("none.yaml", fmt.Sprintf(config, "none")))
	ready := c.must(t, "get", "nodes", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`)
	if ready != "False" {
		t.Errorf("without a CNI the node's Ready is %s", ready)
	}
	if got := c.must(t, "-n", "kube-system", "get", "daemonsets", "-o", "name"); strings.Contains(got, "petri-cni") {
		t.Errorf("the default CNI was installed: %s", got)
	}
	manifest := docker(t, "exec", name+"-control-plane", "cat", "/kind/manifests/default-cni.yaml")
	manifest = strings.ReplaceAll(manifest, "{{ .PodSubnet }}", "10.244.0.0/16")
	manifest = strings.ReplaceAll(manifest, "{{.PodSubnet}}", "10.244.0.0/16")
	manifest = strings.ReplaceAll(manifest, "petri-cni", "other-cni")
	write("other.yaml", manifest)
	if r := c.petri(t.Context(), "delete", "cluster", "--name", name); r.code != 0 {
		t.Fatal(r.stderr)
	}
	c = create(t, "--config", write("file.yaml", fmt.Sprintf(config, filepath.Join(dir, "other.yaml"))))
	if got := c.must(t, "-n", "kube-system", "get", "daemonsets", "-o", "name"); !strings.Contains(got, "other-cni") || strings.Contains(got, "petri-cni") {
		t.Errorf("the DaemonSets are %s", got)
	}
}
