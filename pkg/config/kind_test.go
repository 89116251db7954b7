package config_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/config/kindv1alpha4"
)

// beginKind is what a file of kind's begins with: what follows stands from
// line 3.
const beginKind = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"

func TestKindDefaults(t *testing.T) {
	want := defaults()
	want.Networking.KubeProxyMode = "iptables"
	for name, text := range map[string]string{
		"header only":   beginKind,
		"an empty node": beginKind + "nodes: [{}]\n",
		"nulls":         beginKind + "name:\nnodes:\nnetworking: ~\n",
		"said":          beginKind + "networking: {ipFamily: ipv4, podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/16, apiServerAddress: 127.0.0.1, kubeProxyMode: iptables, disableDefaultCNI: no}\n",
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(want, load(t, text, config.Options{DefaultImage: imageOf}), compare); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The tool that reads a file says what a cluster without a name is called.
func TestDefaultName(t *testing.T) {
	for _, text := range []string{"", begin, beginKind} {
		if c := load(t, text, config.Options{DefaultName: "kind"}); c.Name != "kind" || c.Nodes[0].Name != "kind-control-plane" {
			t.Errorf("the cluster is called %q", c.Name)
		}
		if c := load(t, text, config.Options{DefaultName: "kind", Overrides: config.Overrides{Name: "flag"}}); c.Name != "flag" {
			t.Errorf("the cluster is called %q", c.Name)
		}
	}
}

// kindRich has every field of kind's.
const kindRich = beginKind + `name: dev.one
featureGates: {A: true, B: off}
runtimeConfig: {api/alpha: true, batch/v1: "false"}
networking:
  ipFamily: ipv4
  apiServerPort: 6443
  apiServerAddress: 0.0.0.0
  podSubnet: 10.10.3.4/16
  serviceSubnet: 10.20.0.0/16
  disableDefaultCNI: true
  kubeProxyMode: ipvs
  dnsSearch: []
kubeadmConfigPatches:
- |
  kind: ClusterConfiguration
  clusterName: other
  ---
  kind: KubeletConfiguration
  maxPods: 40
kubeadmConfigPatchesJSON6902:
- {group: kubeadm.k8s.io, version: v1beta3, kind: ClusterConfiguration, patch: "[]"}
containerdConfigPatches: ["[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"x\""]
containerdConfigPatchesJSON6902: ['[{"op": "remove", "path": "/oom_score"}]']
nodes:
- role: worker
  labels: {tier: front, number: 1, empty: }
  kubeadmConfigPatchesJSON6902:
  - {group: "", version: "", kind: JoinConfiguration, patch: "[]"}
- image: kindest/node:v1.36.3
  extraMounts:
  - {hostPath: ./data, containerPath: /data, readOnly: true, selinuxRelabel: true, propagation: Bidirectional}
  extraPortMappings:
  - {containerPort: 80, hostPort: 8080, protocol: sctp, listenAddress: "::"}
  - {containerPort: 81, hostPort: -1}
  - {containerPort: 82}
  kubeadmConfigPatches: ["{kind: InitConfiguration, nodeRegistration: {}}"]
`

func TestKindEveryField(t *testing.T) {
	dir := t.TempDir()
	want := &config.Cluster{
		Name:               "dev.one",
		FeatureGates:       map[string]bool{"A": true, "B": false},
		RuntimeConfig:      map[string]string{"api/alpha": "true", "batch/v1": "false"},
		KubeadmPatches:     []string{"kind: ClusterConfiguration\nclusterName: other\n", "kind: KubeletConfiguration\nmaxPods: 40\n"},
		KubeadmJSONPatches: []config.JSONPatch{{Group: "kubeadm.k8s.io", Version: "v1beta3", Kind: "ClusterConfiguration", Patch: "[]"}},
		ContainerdPatches:  []string{"[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"x\""},

		ContainerdJSONPatches: []string{`[{"op": "remove", "path": "/oom_score"}]`},
		Networking: config.Networking{
			IPFamily: "ipv4", PodSubnets: prefixes("10.10.0.0/16"), ServiceSubnets: prefixes("10.20.0.0/16"),
			DNSDomain: "cluster.local", APIServerAddress: netip.IPv4Unspecified(), APIServerPort: 6443,
			KubeProxyMode: "ipvs", DNSSearch: []string{}, CNI: "none",
		},
		Security: unprotected(),
		Nodes: []config.Node{
			{
				Name: "dev.one-control-plane", Role: "control-plane", Image: "kindest/node:v1.36.3",
				Mounts: []config.Mount{{
					HostPath: filepath.Join(dir, "data"), ContainerPath: "/data", Create: true,
					ReadOnly: true, SelinuxRelabel: true, Propagation: "Bidirectional",
				}},
				Ports: []config.PortMapping{
					{ContainerPort: 80, HostPort: 8080, ListenAddress: "::", Protocol: "sctp"},
					{ContainerPort: 81, ListenAddress: "0.0.0.0", Protocol: "tcp"},
					{ContainerPort: 82, ListenAddress: "0.0.0.0", Protocol: "tcp"},
				},
				KubeadmPatches: []string{"{kind: InitConfiguration, nodeRegistration: {}}"},
			},
			{
				Name: "dev.one-worker", Role: "worker", Image: "petri/node:default",
				Labels:             map[string]string{"tier": "front", "number": "1", "empty": ""},
				KubeadmJSONPatches: []config.JSONPatch{{Kind: "JoinConfiguration", Patch: "[]"}},
			},
		},
	}
	got := load(t, kindRich, config.Options{DefaultImage: imageOf, Dir: dir})
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// kindProblems are files of kind's with one thing wrong, and what is said of it.
var kindProblems = map[string]struct{ text, want string }{
	"unknown field":     {"networking:\n  disableDefaultCni: true", `4:3: networking.disableDefaultCni: unknown field; did you mean disableDefaultCNI?`},
	"petri's field":     {"kubernetesVersion: v1.36.3", `3:1: kubernetesVersion: unknown field; known fields are apiVersion, kind, name, nodes`},
	"petri's count":     {"nodes:\n- {role: worker, count: 3}\n- {}", `4:18: nodes[0].count: unknown field`},
	"type":              {"networking: {apiServerPort: \"6443\"}", `networking.apiServerPort: must be a whole number, and is "6443"`},
	"bool":              {"networking: {disableDefaultCNI: maybe}", `networking.disableDefaultCNI: must be true or false, and is "maybe"`},
	"name":              {"name: Dev", `3:7: name: "Dev" must be`},
	"role":              {"nodes: [{}, {role: external-load-balancer}]", `"external-load-balancer" is not a role`},
	"no control plane":  {"nodes: [{role: worker}]", `there must be at least one control-plane`},
	"ipv6":              {"networking:\n  ipFamily: ipv6\n  podSubnet: 10.244.0.0/16", `5:14: networking.podSubnet: must be one IPv6 range such as fd00:10:244::/56 with ipFamily: ipv6, and is "10.244.0.0/16"`},
	"dual":              {"networking: {ipFamily: dual, podSubnet: 10.244.0.0/16}", `networking.podSubnet: must be one IPv4 and one IPv6 range with a comma between`},
	"family":            {"networking: {ipFamily: IPv4}", `networking.ipFamily: "IPv4" is not one of ipv4, ipv6, dual`},
	"podSubnet":         {"networking: {podSubnet: fd00::/56}", `networking.podSubnet: must be one IPv4 range such as 10.244.0.0/16 with ipFamily: ipv4, and is "fd00::/56"`},
	"kubeProxyMode":     {"networking: {kubeProxyMode: userspace}", `networking.kubeProxyMode: "userspace" is not one of`},
	"apiServerPort":     {"networking: {apiServerPort: -2}", `networking.apiServerPort: must be from 0 to 65535, and is -2`},
	"hostPort":          {"nodes: [{extraPortMappings: [{containerPort: 1, hostPort: 65536}]}]", `3:59: nodes[0].extraPortMappings[0].hostPort: must be from 0 to 65535`},
	"protocol":          {"nodes: [{extraPortMappings: [{containerPort: 1, protocol: icmp}]}]", `"icmp" is not one of TCP, UDP, SCTP`},
	"propagation":       {"nodes: [{extraMounts: [{hostPath: /, containerPath: /a, propagation: none}]}]", `"none" is not one of None, HostToContainer, Bidirectional`},
	"port twice":        {"nodes: [{extraPortMappings: [{containerPort: 1, hostPort: 80}, {containerPort: 2, hostPort: 80, listenAddress: 127.0.0.1}]}]", `nodes[0].extraPortMappings[1].hostPort: 80 is taken by petri-control-plane already`},
	"port of two":       {"nodes:\n- extraPortMappings: [{containerPort: 1, hostPort: 80}]\n- {role: worker, extraPortMappings: [{containerPort: 1, hostPort: 80}]}", `nodes[1].extraPortMappings[0].hostPort: 80 is taken`},
	"patch":             {"kubeadmConfigPatches:\n- \"kind: Pod\"\n- \"a: b: c\"", `5:3: kubeadmConfigPatches[1]: is not an object in YAML`},
	"patch, second":     {"kubeadmConfigPatches:\n- \"kind: KubeletConfiguration\\n---\\n- a\\n\"", `4:3: kubeadmConfigPatches[0]: is not an object in YAML`},
	"JSON patch":        {"kubeadmConfigPatchesJSON6902:\n- {kind: Pod, patch: \"[]\"}\n- {kind: KubeletConfiguration, patch: \"{}\"}", `5:39: kubeadmConfigPatchesJSON6902[1].patch: must be a list of operations`},
	"TOML":              {"containerdConfigPatches: [\"a = \"]", `containerdConfigPatches[0]: is not TOML`},
	"TOML, version":     {"containerdConfigPatches: [\"version = 9\"]", `is for version 9 of containerd's configuration`},
	"containerd's JSON": {"containerdConfigPatchesJSON6902: [\"x\"]", `containerdConfigPatchesJSON6902[0]: must be a list of operations`},
	"label":             {"nodes: [{labels: {node-role.kubernetes.io/x: a}}]", `kubelet would not start`},
}

func TestKindProblems(t *testing.T) {
	for name, test := range kindProblems {
		t.Run(name, func(t *testing.T) {
			got := problemsOf(t, beginKind+test.text+"\n", config.Options{})
			if len(got) != 1 || !strings.HasPrefix(got[0], "c.yaml:") || !strings.Contains(got[0], test.want) {
				t.Errorf("problems are %q,\nwant one with %q", got, test.want)
			}
		})
	}
}

// All that does something else than its words say is told, by line; nothing is
// told of a file that cannot be used.
func TestKindNotes(t *testing.T) {
	const text = beginKind + `networking: {kubeProxyMode: none, apiServerPort: -1}
kubeadmConfigPatches:
- "clusterName: x"
- "{apiVersion: kubeadm.k8s.io/v1beta1, kind: ClusterConfiguration}"
- "kind: KubeProxyConfiguration"
nodes:
- extraMounts: [{hostPath: missing, containerPath: /a}]
- role: worker
  kubeadmConfigPatches: ["kind: KubeletConfiguration", "kind: JoinConfiguration"]
- kubeadmConfigPatchesJSON6902: [{kind: InitConfiguration, patch: "[]"}]
---
kind: Pod
`
	dir := t.TempDir()
	var got []string
	c := load(t, text, config.Options{Dir: dir, Note: func(line string) { got = append(got, line) }})
	want := []string{
		`c.yaml:3:50: networking.apiServerPort: -1 is taken as 0: petri picks a free port and keeps it`,
		`c.yaml:5:3: kubeadmConfigPatches[0]: changes nothing, as in kind: it does not say which kind it is for`,
		`c.yaml:6:3: kubeadmConfigPatches[1]: changes nothing, as in kind: there is no document kubeadm.k8s.io/v1beta1 ClusterConfiguration`,
		`c.yaml:7:3: kubeadmConfigPatches[2]: changes nothing, as in kind: kube-proxy is left out`,
		`c.yaml:9:28: nodes[0].extraMounts[0].hostPath: there is nothing at ` + filepath.Join(dir, "missing") + `: an empty directory will be made`,
		`c.yaml:11:26: nodes[1].kubeadmConfigPatches[0]: changes nothing, as in kind: a node that joins reads JoinConfiguration only`,
		`c.yaml:12:34: nodes[2].kubeadmConfigPatchesJSON6902[0]: changes nothing, as in kind: a node that joins reads JoinConfiguration only`,
		`c.yaml:14:1: kind reads the first document only: this one is not read`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	if len(c.KubeadmPatches) != 0 || len(c.Workers()[0].KubeadmPatches) != 1 {
		t.Errorf("patches are %q and %q", c.KubeadmPatches, c.Workers()[0].KubeadmPatches)
	}
	got = nil
	if _, err := config.Load([]byte(strings.Replace(text, "kind: Pod", "a: b: c", 1)), "c.yaml", config.Options{Note: func(line string) { got = append(got, line) }}); err == nil || got != nil {
		t.Errorf("the error is %v, and the notes are %q", err, got)
	}
}

// Whatever a file of kind's says, petri's own format can say too.
func TestMigrationLosesNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 33))
	for range 400 {
		data, err := yaml.Marshal(anyKind(random))
		if err != nil {
			t.Fatal(err)
		}
		c := load(t, string(data), config.Options{})
		if diff := cmp.Diff(c, reload(t, c), compare); diff != "" {
			t.Fatalf("reading back what was printed (-want +got):\n%s\n%s", diff, data)
		}
	}
}

// some gives up to n things that one makes.
func some[T any](random *rand.Rand, n int, one func(i int) T) []T {
	var out []T
	for i := range random.IntN(n + 1) {
		out = append(out, one(i))
	}
	return out
}

func anyOf[T any](random *rand.Rand, values ...T) T { return values[random.IntN(len(values))] }

// anyKind is a configuration that kind takes.
func anyKind(random *rand.Rand) kindv1alpha4.Cluster {
	patches := func(kinds ...string) []string {
		return some(random, 3, func(int) string {
			form := anyOf(random, "kind: %s\nx: {y: [1]}\n", "apiVersion: kubeadm.k8s.io/v1beta3\nkind: %s\n", "# %s\n---\na: 1\n---\nkind: KubeletConfiguration\n")
			return fmt.Sprintf(form, anyOf(random, kinds...))
		})
	}
	json := func(kinds ...string) []kindv1alpha4.PatchJSON6902 {
		return some(random, 2, func(i int) kindv1alpha4.PatchJSON6902 {
			return kindv1alpha4.PatchJSON6902{
				Group: "kubeadm.k8s.io", Version: anyOf(random, "v1beta1", "v1beta2", "v1beta4"), Kind: anyOf(random, kinds...),
				Patch: fmt.Sprintf("- {op: add, path: /a/%d, value: \"ü\\t#\"}\n", i),
			}
		})
	}
	all := []string{"ClusterConfiguration", "InitConfiguration", "JoinConfiguration", "Pod"}
	out := kindv1alpha4.Cluster{
		APIVersion: kindv1alpha4.APIVersion, Kind: kindv1alpha4.Kind, Name: anyOf(random, "", "a", "a.b-c"),
		FeatureGates:                 anyOf(random, nil, map[string]bool{"A": true, "B": false}),
		RuntimeConfig:                anyOf(random, nil, map[string]string{"api/all": "true"}),
		KubeadmConfigPatches:         patches(all...),
		KubeadmConfigPatchesJSON6902: json(all...),
		ContainerdConfigPatches: some(random, 2, func(int) string {
			return anyOf(random, "version = 2\n", "version = 3\n[debug]\n  level = 'x'\n", "[plugins.cri.registry.mirrors.\"a:1\"]\nendpoint = [\"http://b\"]\n")
		}),
		ContainerdConfigPatchesJSON6902: some(random, 1, func(int) string { return "- {op: remove, path: /a~1b}\n" }),
		Networking: kindv1alpha4.Networking{
			IPFamily: anyOf(random, "", "ipv4"), APIServerPort: anyOf(random, -1, 0, 6443), APIServerAddress: anyOf(random, "", "0.0.0.0", "::1"),
			PodSubnet: anyOf(random, "", "10.7.8.9/16"), ServiceSubnet: anyOf(random, "", "172.30.0.0/20"),
			DisableDefaultCNI: anyOf(random, true, false), KubeProxyMode: anyOf(random, "", "iptables", "ipvs", "nftables", "none"),
			DNSSearch: anyOf(random, nil, &[]string{}, &[]string{"a.b", "c"}),
		},
	}
	port := 1000
	out.Nodes = append([]kindv1alpha4.Node{{}}, some(random, 3, func(int) kindv1alpha4.Node {
		return kindv1alpha4.Node{
			Role: anyOf(random, "", "control-plane", "worker"), Image: anyOf(random, "", "a/b:c"),
			Labels: anyOf(random, nil, map[string]string{"a": "", "b/c": "1"}),
			ExtraMounts: some(random, 2, func(i int) kindv1alpha4.Mount {
				return kindv1alpha4.Mount{
					ContainerPath: fmt.Sprintf("/m%d", i), HostPath: anyOf(random, "a", "/b", "../c"), ReadOnly: anyOf(random, true, false),
					SelinuxRelabel: anyOf(random, true, false), Propagation: anyOf(random, "", "None", "HostToContainer", "Bidirectional"),
				}
			}),
			ExtraPortMappings: some(random, 2, func(int) kindv1alpha4.PortMapping {
				port++
				return kindv1alpha4.PortMapping{
					ContainerPort: 80, HostPort: anyOf(random, -1, 0, port), ListenAddress: anyOf(random, "", "127.0.0.1", "::"),
					Protocol: anyOf(random, "", "TCP", "udp", "Sctp"),
				}
			}),
			KubeadmConfigPatches:         patches(all...),
			KubeadmConfigPatchesJSON6902: json(all...),
		}
	})...)
	return out
}
