package health

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

// controlPlane and worker are what nodes of the two roles print when all is well.
const (
	worker = `== clock
1000.50
== unit kubelet
NRestarts=0
ActiveState=active
SubState=running
ActiveEnterTimestampMonotonic=900000000
== log kubelet
== unit containerd
NRestarts=0
ActiveState=active
SubState=running
ActiveEnterTimestampMonotonic=900000000
== log containerd
== disks
/ 1000000 4096 1000000 2000000
/var 1000000 4096 1000000 2000000
== link
up
== address
10.1.0.3
== server dev-control-plane:6443
reached
`
	controlPlane = worker + `== containers
{"containers": [
  {"metadata": {"name": "etcd"}, "state": "CONTAINER_RUNNING", "labels": {"io.kubernetes.pod.namespace": "kube-system"}},
  {"metadata": {"name": "kube-apiserver"}, "state": "CONTAINER_EXITED", "labels": {"io.kubernetes.pod.namespace": "kube-system"}},
  {"metadata": {"name": "kube-apiserver"}, "state": "CONTAINER_RUNNING", "labels": {"io.kubernetes.pod.namespace": "kube-system"}}
]}
== static etcd
{"level":"info","msg":"serving"}
== static kube-apiserver
I1122 00:02:03.328781       1 serving
== manifests
`
)

// healthy are the facts of a cluster of two nodes in which nothing is wrong.
func healthy() *Facts {
	f := &Facts{Cluster: "dev"}
	for _, m := range []struct{ name, role, says string }{
		{"dev-control-plane", nodeimage.RoleControlPlane, controlPlane}, {"dev-worker", nodeimage.RoleWorker, worker},
	} {
		f.Machines = append(f.Machines, Machine{
			Node:   node.Node{Name: m.name, Role: m.role, State: node.Running, Cluster: "dev"},
			Report: parseReport(m.says), Known: &kube.NodeInfo{Name: m.name, Ready: true},
		})
	}
	return f
}

// says makes the worker, or the control plane, print something else.
func says(i int, pairs ...string) func(*Facts) {
	return func(f *Facts) {
		text := []string{controlPlane, worker}[i]
		changed := strings.NewReplacer(pairs...).Replace(text)
		if changed == text {
			panic("the report has no " + pairs[0])
		}
		f.Machines[i].Report = parseReport(changed)
	}
}

func TestExamine(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*Facts)
		want  []string // "ID node component: words"
	}{
		"nothing": {func(*Facts) {}, nil},
		"paused": {func(f *Facts) { f.Machines[1].State, f.Machines[1].Known.Ready = node.Paused, false }, []string{
			"NODE-PAUSED dev-worker : petri unpause node dev-worker --name dev",
		}},
		"stopped": {func(f *Facts) {
			f.Machines[1].State, f.Machines[1].Last.ExitCode = node.Stopped, 137
			f.Unmet = []kube.Shortfall{{Condition: kube.NodesReady(nil).Name, Why: "dev-worker: NodeStatusUnknown"}, {Condition: "every node has reported since it was started", Why: "nothing was heard of dev-worker"}}
			f.Machines[1].Known.Ready = false
		}, []string{"NODE-STOPPED dev-worker : exit code 137"}},
		"out of memory": {func(f *Facts) {
			f.Machines[1].State, f.Machines[1].Last = node.Stopped, provider.Inspection{OutOfMemory: true, ExitCode: 137}
		}, []string{"OUT-OF-MEMORY dev-worker : petri start node dev-worker"}},
		"hangs": {func(f *Facts) { f.Machines[1].ReportErr = errHangs }, []string{"NODE-HANGS dev-worker : did not answer within 8s"}},
		"a load balancer says nothing of itself": {func(f *Facts) {
			f.Machines = append(f.Machines, Machine{Node: node.Node{Name: "dev-lb", Role: nodeimage.RoleLoadBalancer, State: node.Running}})
		}, nil},
		"kubelet goes round": {says(1, "ActiveState=active\nSubState=running\nActiveEnterTimestampMonotonic=900000000\n== log kubelet", "ActiveState=activating\nSubState=auto-restart\nActiveEnterTimestampMonotonic=900000000\n== log kubelet\nfailed to load kubelet config file: strict decoding error: unknown field \"nope\""),
			[]string{"COMPONENT-FLAG dev-worker kubelet: unknown field \"nope\""}},
		"containerd is dead": {says(1, "ActiveState=active\nSubState=running\nActiveEnterTimestampMonotonic=900000000\n== log containerd", "ActiveState=failed\nSubState=failed\nActiveEnterTimestampMonotonic=0\n== log containerd\nno"),
			[]string{"SERVICE-DOWN dev-worker containerd: it is failed"}},
		"started again and again, and just now": {says(1, "NRestarts=0\nActiveState=active\nSubState=running\nActiveEnterTimestampMonotonic=900000000\n== log kubelet", "NRestarts=7\nActiveState=active\nSubState=running\nActiveEnterTimestampMonotonic=999000000\n== log kubelet"),
			[]string{"SERVICE-DOWN dev-worker kubelet: 7 times"}},
		"started anew long ago": {says(1, "NRestarts=0", "NRestarts=7"), nil},
		"systemd hangs":         {says(1, "NRestarts=0\nActiveState=active\nSubState=running\nActiveEnterTimestampMonotonic=900000000\n== log kubelet", "== log kubelet"), []string{"SERVICE-DOWN dev-worker kubelet: systemd does not answer"}},
		"disk full":             {says(1, "/var 1000000", "/var 100"), []string{"NODE-DISK-FULL dev-worker : the disk of /var is full: 400 KiB"}},
		"disk out of files":     {says(1, "/var 1000000 4096 1000000", "/var 1000000 4096 3"), []string{"NODE-DISK-FULL dev-worker : 3 more files"}},
		"disk pressure":         {func(f *Facts) { f.Machines[1].Known.Conditions = []string{"DiskPressure=True"} }, []string{"NODE-DISK-FULL dev-worker : DiskPressure"}},
		"API server fails": {func(f *Facts) {
			says(0, "CONTAINER_RUNNING\", \"labels\": {\"io.kubernetes.pod.namespace\": \"kube-system\"}}\n]}", "CONTAINER_EXITED\", \"labels\": {\"io.kubernetes.pod.namespace\": \"kube-system\"}}\n]}", "I1122 00:02:03.328781       1 serving", "Error: unknown flag: --no-such-flag")(f)
			f.APIErr = errors.New("connection refused")
		}, []string{"COMPONENT-FLAG dev-control-plane kube-apiserver: --no-such-flag", "API-UNREACHABLE  kube-apiserver: connection refused"}},
		"manifest cannot be read": {says(0, "== manifests\n", "== manifests\n\"Could not process manifest file\" path=\"/etc/kubernetes/manifests/scheduler.yaml\"\n", "== static etcd", "== static scheduler\n== static etcd"),
			[]string{"COMPONENT-DOWN dev-control-plane scheduler: scheduler does not run"}},
		"a component never began": {says(0, "== static etcd", "== static kube-scheduler\n== static etcd"), []string{"COMPONENT-DOWN dev-control-plane kube-scheduler: does not run"}},
		"a component is on its way": {says(0, "== static etcd", "== static kube-scheduler\n== static etcd",
			"ActiveEnterTimestampMonotonic=900000000\n== log kubelet", "ActiveEnterTimestampMonotonic=990000000\n== log kubelet"), nil},
		"containerd says nothing of static pods": {says(0, `{"containers": [`, "time out ["), nil},
		"link down":                              {says(1, "== link\nup", "== link\ndown"), []string{"NODE-NETWORK dev-worker : docker network connect --ip 10.1.0.3 petri-dev dev-worker"}},
		"no network":                             {says(1, "== link\nup", "== link\ngone"), []string{"NODE-NETWORK dev-worker : is on no network"}},
		"API not reached":                        {says(1, "\nreached", "\nbash: connect: No route to host"), []string{"NODE-NETWORK dev-worker : does not reach the API at dev-control-plane:6443"}},
		"API refuses":                            {says(1, "\nreached", "\nbash: connect: Connection refused"), nil},
		"API not reached, and no wonder": {func(f *Facts) {
			says(1, "\nreached", "")(f)
			f.Machines[0].State = node.Stopped
		}, []string{"NODE-STOPPED dev-control-plane : is stopped"}},
		"not Ready": {func(f *Facts) {
			f.Machines[1].Known = &kube.NodeInfo{Problem: "KubeletNotReady: no network"}
			f.Unmet = []kube.Shortfall{{Condition: kube.NodesReady(nil).Name, Why: "dev-worker: KubeletNotReady"}}
		}, []string{"NODE-NOT-READY dev-worker : KubeletNotReady: no network"}},
		"a node without a machine": {func(f *Facts) {
			f.Unmet = []kube.Shortfall{{Condition: kube.NodesReady(nil).Name, Why: "dev-worker9 is not registered"}}
		}, []string{"NOT-USABLE  : dev-worker9 is not registered"}},
		"no DNS": {func(f *Facts) {
			f.Unmet = []kube.Shortfall{{Condition: kube.DNSServing().Name, Why: "0 of 2 replicas are available"}}
			f.Pods = []kube.Pod{{Name: "coredns-1", Namespace: "kube-system", Failing: true, Problem: "CrashLoopBackOff: back-off"}}
		}, []string{"DNS-DOWN  coredns: 0 of 2 replicas are available): pod coredns-1: CrashLoopBackOff"}},
		"a system pod fails": {func(f *Facts) {
			f.Pods = []kube.Pod{{Name: "kube-proxy-x", Namespace: "kube-system", Node: "dev-worker", Failing: true, Problem: "CrashLoopBackOff"}, {Name: "metrics-server-1", Namespace: "kube-system", Failing: true}}
		}, []string{"SYSTEM-POD dev-worker kube-proxy: pod kube-system/kube-proxy-x fails"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthy()
			test.spoil(f)
			got := Examine(f)
			if len(got) != len(test.want) {
				t.Fatalf("found %+v, want %q", got, test.want)
			}
			for i, p := range got {
				begin, words, _ := strings.Cut(test.want[i], ": ")
				if is := fmt.Sprintf("%s %s %s", p.ID, p.Node, p.Component); is != begin || !strings.Contains(p.Seen+"\n"+p.Fix, words) {
					t.Errorf("found %q, %+v, want %q", is, p, test.want[i])
				}
				if p.Fix == "" || p.Page == "" {
					t.Errorf("%s says neither what to do nor where to read", p.ID)
				}
			}
		})
	}
}

// hanging is a node in which commands never end.
type hanging struct{}

func (hanging) Run(ctx context.Context, _ exec.Cmd) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestAskGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if _, err := Ask(t.Context(), hanging{}); !errors.Is(err, errHangs) {
			t.Errorf("error %v", err)
		}
		if took := time.Since(begin); took != ReportLimit {
			t.Errorf("it took %s", took)
		}
	})
}
