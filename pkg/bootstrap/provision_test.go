package bootstrap

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

// several is a cluster of three control planes and a worker, and where its
// machines are.
func several(kubernetes string) (*Env, provider.Placement) {
	c := &config.Cluster{Name: "a"}
	at := provider.Placement{Nodes: map[string]netip.Addr{}, Endpoint: netip.MustParseAddrPort("127.0.0.1:40001")}
	addr := netip.MustParseAddr("172.18.0.1")
	for _, n := range []config.Node{
		{Name: "a-control-plane", Role: nodeimage.RoleControlPlane, Image: "img"},
		{Name: "a-control-plane2", Role: nodeimage.RoleControlPlane, Image: "other"},
		{Name: "a-control-plane3", Role: nodeimage.RoleControlPlane, Image: "img"},
		{Name: "a-worker", Role: nodeimage.RoleWorker, Image: "img"},
	} {
		addr = addr.Next()
		at.Nodes[n.Name] = addr
		c.Nodes = append(c.Nodes, n)
	}
	at.Nodes["a-external-load-balancer"] = addr.Next()
	return &Env{Config: c, versions: map[string]string{"img": kubernetes}}, at
}

func TestLoadBalancerSpec(t *testing.T) {
	env, _ := several("v1.36.3")
	nodes := env.spec().Nodes
	want := provider.NodeSpec{
		Name: "a-external-load-balancer", Role: nodeimage.RoleLoadBalancer, Image: "img",
		Command: []string{nodeimage.HelperPath, "balancer"},
	}
	if diff := cmp.Diff(want, nodes[len(nodes)-1]); diff != "" || len(nodes) != 5 {
		t.Errorf("%d nodes; the last (-want +got):\n%s", len(nodes), diff)
	}
	env.Config.Nodes = slices.Delete(env.Config.Nodes, 1, 3)
	if nodes := env.spec().Nodes; len(nodes) != 2 {
		t.Errorf("with one control plane: %+v", nodes)
	}
}

func TestSeveralControlPlanes(t *testing.T) {
	env, at := several("v1.36.3")
	if got := env.controlPlaneEndpoint(); got != "a-external-load-balancer:6444" {
		t.Errorf("nodes know the API as %s", got)
	}
	if diff := cmp.Diff([]string{"127.0.0.1", "172.18.0.6"}, env.certSANs(at)); diff != "" {
		t.Errorf("names of the API (-want +got):\n%s", diff)
	}
	peers := map[string]string{"a-control-plane2": "https://172.18.0.3:2380", "a-control-plane3": "https://172.18.0.4:2380"}
	if diff := cmp.Diff(peers, env.plan(env.Config.Nodes[0], at, nil).EtcdPeers); diff != "" {
		t.Errorf("members of etcd (-want +got):\n%s", diff)
	}
	for _, n := range env.Config.Nodes[1:] {
		if plan := env.plan(n, at, nil); len(plan.EtcdPeers) > 0 || plan.Balanced != "a-external-load-balancer" {
			t.Errorf("plan of %s: %+v", n.Name, plan)
		}
	}
}

// TestOneLearnerAtATime: the etcd of an older Kubernetes takes no more.
func TestOneLearnerAtATime(t *testing.T) {
	env, at := several("v1.33.6")
	if plan := env.plan(env.Config.Nodes[0], at, nil); len(plan.EtcdPeers) > 0 {
		t.Errorf("plan %+v", plan)
	}
}

func TestFirstRange(t *testing.T) {
	for pods, want := range map[string]string{
		"10.244.0.0/16":  "10.244.0.0/24",
		"10.244.9.9/16":  "10.244.0.0/24",
		"10.244.3.0/24":  "10.244.3.0/24",
		"fd00:10::/56":   "fd00:10::/64",
		"192.168.7.0/28": "192.168.7.0/28", // kubeadm refuses it, not we
	} {
		if got := firstRange(netip.MustParsePrefix(pods)).String(); got != want {
			t.Errorf("of %s: got %s, want %s", pods, got, want)
		}
	}
}

// TestPlan: what a node knows ahead depends on who it is and on what serves
// pods and Services in its cluster.
func TestPlan(t *testing.T) {
	base := func() *config.Cluster {
		c := &config.Cluster{Nodes: []config.Node{
			{Name: "a-control-plane", Role: nodeimage.RoleControlPlane}, {Name: "a-worker", Role: nodeimage.RoleWorker},
		}}
		c.Networking.CNI, c.Networking.KubeProxyMode = "default", "nftables"
		c.Networking.PodSubnet = netip.MustParsePrefix("10.244.0.0/16")
		c.Networking.ServiceSubnet = netip.MustParsePrefix("10.96.0.0/16")
		return c
	}
	type known struct {
		Ranges          []string
		Service, Server string
	}
	for name, test := range map[string]struct {
		change func(*config.Cluster)
		node   int
		conf   string
		want   known
	}{
		"control plane": {nil, 0, "", known{[]string{"10.244.0.0/24"}, "10.96.0.1", "172.18.0.2"}},
		"worker":        {nil, 1, "", known{nil, "10.96.0.1", "172.18.0.2"}},
		"other ranges":  {nil, 0, "- name: node-cidr-mask-size\n  value: \"25\"\n", known{nil, "10.96.0.1", "172.18.0.2"}},
		"other CNI":     {func(c *config.Cluster) { c.Networking.CNI = "flannel.yaml" }, 0, "", known{nil, "10.96.0.1", "172.18.0.2"}},
		"IPVS":          {nil, 0, "kind: KubeProxyConfiguration\nmode: ipvs\n", known{[]string{"10.244.0.0/24"}, "", ""}},
		"no kube-proxy": {func(c *config.Cluster) { c.Networking.KubeProxyMode = "none" }, 0, "", known{[]string{"10.244.0.0/24"}, "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			c := base()
			if test.change != nil {
				test.change(c)
			}
			addr := netip.MustParseAddr("172.18.0.3")
			at := provider.Placement{Addr: addr, Nodes: map[string]netip.Addr{
				"a-control-plane": netip.MustParseAddr("172.18.0.2"), "a-worker": addr,
			}}
			plan := (&Env{Config: c}).plan(c.Nodes[test.node], at, []byte(test.conf))
			if diff := cmp.Diff(test.want, known{plan.PodRanges, plan.APIService, plan.APIServer}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Search domains reach nodes as kind's variable; none at all is not silence.
func TestSearchDomains(t *testing.T) {
	for name, test := range map[string]struct {
		search []string
		want   []string
	}{
		"as the engine has it": {nil, nil},
		"none":                 {[]string{}, []string{"KIND_DNS_SEARCH="}},
		"some":                 {[]string{"a.b", "c"}, []string{"KIND_DNS_SEARCH=a.b c"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &config.Cluster{Nodes: []config.Node{{Name: "a"}, {Name: "b"}}}
			c.Networking.DNSSearch = test.search
			for _, n := range (&Env{Config: c}).spec().Nodes {
				if diff := cmp.Diff(test.want, n.Env); diff != "" {
					t.Errorf("environment of %s (-want +got):\n%s", n.Name, diff)
				}
			}
		})
	}
}
