//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kindConfig has a name, a directory of the host, a port for a pod and one for
// the API to be filled in.
const kindConfig = `kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
name: %[1]s
networking:
  ipFamily: ipv4
  apiServerAddress: "127.0.0.1"
  apiServerPort: %[4]d
  podSubnet: "10.11.1.1/16"
  serviceSubnet: "10.21.0.0/16"
  dnsSearch: [corp.example, petri.example]
featureGates:
  ContextualLogging: yes
runtimeConfig:
  "api/alpha": true
kubeadmConfigPatches:
- |
  apiVersion: kubeadm.k8s.io/v1beta3
  kind: ClusterConfiguration
  metadata:
    name: config
  apiServer:
    timeoutForControlPlane: 9m0s
    certSANs: [localhost, api.petri.example]
    extraArgs:
      event-ttl: 2h0m0s
- |
  kind: KubeletConfiguration
  maxPods: 77
kubeadmConfigPatchesJSON6902:
- group: kubeadm.k8s.io
  version: v1beta4
  kind: ClusterConfiguration
  patch: |
    - op: add
      path: /controllerManager/extraArgs/-
      value: {name: terminated-pod-gc-threshold, value: "7"}
containerdConfigPatches:
- |-
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."localhost:5001"]
    endpoint = ["http://kind-registry:5000"]
  [plugins."io.containerd.grpc.v1.cri".containerd]
    discard_unpacked_layers = false
containerdConfigPatchesJSON6902:
- |
  - {op: add, path: /plugins/io.containerd.grpc.v1.cri/max_concurrent_downloads, value: 9}
nodes:
- role: control-plane
  kubeadmConfigPatches:
  - |
    kind: InitConfiguration
    nodeRegistration:
      kubeletExtraArgs:
        node-labels: "ingress-ready=true"
  extraPortMappings:
  - containerPort: 80
    hostPort: %[3]d
    protocol: TCP
- role: worker
  labels: {tier: front}
  extraMounts:
  - {hostPath: %[2]s, containerPath: /shared, readOnly: true}
  - {hostPath: %[2]s/made, containerPath: /made}
  kubeadmConfigPatchesJSON6902:
  - group: kubeadm.k8s.io
    version: v1beta4
    kind: JoinConfiguration
    patch: |
      - op: add
        path: /nodeRegistration/taints
        value: [{key: patched, effect: NoSchedule}]
`

// A configuration of kind's, as it is, makes the cluster that it would make
// with kind: every field is seen on the cluster.
func TestKindConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	name, hostPort, apiPort := testName(t), freePort(), freePort()
	text := fmt.Sprintf(kindConfig, name, dir, hostPort, apiPort)
	path := filepath.Join(dir, "kind.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c := create(t, "--config", path)
	cp, worker := name+"-control-plane", name+"-worker"
	jsonpath := func(kind, object, p string) string { return c.must(t, "get", kind, object, "-o", "jsonpath="+p) }
	inNode := func(node string, args ...string) string { return docker(t, append([]string{"exec", node}, args...)...) }
	for _, check := range []struct{ what, got, want string }{
		{"label by a patch", jsonpath("node", cp, `{.metadata.labels.ingress-ready}`), "true"},
		{"label", jsonpath("node", worker, `{.metadata.labels.tier}`), "front"},
		{"taint by a JSON patch", jsonpath("node", worker, `{.spec.taints[?(@.key=="patched")].effect}`), "NoSchedule"},
		{"pods' range", strings.Join(strings.Split(jsonpath("node", worker, "{.spec.podCIDR}"), ".")[:2], "."), "10.11"},
		{"Service range", jsonpath("service", "kubernetes", "{.spec.clusterIP}"), "10.21.0.1"},
		{"maxPods", jsonpath("node", worker, "{.status.capacity.pods}"), "77"},
		{"mount", inNode(worker, "cat", "/shared/file"), "from the host"},
		{"mount that was made", inNode(worker, "sh", "-c", "touch /made/x && ls /made"), "x"},
		{"search domains of the node", inNode(cp, "grep", "^search", "/etc/resolv.conf"), "search corp.example petri.example"},
		{"mirror", inNode(worker, "cat", "/etc/containerd/certs.d/localhost:5001/hosts.toml"), "[host.'http://kind-registry:5000']\ncapabilities = ['pull', 'resolve']"},
		{"API's port", c.must(t, "config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"), fmt.Sprintf("https://127.0.0.1:%d", apiPort)},
	} {
		if check.got != check.want {
			t.Errorf("%s is %q, want %q", check.what, check.got, check.want)
		}
	}
	commands := c.must(t, "-n", "kube-system", "get", "pods", "-l", "tier=control-plane", "-o", "jsonpath={.items[*].spec.containers[0].command}")
	proxy := c.must(t, "-n", "kube-system", "get", "configmap", "kube-proxy", "-o", `jsonpath={.data.config\.conf}`)
	kubeadm := c.must(t, "-n", "kube-system", "get", "configmap", "kubeadm-config", "-o", "jsonpath={.data.ClusterConfiguration}")
	containerd := inNode(worker, "sh", "-c", "containerd config dump 2>/dev/null")
	for _, check := range []struct{ what, text, want string }{
		{"the API server's arguments", commands, "--event-ttl=2h0m0s"},
		{"the API server's arguments", commands, "--feature-gates=ContextualLogging=true"},
		{"the API server's arguments", commands, "--runtime-config=api/alpha=true"},
		{"the controller-manager's arguments", commands, "--terminated-pod-gc-threshold=7"},
		{"kube-proxy's configuration", proxy, "mode: iptables"},
		{"kubeadm's configuration", kubeadm, "- api.petri.example"},
		{"containerd's configuration", containerd, "discard_unpacked_layers = false"},
		{"containerd's configuration", containerd, "max_concurrent_downloads = 9"},
	} {
		if !strings.Contains(check.text, check.want) {
			t.Errorf("%s have no %q:\n%s", check.what, check.want, check.text)
		}
	}
	portOfKind(t, c, cp, hostPort)
	configComesBack(t, c, text)
}

// portOfKind serves on a host port of a pod, which is published, and looks at
// the search domains that pods have.
func portOfKind(t *testing.T, c *cluster, node string, port int) {
	t.Helper()
	c.apply(t, fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: %s
    command: [/usr/bin/busybox, sh, -c, "mkdir -p /tmp/www && echo hello > /tmp/www/index.html && exec busybox httpd -f -p 8080 -h /tmp/www"]
    ports: [{containerPort: 8080, hostPort: 80}]
`, node, shell))
	c.waitReady(t, "default", "pod/web")
	eventually(t, 30*time.Second, func() error { return get(t.Context(), port) })
	conf := c.must(t, "exec", "web", "--", "busybox", "cat", "/etc/resolv.conf")
	if !strings.Contains(conf, "cluster.local corp.example petri.example") {
		t.Errorf("the pod's resolver has\n%s", conf)
	}
}
