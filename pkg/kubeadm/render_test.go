package kubeadm

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/config"
)

var update = flag.Bool("update", false, "write the golden files")

// cluster has one control plane and workers as many as asked for.
func cluster(workers int) *config.Cluster {
	c := &config.Cluster{
		Name:  "dev",
		Nodes: []config.Node{{Name: "dev-control-plane", Role: "control-plane"}},
		Networking: config.Networking{
			IPFamily:         "ipv4",
			PodSubnets:       []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
			ServiceSubnets:   []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
			DNSDomain:        "cluster.local",
			APIServerAddress: netip.MustParseAddr("127.0.0.1"),
			KubeProxyMode:    "nftables",
			CNI:              "default",
		},
	}
	for _, name := range []string{"dev-worker", "dev-worker2"}[:workers] {
		c.Nodes = append(c.Nodes, config.Node{Name: name, Role: "worker"})
	}
	return c
}

// input is that of the i-th node of c.
func input(c *config.Cluster, i int) Input {
	return Input{
		Cluster:              c,
		Node:                 c.Nodes[i],
		KubernetesVersion:    "v1.36.3",
		Addresses:            addresses(c, i),
		ControlPlaneEndpoint: "dev-control-plane:6443",
		CertSANs:             []string{"127.0.0.1", "192.168.1.10"},
		Token:                "abcdef.0123456789abcdef",
		TokenTTL:             15 * time.Minute,
		Provider:             "docker",
		PatchesDir:           "/petri/patches",
	}
}

// addresses are those of the i-th node, in the order of the cluster's families.
func addresses(c *config.Cluster, i int) []netip.Addr {
	var out []netip.Addr
	for _, services := range c.Networking.ServiceSubnets {
		if services.Addr().Is4() {
			out = append(out, netip.AddrFrom4([4]byte{10, 201, 7, byte(2 + i)}))
		} else {
			out = append(out, netip.AddrFrom16([16]byte{0xfd, 0x5a, 15: byte(2 + i)}))
		}
	}
	return out
}

// dual is a node of a cluster with both families, IPv4 first.
func dual() Input {
	c := cluster(1)
	c.Networking.IPFamily = "dual"
	c.Networking.PodSubnets = append(c.Networking.PodSubnets, netip.MustParsePrefix("fd00:10:244::/56"))
	c.Networking.ServiceSubnets = append(c.Networking.ServiceSubnets, netip.MustParsePrefix("fd00:10:96::/112"))
	return input(c, 0)
}

// ipv6 is a node that joins a cluster of IPv6 alone.
func ipv6() Input {
	c := twoControlPlanes()
	c.Networking.IPFamily = "ipv6"
	c.Networking.APIServerAddress = netip.IPv6Loopback()
	c.Networking.PodSubnets = []netip.Prefix{netip.MustParsePrefix("fd00:10:244::/56")}
	c.Networking.ServiceSubnets = []netip.Prefix{netip.MustParsePrefix("fd00:10:96::/112")}
	in := input(c, 1)
	in.CertSANs = []string{"::1", "fd5a::4"}
	return in
}

func TestRender(t *testing.T) {
	for name, in := range map[string]Input{
		"single":             input(cluster(0), 0),
		"ephemeral":          input(ephemeral(), 0),
		"control-plane":      input(cluster(2), 0),
		"worker":             input(cluster(2), 2),
		"labels-taints":      input(labelled(), 1),
		"tainted-alone":      input(taintedAlone(), 0),
		"iptables":           input(proxied("iptables"), 0),
		"no-kube-proxy":      input(proxied("none"), 0),
		"feature-gates":      input(gated(), 0),
		"raw-documents":      input(raw(), 0),
		"raw-worker":         input(raw(), 1),
		"patches":            input(patched(), 0),
		"patches-worker":     input(patched(), 1),
		"two-control-planes": input(twoControlPlanes(), 0),
		"joining":            input(twoControlPlanes(), 1),
		"one-learner":        oneLearner(),
		"dual":               dual(),
		"ipv6":               ipv6(),
		"hardened":           input(hardened(1), 0),
		"hardened-worker":    input(hardened(1), 1),
		"hardened-patched":   hardenedPatched(),
		"anonymous-patched":  anonymousPatched(),
		"v1.31":              oldest(),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Render(in)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, got)
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".yaml")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs; -update writes it (-want +got):\n%s", path, diff)
	}
}

// oneLearner is of a Kubernetes whose etcd takes one learner at a time.
func oneLearner() Input {
	in := input(twoControlPlanes(), 0)
	in.KubernetesVersion = "v1.33.6"
	return in
}

func labelled() *config.Cluster {
	c := cluster(1)
	c.Nodes[1].Labels = map[string]string{"tier": "front", "disk": "ssd"}
	c.Nodes[1].Taints = []config.Taint{{Key: "dedicated", Value: "gpu", Effect: "NoSchedule"}, {Key: "old", Effect: "NoExecute"}}
	return c
}

func taintedAlone() *config.Cluster {
	c := cluster(0)
	c.Nodes[0].Taints = []config.Taint{{Key: "spot", Effect: "PreferNoSchedule"}}
	return c
}

func ephemeral() *config.Cluster {
	c := cluster(0)
	c.Ephemeral = true
	return c
}

func proxied(mode string) *config.Cluster {
	c := cluster(0)
	c.Networking.KubeProxyMode = mode
	return c
}

func gated() *config.Cluster {
	c := cluster(0)
	c.FeatureGates = map[string]bool{"InPlacePodVerticalScaling": true, "AnonymousAuth": false}
	c.RuntimeConfig = map[string]string{"api/alpha": "true", "batch/v1": "false"}
	return c
}

func raw() *config.Cluster {
	c := cluster(1)
	c.FeatureGates = map[string]bool{"AllBeta": true}
	c.Kubeadm = []config.RawDocument{
		{APIVersion: kubeadmAPI, Kind: "ClusterConfiguration", YAML: `
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: null
certificateValidityPeriod: 48h0m0s
apiServer:
  certSANs: [localhost, shop.test]
  extraArgs: [{name: v, value: "4"}]
controllerManager:
  extraArgs: [{name: kube-api-qps, value: "50"}]
etcd:
  local: {dataDir: /var/lib/etcd, extraArgs: null}
`},
		{APIVersion: kubeletAPI, Kind: "KubeletConfiguration", YAML: `
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
maxPods: 40
evictionHard: {memory.available: 100Mi}
`},
		{APIVersion: kubeadmAPI, Kind: "JoinConfiguration", YAML: `
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
nodeRegistration:
  kubeletExtraArgs: [{name: v, value: "6"}]
  ignorePreflightErrors: [Swap]
`},
	}
	return c
}

func patched() *config.Cluster {
	c := cluster(1)
	c.KubeadmPatches = []string{
		"kind: KubeProxyConfiguration\nconntrack: null\n",
		"apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\ncontrollerManager: {extraArgs: [{name: v, value: '2'}]}\n",
		"{kind: JoinConfiguration, timeouts: {discovery: 1m0s}}",
	}
	c.Nodes[0].KubeadmPatches = []string{"{kind: ClusterConfiguration, clusterName: other}"}
	c.Nodes[1].KubeadmPatches = []string{"{kind: JoinConfiguration, timeouts: {discovery: 2m0s}}"}
	return c
}

func twoControlPlanes() *config.Cluster {
	c := cluster(1)
	c.Nodes[1] = config.Node{Name: "dev-control-plane2", Role: "control-plane"}
	c.Nodes[0].KubeadmPatches = []string{"{kind: InitConfiguration, nodeRegistration: {imagePullSerial: false}}"}
	c.Nodes[1].KubeadmPatches = c.Nodes[0].KubeadmPatches // as an entry with a count of 2 has it
	return c
}

func TestRenderRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Input)
		want   []string
	}{
		"an old Kubernetes": {func(in *Input) { in.KubernetesVersion = "v1.30.9" }, []string{"v1.30.9", "v1.31"}},
		"no version":        {func(in *Input) { in.KubernetesVersion = "" }, []string{"version"}},
		"no control plane":  {func(in *Input) { in.Cluster.Nodes = in.Cluster.Nodes[1:] }, []string{"no control plane"}},
		"a patch without a kind": {
			func(in *Input) { in.Cluster.KubeadmPatches = []string{"maxPods: 3"} },
			[]string{"kubeadmConfigPatches[0]", "kind"},
		},
		"a patch of an unknown kind": {
			func(in *Input) { in.Cluster.KubeadmPatches = []string{"kind: KubeletConfig"} },
			[]string{"kubeadmConfigPatches[0]", "KubeletConfig", "KubeletConfiguration"},
		},
		"a patch of another version": {
			func(in *Input) {
				in.Cluster.KubeadmPatches = []string{"{apiVersion: kubeadm.k8s.io/v1beta1, kind: InitConfiguration}"}
			},
			[]string{"v1beta1", "v1beta4"},
		},
		"a patch that is not YAML": {func(in *Input) { in.Cluster.KubeadmPatches = []string{"{"} }, []string{"kubeadmConfigPatches[0]"}},
		"a worker's patch for the cluster": {
			func(in *Input) { in.Node.KubeadmPatches = []string{"kind: KubeletConfiguration"} },
			[]string{"dev-worker", "kubeadmConfigPatches[0]", "KubeletConfiguration", "JoinConfiguration"},
		},
		"a JSON patch of an unknown kind": {
			func(in *Input) { in.Cluster.KubeadmJSONPatches = []config.JSONPatch{{Kind: "Pod", Patch: "[]"}} },
			[]string{"kubeadmConfigPatchesJSON6902[0] of the cluster", "Pod"},
		},
		"a JSON patch that does not fit": {
			func(in *Input) {
				in.Cluster.KubeadmJSONPatches = []config.JSONPatch{{Kind: "KubeletConfiguration", Patch: "[{op: remove, path: /nothing}]"}}
			},
			[]string{"kubeadmConfigPatchesJSON6902[0] of the cluster", "nothing"},
		},
		"a JSON patch that leaves nothing": {
			func(in *Input) {
				in.Cluster.KubeadmJSONPatches = []config.JSONPatch{{Kind: "KubeletConfiguration", Patch: "[{op: replace, path: '', value: null}]"}}
			},
			[]string{"kubeadmConfigPatchesJSON6902[0] of the cluster"},
		},
		"a JSON patch by the name of an argument that is there twice": {
			func(in *Input) {
				in.Cluster.KubeadmPatches = []string{"{kind: JoinConfiguration, nodeRegistration: {kubeletExtraArgs: [{name: v, value: '1'}, {name: v, value: '2'}]}}"}
				in.Node.KubeadmJSONPatches = []config.JSONPatch{{Kind: "JoinConfiguration", Patch: "[{op: add, path: /nodeRegistration/kubeletExtraArgs/v, value: '3'}]"}}
			},
			[]string{"kubeadmConfigPatchesJSON6902[0] of the node", "argument v is there twice"},
		},
		"a worker's JSON patch for the cluster": {
			func(in *Input) {
				in.Node.KubeadmJSONPatches = []config.JSONPatch{{Kind: "KubeletConfiguration", Patch: "[]"}}
			},
			[]string{"dev-worker", "kubeadmConfigPatchesJSON6902[0] of the node", "a worker reads JoinConfiguration only"},
		},
		"a document of kube-proxy without it": {
			func(in *Input) {
				in.Cluster.Networking.KubeProxyMode = "none"
				in.Cluster.Kubeadm = []config.RawDocument{{Kind: "KubeProxyConfiguration", YAML: "kind: KubeProxyConfiguration"}}
			},
			[]string{"kubeadm[0]", "KubeProxyConfiguration"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(cluster(1), 1)
			test.change(&in)
			out, err := Render(in)
			if err == nil {
				t.Fatalf("no error, but:\n%s", out)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
			if strings.Contains(err.Error(), in.Token) {
				t.Errorf("the error has the token: %v", err)
			}
		})
	}
}

// kind's contract: every node has all documents, each once.
func TestEveryNodeHasAllDocuments(t *testing.T) {
	for i := range 3 {
		out, err := Render(input(cluster(2), i))
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"ClusterConfiguration", "InitConfiguration", "JoinConfiguration", "KubeletConfiguration", "KubeProxyConfiguration"} {
			if n := strings.Count(string(out), "\nkind: "+kind+"\n"); n != 1 {
				t.Errorf("node %d: %d documents %s, want 1", i, n, kind)
			}
		}
	}
}

// Rendering changes neither the configuration nor what the next node gets.
func TestRenderIsPure(t *testing.T) {
	c := raw()
	first, err := Render(input(c, 0))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(raw(), c, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("the configuration changed:\n%s", diff)
	}
	again, err := Render(input(c, 0))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(first), string(again)); diff != "" {
		t.Errorf("the second time differs:\n%s", diff)
	}
}

// An etcd that petri does not run takes the place of the one it would.
func TestExternalEtcd(t *testing.T) {
	c := cluster(0)
	c.KubeadmPatches = []string{"kind: ClusterConfiguration\netcd: {external: {endpoints: ['https://etcd.example:2379']}}\n"}
	out, err := Render(input(c, 0))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "https://etcd.example:2379") || strings.Contains(string(out), "election-timeout") {
		t.Errorf("etcd is told twice:\n%s", out)
	}
}
