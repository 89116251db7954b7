package health

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
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

// controlNode and worker are what nodes of the two roles print when all is well.
const (
	worker = `== clock
1795309269
== units
NRestarts=0
Id=kubelet.service
` + kubeletRuns + `

NRestarts=0
Id=containerd.service
` + containerdRuns + `
== log none
== disks
/ ede007f2 1000000 4096 1000000 2000000
/var 9e8d 1000000 4096 1000000 2000000
/var/log 9e8d 1000001 4096 1000000 2000000
== link
up
== address
10.1.0.3
== server dev-control-plane:6443
reached
`
	kubeletRuns = `ActiveState=active
SubState=running
ConditionResult=yes
ActiveEnterTimestamp=Sun 2026-11-22 00:59:29 UTC`
	containerdRuns = `ActiveState=active
SubState=running
ConditionResult=yes
ActiveEnterTimestamp=Sun 2026-11-22 00:59:28 UTC`
	controlNode = worker + `== containers
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
	for _, m := range []struct{ name, role, addr, says string }{
		{"dev-control-plane", nodeimage.RoleControlPlane, "10.1.0.2", controlNode}, {"dev-worker", nodeimage.RoleWorker, "10.1.0.3", worker},
	} {
		f.Machines = append(f.Machines, Machine{
			Node:   node.Node{Name: m.name, Role: m.role, State: node.Running, Cluster: "dev", Addrs: node.Addrs{netip.MustParseAddr(m.addr)}},
			Report: parseReport(m.says), Known: &kube.NodeInfo{Name: m.name, Ready: true},
		})
	}
	return f
}

// says makes the worker, or the control plane, print something else.
func says(i int, pairs ...string) func(*Facts) {
	return func(f *Facts) {
		text := []string{controlNode, worker}[i]
		changed := strings.NewReplacer(pairs...).Replace(text)
		if changed == text {
			panic("the report has no " + pairs[0])
		}
		f.Machines[i].Report = parseReport(changed)
	}
}

// pod is one that fails on the worker.
func pod(name, controller string) kube.Pod {
	return kube.Pod{Name: name, Namespace: "kube-system", Node: "dev-worker", Controller: controller, Phase: "Running", Failing: true, Problem: "CrashLoopBackOff: back-off"}
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
		"kubelet goes round": {says(1, kubeletRuns, "ActiveState=activating\nSubState=auto-restart", "== log none", "== log kubelet\nfailed to load kubelet config file: strict decoding error: unknown field \"nope\""),
			[]string{"COMPONENT-FLAG dev-worker kubelet: unknown field \"nope\""}},
		"containerd is dead": {says(1, containerdRuns, "ActiveState=failed\nSubState=failed\nActiveEnterTimestamp=", "== log none", "== log containerd\nno"),
			[]string{"SERVICE-DOWN dev-worker containerd: it is failed"}},
		"started again and again, and just now": {says(1, "NRestarts=0\nId=kubelet", "NRestarts=7\nId=kubelet", "00:59:29", "01:01:08"),
			[]string{"SERVICE-DOWN dev-worker kubelet: 7 times"}},
		"started anew long ago": {says(1, "NRestarts=0", "NRestarts=7"), nil},
		"a balancer is dead": {says(1, "== log none", "\nId=petri-balancer.service\nActiveState=failed\nSubState=failed\nConditionResult=yes"),
			[]string{"SERVICE-DOWN dev-worker petri-balancer: it is failed"}},
		"a balancer reads its configuration": {says(1, "== log none", "\nId=petri-balancer.service\nActiveState=reloading\nSubState=reload"), nil},
		"a balancer without a configuration": {says(1, "== log none", "\nId=petri-balancer.service\nActiveState=inactive\nSubState=dead\nConditionResult=no"), nil},
		"an approver is dead": {says(0, "== log none", "\nId=petri-approver.service\nActiveState=inactive\nSubState=dead\nConditionResult=yes"),
			[]string{"SERVICE-DOWN dev-control-plane petri-approver: it is dead"}},
		"a node is being added": {func(f *Facts) {
			says(1, kubeletRuns, "ActiveState=inactive\nSubState=dead\nConditionResult=no\nActiveEnterTimestamp=")(f)
			f.Machines[1].Known = nil
		}, nil},
		"kubelet has lost its configuration": {says(1, kubeletRuns, "ActiveState=inactive\nSubState=dead\nConditionResult=no"),
			[]string{"SERVICE-DOWN dev-worker kubelet: it is dead"}},
		"systemd is slow": {func(f *Facts) { f.Machines[1].Report.Units = nil }, nil},
		"systemd hangs": {func(f *Facts) { f.Machines[1].Report.Units, f.Machines[1].Known.Ready = nil, false },
			[]string{"SERVICE-DOWN dev-worker : systemd does not answer"}},
		"disk full":         {says(1, "/var 9e8d 1000000", "/var 9e8d 100", "1000001", "101"), []string{"NODE-DISK-FULL dev-worker : the disk of /var is full: 400 KiB"}},
		"two disks full":    {says(1, "/ ede007f2 1000000", "/ ede007f2 100", "/var 9e8d 1000000", "/var 9e8d 100"), []string{"NODE-DISK-FULL dev-worker : the disk of / is full", "NODE-DISK-FULL dev-worker : the disk of /var is full"}},
		"disk out of files": {says(1, "/var 9e8d 1000000 4096 1000000", "/var 9e8d 1000000 4096 3"), []string{"NODE-DISK-FULL dev-worker : 3 more files"}},
		"disk pressure":     {func(f *Facts) { f.Machines[1].Known.Conditions = []string{"DiskPressure=True"} }, []string{"NODE-DISK-FULL dev-worker : DiskPressure"}},
		"API server fails": {func(f *Facts) {
			says(0, "CONTAINER_RUNNING\", \"labels\": {\"io.kubernetes.pod.namespace\": \"kube-system\"}}\n]}", "CONTAINER_EXITED\", \"labels\": {\"io.kubernetes.pod.namespace\": \"kube-system\"}}\n]}", "I1122 00:02:03.328781       1 serving", "Error: unknown flag: --no-such-flag")(f)
			f.APIErr = errors.New("connection refused")
		}, []string{"COMPONENT-FLAG dev-control-plane kube-apiserver: --no-such-flag", "API-UNREACHABLE  kube-apiserver: connection refused"}},
		"manifest cannot be read": {says(0, "== manifests\n", "== manifests\n\"Could not process manifest file\" path=\"/etc/kubernetes/manifests/kube-scheduler.yaml\"\n", "== static etcd", "== static kube-scheduler\n== static etcd", "00:59:29", "01:01:00"),
			[]string{"COMPONENT-DOWN dev-control-plane kube-scheduler: kube-scheduler does not run"}},
		"a component never began":     {says(0, "== static etcd", "== static kube-scheduler\n== static etcd"), []string{"COMPONENT-DOWN dev-control-plane kube-scheduler: does not run"}},
		"components are on their way": {says(0, "== static etcd", "== static kube-scheduler\n== static etcd", "CONTAINER_RUNNING", "CONTAINER_EXITED", "00:59:29", "01:00:30"), nil},
		"components of a systemd that is slow": {func(f *Facts) {
			says(0, "CONTAINER_RUNNING", "CONTAINER_EXITED")(f)
			f.Machines[0].Report.Units = nil
		}, nil},
		"a static pod of the user's":             {says(0, "== static etcd\n", "== static etcd-backup\n== static etcd\n"), nil},
		"containerd says nothing of static pods": {says(0, `{"containers": [`, "time out ["), nil},
		"link down":                              {says(1, "== link\nup", "== link\ndown"), []string{"NODE-NETWORK dev-worker : docker network connect --ip 10.1.0.3 petri-dev dev-worker"}},
		"link down, dual stack": {says(1, "== link\nup", "== link\ndown", "10.1.0.3", "10.1.0.3,fd00::3"),
			[]string{"NODE-NETWORK dev-worker : docker network connect --ip 10.1.0.3 --ip6 fd00::3 petri-dev dev-worker"}},
		"link gone, IPv6": {says(1, "== link\nup", "== link\ngone", "10.1.0.3", "fd00::3"), []string{"NODE-NETWORK dev-worker : docker network connect --ip6 fd00::3 petri-dev dev-worker"}},
		"no network":      {says(1, "== link\nup", "== link\ngone"), []string{"NODE-NETWORK dev-worker : is on no network"}},
		"API not reached": {says(1, "\nreached", "\nbash: connect: No route to host"), []string{"NODE-NETWORK dev-worker : does not reach the API at dev-control-plane:6443"}},
		"API refuses":     {says(1, "\nreached", "\nbash: connect: Connection refused"), nil},
		"API not reached, and no wonder": {func(f *Facts) {
			says(1, "\nreached", "")(f)
			f.Machines[0].State = node.Stopped
		}, []string{"NODE-STOPPED dev-control-plane : is stopped"}},
		"API not reached, for its node hangs": {func(f *Facts) {
			says(1, "\nreached", "")(f)
			f.Machines[0].ReportErr = errHangs
		}, []string{"NODE-HANGS dev-control-plane : did not answer"}},
		"API not reached by its address": {says(1, "\nreached", "", "dev-control-plane:6443", "10.1.0.2:6443"), []string{"NODE-NETWORK dev-worker : does not reach the API at 10.1.0.2:6443"}},
		"API not reached through a load balancer": {func(f *Facts) {
			says(1, "\nreached", "", "dev-control-plane:6443", "dev-lb:6443")(f)
			f.Machines = append(f.Machines, Machine{Node: node.Node{Name: "dev-lb", Role: nodeimage.RoleLoadBalancer, State: node.Running}})
		}, []string{"NODE-NETWORK dev-worker : does not reach the API at dev-lb:6443"}},
		"the load balancer is stopped": {func(f *Facts) {
			says(1, "\nreached", "", "dev-control-plane:6443", "dev-lb:6443")(f)
			f.Machines = append(f.Machines, Machine{Node: node.Node{Name: "dev-lb", Role: nodeimage.RoleLoadBalancer, State: node.Stopped}})
		}, []string{"NODE-STOPPED dev-lb : is stopped"}},
		"no time was left for the API": {says(1, "== server dev-control-plane:6443\nreached\n", ""), nil},
		"not Ready": {func(f *Facts) {
			f.Machines[1].Known = &kube.NodeInfo{Problem: "KubeletNotReady: no network"}
			f.Unmet = []kube.Shortfall{{Condition: kube.NodesReady(nil).Name, Why: "dev-worker: KubeletNotReady"}}
		}, []string{"NODE-NOT-READY dev-worker : KubeletNotReady: no network"}},
		"a node without a machine": {func(f *Facts) {
			f.Unmet = []kube.Shortfall{{Condition: kube.NodesReady(nil).Name, Why: "dev-worker9 is not registered"}}
		}, []string{"NOT-USABLE  : dev-worker9 is not registered"}},
		"no DNS": {func(f *Facts) {
			f.Unmet = []kube.Shortfall{{Condition: kube.DNSServing().Name, Why: "0 of 2 replicas are available"}}
			f.Pods = []kube.Pod{pod("coredns-0", "Deployment/coredns"), pod("coredns-1", "Deployment/coredns")}
			f.Pods[0].Phase, f.Pods[0].Problem = "Failed", "Failed: Evicted"
		}, []string{"DNS-DOWN  coredns: 0 of 2 replicas are available): pod coredns-1: CrashLoopBackOff"}},
		"a system pod fails": {func(f *Facts) { f.Pods = []kube.Pod{pod("kube-proxy-x", "DaemonSet/kube-proxy")} },
			[]string{"SYSTEM-POD dev-worker kube-proxy: pod kube-system/kube-proxy-x fails"}},
		"a static pod fails": {func(f *Facts) { f.Pods = []kube.Pod{pod("etcd-dev-worker", "Node/dev-worker")} },
			[]string{"SYSTEM-POD dev-worker etcd: pod kube-system/etcd-dev-worker fails"}},
		"pods of the user's fail in its namespace": {func(f *Facts) {
			f.Pods = []kube.Pod{
				pod("metrics-server-1", "Deployment/metrics-server"), pod("kube-proxy-mine", ""), pod("coredns-autoscaler-1", "Deployment/coredns-autoscaler"),
				pod("etcd-backup-dev-worker", "Node/dev-worker"), pod("etcd-backup-1", "Job/etcd-backup"), pod("kube-proxy-watch-1", "DaemonSet/kube-proxy-watch"),
			}
		}, nil},
		"nothing leads to Services": {func(f *Facts) {
			f.NoServices = true
			f.Pods = []kube.Pod{pod("coredns-1", "Deployment/coredns"), pod("local-path-provisioner-1", "Deployment/local-path-provisioner"), pod("petri-cni-1", "DaemonSet/petri-cni")}
		}, []string{"SYSTEM-POD dev-worker petri-cni: petri-cni-1 fails"}},
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
