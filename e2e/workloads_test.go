//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
)

// shell is the image of the tests' pods: it is in every node, as nothing can
// be pulled where these tests run.
const shell = "docker.io/petri/local-path-helper:v0.0.30"

// web is a web server on both workers that answers with its pod's name.
const web = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
          - topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels: {app: web}
      containers:
      - name: web
        image: ` + shell + `
        command: [/usr/bin/busybox, sh, -c, "mkdir -p /tmp/www && hostname > /tmp/www/index.html && exec busybox httpd -f -v -p 8080 -h /tmp/www"]
        ports: [{containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
`

// pod is a pod that waits for commands.
func pod(name, node string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata:
  name: %s
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 0
  containers:
  - name: shell
    image: %s
    command: [/usr/bin/busybox, sleep, "3600"]
`, name, node, shell)
}

func (c *cluster) waitReady(t *testing.T, namespace, what string) {
	t.Helper()
	c.must(t, "-n", namespace, "wait", "--for=condition=Ready", "--timeout=90s", what)
}

// One control plane and two workers: all Ready, two CoreDNS, pods on both.
func TestOnePlusTwo(t *testing.T) {
	t.Parallel()
	c := shared.get(t).cluster
	t.Log(shared.output)
	nodes := c.must(t, "get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status} {end}`)
	want := "e2e-shared-control-plane=True e2e-shared-worker=True e2e-shared-worker2=True"
	if strings.TrimSpace(nodes) != want {
		t.Errorf("nodes are %q, want %q", nodes, want)
	}
	if got := c.must(t, "get", "node", "e2e-shared-worker", "-o", "jsonpath={.metadata.labels.tier}"); got != "front" {
		t.Errorf("the configured label is %q", got)
	}
	if kb := diskUsage(t, "e2e-shared-worker", "/var") + writableLayer(t, "e2e-shared-worker"); kb > 30_000 {
		t.Errorf("a worker takes %d KB of disk, 30000 are the most", kb)
	} else {
		t.Logf("a worker takes %.1f MB of disk", float64(kb)/1e3)
	}
	if got := c.must(t, "-n", "kube-system", "get", "deployment", "coredns", "-o", "jsonpath={.spec.replicas} {.metadata.generation}"); got != "2 1" {
		t.Errorf("CoreDNS has replicas and generation %q, want 2 replicas from the first apply", got)
	}
}

// A Deployment on two nodes answers through its Service's name, through a
// NodePort from the host, and a pod through its hostPort.
func TestService(t *testing.T) {
	t.Parallel()
	s := shared.get(t)
	c, ns := s.cluster, s.cluster.namespace(t)
	if r := c.kubectl(t.Context(), t, web, "-n", ns, "apply", "-f", "-"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	c.must(t, "-n", ns, "rollout", "status", "deployment/web", "--timeout=90s")
	on := strings.Fields(c.must(t, "-n", ns, "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.nodeName}"))
	if len(on) != 2 || on[0] == on[1] {
		t.Errorf("the replicas are on %v", on)
	}
	for i, node := range []string{"e2e-shared-worker", "e2e-shared-worker2"} {
		name := fmt.Sprintf("client-%d", i)
		if r := c.kubectl(t.Context(), t, pod(name, node), "-n", ns, "apply", "-f", "-"); r.code != 0 {
			t.Fatal(r.stderr)
		}
		c.waitReady(t, ns, "pod/"+name)
		t.Run("name from "+node, func(t *testing.T) {
			answers := map[string]bool{}
			eventually(t, 60*time.Second, func() error {
				for _, url := range []string{"http://web", "http://web." + ns + ".svc.cluster.local"} {
					r := c.kubectl(t.Context(), t, "", "-n", ns, "exec", name, "--", "busybox", "wget", "-qO-", "-T", "5", url)
					if r.code != 0 {
						return fmt.Errorf("%s: %s", url, r.stderr)
					}
					answers[strings.TrimSpace(r.stdout)] = true
				}
				if len(answers) < 2 {
					return fmt.Errorf("only %v answered", answers)
				}
				return nil
			})
		})
	}
	t.Run("NodePort from the host", func(t *testing.T) {
		eventually(t, 30*time.Second, func() error { return get(t.Context(), s.nodePort) })
	})
}

// get asks a port of this machine, and wants a web page.
func get(ctx context.Context, port int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || len(body) == 0 {
		return fmt.Errorf("%s, %d bytes", response.Status, len(body))
	}
	return nil
}

// A pod's hostPort is reached from another node and from the host.
func TestHostPort(t *testing.T) {
	t.Parallel()
	s := shared.get(t)
	c, ns := s.cluster, s.cluster.namespace(t)
	manifest := fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: hostport}
spec:
  nodeName: e2e-shared-worker
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: %s
    command: [/usr/bin/busybox, sh, -c, "mkdir -p /tmp/www && echo hello > /tmp/www/index.html && exec busybox httpd -f -p 8080 -h /tmp/www"]
    ports: [{containerPort: 8080, hostPort: 8081}]
`, shell)
	if r := c.kubectl(t.Context(), t, manifest, "-n", ns, "apply", "-f", "-"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	c.waitReady(t, ns, "pod/hostport")
	eventually(t, 30*time.Second, func() error { return get(t.Context(), s.hostPort) })
	r := run(t.Context(), "", "", "docker", "exec", "e2e-shared-worker2", "curl", "-sS", "--max-time", "5", "http://e2e-shared-worker:8081/")
	if strings.TrimSpace(r.stdout) != "hello" {
		t.Errorf("from another node: %q %s", r.stdout, r.stderr)
	}
}

// A claim without a class is bound on the pod's node, and its data outlives
// the pod.
func TestPersistentVolume(t *testing.T) {
	t.Parallel()
	s := shared.get(t)
	c, ns := s.cluster, s.cluster.namespace(t)
	claim := `apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 10Mi}}
`
	user := func(name string) string {
		return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: shell
    image: %s
    command: [/usr/bin/busybox, sleep, "3600"]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes:
  - name: data
    persistentVolumeClaim: {claimName: data}
`, name, shell)
	}
	apply := func(manifest string) {
		if r := c.kubectl(t.Context(), t, manifest, "-n", ns, "apply", "-f", "-"); r.code != 0 {
			t.Fatal(r.stderr)
		}
	}
	apply(claim + "---\n" + user("first"))
	c.waitReady(t, ns, "pod/first")
	c.must(t, "-n", ns, "exec", "first", "--", "sh", "-c", "echo kept > /data/file")
	node := c.must(t, "-n", ns, "get", "pod", "first", "-o", "jsonpath={.spec.nodeName}")
	c.must(t, "-n", ns, "delete", "pod", "first")
	apply(user("second"))
	c.waitReady(t, ns, "pod/second")
	if got := c.must(t, "-n", ns, "exec", "second", "--", "cat", "/data/file"); got != "kept" {
		t.Errorf("the second pod reads %q", got)
	}
	if got := c.must(t, "-n", ns, "get", "pod", "second", "-o", "jsonpath={.spec.nodeName}"); got != node {
		t.Errorf("the second pod is on %s, and the volume on %s", got, node)
	}
	c.must(t, "-n", ns, "delete", "pod", "second")
	c.must(t, "-n", ns, "delete", "pvc", "data", "--timeout=60s")
	eventually(t, 60*time.Second, func() error {
		if left := c.must(t, "get", "pv", "-o", "jsonpath={.items[?(@.spec.claimRef.namespace==\""+ns+"\")].metadata.name}"); left != "" {
			return errors.New("the volume is left: " + left)
		}
		return nil
	})
}

// kubectl logs, exec and port-forward work on every node.
func TestLogsExecPortForward(t *testing.T) {
	t.Parallel()
	s := shared.get(t)
	c, ns := s.cluster, s.cluster.namespace(t)
	for _, node := range []string{"e2e-shared-worker", "e2e-shared-worker2"} {
		t.Run(node, func(t *testing.T) {
			manifest := fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %[1]s}
spec:
  nodeName: %[1]s
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: %[2]s
    command: [/usr/bin/busybox, sh, -c, "echo started; mkdir -p /tmp/www && echo hello > /tmp/www/index.html && exec busybox httpd -f -p 8080 -h /tmp/www"]
`, node, shell)
			if r := c.kubectl(t.Context(), t, manifest, "-n", ns, "apply", "-f", "-"); r.code != 0 {
				t.Fatal(r.stderr)
			}
			c.waitReady(t, ns, "pod/"+node)
			if got := c.must(t, "-n", ns, "logs", node); got != "started" {
				t.Errorf("logs are %q", got)
			}
			r := c.kubectl(t.Context(), t, "through stdin", "-n", ns, "exec", "-i", node, "--", "cat")
			if r.stdout != "through stdin" {
				t.Errorf("exec printed %q %s", r.stdout, r.stderr)
			}
			portForward(t, c, ns, node)
		})
	}
}

func portForward(t *testing.T, c *cluster, ns, name string) {
	t.Helper()
	path, err := kubectlBinary()
	if err != nil {
		t.Fatal(err)
	}
	port := freePort()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- exec.Host{}.Run(ctx, exec.Cmd{
			Args: []string{path, "-n", ns, "port-forward", "pod/" + name, fmt.Sprintf("%d:8080", port)},
			Env:  []string{"KUBECONFIG=" + c.kubeconfig},
		})
	}()
	eventually(t, 20*time.Second, func() error { return get(t.Context(), port) })
	stop()
	<-ended
}

// A pod resolves what the engine's resolver knows beside cluster names: here
// the names of the engine's containers, which only that resolver answers.
func TestPodReachesHostResolver(t *testing.T) {
	t.Parallel()
	s := shared.get(t)
	c, ns := s.cluster, s.cluster.namespace(t)
	if r := c.kubectl(t.Context(), t, pod("dns", "e2e-shared-worker2"), "-n", ns, "apply", "-f", "-"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	c.waitReady(t, ns, "pod/dns")
	address := c.must(t, "get", "node", "e2e-shared-worker", "-o", `jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`)
	for _, name := range []string{"e2e-shared-worker.", "kubernetes.default.svc.cluster.local."} {
		eventually(t, 30*time.Second, func() error {
			r := c.kubectl(t.Context(), t, "", "-n", ns, "exec", "dns", "--", "busybox", "nslookup", "-type=a", name)
			if r.code != 0 {
				return fmt.Errorf("%s: %s%s", name, r.stdout, r.stderr)
			}
			if name == "e2e-shared-worker." && !strings.Contains(r.stdout, address) {
				return fmt.Errorf("%s is not %s:\n%s", name, address, r.stdout)
			}
			return nil
		})
	}
	t.Run("what the host resolves", func(t *testing.T) { resolvesLikeHost(t, c, ns) })
}

// resolvesLikeHost asks a pod for a name that this machine's resolver knows
// and no cluster does: that of the Go module proxy in use.
func resolvesLikeHost(t *testing.T, c *cluster, ns string) {
	out, err := exec.Output(t.Context(), exec.Host{}, "go", "env", "GOPROXY")
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), ",")
	proxy, err := url.Parse(first)
	if err != nil || proxy.Hostname() == "" {
		t.Skipf("GOPROXY %q has no host to ask for", first)
	}
	addrs, err := net.DefaultResolver.LookupHost(t.Context(), proxy.Hostname())
	if err != nil {
		t.Skipf("this machine does not resolve a public name: %v", err)
	}
	r := c.kubectl(t.Context(), t, "", "-n", ns, "exec", "dns", "--", "busybox", "nslookup", proxy.Hostname()+".")
	for _, addr := range addrs {
		if strings.Contains(r.stdout, addr) {
			return
		}
	}
	t.Errorf("the host resolves it to %v, and a pod to\n%s%s", addrs, r.stdout, r.stderr)
}
