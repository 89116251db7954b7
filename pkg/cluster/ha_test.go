package cluster

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/balancer"
	"github.com/petri-cluster/petri/pkg/cluster/clustertest"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider/fake"
)

const loadBalancer = "dev-external-load-balancer"

// createHA makes "dev" with three control planes and some workers.
func (s *scene) createHA(t *testing.T, workers int) {
	t.Helper()
	if err := s.Create(t.Context(), sized(t, 3, workers), s.options()); err != nil {
		t.Fatal(err)
	}
}

// backendsOf are the servers in the configuration of a node's balancer.
func backendsOf(t *testing.T, s *scene, nodeName string) []string {
	t.Helper()
	f, ok := s.File(nodeName, nodeimage.BalancerPath)
	if !ok {
		return nil
	}
	var out []string
	for line := range strings.Lines(string(f.Data)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "server" {
			out = append(out, fields[1]+" "+fields[2])
		}
	}
	return out
}

func TestCreateThreePlusThree(t *testing.T) {
	s := newScene(t)
	s.createHA(t, 3)
	nodes := []string{"dev-control-plane", "dev-control-plane2", "dev-control-plane3", "dev-worker", "dev-worker2", "dev-worker3"}
	want := []string{"network petri-dev"}
	for _, name := range append(slices.Clone(nodes), loadBalancer) {
		want = append(want, "node "+name)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, s.Objects()); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	backends := []string{"dev-control-plane 10.201.0.2:6443", "dev-control-plane2 10.201.0.3:6443", "dev-control-plane3 10.201.0.4:6443"}
	for _, name := range append(slices.Clone(nodes), loadBalancer) {
		if diff := cmp.Diff(backends, backendsOf(t, s, name)); diff != "" {
			t.Errorf("%s leads to (-want +got):\n%s", name, diff)
		}
	}
	for _, name := range nodes {
		plan, err := s.Plan(name)
		if err != nil || plan.Balanced != loadBalancer {
			t.Errorf("plan of %s: %+v, %v", name, plan, err)
		}
		if want := strings.Contains(name, "control-plane"); want != (len(plan.EtcdMembers) == 3) {
			t.Errorf("%s knows of members %v", name, plan.EtcdMembers)
		}
	}
	if _, ok := s.File(loadBalancer, nodeimage.KubeadmConfigPath); ok {
		t.Error("the load balancer has the cluster's bootstrap token")
	}
	if got := s.API("dev").Kept().Server; got != "https://127.0.0.1:40001" {
		t.Errorf("the host reaches the API at %s", got)
	}
	if text := s.kubeconfigText(t); !strings.Contains(text, "server: https://127.0.0.1:40001") {
		t.Errorf("the kubeconfig is\n%s", text)
	}
	if err := s.Delete(t.Context(), "dev", []string{s.kubeconfig}); err != nil {
		t.Fatal(err)
	}
	if left := s.Objects(); len(left) > 0 {
		t.Errorf("after deletion there are %q", left)
	}
}

// TestJoinOrder: the certificates are read once, and whoever joins does it
// after the API has answered and before the cluster is waited for.
func TestJoinOrder(t *testing.T) {
	s := newScene(t)
	s.createHA(t, 1)
	log := s.Log()
	for _, pair := range [][2]string{
		{"init dev-control-plane", "WaitServing"},
		{"WaitServing", "certificates dev-control-plane"},
		{"certificates dev-control-plane", "join dev-control-plane2"},
		{"certificates dev-control-plane", "join dev-control-plane3"},
		{"WaitServing", "join dev-worker"},
		{"join dev-control-plane2", "Wait"},
		{"join dev-control-plane3", "Wait"},
	} {
		first, second := slices.Index(log, pair[0]), slices.Index(log, pair[1])
		if first < 0 || second < first {
			t.Errorf("%q is not followed by %q in %q", pair[0], pair[1], log)
		}
	}
	reads := slices.DeleteFunc(log, func(line string) bool { return !strings.HasPrefix(line, "certificates") })
	if len(reads) != 1 {
		t.Errorf("certificates were read %d times", len(reads))
	}
}

// TestOneControlPlaneStandsAlone: nothing of a load balancer is in the way.
func TestOneControlPlaneStandsAlone(t *testing.T) {
	s := newScene(t)
	s.create(t, 1)
	for _, name := range []string{"dev-control-plane", "dev-worker"} {
		plan, err := s.Plan(name)
		if _, ok := s.File(name, nodeimage.BalancerPath); ok || err != nil || plan.Balanced != "" || len(plan.EtcdMembers) > 0 {
			t.Errorf("%s has a balancer: %t; plan %+v, %v", name, ok, plan, err)
		}
	}
	calls := s.calls(func() {
		if err := s.Balance(t.Context(), "dev"); err != nil {
			t.Error(err)
		}
	})
	if calls != 1 {
		t.Errorf("%d calls to balance what cannot be", calls)
	}
}

func TestEvenNumberIsWarnedOf(t *testing.T) {
	for n, want := range map[int]bool{1: false, 2: true, 3: false, 4: true} {
		s := newScene(t)
		if err := s.Create(t.Context(), sized(t, n, 0), s.options()); err != nil {
			t.Fatal(err)
		}
		warned := slices.ContainsFunc(s.events.Events(), func(e progress.Event) bool {
			return e.Status == progress.Note && strings.Contains(e.Message, "even number of control planes")
		})
		if warned != want {
			t.Errorf("%d control planes: warned %t", n, warned)
		}
	}
}

func TestCertificatesCannotBeRead(t *testing.T) {
	for name, handler := range map[string]fake.Handler{
		"fails":   fake.Fail(1, "there are no certificates"),
		"garbage": fake.Print("none"),
	} {
		s := newScene(t)
		s.Handle(handler, nodeimage.HelperPath, "certificates")
		err := s.Create(t.Context(), sized(t, 3, 1), s.options())
		if err == nil || !strings.Contains(err.Error(), "node dev-control-plane: read its certificates") {
			t.Errorf("%s: error %v", name, err)
		}
		s.untouched(t, name)
	}
}

// TestSecretsAreNotTold looks for the key of the CA in what is reported.
func TestSecretsAreNotTold(t *testing.T) {
	s := newScene(t)
	s.Handle(fake.Fail(1, "it broke"), nodeimage.HelperPath, "join")
	err := s.Create(t.Context(), sized(t, 3, 0), s.options())
	if err == nil || strings.Contains(err.Error(), clustertest.CAKey) {
		t.Errorf("error %v", err)
	}
	for _, e := range s.events.Events() {
		if strings.Contains(e.Message, clustertest.CAKey) {
			t.Errorf("event %+v", e)
		}
	}
	for _, c := range s.Commands() {
		if strings.Contains(strings.Join(c.Args, " "), clustertest.CAKey) {
			t.Errorf("command %q", c.Args)
		}
	}
}

func TestBalance(t *testing.T) {
	s := newScene(t)
	s.createHA(t, 1)
	s.SetState("dev-worker", node.Stopped)
	before := backendsOf(t, s, "dev-worker")
	if err := s.Balance(t.Context(), "dev", "dev-control-plane2"); err != nil {
		t.Fatal(err)
	}
	want := []string{"dev-control-plane 10.201.0.2:6443", "dev-control-plane3 10.201.0.4:6443"}
	for _, name := range []string{loadBalancer, "dev-control-plane", "dev-control-plane2", "dev-control-plane3"} {
		if diff := cmp.Diff(want, backendsOf(t, s, name)); diff != "" {
			t.Errorf("%s leads to (-want +got):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(before, backendsOf(t, s, "dev-worker")); diff != "" {
		t.Errorf("a stopped node was changed (-before +after):\n%s", diff)
	}
	// and back: those that are there count
	s.SetState("dev-worker", node.Running)
	if err := s.Balance(t.Context(), "dev"); err != nil {
		t.Fatal(err)
	}
	if got := backendsOf(t, s, loadBalancer); len(got) != 3 {
		t.Errorf("the load balancer leads to %q", got)
	}
	for role, name := range map[string]string{nodeimage.RoleLoadBalancer: loadBalancer, nodeimage.RoleWorker: "dev-worker"} {
		f, _ := s.File(name, nodeimage.BalancerPath)
		conf, err := balancer.Config(role, false, []balancer.Backend{
			{Name: "dev-control-plane", Addr: netip.MustParseAddr("10.201.0.2")},
			{Name: "dev-control-plane2", Addr: netip.MustParseAddr("10.201.0.3")},
			{Name: "dev-control-plane3", Addr: netip.MustParseAddr("10.201.0.4")},
		})
		if err != nil || string(conf) != string(f.Data) {
			t.Errorf("%s listens as another role: %v\n%s", name, err, f.Data)
		}
	}
}

// TestBalanceLeavesForeignBalancers: those of another tool read other files.
func TestBalanceLeavesForeignBalancers(t *testing.T) {
	all := []node.Node{
		{Role: nodeimage.RoleControlPlane, Foreign: true}, {Role: nodeimage.RoleControlPlane, Foreign: true},
		{Role: nodeimage.RoleLoadBalancer, Foreign: true},
	}
	if isBalanced(all) {
		t.Error("they would be changed")
	}
}

func TestBalanceNamesWhoWasNotTold(t *testing.T) {
	s := newScene(t)
	s.createHA(t, 1)
	s.Handle(fake.Fail(1, "it does not parse"), nodeimage.HelperPath, "balance")
	err := s.Balance(t.Context(), "dev")
	for _, name := range []string{loadBalancer, "dev-worker", "dev-control-plane3"} {
		if err == nil || !strings.Contains(err.Error(), "node "+name+": change its balancer") {
			t.Errorf("error %v does not name %s", err, name)
		}
	}
	if err := s.Balance(t.Context(), "other"); err == nil || !strings.Contains(err.Error(), `no cluster "other"`) {
		t.Errorf("a cluster that is not there: %v", err)
	}
}

// TestLoadBalancerIsNoNode: it is where machines are looked at, and nowhere
// where a node of Kubernetes is meant.
func TestLoadBalancerIsNoNode(t *testing.T) {
	s := newScene(t)
	s.createHA(t, 0)
	nodes, err := s.Nodes(t.Context(), "dev")
	if err != nil || len(nodes) != 3 {
		t.Errorf("%d nodes, %v", len(nodes), err)
	}
	summaries, err := s.Summaries(t.Context())
	if err != nil || len(summaries) != 1 || summaries[0].Nodes != 3 {
		t.Errorf("summaries %+v, %v", summaries, err)
	}
	internal, err := s.Kubeconfig(t.Context(), "dev", true)
	if err != nil || internal.Server != "https://"+loadBalancer+":6443" {
		t.Errorf("the network's own entry is for %s, %v", internal.Server, err)
	}
	status, err := s.Status(t.Context(), "dev")
	if err != nil || !status.Usable || len(status.Nodes) != 4 {
		t.Errorf("status %+v, %v", status, err)
	}
	s.SetState(loadBalancer, node.Stopped)
	status, err = s.Status(t.Context(), "dev")
	if want := "load balancer " + loadBalancer + " is stopped"; err != nil || len(status.Problems) == 0 || !strings.HasPrefix(status.Problems[0].Seen, want) {
		t.Errorf("problems %+v, %v", status.Problems, err)
	}
}

func TestExportLogsOfALoadBalancer(t *testing.T) {
	s := logging(t, sends(0))
	if err := errors.Join(s.Delete(t.Context(), "dev", nil), s.Create(t.Context(), sized(t, 3, 0), s.options())); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := s.ExportLogs(t.Context(), "dev", dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, loadBalancer))
	if err != nil || len(entries) != 2 {
		t.Errorf("of the load balancer: %v, %v", entries, err)
	}
}
