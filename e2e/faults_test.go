//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
)

// fault is something that breaks while a cluster is in use.
type fault struct {
	name string
	// make breaks something.
	make func(t *testing.T, f *faulty)
	// wanted is a problem that status must name, node "*" being any; nil: the cluster must mend
	// itself, and nobody does anything.
	wanted *problem
	// mend undoes it; nil: the command that status names does.
	mend func(t *testing.T, f *faulty)
	// long: the kubelet takes minutes to come back to it, and only make e2e-full
	// has that time.
	long bool
}

// problem is what "petri status --output json" says of one thing that is broken.
type problem struct {
	ID, Node, Component, Seen, Log, Fix, Page string
}

// faulty is the cluster on which all faults are played, one after another, with
// work going on in it: a pod on the worker counts in a volume, and this process
// in the API.
type faulty struct {
	*work
	controlPlane, worker string
}

// What is broken in a cluster heals by itself, or status names it: with an ID,
// the node, and what mends it, which is tried. No write that was acknowledged
// is lost, and the pod is the same all the while.
func TestFaults(t *testing.T) {
	t.Parallel()
	c := create(t, "--workers", "1")
	f := &faulty{work: c.startWork(t), controlPlane: c.name + "-control-plane", worker: c.name + "-worker"}
	for _, one := range slices.Concat(programFaults, manifestFaults, machineFaults, clusterFaults) {
		if one.long && times == 1 {
			continue
		}
		if !t.Run(one.name, func(t *testing.T) { f.play(t, one) }) {
			t.Fatal("what is broken still may be: no further fault is played")
		}
	}
}

func (f *faulty) play(t *testing.T, one fault) {
	one.make(t, f)
	if one.wanted != nil {
		found := f.named(t, *one.wanted)
		if one.mend != nil {
			one.mend(t, f)
		} else {
			f.do(t, found.Fix)
		}
	}
	f.usable(t)
	f.resolves(t)
	f.check(t)
}

// named waits until status names a problem, and returns it.
func (f *faulty) named(t *testing.T, want problem) (found problem) {
	t.Helper()
	begin := time.Now()
	eventually(t, 90*time.Second, func() error {
		asked := time.Now()
		r := f.petri(t.Context(), "status", "--name", f.name, "-o", "json")
		if took := time.Since(asked); took > 25*time.Second {
			t.Errorf("status took %s", took)
		}
		var s struct{ Problems []problem }
		if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
			return fmt.Errorf("%w\n%s%s", err, r.stdout, r.stderr)
		}
		for _, p := range s.Problems {
			p.Node, p.Component = strings.TrimPrefix(p.Node, f.name+"-"), strings.TrimSpace(p.Component)
			if r.code == 1 && p.ID == want.ID && (p.Node == want.Node || want.Node == "*") && p.Component == want.Component &&
				strings.Contains(p.Seen, want.Seen) && strings.Contains(p.Log, want.Log) {
				found = p
				return nil
			}
		}
		return fmt.Errorf("exit code %d, and the problems are %+v", r.code, s.Problems)
	})
	t.Logf("after %.1fs: %+v", time.Since(begin).Seconds(), found)
	// what is started again and again runs for a moment each time, until it was
	// started so often that status knows
	eventually(t, 20*time.Second, func() error {
		r := f.petri(t.Context(), "status", "--name", f.name)
		if r.code != 1 || !strings.Contains(r.stdout, "problem "+want.ID) || !strings.Contains(r.stderr, "error NOT-USABLE") {
			return fmt.Errorf("for people, with exit code %d:\n%s%s", r.code, r.stdout, r.stderr)
		}
		return nil
	})
	if found.Fix == "" || !strings.HasSuffix(found.Page, strings.ToLower(want.ID)+".md") {
		t.Errorf("it says neither what to do nor where to read: %+v", found)
	}
	return found
}

// do runs what status says is to be done.
func (f *faulty) do(t *testing.T, fix string) {
	t.Helper()
	_, command, found := strings.Cut(fix, ": ")
	if !found {
		command = fix
	}
	err := exec.Host{}.Run(t.Context(), exec.Cmd{
		Args: []string{"sh", "-ec", command},
		Env:  []string{"PATH=" + filepath.Dir(petriBinary()) + ":" + os.Getenv("PATH"), "KUBECONFIG=" + f.kubeconfig},
	})
	if err != nil {
		t.Errorf("what is to be done does not work: %s: %v", command, err)
	}
}

// resolves asks, in a pod on the worker, the DNS server on the control plane. It
// waits as long as usable does: status does not count a pod that is on its way as a
// problem, and kube-proxy may be one.
func (f *faulty) resolves(t *testing.T) {
	t.Helper()
	begin := time.Now()
	eventually(t, 3*time.Minute, func() error {
		r := f.kubectl(t.Context(), t, "", "exec", "work-0", "--", "busybox", "nslookup", "kubernetes.default.svc.cluster.local")
		if r.code != 0 {
			pods := f.kubectl(t.Context(), t, "", "-n", "kube-system", "get", "pods,endpointslices", "-o", "wide")
			return fmt.Errorf("the pod on the worker resolves no name: %s%s\n%s%s", r.stdout, r.stderr, pods.stdout, pods.stderr)
		}
		return nil
	})
	t.Logf("names are resolved after %.1fs", time.Since(begin).Seconds())
}

// killed kills all processes of this name in a node.
func killed(node func(*faulty) string, name string) func(*testing.T, *faulty) {
	return func(t *testing.T, f *faulty) {
		t.Helper()
		docker(t, "exec", node(f), "sh", "-ec", `n=0
for p in /proc/[0-9]*; do
  if [ "$(cat $p/comm 2>/dev/null)" = "$0" ]; then kill -9 "${p#/proc/}"; n=$((n+1)); fi
done
[ $n -gt 0 ]`, name[:min(len(name), 15)])
	}
}

func onControlPlane(f *faulty) string { return f.controlPlane }

func onWorker(f *faulty) string { return f.worker }

// inNode runs a command in a node.
func inNode(node func(*faulty) string, command string) func(*testing.T, *faulty) {
	return func(t *testing.T, f *faulty) {
		t.Helper()
		docker(t, "exec", node(f), "sh", "-ec", command)
	}
}

// paused pauses a node. On cgroup v1 the engine gives up where processes are made
// faster than it finds them: that is its own affair, and it is asked again.
func paused(node func(*faulty) string) func(*testing.T, *faulty) {
	return func(t *testing.T, f *faulty) {
		t.Helper()
		eventually(t, 30*time.Second, func() error {
			if r := run(t.Context(), "", "", "docker", "pause", node(f)); r.code != 0 && !strings.Contains(r.stderr, "already paused") {
				return fmt.Errorf("pause %s: %s", node(f), r.stderr)
			}
			return nil
		})
	}
}

// programFaults are of the programs of nodes.
var programFaults = []fault{
	{name: "kubelet killed", make: killed(onWorker, "kubelet")},
	{name: "containerd killed again and again", make: func(t *testing.T, f *faulty) {
		for range 6 { // more often than systemd would start it by default
			eventually(t, 30*time.Second, func() error {
				if r := run(t.Context(), "", "", "docker", "exec", f.worker, "systemctl", "is-active", "containerd"); r.code != 0 {
					return fmt.Errorf("containerd is %s", r.stdout)
				}
				return nil
			})
			killed(onWorker, "containerd")(t, f)
		}
	}},
	{name: "containerd of the control plane killed", make: killed(onControlPlane, "containerd")},
	{name: "etcd killed", make: killed(onControlPlane, "etcd")},
	{name: "API server killed", make: killed(onControlPlane, "kube-apiserver")},
	{name: "controller manager and scheduler killed", make: func(t *testing.T, f *faulty) {
		killed(onControlPlane, "kube-controller-manager")(t, f)
		killed(onControlPlane, "kube-scheduler")(t, f)
	}},
	{
		name:   "kubelet with a broken configuration",
		make:   inNode(onWorker, "cp /var/lib/kubelet/config.yaml /root/kubelet.yaml; echo 'maxPods: many' >> /var/lib/kubelet/config.yaml; systemctl restart kubelet"),
		wanted: &problem{ID: "COMPONENT-FAILED", Node: "worker", Component: "kubelet", Log: "maxPods"},
		mend:   inNode(onWorker, "cp /root/kubelet.yaml /var/lib/kubelet/config.yaml; systemctl restart kubelet"),
	},
	{
		name:   "containerd with a broken configuration",
		make:   inNode(onWorker, "cp /etc/containerd/config.toml /root/; echo '[[[' >> /etc/containerd/config.toml; systemctl restart containerd || true"),
		wanted: &problem{ID: "SERVICE-DOWN", Node: "worker", Component: "containerd", Log: "toml"},
		mend:   inNode(onWorker, "cp /root/config.toml /etc/containerd/config.toml; systemctl restart containerd"),
	},
}

// manifestFaults are of the static pods of the control plane.
var manifestFaults = []fault{
	{
		name: "API server with a wrong flag",
		make: func(t *testing.T, f *faulty) {
			inNode(onControlPlane, "cp /etc/kubernetes/manifests/kube-apiserver.yaml /root/; sed -i 's/    - --allow-privileged=true/&\\n    - --no-such-flag=1/' /etc/kubernetes/manifests/kube-apiserver.yaml")(t, f)
			killed(onControlPlane, "kube-apiserver")(t, f) // so that its shutdown need not be waited for
		},
		wanted: &problem{ID: "COMPONENT-FLAG", Node: "control-plane", Component: "kube-apiserver", Seen: "--no-such-flag", Log: "unknown flag"},
		// as its page says: it was killed before, and would be waited for
		mend: inNode(onControlPlane, "cp /root/kube-apiserver.yaml /etc/kubernetes/manifests/; systemctl restart kubelet"),
	},
	{
		name:   "scheduler with a broken manifest",
		long:   true,
		make:   inNode(onControlPlane, "cp /etc/kubernetes/manifests/kube-scheduler.yaml /root/; echo '}}' >> /etc/kubernetes/manifests/kube-scheduler.yaml; crictl ps --name kube-scheduler -q | xargs -r crictl rm -f"),
		wanted: &problem{ID: "COMPONENT-DOWN", Node: "control-plane", Component: "kube-scheduler"},
		mend:   inNode(onControlPlane, "cp /root/kube-scheduler.yaml /etc/kubernetes/manifests/"),
	},
}

// machineFaults are of nodes as machines.
var machineFaults = []fault{
	{
		name:   "network interface down",
		make:   inNode(onWorker, "ip link set eth0 down"),
		wanted: &problem{ID: "NODE-NETWORK", Node: "worker", Seen: "interface is down"},
	},
	{
		name:   "cut off the network",
		make:   func(t *testing.T, f *faulty) { docker(t, "network", "disconnect", "petri-"+f.name, f.worker) },
		wanted: &problem{ID: "NODE-NETWORK", Node: "worker", Seen: "is on no network"},
	},
	{
		name:   "packets dropped",
		make:   inNode(onWorker, "nft 'add table inet fault; add chain inet fault out {type filter hook output priority -300;}; add rule inet fault out tcp dport 6443 drop'"),
		wanted: &problem{ID: "NODE-NETWORK", Node: "worker", Seen: "does not reach the API"},
		mend:   inNode(onWorker, "nft delete table inet fault"),
	},
	{
		name:   "disk full",
		make:   inNode(onWorker, "mount -t tmpfs -o size=1m tmpfs /var/log/pods; head -c 2m /dev/zero > /var/log/pods/fill || true"),
		wanted: &problem{ID: "NODE-DISK-FULL", Node: "worker", Seen: "/var/log/pods"},
		mend:   inNode(onWorker, "umount --lazy /var/log/pods"), // a log in it may be open,
	},
	{
		name:   "worker paused",
		make:   paused(onWorker),
		wanted: &problem{ID: "NODE-PAUSED", Node: "worker"},
	},
	{
		name:   "control plane paused",
		make:   paused(onControlPlane),
		wanted: &problem{ID: "NODE-PAUSED", Node: "control-plane"},
	},
	{
		name:   "worker dead",
		make:   func(t *testing.T, f *faulty) { docker(t, "kill", f.worker) },
		wanted: &problem{ID: "NODE-STOPPED", Node: "worker", Seen: "exit code 137"},
	},
	{
		name:   "control plane dead",
		make:   func(t *testing.T, f *faulty) { docker(t, "kill", f.controlPlane) },
		wanted: &problem{ID: "NODE-STOPPED", Node: "control-plane"},
	},
}

// clusterFaults are of what runs in the cluster.
var clusterFaults = []fault{
	{name: "pods of CoreDNS deleted", make: func(t *testing.T, f *faulty) {
		f.must(t, "-n", "kube-system", "delete", "pods", "-l", "k8s-app=kube-dns", "--grace-period=0", "--force")
	}},
	{
		name: "no CoreDNS",
		make: func(t *testing.T, f *faulty) {
			f.must(t, "-n", "kube-system", "scale", "deployment/coredns", "--replicas=0")
		},
		wanted: &problem{ID: "DNS-DOWN", Component: "coredns"},
		mend: func(t *testing.T, f *faulty) {
			f.must(t, "-n", "kube-system", "scale", "deployment/coredns", "--replicas=2")
		},
	},
	{
		name: "kube-proxy fails",
		make: func(t *testing.T, f *faulty) {
			f.must(t, "-n", "kube-system", "patch", "daemonset/kube-proxy", "--type=json", "-p", `[{"op":"add","path":"/spec/template/spec/containers/0/command/-","value":"--no-such-flag"}]`)
		},
		wanted: &problem{ID: "SYSTEM-POD", Node: "*", Component: "kube-proxy"},
		mend: func(t *testing.T, f *faulty) {
			f.must(t, "-n", "kube-system", "rollout", "undo", "daemonset/kube-proxy")
		},
	},
}
