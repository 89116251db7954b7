//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// Cluster API's docker provider runs no command of kind's: it makes containers
// and replays cloud-init in them. TestClusterAPINode does the same, call by
// call, to a control plane and a worker of petri's image.
func TestClusterAPINode(t *testing.T) {
	t.Parallel()
	place := kindPlace.get(t)
	c := &capd{user: place.user(t), controlPlane: "e2e-capd-control-plane", worker: "e2e-capd-worker"}
	t.Cleanup(func() {
		c.call(cleanupContext(t), "docker", "rm", "--force", "--volumes", c.controlPlane, c.worker)
	})
	c.call(t.Context(), "docker", "network", "create", "kind")
	c.startNode(t, c.controlPlane, "control-plane", "--publish", "127.0.0.1::6443", "--env", "KUBECONFIG=/etc/kubernetes/admin.conf")
	c.startNode(t, c.worker, "worker")
	for _, n := range []string{c.controlPlane, c.worker} {
		c.waitReady(t, n)
		c.preload(t, n)
	}
	c.bootstrap(t, c.controlPlane, "init", fmt.Sprintf(capdInit, c.controlPlane, capdNode(c.controlPlane))+capdProxy)
	c.installNetwork(t)
	token := strings.TrimSpace(c.must(t, "docker", "exec", c.controlPlane, "kubeadm", "token", "create", "--ttl", "10m"))
	c.bootstrap(t, c.worker, "join", fmt.Sprintf(capdJoin, c.controlPlane, token, c.caHash(t), capdNode(c.worker)))
	eventually(t, 90*time.Second, func() error {
		out := c.must(t, "docker", "exec", c.controlPlane, "kubectl", "get", "nodes,pods", "-A", "--no-headers")
		if strings.Contains(out, "NotReady") || strings.Contains(out, "0/1") || strings.Count(out, " Ready ") != 2 {
			return fmt.Errorf("nodes and pods are\n%s", out)
		}
		return nil
	})
	// the provider names nodes itself, after they have joined
	for _, n := range []string{c.controlPlane, c.worker} {
		c.must(t, "docker", "exec", c.controlPlane, "kubectl", "patch", "node", n, "--type=merge", "--patch", `{"spec":{"providerID":"docker:////`+n+`"}}`)
	}
	// and a machine that goes is reset first
	c.must(t, "docker", "exec", c.worker, "kubeadm", "reset", "--force")
}

// capd is Cluster API's docker provider, as the nodes see it.
type capd struct {
	*user
	controlPlane, worker string
}

const capdCluster = "e2e-capd"

// startNode makes a container with the settings of the provider.
func (c *capd) startNode(t *testing.T, name, role string, more ...string) {
	t.Helper()
	args := []string{
		"docker", "run", "--detach", "--tty", "--name", name, "--hostname", name, "--network", "kind",
		"--label", nodeimage.LabelKindCluster + "=" + capdCluster, "--label", nodeimage.LabelKindRole + "=" + role,
		"--privileged", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
		"--tmpfs", "/tmp", "--tmpfs", "/run", "--volume", "/var", "--volume", "/lib/modules:/lib/modules:ro",
		"--cgroupns=private", "--init=false", "--restart=on-failure:1",
	}
	c.must(t, append(append(args, more...), c.place.image)...)
}

// waitReady is how the provider knows that a node may be used.
func (c *capd) waitReady(t *testing.T, name string) {
	t.Helper()
	line := regexp.MustCompile(nodeimage.BootLine)
	eventually(t, 30*time.Second, func() error {
		if logs := c.must(t, "docker", "logs", name); !line.MatchString(logs) {
			return fmt.Errorf("the console of %s is\n%s", name, logs)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		if r := c.call(ctx, "docker", "exec", name, "crictl", "ps"); r.code != 0 {
			return fmt.Errorf("crictl ps on %s: %s", name, r.stderr)
		}
		return nil
	})
}

// preload is the provider's preLoadImages.
func (c *capd) preload(t *testing.T, name string) {
	t.Helper()
	var archive bytes.Buffer
	save := exec.Cmd{Args: []string{"docker", "save", smallImage}, Env: c.env, Stdout: &archive}
	if err := c.place.engine.Run(t.Context(), save); err != nil {
		t.Fatal(err)
	}
	c.enter(t, name, archive.String(), "ctr", "-n", "k8s.io", "images", "import", "-")
	c.must(t, "docker", "exec", name, "crictl", "inspecti", "docker.io/"+smallImage)
}

// enter runs a command in a node with some standard input.
func (c *capd) enter(t *testing.T, name, stdin string, args ...string) {
	t.Helper()
	var output bytes.Buffer
	err := c.place.engine.Run(t.Context(), exec.Cmd{
		Args: append([]string{"docker", "exec", "--interactive", name}, args...), Env: c.env,
		Stdin: strings.NewReader(stdin), Stdout: &output, Stderr: &output,
	})
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, &output)
	}
}

// bootstrap replays cloud-init: files written through a shell, and kubeadm with
// its preflight checks.
func (c *capd) bootstrap(t *testing.T, name, verb, config string) {
	t.Helper()
	const file = "/run/kubeadm/kubeadm.yaml"
	c.must(t, "docker", "exec", name, "mkdir", "-p", "/run/kubeadm", "/run/cluster-api")
	c.enter(t, name, config, "/bin/sh", "-c", "cat > "+file+" /dev/stdin")
	c.must(t, "docker", "exec", name, "chmod", "0640", file)
	c.must(t, "docker", "exec", name, "chown", "root:root", file)
	start := time.Now()
	r := c.call(t.Context(), "docker", "exec", name, "/bin/sh", "-c", "kubeadm "+verb+" --config "+file+
		" --ignore-preflight-errors=SystemVerification,Swap,FileContent--proc-sys-net-bridge-bridge-nf-call-iptables"+
		" && echo success > /run/cluster-api/bootstrap-success.complete")
	if r.code != 0 {
		t.Fatalf("kubeadm %s: exit code %d\n%s%s", verb, r.code, r.stdout, r.stderr)
	}
	t.Logf("kubeadm %s took %s", verb, time.Since(start).Round(100*time.Millisecond))
	c.must(t, "docker", "exec", name, "test", "-s", "/run/cluster-api/bootstrap-success.complete")
}

// installNetwork applies the image's CNI manifest, which users of the provider
// bring themselves.
func (c *capd) installNetwork(t *testing.T) {
	t.Helper()
	c.must(t, "docker", "exec", c.controlPlane, "/bin/sh", "-c",
		"sed 's|{{ *.PodSubnet *}}|192.168.0.0/16|' "+nodeimage.CNIManifestPath+
			" | kubectl --kubeconfig "+nodeimage.AdminConfPath+" create -f -")
}

// caHash pins the cluster's CA, as kubeadm join wants it.
func (c *capd) caHash(t *testing.T) string {
	t.Helper()
	out := c.must(t, "docker", "exec", c.controlPlane, "kubeadm", "token", "create", "--ttl", "1m", "--print-join-command")
	hash := regexp.MustCompile(`sha256:[0-9a-f]{64}`).FindString(out)
	if hash == "" {
		t.Fatalf("no hash in %q", out)
	}
	return hash
}

// capdNode is the part of its configuration that all nodes of the provider have.
func capdNode(name string) string {
	return `nodeRegistration:
  name: ` + name + `
  criSocket: unix:///var/run/containerd/containerd.sock
  kubeletExtraArgs:
  - {name: cgroup-root, value: /kubelet}
  - {name: runtime-cgroups, value: /system.slice/containerd.service}
  - {name: fail-swap-on, value: "false"}
  - {name: eviction-hard, value: "nodefs.available<0%,nodefs.inodesFree<0%,imagefs.available<0%"}
`
}

const capdInit = `apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: e2e-capd
controlPlaneEndpoint: %s:6443
apiServer:
  certSANs: [localhost, 127.0.0.1, 0.0.0.0, host.docker.internal]
controllerManager:
  extraArgs:
  - {name: enable-hostpath-provisioner, value: "true"}
networking:
  dnsDomain: cluster.local
  podSubnet: 192.168.0.0/16
  serviceSubnet: 10.128.0.0/12
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
%s`

// capdProxy is what users of the provider add by a preKubeadmCommand on kernels
// that refuse the host's conntrack limits to be set from a network namespace.
const capdProxy = `---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
conntrack: {maxPerCore: 0}
`

const capdJoin = `apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken:
    apiServerEndpoint: %s:6443
    token: %s
    caCertHashes: ["%s"]
%s`
