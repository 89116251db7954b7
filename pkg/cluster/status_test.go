package cluster

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/petri-cluster/petri/pkg/cluster/clustertest"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/health"
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// hang makes nodes not answer a command.
func (s *scene) hang(nodes []string, argv ...string) {
	s.Handle(func(ctx context.Context, n node.Node, cmd exec.Cmd) error {
		if slices.Contains(nodes, n.Name) {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		_, err := cmd.Stdout.Write([]byte(clustertest.Kubeconfig(n.Cluster, "admin")))
		return err
	}, argv...)
}

// TestStatusAsksOthers wants the API to be asked although a control plane hangs,
// which is said of that one alone, and no longer than there is time.
func TestStatusAsksOthers(t *testing.T) {
	for _, hanging := range [][]string{
		{"dev-control-plane"}, {"dev-control-plane", "dev-control-plane2"}, {"dev-control-plane", "dev-control-plane2", "dev-control-plane3"},
	} {
		s := newScene(t)
		s.createHA(t, 0)
		s.hang(hanging, "cat", nodeimage.AdminConfPath)
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			status, err := s.Status(t.Context(), "dev")
			if all := len(hanging) == 3; err != nil || status.Usable == all || all && status.Problems[0].ID != "API-UNREACHABLE" {
				t.Errorf("%v: problems %+v, %v", hanging, status.Problems, err)
			}
			if took := time.Since(began); took > answerLimit {
				t.Errorf("%v: it took %s", hanging, took)
			}
		})
	}
}

// TestStatusWithoutServices wants CoreDNS to be judged where pods can reach the
// API by its Service, and not where nothing leads to it.
func TestStatusWithoutServices(t *testing.T) {
	for _, c := range []struct {
		proxy, cni string
		judged     bool
	}{{"iptables", "default", true}, {"none", "default", false}, {"iptables", "none", false}} {
		s := newScene(t)
		cfg := dev(t, 0)
		cfg.Networking.KubeProxyMode, cfg.Networking.CNI = c.proxy, c.cni
		if err := s.Create(t.Context(), cfg, s.options()); err != nil {
			t.Fatal(err)
		}
		s.World.API("dev").AddPod(kube.Pod{Namespace: "kube-system", Name: "coredns-2", Controller: "Deployment/coredns", Problem: "CrashLoopBackOff", Failing: true})
		status, err := s.Status(t.Context(), "dev")
		accused := slices.ContainsFunc(status.Problems, func(p health.Problem) bool { return p.ID == "SYSTEM-POD" })
		if err != nil || accused != c.judged {
			t.Errorf("%+v: problems %+v, %v", c, status.Problems, err)
		}
	}
}

// TestSummaryTellsOnce wants what the engine knows of a node that does not run
// not to be told once more as what keeps the cluster from being usable.
func TestSummaryTellsOnce(t *testing.T) {
	e := &export{nodes: []node.Node{{Name: "dev-worker", State: node.Stopped}, {Name: "dev-worker2", State: node.Running}}}
	e.status.Problems = []health.Problem{{ID: "OUT-OF-MEMORY", Node: "dev-worker"}, {ID: "OUT-OF-MEMORY", Node: "dev-worker2"}, {ID: "DNS-DOWN"}}
	var ids []string
	for _, f := range e.apiFindings() {
		ids = append(ids, f.ID)
	}
	if got := strings.Join(ids, " "); got != "OUT-OF-MEMORY DNS-DOWN" {
		t.Errorf("it tells %s", got)
	}
}
