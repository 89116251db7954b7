package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
)

// begin is what every file begins with: what follows stands from line 3.
const begin = "apiVersion: petri.dev/v1alpha1\nkind: Cluster\n"

// problemsOf loads what must be refused, and gives one problem per line.
func problemsOf(t *testing.T, data string, opts config.Options) []string {
	t.Helper()
	c, err := config.Load([]byte(data), "c.yaml", opts)
	if err == nil || c != nil {
		t.Fatalf("Load gave %v, %v; want an error and nothing else\n%s", c, err, data)
	}
	if !errdefs.Is(err, errdefs.ClassUsage) {
		t.Errorf("the error is not of class usage: %v", err)
	}
	lines := strings.Split(err.Error(), "\n  ")
	count := len(lines) - 1
	head := fmt.Sprintf("the configuration has %d problems:", count)
	if count == 1 {
		head = "the configuration has 1 problem:"
	}
	if lines[0] != head {
		t.Errorf("the error begins with %q, want %q", lines[0], head)
	}
	return lines[1:]
}

// fieldProblems are files with one thing wrong, and what is said of it.
var fieldProblems = map[string]struct{ text, want string }{
	"node name":        {"nodes: [{name: A_B}]", `nodes[0].name: "A_B" must be lower-case letters, digits and dashes`},
	"name of several":  {"nodes: [{}, {role: worker, name: w, count: 2}]", `nodes[1].name: w cannot be the name of 2 nodes`},
	"node name twice":  {"nodes: [{}, {role: worker, name: w}, {role: worker, name: w}]", `nodes[2].name: there are two nodes w`},
	"name of another":  {"nodes: [{}, {role: worker, name: petri-worker2}, {role: worker}]", `nodes[2].name: there are two nodes petri-worker2`},
	"name":             {`name: Dev_1`, `3:7: name: "Dev_1" must be lower-case letters`},
	"name too long":    {`name: ` + strings.Repeat("a", 47), `at most 46`},
	"name, dash":       {`name: dev-`, `3:7: name: "dev-" must be`},
	"version":          {`kubernetesVersion: v1.36`, `3:20: kubernetesVersion: must be a version such as v1.36.3, and is "v1.36"`},
	"version, no v":    {`kubernetesVersion: 1.36.3`, `3:20: kubernetesVersion: must be a version`},
	"version, old":     {`kubernetesVersion: v1.30.14`, `3:20: kubernetesVersion: must be v1.31.0 or later`},
	"image":            {`image: petri/Node:x`, `3:8: image: "petri/Node:x" is not the name of an image`},
	"feature gate":     {"featureGates:\n  A-B: true", `4:8: featureGates.A-B: is not the name of a feature gate`},
	"gate, no value":   {"featureGates:\n  A:", `4:3: featureGates.A: has no value`},
	"gate, type":       {"featureGates: {A: yes}", `3:19: featureGates.A: must be true or false, and is "yes"`},
	"runtime key":      {"runtimeConfig: {\"a=b\": \"true\"}", `runtimeConfig.a=b: is not a version of an API`},
	"runtime value":    {"runtimeConfig: {api/all: \"on\"}", `3:26: runtimeConfig.api/all: must be "true" or "false", and is "on"`},
	"runtime type":     {"runtimeConfig: {api/all: true}", `must be a string; write it in quotes: "true"`},
	"kubeadm kind":     {"kubeadm:\n- {apiVersion: kubeadm.k8s.io/v1beta3, kind: ClusterConfiguration}", `4:3: kubeadm[0]: apiVersion "kubeadm.k8s.io/v1beta3", kind "ClusterConfiguration" is not a document of kubeadm v1beta4`},
	"kubeadm number":   {"kubeadm:\n- {apiVersion: kubelet.config.k8s.io/v1beta1, kind: KubeletConfiguration, a: .inf}", `4:3: kubeadm[0]: `},
	"kubeadm type":     {"kubeadm: [1]", `3:11: kubeadm[0]: must be an object with fields, and is "1"`},
	"patch, no YAML":   {"kubeadmConfigPatches:\n- \"a: b: c\"", `4:3: kubeadmConfigPatches[0]: is not an object in YAML: mapping values are not allowed`},
	"patch, empty":     {`kubeadmConfigPatches: [""]`, `kubeadmConfigPatches[0]: apiVersion "", kind "" is for no document`},
	"patch, several":   {"kubeadmConfigPatches: [\"kind: KubeletConfiguration\\n---\\nkind: InitConfiguration\"]", `kubeadmConfigPatches[0]: is not an object in YAML: it has several documents`},
	"patch, kind":      {"kubeadmConfigPatches: [\"{kind: Deployment}\"]", `kind "Deployment" is for no document that petri makes`},
	"patch, version":   {"kubeadmConfigPatches: [\"{kind: JoinConfiguration, apiVersion: kubeadm.k8s.io/v1beta1}\"]", `apiVersion "kubeadm.k8s.io/v1beta1", kind "JoinConfiguration" is for no document`},
	"TOML":             {"containerdConfigPatches: [\"a = \"]", `3:27: containerdConfigPatches[0]: is not TOML`},
	"TOML, version":    {"containerdConfigPatches: [\"version = 5\"]", `is for version 5 of containerd's configuration, and nodes read versions 1 to 4`},
	"TOML, gone":       {"containerdConfigPatches: [\"[plugins.cri]\\nsystemd_cgroup = true\"]", `containerdConfigPatches[0]: sets systemd_cgroup, which is gone: set SystemdCgroup`},
	"TOML, mirror":     {"containerdConfigPatches: [\"[plugins.cri.registry.mirrors.x]\\nendpoint = ['ftp://y']\"]", `mirror of registry x: "ftp://y" is not an http or https URL`},
	"TOML, JSON patch": {"containerdConfigPatchesJSON6902: [\"{}\"]", `3:35: containerdConfigPatchesJSON6902[0]: must be a list of operations`},
	"JSON patch":       {"kubeadmConfigPatchesJSON6902:\n- {kind: JoinConfiguration, patch: \"[{op: ad, path: /a, value: 1}]\"}", `4:36: kubeadmConfigPatchesJSON6902[0].patch: operation 0 is "ad", and not one of add, remove`},
	"JSON patch, kind": {"kubeadmConfigPatchesJSON6902:\n- {kind: Pod, patch: \"[]\"}", `kubeadmConfigPatchesJSON6902[0]: group "", version "", kind "Pod" is for no document that petri makes`},
	"JSON patch, API":  {"kubeadmConfigPatchesJSON6902:\n- {version: v1beta4, kind: InitConfiguration, patch: \"[]\"}", `version "v1beta4", kind "InitConfiguration" is for no document`},
	"worker's JSON":    {"nodes:\n- {}\n- role: worker\n  kubeadmConfigPatchesJSON6902: [{kind: KubeletConfiguration, patch: \"[]\"}]", `6:34: nodes[1].kubeadmConfigPatchesJSON6902[0]: KubeletConfiguration is the cluster's`},
	"no proxy, JSON":   {"networking: {kubeProxyMode: none}\nkubeadmConfigPatchesJSON6902: [{kind: KubeProxyConfiguration, patch: \"[]\"}]", `networking.kubeProxyMode: is none`},
	"dnsSearch":        {"networking: {dnsSearch: [a.b, \"c d\"]}", `3:31: networking.dnsSearch[1]: "c d" is not the name of a domain`},
	"profile":          {"security:\n  profile: strict", `4:12: security.profile: "strict" is not one of default, hardened`},
	"pod security":     {"security: {podSecurity: {warn: strict}}", `3:32: security.podSecurity.warn: "strict" is not one of privileged, baseline, restricted`},
	"rules of":         {"security: {podSecurity: {auditVersion: v1.36.3}}", `security.podSecurity.auditVersion: must be latest or a minor version such as v1.36, and is "v1.36.3"`},
	"exempt":           {"security: {podSecurity: {exemptNamespaces: [a, \"$(id)\"]}}", `security.podSecurity.exemptNamespaces[1]: "$(id)" is not the name of a namespace`},
	"exempt twice":     {"security: {podSecurity: {exemptNamespaces: [a, a]}}", `security.podSecurity.exemptNamespaces[1]: a is there already`},
	"security field":   {"security: {audit: true}", `security`},
	"name, dots":       {"name: a..b", `name: "a..b" must be`},
	"no proxy, patch":  {"networking: {kubeProxyMode: none}\nkubeadmConfigPatches: [\"{kind: KubeProxyConfiguration}\"]", `3:29: networking.kubeProxyMode: is none, and there is a document or patch for kube-proxy`},
	"no proxy, raw":    {"networking: {kubeProxyMode: none}\n---\n{apiVersion: kubeproxy.config.k8s.io/v1alpha1, kind: KubeProxyConfiguration}", `networking.kubeProxyMode: is none`},
	"registry host":    {"registries: [{mirrors: [\"https://m\"]}]", `3:14: registries[0].host: is required`},
	"registry URL":     {"registries: [{host: \"https://u:hunter2@corp\"}]", `registries[0].host: must be a host as the names of images have it, and is a URL, "...@corp"`},
	"registry path":    {"registries: [{host: ../corp}]", `3:21: registries[0].host: must be a host such as docker.io`},
	"registry, twice":  {"registries: [{host: a.b}, {host: a.b}]", `3:34: registries[1].host: a.b is there already`},
	"mirror":           {"registries: [{host: a.b, mirrors: [corp]}]", `3:36: registries[0].mirrors[0]: must be an http or https URL, and is "corp"`},
	"mirror's user":    {"registries: [{host: a.b, mirrors: [\"https://u:hunter2@corp\"]}]", `registries[0].mirrors[0]: must not have a user; give corp an entry`},
	"no password":      {"registries: [{host: a.b, username: u}]", `3:36: registries[0].username: needs one of passwordFile and passwordEnv, and has 0`},
	"two passwords":    {"registries: [{host: a.b, username: u, passwordFile: x, passwordEnv: Y}]", `needs one of passwordFile and passwordEnv, and has 2`},
	"nobody's":         {"registries: [{host: a.b, passwordEnv: Y}]", `registries[0].username: is required for a password`},
	"password":         {"registries: [{host: a.b, username: u, passwordEnv: HOME, password: hunter2}]", `registries[0].password: unknown field`},
	"local registry":   {"localRegistries: [a_b]", `3:19: localRegistries[0]: "a_b" is not the name of a registry`},
	"local, twice":     {"localRegistries: [a, a]", `3:22: localRegistries[1]: a is there already`},
	"share":            {"images: {share: all}", `3:17: images.share: "all" is not one of none, engine`},
	"role":             {"nodes:\n- role: control-plane\n- role: wroker", `5:9: nodes[1].role: "wroker" is not a role; it is control-plane or worker`},
	"no control plane": {"nodes:\n- role: worker", `4:1: nodes: there must be at least one control-plane`},
	"all switched off": {"nodes: [{count: 0}]", `3:8: nodes: there must be at least one control-plane`},
	"count":            {"nodes: [{count: 251}]", `3:17: nodes[0].count: must be from 0 to 250, and is 251`},
	"count, negative":  {"nodes: [{count: -1}]", `nodes[0].count: must be from 0 to 250, and is -1`},
	"count, type":      {"nodes: [{count: 1.5}]", `nodes[0].count: must be a whole number, and is "1.5"`},
	"counts together":  {"nodes: [{count: 9}, {role: worker, count: 242}]", `3:8: nodes: there are 251 in all, more than 250`},
	"node image":       {"nodes:\n- image: \"::\"", `4:10: nodes[0].image: "::" is not the name of an image`},
	"label key":        {"nodes:\n- labels: {\"a b\": c}", `4:19: nodes[0].labels.a b: is not the key of a label`},
	"label value":      {"nodes:\n- labels: {a: \"b c\"}", `4:15: nodes[0].labels.a: has no label's value`},
	"label of others":  {"nodes:\n- labels: {node-role.kubernetes.io/worker: \"\"}", `kubelet would not start`},
	"taint key":        {"nodes:\n- taints: [{effect: NoSchedule}]", `4:12: nodes[0].taints[0].key: is not the key of a taint`},
	"taint value":      {"nodes:\n- taints: [{key: a, value: \"b c\", effect: NoSchedule}]", `nodes[0].taints[0].value: is not the value of a taint`},
	"taint effect":     {"nodes:\n- taints: [{key: a, effect: Never}]", `4:29: nodes[0].taints[0].effect: "Never" is not one of NoSchedule`},
	"taint, twice":     {"nodes:\n- taints: [{key: a, effect: NoSchedule}, {key: a, value: b, effect: NoSchedule}]", `4:42: nodes[0].taints[1]: a with NoSchedule is there already`},
	"hostPath, NUL":    {"nodes:\n- extraMounts: [{hostPath: \"/a\\0b\", containerPath: /a}]", `nodes[0].extraMounts[0].hostPath: must be printable, and is "/a\x00b"`},
	"mount, line":      {"nodes:\n- extraMounts: [{hostPath: /, containerPath: \"/a\\nb\"}]", `nodes[0].extraMounts[0].containerPath: must be an absolute path in the node, and is "/a\nb"`},
	"mount, twice":     {"nodes:\n- extraMounts: [{hostPath: /, containerPath: /a}, {hostPath: /, containerPath: /a/}]", `nodes[0].extraMounts[1].containerPath: /a/ has a mount already`},
	"hostPath":         {"nodes:\n- extraMounts:\n  - {containerPath: /a}", `5:5: nodes[0].extraMounts[0].hostPath: is required`},
	"containerPath":    {"nodes:\n- extraMounts:\n  - {hostPath: /, containerPath: a}", `nodes[0].extraMounts[0].containerPath: must be an absolute path in the node, and is "a"`},
	"containerPath /":  {"nodes:\n- extraMounts:\n  - {hostPath: /, containerPath: /}", `nodes[0].extraMounts[0].containerPath: must be`},
	"propagation":      {"nodes:\n- extraMounts:\n  - {hostPath: /, containerPath: /a, propagation: Both}", `"Both" is not one of None, HostToContainer, Bidirectional`},
	"containerPort":    {"nodes:\n- extraPortMappings: [{hostPort: 80}]", `4:23: nodes[0].extraPortMappings[0].containerPort: must be from 1 to 65535, and is 0`},
	"hostPort":         {"nodes:\n- extraPortMappings: [{containerPort: 80, hostPort: 65536}]", `hostPort: must be from 0 to 65535, and is 65536`},
	"listenAddress":    {"nodes:\n- extraPortMappings: [{containerPort: 80, listenAddress: localhost}]", `listenAddress: must be an IP address, and is "localhost"`},
	"protocol":         {"nodes:\n- extraPortMappings: [{containerPort: 80, protocol: ICMP}]", `"ICMP" is not one of TCP, UDP, SCTP`},
	"node patch":       {"nodes:\n- kubeadmConfigPatches: [\"[]\"]", `4:26: nodes[0].kubeadmConfigPatches[0]: is not an object in YAML`},
	"worker's patch":   {"nodes:\n- {}\n- role: worker\n  kubeadmConfigPatches: [\"{kind: KubeletConfiguration, maxPods: 3}\"]", `6:26: nodes[1].kubeadmConfigPatches[0]: KubeletConfiguration is the cluster's, and this is a worker`},
	"podSubnet":        {"networking:\n  podSubnet: fd00::/64", `4:14: networking.podSubnet: must be one IPv4 range such as 10.244.0.0/16 with ipFamily: ipv4, and is "fd00::/64"`},
	"ipFamily":         {"networking:\n  ipFamily: v6", `4:13: networking.ipFamily: "v6" is not one of ipv4, ipv6, dual`},
	"podSubnet, three": {"networking: {ipFamily: dual, podSubnet: \"10.1.0.0/16,fd01::/56,fd02::/56\"}", `networking.podSubnet: must be one IPv4 and one IPv6 range`},
	"podSubnet, dual":  {"networking:\n  ipFamily: dual\n  podSubnet: 10.1.0.0/16,10.2.0.0/16", `5:14: networking.podSubnet: must be one IPv4 and one IPv6 range with a comma between, such as 10.244.0.0/16,fd00:10:244::/56 with ipFamily: dual, and is "10.1.0.0/16,10.2.0.0/16"`},
	"podSubnet, /47":   {"networking: {ipFamily: ipv6, podSubnet: \"fd00::/47\"}", `networking.podSubnet: must be from /48 to /64, and is fd00::/47`},
	"podSubnet, local": {"networking: {ipFamily: ipv6, podSubnet: \"fe80::/64\"}", `fe80::/64 is not a range for machines`},
	"podSubnet, /64":   {"networking: {ipFamily: ipv6, podSubnet: \"fd00::/64\"}\nnodes: [{}, {role: worker}]", `fd00::/64 has room for 1 nodes, and there are 2`},
	"Services, /64":    {"networking: {ipFamily: ipv6, serviceSubnet: \"fd00::/64\"}", `networking.serviceSubnet: must be from /108 to /124, and is fd00::/64`},
	"Services, family": {"networking: {ipFamily: ipv6, serviceSubnet: 10.96.0.0/16}", `networking.serviceSubnet: must be one IPv6 range such as fd00:10:96::/112 with ipFamily: ipv6, and is "10.96.0.0/16"`},
	"nodes, IPv6":      {"networking: {nodeSubnet: \"fd5a::/64\"}", `networking.nodeSubnet: must be one IPv4 range with ipFamily: ipv4, and is "fd5a::/64"`},
	"nodes, twice":     {"networking: {ipFamily: dual, nodeSubnet: \"fd5a::/64,fd5b::/64\"}", `networking.nodeSubnet: must be at most one IPv4 and one IPv6 range`},
	"IPv6 overlaps":    {"networking: {ipFamily: dual, nodeSubnet: \"fd00:10:244:7::/64\"}", `networking.nodeSubnet: fd00:10:244:7::/64 overlaps the range of pods or Services`},
	"podSubnet, short": {"networking: {podSubnet: 10.0.0.0/7}", `must be from /8 to /24`},
	"podSubnet, long":  {"networking: {podSubnet: 10.1.0.0/25}", `networking.podSubnet: must be from /8 to /24, and is 10.1.0.0/25`},
	"podSubnet, bits":  {"networking: {podSubnet: 10.1.2.3/16}", `did you mean 10.1.0.0/16?`},
	"podSubnet, odd":   {"networking: {podSubnet: 127.0.0.0/16}", `127.0.0.0/16 is not a range for machines`},
	"serviceSubnet":    {"networking: {serviceSubnet: 10.96.0.0/11}", `networking.serviceSubnet: must be from /12 to /28`},
	"nodeSubnet":       {"networking: {nodeSubnet: 10.201.7.0/29}", `networking.nodeSubnet: must be from /16 to /28`},
	"room for pods":    {"networking: {podSubnet: 10.1.0.0/23}\nnodes: [{count: 3}]", `3:25: networking.podSubnet: 10.1.0.0/23 has room for 2 nodes, and there are 3`},
	"room for nodes":   {"networking: {nodeSubnet: 10.1.0.0/28}\nnodes: [{}, {role: worker, count: 13}]", `networking.nodeSubnet: 10.1.0.0/28 has room for 13 nodes, and there are 14`},
	"ranges overlap":   {"networking: {serviceSubnet: 10.244.128.0/20}", `networking.serviceSubnet: 10.244.128.0/20 overlaps podSubnet 10.244.0.0/16`},
	"room for all":     {"networking: {nodeSubnet: 10.1.0.0/28}\nnodes: [{count: 3}, {role: worker, count: 10}]", `networking.nodeSubnet: 10.1.0.0/28 has room for 12 nodes, and there are 13`},
	"control planes":   {"nodes: [{count: 10}]", `nodes: there are 10 control planes, more than 9`},
	"nodes in pods":    {"networking: {nodeSubnet: 10.244.9.0/24}", `networking.nodeSubnet: 10.244.9.0/24 overlaps the range of pods or Services`},
	"nodes in service": {"networking: {nodeSubnet: 10.96.9.0/24}", `networking.nodeSubnet: 10.96.9.0/24 overlaps the range of pods or Services`},
	"dnsDomain":        {"networking: {dnsDomain: a_b}", `networking.dnsDomain: "a_b": `},
	"apiServerAddress": {"networking: {apiServerAddress: here}", `networking.apiServerAddress: must be an IP address, and is "here"`},
	"apiServerPort":    {"networking: {apiServerPort: -1}", `networking.apiServerPort: must be from 0 to 65535, and is -1`},
	"kubeProxyMode":    {"networking: {kubeProxyMode: ebpf}", `"ebpf" is not one of nftables, iptables, ipvs, none`},
	"cni":              {"networking: {cni: \"ftp://x/y\"}", `networking.cni: "ftp://x/y" is not an http or https URL`},
	"port of the API":  {"networking: {apiServerPort: 6443}\nnodes: [{extraPortMappings: [{containerPort: 1, hostPort: 6443}]}]", `4:59: nodes[0].extraPortMappings[0].hostPort: 6443 is taken by the API already`},
	"port, one node":   {"nodes: [{extraPortMappings: [{containerPort: 1, hostPort: 80}, {containerPort: 2, hostPort: 80}]}]", `nodes[0].extraPortMappings[1].hostPort: 80 is taken by petri-control-plane already`},
	"port, all":        {"nodes:\n- extraPortMappings: [{containerPort: 1, hostPort: 80}]\n- role: worker\n  extraPortMappings: [{containerPort: 2, hostPort: 80, listenAddress: \"0.0.0.0\"}]", `6:52: nodes[1].extraPortMappings[0].hostPort: 80 is taken by petri-control-plane already`},
	"port, count":      {"nodes:\n- {}\n- role: worker\n  count: 3\n  extraPortMappings: [{containerPort: 1, hostPort: 80}]", `7:52: nodes[1].extraPortMappings[0].hostPort: 80 is taken by petri-worker already`},
	"count, labels":    {"nodes:\n- {count: 3, labels: {a: \"b c\"}}", `nodes[0].labels.a: has no label's value`},
}

func TestFieldProblems(t *testing.T) {
	for name, test := range fieldProblems {
		t.Run(name, func(t *testing.T) {
			got := problemsOf(t, begin+test.text+"\n", config.Options{})
			if len(got) != 1 || !strings.HasPrefix(got[0], "c.yaml:") || !strings.Contains(got[0], test.want) {
				t.Errorf("problems are %q,\nwant one with %q", got, test.want)
			}
		})
	}
}

// formProblems are files that are wrong before any field is looked at.
var formProblems = map[string]struct{ text, want string }{
	"no header":           {"name: dev\n", `1:1: must begin with apiVersion: petri.dev/v1alpha1 and kind: Cluster`},
	"a list":              {"- a\n", `1:1: must begin with apiVersion`},
	"text":                {"hello\n", `1:1: must begin with apiVersion`},
	"an old one of kind":  {"apiVersion: kind.x-k8s.io/v1alpha3\nkind: Cluster\n", `kind.x-k8s.io/v1alpha3 Cluster is not a format that petri reads`},
	"no cluster of kind":  {"apiVersion: kind.x-k8s.io/v1alpha4\nkind: Node\n", `kind.x-k8s.io/v1alpha4 Node is not a format that petri reads`},
	"of another version":  {"apiVersion: petri.dev/v2\nkind: Cluster\n", `petri.dev/v2 Cluster is not a format that petri reads`},
	"unknown field":       {begin + "netwroking: {}\n", `3:1: netwroking: unknown field; did you mean networking?`},
	"far from any field":  {begin + "nodes:\n- zzzzzzzzzz: 1\n", `4:3: nodes[0].zzzzzzzzzz: unknown field; known fields are role, name, count, image, labels`},
	"unknown field below": {begin + "networking:\n  podSubnets: 10.0.0.0/8\n", `4:3: networking.podSubnets: unknown field; did you mean podSubnet?`},
	"given twice":         {begin + "name: a\nname: b\n", `4:1: name: is given twice, first in line 3`},
	"a label twice":       {begin + "nodes:\n- labels:\n    a: b\n    a: c\n", `6:5: nodes[0].labels.a: is given twice, first in line 5`},
	"header twice":        {begin + "kind: Cluster\n", `3:1: kind: is given twice, first in line 2`},
	"list for object":     {begin + "networking: []\n", `3:13: networking: must be an object with fields, and is a list`},
	"object for list":     {begin + "nodes: {}\n", `3:8: nodes: must be a list, and is an object`},
	"object for text":     {begin + "name: {}\n", `3:7: name: must be a string, and is an object`},
	"list for number":     {begin + "nodes: [{count: [1]}]\n", `nodes[0].count: must be a whole number, and is a list`},
	"number for text":     {begin + "name: 12\n", `3:7: name: must be a string; write it in quotes: "12"`},
	"date for text":       {begin + "name: 2026-01-02\n", `write it in quotes: "2026-01-02"`},
	"number too large":    {begin + "nodes: [{count: 99999999999999999999}]\n", `must be a whole number`},
	"tagged":              {begin + "featureGates: {A: !!bool maybe}\n", `featureGates.A: must be true or false, and is "maybe"`},
	"key of no text":      {begin + "? [a]\n: b\n", `3:3: has a list where the name of a field belongs`},
	"syntax":              {begin + "name: a\n  b: c\n", `4:1: mapping values are not allowed in this context`},
	"tab":                 {begin + "networking:\n\tdnsDomain: a\n", `found character that cannot start any token`},
	"unfinished":          {begin + "nodes: [\n", `did not find expected node content`},
	"unknown anchor":      {begin + "name: *x\n", `c.yaml: unknown anchor 'x' referenced`},
	"a cycle":             {begin + "kubeadm:\n- &a\n  apiVersion: kubelet.config.k8s.io/v1beta1\n  kind: KubeletConfiguration\n  x: *a\n", `kubeadm[0]: anchor 'a' value contains itself`},
	"a cycle of nodes":    {begin + "nodes: &a [*a]\n", `nodes[0]: must be an object with fields, and is a list`},
	"merges itself":       {begin + "networking: &a\n  <<: *a\n", `3:13: networking: << merges an object into itself`},
	"merges text":         {begin + "networking:\n  <<: x\n", `4:7: networking: << takes objects, and this is "x"`},
	"a problem inherited": {begin + "nodes:\n- labels: &a {a: b}\n- {<<: *a, role: worker}\n", `4:15: nodes[1].a: unknown field`},
	"second document":     {begin + "---\nkind: Pod\n", `4:1: apiVersion "", kind "Pod" is not a document of kubeadm`},
	"second, a list":      {begin + "---\n- a\n", `4:1: must be a document of kubeadm, and is a list`},
	"second, twice":       {begin + "---\napiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nkind: KubeletConfiguration\n", `6:1: mapping key "kind" already defined at line 5`},
	"second, syntax":      {begin + "---\na: b: c\n", `mapping values are not allowed`},
}

func TestFormProblems(t *testing.T) {
	for name, test := range formProblems {
		t.Run(name, func(t *testing.T) {
			got := problemsOf(t, test.text, config.Options{})
			if len(got) != 1 || !strings.HasPrefix(got[0], "c.yaml:") || !strings.Contains(got[0], test.want) {
				t.Errorf("problems are %q,\nwant one with %q", got, test.want)
			}
			if strings.Contains(got[0], " yaml: ") {
				t.Errorf("%q repeats what the parser is", got[0])
			}
		})
	}
}

// A few bytes must not ask for billions of values.
func TestAliasesOfAliases(t *testing.T) {
	repeat := func(alias string) string { return "[" + strings.Repeat("*"+alias+", ", 100) + "]" }
	text := begin + "nodes:\n- &n\n  extraMounts: &m [&x {hostPath: /, containerPath: /a}, " + strings.Repeat("*x, ", 100) + "]\n" +
		"- &o {extraMounts: *m}\n" + strings.Repeat("- *o\n", 1000) + "- taints: " + repeat("x") + "\n"
	got := problemsOf(t, text, config.Options{})
	if !strings.Contains(got[0], "has more than 100000 values") {
		t.Errorf("the first of %d problems is %s", len(got), got[0])
	}
}

func TestAllProblemsByLine(t *testing.T) {
	const text = begin + `networking:
  kubeProxyMode: ebpf
  podSubnet: nowhere
nmae: dev
nodes:
- role: worker
  count: 2
  taints:
  - {key: a, effect: Never}
`
	got := problemsOf(t, text, config.Options{Overrides: config.Overrides{Name: "A"}})
	want := []string{
		`--name: "A" must be lower-case letters, digits, dashes and dots, have a letter or digit at both ends and beside each dot, and be at most 46 long`,
		`c.yaml:4:18: networking.kubeProxyMode: "ebpf" is not one of nftables, iptables, ipvs, none`,
		`c.yaml:5:14: networking.podSubnet: must be a range such as 10.244.0.0/16, and is "nowhere"`,
		`c.yaml:6:1: nmae: unknown field; did you mean name?`,
		`c.yaml:8:1: nodes: there must be at least one control-plane`,
		`c.yaml:11:22: nodes[0].taints[0].effect: "Never" is not one of NoSchedule, PreferNoSchedule, NoExecute`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestFlagProblems(t *testing.T) {
	file := begin + "name: dev\nimage: petri/node:a\nkubernetesVersion: v1.36.3\nnodes:\n- count: 2\n- role: worker\n  image: petri/node:b\n"
	tests := map[string]struct {
		flags config.Overrides
		want  []string
	}{
		"name":           {config.Overrides{Name: "-"}, []string{`--name: "-" must be`}},
		"image":          {config.Overrides{Image: "A B"}, []string{`--image: "A B" is not the name of an image`}},
		"version":        {config.Overrides{KubernetesVersion: "latest"}, []string{`--kubernetes-version: must be a version`}},
		"control planes": {config.Overrides{ControlPlanes: new(-1)}, []string{`--control-planes: must be from 0 to 250, and is -1`}},
		"too many":       {config.Overrides{ControlPlanes: new(11)}, []string{`--control-planes: there are 11 control planes, more than 9`}},
		"no control":     {config.Overrides{ControlPlanes: new(0)}, []string{`--control-planes: there must be at least one control-plane`}},
		"workers":        {config.Overrides{Workers: new(251)}, []string{`--workers: must be from 0 to 250, and is 251`}},
	}
	for name, test := range tests {
		for _, text := range []string{file, ""} {
			t.Run(fmt.Sprintf("%s, %d bytes", name, len(text)), func(t *testing.T) {
				got := problemsOf(t, text, config.Options{Overrides: test.flags})
				if len(got) != len(test.want) || !strings.HasPrefix(got[0], test.want[0]) {
					t.Errorf("problems are %q, want %q", got, test.want)
				}
			})
		}
	}
}

// A problem in an entry whose number comes from a flag stands in the file.
func TestFlagKeepsPlaces(t *testing.T) {
	text := begin + "nodes:\n- {}\n- role: worker\n  labels: {a: \"b c\"}\n"
	got := problemsOf(t, text, config.Options{Overrides: config.Overrides{Workers: new(3)}})
	if len(got) != 1 || !strings.HasPrefix(got[0], "c.yaml:6:15: nodes[1].labels.a: ") {
		t.Errorf("problems are %q", got)
	}
}

func TestMissingFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := begin + "networking: {cni: ./sub}\nnodes:\n- count: 3\n  extraMounts:\n  - {hostPath: ./no, containerPath: /a}\n  - {hostPath: /no/such, containerPath: /b}\n"
	got := problemsOf(t, text, config.Options{Dir: dir})
	want := []string{
		"c.yaml:3:19: networking.cni: is default, none, or the path or URL of a manifest, and there is no file " + filepath.Join(dir, "sub"),
		"c.yaml:7:16: nodes[0].extraMounts[0].hostPath: there is no file or directory " + filepath.Join(dir, "no"),
		"c.yaml:8:16: nodes[0].extraMounts[1].hostPath: there is no file or directory /no/such",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
