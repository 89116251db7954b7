//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// A cluster goes to a later version in the nodes that it has, while a pod
// counts in a volume and this process in the API: nothing that was acknowledged
// is lost, also not by an attempt that fails on the way.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	image := laterImage(t, "petri/node:e2e-later")
	c := create(t, "--workers", "1")
	u := &upgrading{cluster: c, image: image, from: c.kubelets(t)[0], work: c.startWork(t)}
	t.Run("a plan changes nothing", u.plan)
	t.Run("a failure leaves what was", u.failure)
	t.Run("it goes on", u.success)
	t.Run("once more does nothing", u.again)
	t.Run("what comes after", u.after)
}

// later is the version to upgrade to. Its programs are those of the image under
// test, which say that they are later: another release would have to be compiled.
const later = "v1.36.4"

// laterImage makes a node image of that version.
func laterImage(t *testing.T, image string) string {
	t.Helper()
	t.Cleanup(func() { run(cleanupContext(t), "", "", "docker", "rmi", image) })
	r := (&cluster{}).petri(t.Context(), "build", "node-image", serverArchive(t, later), "--image", image, "--progress", "plain")
	if r.code != 0 {
		t.Fatalf("build node-image: exit code %d\n%s", r.code, r.stderr)
	}
	return image
}

type upgrading struct {
	*cluster
	work            *work
	image, from, to string
}

// reports wants the API server and kubeadm to be of a version.
func (c *cluster) reports(t *testing.T, version string) error {
	t.Helper()
	var server struct{ GitVersion string }
	if err := json.Unmarshal([]byte(c.must(t, "get", "--raw", "/version")), &server); err != nil {
		return err
	}
	if server.GitVersion != version {
		return fmt.Errorf("the API server reports %s, want %s", server.GitVersion, version)
	}
	kubeadm := docker(t, "exec", c.name+"-control-plane", "kubeadm", "version", "-o", "short")
	if kubeadm != version {
		return fmt.Errorf("kubeadm reports %s, want %s", kubeadm, version)
	}
	return nil
}

// upgrade runs the command with all that it needs.
func (u *upgrading) upgrade(t *testing.T, args ...string) result {
	t.Helper()
	args = append([]string{"upgrade", "cluster", "--name", u.name, "--image", u.image}, args...)
	begin := time.Now()
	r := u.petri(t.Context(), args...)
	t.Logf("%s after %s: exit code %d\n%s", strings.Join(args, " "), time.Since(begin).Round(time.Second), r.code, r.stderr)
	return r
}

// kubelets are the versions of all kubelets, in the order of their names.
func (c *cluster) kubelets(t *testing.T) []string {
	t.Helper()
	return strings.Fields(c.must(t, "get", "nodes", "-o", "jsonpath={.items[*].status.nodeInfo.kubeletVersion}"))
}

func (u *upgrading) plan(t *testing.T) {
	r := u.upgrade(t, "--plan", "-o", "json")
	var plan struct {
		From, To string
		Nodes    []struct {
			Name  string
			Steps []string
		}
		Addons []struct{ Name, From, To string }
	}
	if err := json.Unmarshal([]byte(r.stdout), &plan); err != nil {
		t.Fatalf("%v in %s", err, r.stdout)
	}
	if u.to = plan.To; plan.From != u.from || plan.To != later || len(plan.Nodes) != 2 {
		t.Errorf("the plan is %+v", plan)
	}
	for _, a := range plan.Addons {
		if a.From == "" || a.To == "" {
			t.Errorf("addon %+v", a)
		}
	}
	if r := u.upgrade(t); r.code != 2 || !strings.Contains(r.stderr, "--yes") {
		t.Errorf("without --yes and a terminal: exit code %d", r.code)
	}
	u.isAll(t, u.from)
}

// isAll wants everything to be of one version: API server, kubeadm, kubelets,
// and what runs in pods on the control plane, which the API is told of late.
func (u *upgrading) isAll(t *testing.T, version string) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		if err := u.reports(t, version); err != nil {
			return err
		}
		for _, kubelet := range u.kubelets(t) {
			if kubelet != version {
				return fmt.Errorf("a kubelet is %s", kubelet)
			}
		}
		for _, component := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
			image := u.must(t, "-n", "kube-system", "get", "pod", component+"-"+u.name+"-control-plane", "-o", "jsonpath={.spec.containers[0].image}")
			if !strings.HasSuffix(image, ":"+version) {
				return fmt.Errorf("%s runs %s", component, image)
			}
		}
		return nil
	})
}

// failure gives the API server a flag that it does not know: the new one cannot
// start, and the old one comes back.
func (u *upgrading) failure(t *testing.T) {
	good := u.must(t, "-n", "kube-system", "get", "configmap", "kubeadm-config", "-o", "json")
	bad := strings.Replace(good, `apiServer:\n`, `apiServer:\n  extraArgs:\n  - name: no-such-flag\n    value: x\n`, 1)
	if r := u.kubectl(t.Context(), t, bad, "replace", "-f", "-"); r.code != 0 || bad == good {
		t.Fatalf("replace: %s\n%s", r.stderr, bad)
	}
	r := u.upgrade(t, "--yes", "--wait", "30s")
	if r.code != 1 || !strings.Contains(r.stderr, "error KUBEADM-FAILED") || !strings.Contains(r.stderr, "nodes that are left: "+u.name+"-control-plane, "+u.name+"-worker") {
		t.Errorf("a flag that nobody knows: exit code %d", r.code)
	}
	u.isAll(t, u.from)
	u.work.check(t) // no pod was touched
	var object map[string]any
	if err := json.Unmarshal([]byte(good), &object); err != nil {
		t.Fatal(err)
	}
	delete(object["metadata"].(map[string]any), "resourceVersion")
	restored, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	if r := u.kubectl(t.Context(), t, string(restored), "replace", "-f", "-"); r.code != 0 {
		t.Fatal(r.stderr)
	}
}

func (u *upgrading) success(t *testing.T) {
	flags := docker(t, "exec", u.name+"-worker", "cat", "/var/lib/kubelet/kubeadm-flags.env")
	if r := u.upgrade(t, "--yes"); r.code != 0 {
		t.Fatalf("exit code %d", r.code)
	}
	u.isAll(t, u.to)
	if now := docker(t, "exec", u.name+"-worker", "cat", "/var/lib/kubelet/kubeadm-flags.env"); now != flags {
		t.Errorf("flags of kubelet were %s and are %s", flags, now)
	}
	// what petri tells kubeadm at the creation is still so
	probe := u.must(t, "-n", "kube-system", "get", "deployment", "coredns", "-o", "jsonpath={.spec.template.spec.containers[0].readinessProbe.periodSeconds}")
	manager := u.must(t, "-n", "kube-system", "get", "pod", "kube-controller-manager-"+u.name+"-control-plane", "-o", "jsonpath={.spec.containers[0].command}")
	if probe != "1" || !strings.Contains(manager, "--kube-api-qps=500") {
		t.Errorf("CoreDNS is probed each %s s, and the controller-manager runs %s", probe, manager)
	}
	u.must(t, "-n", "kube-system", "rollout", "status", "daemonset/kube-proxy", "--timeout=2m")
	u.must(t, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=2m")
	proxy := u.must(t, "-n", "kube-system", "get", "daemonset", "kube-proxy", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
	if !strings.HasSuffix(proxy, ":"+u.to) {
		t.Errorf("kube-proxy runs %s", proxy)
	}
	u.must(t, "rollout", "status", "statefulset/work", "--timeout=2m")
	u.work.uid = u.podUID(t) // it was moved away, and has come back to its volume
	u.work.check(t)
}

func (u *upgrading) again(t *testing.T) {
	before := u.must(t, "get", "pods", "-A", "-o", `jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[*].restartCount}{"\n"}{end}`)
	r := u.upgrade(t, "--yes")
	if r.code != 0 || !strings.Contains(r.stderr, "already") {
		t.Errorf("exit code %d", r.code)
	}
	after := u.must(t, "get", "pods", "-A", "-o", `jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[*].restartCount}{"\n"}{end}`)
	if before != after {
		t.Errorf("pods were\n%s\nand are\n%s", before, after)
	}
}

// after adds a node, and starts an old one again: both are of the new version.
func (u *upgrading) after(t *testing.T) {
	if r := u.petri(t.Context(), "create", "node", "--name", u.name); r.code != 0 {
		t.Fatalf("create node: exit code %d\n%s", r.code, r.stderr)
	}
	if r := u.petri(t.Context(), "restart", "node", u.name+"-worker", "--name", u.name); r.code != 0 {
		t.Fatalf("restart node: exit code %d\n%s", r.code, r.stderr)
	}
	if got := strings.Join(u.kubelets(t), " "); got != u.to+" "+u.to+" "+u.to {
		t.Errorf("the kubelets are %s", got)
	}
	r := u.petri(t.Context(), "status", "--name", u.name, "-o", "wide")
	if n := strings.Count(r.stdout, u.to); n != 3 || strings.Count(r.stdout, u.image) != 3 {
		t.Errorf("status names the version %d times:\n%s", n, r.stdout)
	}
	u.must(t, "rollout", "status", "statefulset/work", "--timeout=2m")
	u.work.uid = u.podUID(t)
	eventually(t, time.Minute, func() error {
		if r := u.kubectl(t.Context(), t, "", "exec", "work-0", "--", "busybox", "true"); r.code != 0 {
			return fmt.Errorf("the pod of the restarted node: %s", r.stderr)
		}
		return nil
	})
	u.work.check(t)
}
