package config_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/config"
)

// compare lets go-cmp look at addresses.
var compare = cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}

// imageOf is the DefaultImage of the tests.
func imageOf(version string) string {
	if version == "" {
		return "petri/node:default"
	}
	return "petri/node:" + version
}

func load(t *testing.T, text string, opts config.Options) *config.Cluster {
	t.Helper()
	c, err := config.Load([]byte(text), "c.yaml", opts)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return c
}

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// defaults is the cluster of an empty file.
func defaults() *config.Cluster {
	return &config.Cluster{
		Name:  "petri",
		Nodes: []config.Node{{Name: "petri-control-plane", Role: "control-plane", Image: "petri/node:default"}},
		Networking: config.Networking{
			IPFamily: "ipv4", PodSubnets: prefixes("10.244.0.0/16"), ServiceSubnets: prefixes("10.96.0.0/16"),
			DNSDomain: "cluster.local", APIServerAddress: netip.MustParseAddr("127.0.0.1"),
			KubeProxyMode: "nftables", CNI: "default",
		},
		Security: unprotected(),
	}
}

// unprotected is the security of the default profile.
func unprotected() config.Security {
	return config.Security{Profile: "default", PodSecurity: config.PodSecurity{
		Enforce: "privileged", EnforceVersion: "latest", Audit: "privileged", AuditVersion: "latest", Warn: "privileged", WarnVersion: "latest",
	}}
}

func TestDefaults(t *testing.T) {
	for name, text := range map[string]string{
		"empty":               "",
		"blank":               "\n \n",
		"a comment":           "# nothing\n",
		"empty documents":     "---\n---\n# x\n",
		"null":                "~\n",
		"header only":         begin,
		"second document":     "---\n---\n" + begin,
		"JSON":                `{"apiVersion": "petri.dev/v1alpha1", "kind": "Cluster"}`,
		"carriage returns":    strings.ReplaceAll(begin+"name: petri\n", "\n", "\r\n"),
		"a byte order mark":   "\ufeff" + begin,
		"nulls":               begin + "name: ~\nnodes:\nnetworking:\n  cni: null\n",
		"empty lists":         begin + "nodes: []\nkubeadm: []\nkubeadmConfigPatches: []\nfeatureGates: {}\nnetworking: {}\n",
		"an empty node":       begin + "nodes: [{}]\n",
		"empty lists of node": begin + "nodes: [{labels: {}, taints: [], extraMounts: [], extraPortMappings: [], kubeadmConfigPatches: []}]\n",
		"switched off":        begin + "nodes: [{}, {role: worker, count: 0}]\n",
		"documents end":       begin + "...\n",
	} {
		t.Run(name, func(t *testing.T) {
			got := load(t, text, config.Options{DefaultImage: imageOf})
			if diff := cmp.Diff(defaults(), got, compare); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// rich has every field.
const rich = begin + `ephemeral: true
name: dev
kubernetesVersion: v1.36.3
image: registry.example:5000/team/node:v1.36.3
featureGates: {B: false, A: true}
runtimeConfig: {api/alpha: "true", batch/v1: "false"}
kubeadmConfigPatches: ["{kind: ClusterConfiguration, clusterName: other}"]
kubeadmConfigPatchesJSON6902: [{group: kubelet.config.k8s.io, version: v1beta1, kind: KubeletConfiguration, patch: "[{op: remove, path: /x}]"}]
containerdConfigPatches: ["[debug]\nlevel = 'debug'"]
containerdConfigPatchesJSON6902: ["[{op: add, path: /oom_score, value: 1}]"]
kubeadm:
- {apiVersion: kubelet.config.k8s.io/v1beta1, kind: KubeletConfiguration, maxPods: 40}
networking:
  podSubnet: 10.10.0.0/16
  serviceSubnet: 10.20.0.0/16
  nodeSubnet: 10.201.7.0/24
  dnsDomain: dev.internal
  apiServerAddress: 0.0.0.0
  apiServerPort: 6443
  kubeProxyMode: iptables
  dnsSearch: [a.example, b.example.]
  cni: ./calico.yaml
security:
  profile: hardened
  podSecurity: {enforce: baseline, enforceVersion: v1.36, audit: privileged, auditVersion: v1.35, exemptNamespaces: [monitoring]}
nodes:
- role: worker
  count: 2
  labels: {tier: front, node.kubernetes.io/pool: a, example.com/x: ""}
- role: control-plane
  image: petri/node:other
  taints: [{key: dedicated, value: gpu, effect: NoSchedule}, {key: alone, effect: NoExecute}]
  extraMounts:
  - {hostPath: ./data, containerPath: /data, readOnly: true, selinuxRelabel: true, propagation: HostToContainer}
  - {hostPath: /, containerPath: /host}
  - {hostPath: ./missing, containerPath: /missing, create: true}
  extraPortMappings:
  - {containerPort: 30080, hostPort: 8080, listenAddress: 0.0.0.0, protocol: UDP}
  - {containerPort: 30081}
  kubeadmConfigPatches: ["{kind: InitConfiguration, dryRun: false}"]
  kubeadmConfigPatchesJSON6902: [{kind: InitConfiguration, patch: "[]"}]
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
certificatesDir: /etc/kubernetes/pki
`

// directory has the files that rich names.
func directory(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "calico.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func richCluster(dir string) *config.Cluster {
	front := func(name string) config.Node {
		return config.Node{
			Name: name, Role: "worker", Image: "registry.example:5000/team/node:v1.36.3",
			Labels: map[string]string{"tier": "front", "node.kubernetes.io/pool": "a", "example.com/x": ""},
		}
	}
	return &config.Cluster{
		Name: "dev", KubernetesVersion: "v1.36.3",
		Ephemeral:      true,
		FeatureGates:   map[string]bool{"A": true, "B": false},
		RuntimeConfig:  map[string]string{"api/alpha": "true", "batch/v1": "false"},
		KubeadmPatches: []string{"{kind: ClusterConfiguration, clusterName: other}"},
		KubeadmJSONPatches: []config.JSONPatch{{
			Group: "kubelet.config.k8s.io", Version: "v1beta1", Kind: "KubeletConfiguration", Patch: "[{op: remove, path: /x}]",
		}},
		ContainerdPatches:     []string{"[debug]\nlevel = 'debug'"},
		ContainerdJSONPatches: []string{"[{op: add, path: /oom_score, value: 1}]"},
		Kubeadm: []config.RawDocument{
			{APIVersion: "kubelet.config.k8s.io/v1beta1", Kind: "KubeletConfiguration", YAML: "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 40\n"},
			{APIVersion: "kubeadm.k8s.io/v1beta4", Kind: "ClusterConfiguration", YAML: "apiVersion: kubeadm.k8s.io/v1beta4\ncertificatesDir: /etc/kubernetes/pki\nkind: ClusterConfiguration\n"},
		},
		Networking: config.Networking{
			IPFamily: "ipv4", PodSubnets: prefixes("10.10.0.0/16"), ServiceSubnets: prefixes("10.20.0.0/16"), NodeSubnets: prefixes("10.201.7.0/24"),
			DNSDomain: "dev.internal", APIServerAddress: netip.IPv4Unspecified(), APIServerPort: 6443,
			KubeProxyMode: "iptables", DNSSearch: []string{"a.example", "b.example."}, CNI: filepath.Join(dir, "calico.yaml"),
		},
		Security: config.Security{Profile: "hardened", PodSecurity: config.PodSecurity{
			Enforce: "baseline", EnforceVersion: "v1.36", Audit: "privileged", AuditVersion: "v1.35",
			Warn: "restricted", WarnVersion: "latest", ExemptNamespaces: []string{"monitoring"},
		}},
		Nodes: []config.Node{
			{
				Name: "dev-control-plane", Role: "control-plane", Image: "petri/node:other",
				Taints: []config.Taint{{Key: "dedicated", Value: "gpu", Effect: "NoSchedule"}, {Key: "alone", Effect: "NoExecute"}},
				Mounts: []config.Mount{
					{HostPath: filepath.Join(dir, "data"), ContainerPath: "/data", ReadOnly: true, SelinuxRelabel: true, Propagation: "HostToContainer"},
					{HostPath: "/", ContainerPath: "/host", Propagation: "None"},
					{HostPath: filepath.Join(dir, "missing"), ContainerPath: "/missing", Create: true, Propagation: "None"},
				},
				Ports: []config.PortMapping{
					{ContainerPort: 30080, HostPort: 8080, ListenAddress: "0.0.0.0", Protocol: "udp"},
					{ContainerPort: 30081, ListenAddress: "127.0.0.1", Protocol: "tcp"},
				},
				KubeadmPatches:     []string{"{kind: InitConfiguration, dryRun: false}"},
				KubeadmJSONPatches: []config.JSONPatch{{Kind: "InitConfiguration", Patch: "[]"}},
			},
			front("dev-worker"), front("dev-worker2"),
		},
	}
}

func TestEveryField(t *testing.T) {
	dir := directory(t)
	got := load(t, rich, config.Options{DefaultImage: imageOf, Dir: dir})
	if diff := cmp.Diff(richCluster(dir), got, compare); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Nodes of one entry share nothing.
func TestNodesAreIndependent(t *testing.T) {
	c := load(t, rich, config.Options{Dir: directory(t)})
	workers := c.Workers()
	workers[0].Labels["tier"] = "back"
	if got := workers[1].Labels["tier"]; got != "front" {
		t.Errorf("the label of the other worker became %q", got)
	}
}

func TestAnchors(t *testing.T) {
	c := load(t, begin+`nodes:
- &first
  labels: &labels {a: "1", b: "2"}
  image: petri/node:a
- <<: *first
  role: worker
  labels: {<<: [{b: "3"}, *labels], c: "4"}
- {role: worker, labels: *labels}
kubeadm:
- &kubelet {apiVersion: kubelet.config.k8s.io/v1beta1, kind: KubeletConfiguration, maxPods: 1}
- {<<: *kubelet, maxPods: 2}
`, config.Options{})
	var got []any
	for _, n := range c.Nodes {
		got = append(got, n.Role, n.Image, n.Labels)
	}
	want := []any{
		"control-plane", "petri/node:a", map[string]string{"a": "1", "b": "2"},
		"worker", "petri/node:a", map[string]string{"a": "1", "b": "3", "c": "4"},
		"worker", "", map[string]string{"a": "1", "b": "2"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(c.Kubeadm) != 2 || !strings.Contains(c.Kubeadm[1].YAML, "maxPods: 2\n") {
		t.Errorf("documents are %v", c.Kubeadm)
	}
}

func TestOverrides(t *testing.T) {
	file := begin + "name: dev\nimage: petri/node:a\nnodes:\n- role: worker\n  image: petri/node:w\n  labels: {a: b}\n- image: petri/node:c\n- role: worker\n"
	tests := map[string]struct {
		text  string
		flags config.Overrides
		want  []string // name, role and image of each node, and a label
	}{
		"none":               {file, config.Overrides{}, []string{"dev-control-plane petri/node:c", "dev-worker petri/node:w b", "dev-worker2 petri/node:a"}},
		"name":               {file, config.Overrides{Name: "x"}, []string{"x-control-plane petri/node:c", "x-worker petri/node:w b", "x-worker2 petri/node:a"}},
		"image":              {file, config.Overrides{Image: "i"}, []string{"dev-control-plane i", "dev-worker i b", "dev-worker2 i"}},
		"workers":            {file, config.Overrides{Workers: new(3)}, []string{"dev-control-plane petri/node:c", "dev-worker petri/node:w b", "dev-worker2 petri/node:w b", "dev-worker3 petri/node:w b"}},
		"named":              {begin + "nodes: [{}, {role: worker, name: other}, {role: worker}]\n", config.Overrides{}, []string{"petri-control-plane petri/node:default", "other petri/node:default", "petri-worker2 petri/node:default"}},
		"named and counted":  {begin + "nodes: [{}, {role: worker, name: other}]\n", config.Overrides{Workers: new(2)}, []string{"petri-control-plane petri/node:default", "petri-worker petri/node:default", "petri-worker2 petri/node:default"}},
		"no workers":         {file, config.Overrides{Workers: new(0)}, []string{"dev-control-plane petri/node:c"}},
		"control planes":     {file, config.Overrides{ControlPlanes: new(2), Workers: new(0)}, []string{"dev-control-plane petri/node:c", "dev-control-plane2 petri/node:c"}},
		"no file":            {"", config.Overrides{Workers: new(1), ControlPlanes: new(1)}, []string{"petri-control-plane petri/node:default", "petri-worker petri/node:default"}},
		"version":            {"", config.Overrides{KubernetesVersion: "v1.35.4"}, []string{"petri-control-plane petri/node:v1.35.4"}},
		"role by default":    {begin + "nodes: [{image: x}]", config.Overrides{ControlPlanes: new(2)}, []string{"petri-control-plane x", "petri-control-plane2 x"}},
		"what the file lost": {begin + "name: A_B\nimage: \"::\"\nkubernetesVersion: x\n", config.Overrides{Name: "ok", Image: "i", KubernetesVersion: "v1.36.3"}, []string{"ok-control-plane i"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := load(t, test.text, config.Options{DefaultImage: imageOf, Overrides: test.flags})
			var got []string
			for _, n := range c.Nodes {
				got = append(got, strings.TrimSpace(n.Name+" "+n.Image+" "+n.Labels["a"]))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(c.ControlPlanes())+len(c.Workers()) != len(c.Nodes) {
				t.Errorf("%d nodes are %d control planes and %d workers", len(c.Nodes), len(c.ControlPlanes()), len(c.Workers()))
			}
		})
	}
}

// Without a directory paths stay as they are: they were looked at before.
func TestPathsWithoutDirectory(t *testing.T) {
	c := load(t, rich, config.Options{})
	if got := c.Nodes[0].Mounts[0].HostPath; got != "./data" {
		t.Errorf("the path of the mount is %q", got)
	}
	if got := c.Networking.CNI; got != "./calico.yaml" {
		t.Errorf("the path of the manifest is %q", got)
	}
}

// What can stand side by side on the host does.
func TestPortsThatDoNotClash(t *testing.T) {
	for name, text := range map[string]string{
		"protocol":       "{containerPort: 1, hostPort: 80}, {containerPort: 1, hostPort: 80, protocol: udp}",
		"address":        "{containerPort: 1, hostPort: 80}, {containerPort: 1, hostPort: 80, listenAddress: 127.0.0.2}",
		"any":            "{containerPort: 1}, {containerPort: 2}",
		"API, other":     "{containerPort: 1, hostPort: 6443, listenAddress: 127.0.0.2}",
		"API, protocol":  "{containerPort: 1, hostPort: 6443, protocol: SCTP}",
		"same container": "{containerPort: 1, hostPort: 80}, {containerPort: 1, hostPort: 81}",
	} {
		t.Run(name, func(t *testing.T) {
			load(t, begin+"networking: {apiServerPort: 6443}\nnodes: [{extraPortMappings: ["+text+"]}]\n", config.Options{})
		})
	}
}

func TestNetworkingThatFits(t *testing.T) {
	for name, text := range map[string]string{
		"one /24 each":    "networking: {podSubnet: 10.1.0.0/22}\nnodes: [{count: 4}]",
		"all of a /28":    "networking: {nodeSubnet: 10.1.0.0/28}\nnodes: [{}, {role: worker, count: 12}]",
		"as many as may":  "nodes: [{count: 9}, {role: worker, count: 241}]",
		"IPv6 for people": "networking: {apiServerAddress: \"::1\"}",
		"a URL":           "networking: {cni: \"https://example.com/cni.yaml\"}",
		"IPVS":            "networking: {kubeProxyMode: ipvs}",
		"no search":       "networking: {dnsSearch: []}",
		"a name of dots":  "name: team.dev-1",
		"one /64 each":    "networking: {ipFamily: ipv6, podSubnet: \"fd01::/62\"}\nnodes: [{count: 4}]",
		"nodes of both":   "networking: {ipFamily: dual, nodeSubnet: \"10.201.7.0/24, fd5a::/64\"}",
		"nodes of one":    "networking: {ipFamily: ipv6, nodeSubnet: fd5a::/64}",
		"API over IPv4":   "networking: {ipFamily: ipv6, apiServerAddress: 127.0.0.1}",
		"no proxy":        "networking: {kubeProxyMode: none, cni: none}",
	} {
		t.Run(name, func(t *testing.T) { load(t, begin+text+"\n", config.Options{}) })
	}
}

// The defaults depend on the family, in both formats.
func TestFamilies(t *testing.T) {
	for _, header := range []string{begin, beginKind} {
		for family, want := range map[string]config.Networking{
			"ipv4": {PodSubnets: prefixes("10.244.0.0/16"), ServiceSubnets: prefixes("10.96.0.0/16"), APIServerAddress: netip.MustParseAddr("127.0.0.1")},
			"ipv6": {PodSubnets: prefixes("fd00:10:244::/56"), ServiceSubnets: prefixes("fd00:10:96::/112"), APIServerAddress: netip.IPv6Loopback()},
			"dual": {PodSubnets: prefixes("10.244.0.0/16", "fd00:10:244::/56"), ServiceSubnets: prefixes("10.96.0.0/16", "fd00:10:96::/112"), APIServerAddress: netip.MustParseAddr("127.0.0.1")},
		} {
			c := load(t, header+"networking: {ipFamily: "+family+"}\nnodes: [{extraPortMappings: [{containerPort: 80}]}]\n", config.Options{})
			got := config.Networking{
				PodSubnets: c.Networking.PodSubnets, ServiceSubnets: c.Networking.ServiceSubnets, APIServerAddress: c.Networking.APIServerAddress,
			}
			if diff := cmp.Diff(want, got, compare); diff != "" || c.Networking.IPv6() != (family != "ipv4") {
				t.Errorf("%s (-want +got):\n%s", family, diff)
			}
			listen := map[string]string{begin + "ipv4": "127.0.0.1", begin + "dual": "127.0.0.1", begin + "ipv6": "::1",
				beginKind + "ipv4": "0.0.0.0", beginKind + "dual": "0.0.0.0", beginKind + "ipv6": "::"}[header+family]
			if got := c.Nodes[0].Ports[0].ListenAddress; got != listen {
				t.Errorf("%s: ports are published at %s, want %s", header+family, got, listen)
			}
			again, err := config.Encode(c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c, load(t, string(again), config.Options{}), compare); diff != "" {
				t.Errorf("%s, printed and read again (-want +got):\n%s", family, diff)
			}
		}
	}
}

// The order of the Services' ranges is the cluster's.
func TestFirstFamily(t *testing.T) {
	c := load(t, begin+"networking: {ipFamily: dual, serviceSubnet: \"fd02::/112,10.2.0.0/16\"}\n", config.Options{})
	if got := config.Joined(append(c.Networking.ServiceSubnets, c.Networking.PodSubnets...)); got != "fd02::/112,10.2.0.0/16,fd00:10:244::/56,10.244.0.0/16" {
		t.Errorf("ranges are %s", got)
	}
}
