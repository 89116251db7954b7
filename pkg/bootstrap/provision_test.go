package bootstrap

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

// several is a cluster of three control planes and a worker, and where its
// machines are.
func several(kubernetes string) (*Env, provider.Placement) {
	c := &config.Cluster{Name: "a"}
	c.Networking.ServiceSubnets = prefixes("10.96.0.0/16")
	at := provider.Placement{Nodes: map[string]node.Addrs{}, Endpoint: netip.MustParseAddrPort("127.0.0.1:40001")}
	addr, addr6 := netip.MustParseAddr("172.18.0.1"), netip.MustParseAddr("fd5a::1")
	for _, n := range []config.Node{
		{Name: "a-control-plane", Role: nodeimage.RoleControlPlane, Image: "img"},
		{Name: "a-control-plane2", Role: nodeimage.RoleControlPlane, Image: "other"},
		{Name: "a-control-plane3", Role: nodeimage.RoleControlPlane, Image: "img"},
		{Name: "a-worker", Role: nodeimage.RoleWorker, Image: "img"},
	} {
		addr, addr6 = addr.Next(), addr6.Next()
		at.Nodes[n.Name] = node.Addrs{addr, addr6}
		c.Nodes = append(c.Nodes, n)
	}
	at.Nodes["a-external-load-balancer"] = node.Addrs{addr.Next(), addr6.Next()}
	at.Addrs = at.Nodes["a-control-plane"]
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
	members := map[string]string{
		"a-control-plane": "https://172.18.0.2:2380", "a-control-plane2": "https://172.18.0.3:2380", "a-control-plane3": "https://172.18.0.4:2380",
	}
	before := map[string][]string{
		"a-control-plane2": {members["a-control-plane"]}, "a-control-plane3": {members["a-control-plane"], members["a-control-plane2"]},
	}
	for _, n := range env.Config.Nodes {
		plan := env.plan(n, at, nil)
		if plan.Balanced != "a-external-load-balancer" {
			t.Errorf("plan of %s: %+v", n.Name, plan)
		}
		if diff := cmp.Diff(before[n.Name], plan.EtcdBefore); diff != "" {
			t.Errorf("who starts etcd before %s (-want +got):\n%s", n.Name, diff)
		}
		want := members
		if n.Role == nodeimage.RoleWorker {
			want = nil
		}
		if diff := cmp.Diff(want, plan.EtcdMembers); diff != "" {
			t.Errorf("members of etcd that %s knows (-want +got):\n%s", n.Name, diff)
		}
	}
}

// Members of etcd and the load balancer are named as kubeadm names them in a
// cluster of IPv6, in brackets where a port follows.
func TestSeveralControlPlanesOfIPv6(t *testing.T) {
	env, at := several("v1.36.3")
	env.Config.Networking.ServiceSubnets = prefixes("fd00:10:96::/112")
	if diff := cmp.Diff([]string{"127.0.0.1", "fd5a::6"}, env.certSANs(at)); diff != "" {
		t.Errorf("names of the API (-want +got):\n%s", diff)
	}
	plan := env.plan(env.Config.Nodes[0], at, nil)
	if plan.Address != "fd5a::2" || plan.EtcdMembers["a-control-plane2"] != "https://[fd5a::3]:2380" {
		t.Errorf("plan %+v", plan)
	}
	at.Node.Role = nodeimage.RoleLoadBalancer
	files, err := env.files(at)
	if err != nil || !strings.Contains(string(files[0].Data), "bind [::]:6443 v4v6\n") {
		t.Errorf("%v: the load balancer's configuration is %s", err, files[0].Data)
	}
}

// Where nodes are is asked for by the families of the cluster.
func TestSpecOfFamilies(t *testing.T) {
	env, _ := several("v1.36.3")
	for family, want := range map[string]bool{"ipv4": false, "ipv6": true, "dual": true} {
		env.Config.Networking.IPFamily = family
		if got := env.spec().IPv6; got != want {
			t.Errorf("%s: IPv6 is asked for: %v", family, got)
		}
	}
}

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// TestOneLearnerAtATime: the etcd of an older Kubernetes takes no more.
func TestOneLearnerAtATime(t *testing.T) {
	env, at := several("v1.33.6")
	if plan := env.plan(env.Config.Nodes[0], at, nil); len(plan.EtcdMembers) > 0 {
		t.Errorf("plan %+v", plan)
	}
}

// TestPodGateways: nodes other than the first reach pods by way of it, with petri's
// own CNI.
func TestPodGateways(t *testing.T) {
	env, at := several("v1.36.3")
	env.Config.Networking.CNI = "default"
	env.Config.Networking.PodSubnets = prefixes("10.244.0.0/16", "fd00:10:244::/56")
	for i, n := range env.Config.Nodes {
		var want []string
		if i > 0 {
			want = []string{"172.18.0.2", "fd5a::2"}
		}
		if diff := cmp.Diff(want, env.plan(n, at, nil).PodGateways); diff != "" {
			t.Errorf("%s (-want +got):\n%s", n.Name, diff)
		}
	}
	env.Config.Networking.CNI = "none"
	if plan := env.plan(env.Config.Nodes[1], at, nil); len(plan.PodGateways) > 0 {
		t.Errorf("without a CNI: %v", plan.PodGateways)
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
		c.Networking.PodSubnets = prefixes("10.244.0.0/16")
		c.Networking.ServiceSubnets = prefixes("10.96.0.0/16")
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
		"both families": {func(c *config.Cluster) {
			c.Networking.PodSubnets = prefixes("10.244.0.0/16", "fd00:10:244::/56")
			c.Networking.ServiceSubnets = prefixes("10.96.0.0/16", "fd00:10:96::/112")
		}, 0, "", known{[]string{"10.244.0.0/24", "fd00:10:244::/64"}, "10.96.0.1", "172.18.0.2"}},
		"IPv6 first": {func(c *config.Cluster) {
			c.Networking.PodSubnets = prefixes("fd00:10:244::/56", "10.244.0.0/16")
			c.Networking.ServiceSubnets = prefixes("fd00:10:96::/112", "10.96.0.0/16")
		}, 1, "", known{nil, "fd00:10:96::1", "fd5a::2"}},
		"IPv6 alone": {func(c *config.Cluster) {
			c.Networking.PodSubnets = prefixes("fd00:10:244::/56")
			c.Networking.ServiceSubnets = prefixes("fd00:10:96::/112")
		}, 0, "", known{[]string{"fd00:10:244::/64"}, "fd00:10:96::1", "fd5a::2"}},
		"no kube-proxy": {func(c *config.Cluster) { c.Networking.KubeProxyMode = "none" }, 0, "", known{[]string{"10.244.0.0/24"}, "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			c := base()
			if test.change != nil {
				test.change(c)
			}
			own := node.Addrs{netip.MustParseAddr("172.18.0.3"), netip.MustParseAddr("fd5a::3")}
			at := provider.Placement{Addrs: own, Nodes: map[string]node.Addrs{
				"a-control-plane": {netip.MustParseAddr("172.18.0.2"), netip.MustParseAddr("fd5a::2")}, "a-worker": own,
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
