package kubeadm

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// The API versions of the documents.
const (
	kubeadmAPI   = "kubeadm.k8s.io/v1beta4"
	kubeletAPI   = "kubelet.config.k8s.io/v1beta1"
	kubeProxyAPI = "kubeproxy.config.k8s.io/v1alpha1"
)

func clusterConfiguration(in Input) object {
	c := in.Cluster
	gates := featureGateArgs(c)
	apiServerArgs := slices.Clone(gates)
	if len(c.RuntimeConfig) > 0 {
		apiServerArgs = append(apiServerArgs, argument("runtime-config", joined(c.RuntimeConfig)))
	}
	apiServerArgs = append(apiServerArgs, apiServerSecurity(in)...)
	apiServer := object{certSANs: names(in), "extraEnvs": heap(30, 160), extraArgs: apiServerArgs}
	manager := append(slices.Clone(gates),
		// its own start is throttled by the default limits of 20 and 30: the
		// controllers of a new cluster wait in one queue
		argument("kube-api-qps", "500"), argument("kube-api-burst", "500"))
	scheduler := slices.Clone(gates)
	if len(c.ControlPlanes()) == 1 {
		manager, scheduler = append(manager, alone()...), append(scheduler, alone()...)
	}
	manager = slices.Concat(manager, managerSecurity(c), serving(managerName))
	scheduler = slices.Concat(scheduler, []any{noProfiling()}, serving(schedulerName))
	out := object{
		"apiVersion": kubeadmAPI, "kind": "ClusterConfiguration",
		"clusterName":          c.Name,
		"kubernetesVersion":    in.KubernetesVersion,
		"controlPlaneEndpoint": in.ControlPlaneEndpoint,
		// RSA keys take seconds to make on a small machine
		"encryptionAlgorithm": "ECDSA-P256",
		"networking": object{
			"podSubnet": config.Joined(c.Networking.PodSubnets), "serviceSubnet": config.Joined(c.Networking.ServiceSubnets),
			"dnsDomain": c.Networking.DNSDomain,
		},
		"apiServer":         apiServer,
		"controllerManager": object{"extraEnvs": smallHeap(), extraArgs: manager, extraVolumes: []any{servingVolume(managerName)}},
		"scheduler":         object{"extraEnvs": smallHeap(), extraArgs: scheduler, extraVolumes: []any{servingVolume(schedulerName)}},
		"etcd":              object{"local": localEtcd(in)},
	}
	if c.Networking.KubeProxyMode == "none" {
		// not skipPhases: an upgrade must leave it out too
		out["proxy"] = object{"disabled": true}
	}
	return out
}

// alone are the arguments of controllers that have nobody to compete with:
// after a restart the old lease would be waited for.
func alone() []any { return []any{argument("leader-elect", "false")} }

// impatient are the arguments of a lone member of etcd, which waits up to an
// election timeout before it votes for itself; nobody else's heartbeats can be
// late.
func impatient() []any {
	return []any{argument("heartbeat-interval", nodeimage.LoneEtcdHeartbeat), argument("election-timeout", "250")}
}

// reticent has etcd say less often, unasked, how far each watch has come. kubeadm has
// it say so each 5 s, to each of the API server's sixty. That serves clients who turn
// from one API server to another; a lone one starts with new caches, and asks when a
// read needs to know.
func reticent() any { return argument("watch-progress-notify-interval", "60s") }

// smallHeap is heap for a program that keeps little.
func smallHeap() []any { return heap(50, 16) }

// heap is the environment of a Go program whose heap may grow by so many percent
// before it is swept, where the default lets it double. It is no limit: a cluster
// with many objects may take the memory that it needs. A program of the node image
// may grow threefold in its first half minute, up to about so many MiB
// (pkg/release/combine.go); others pass that over.
func heap(percent, startup int) []any {
	return []any{argument("GOGC", strconv.Itoa(percent)), argument("PETRI_STARTUP_HEAP", strconv.Itoa(startup))}
}

// ephemeralDir is on a tmpfs of every node.
const ephemeralDir = "/run/petri/etcd"

// localEtcd is what differs from kubeadm's defaults for etcd.
func localEtcd(in Input) object {
	c := in.Cluster
	out := object{"extraEnvs": smallHeap()}
	var args []any
	members := len(c.ControlPlanes())
	if members == 1 {
		args = impatient()
	}
	if TakesLearners(in.KubernetesVersion) {
		if members == 1 {
			args = append(args, reticent())
		} else {
			// the members that join are announced at once
			args = append(args, argument("max-learners", strconv.Itoa(members-1)))
		}
		args = append(args, separateHTTP(in))
	}
	if c.Ephemeral {
		out["dataDir"] = ephemeralDir
		args = append(args, argument("unsafe-no-fsync", "true"))
	}
	if len(args) > 0 {
		out["extraArgs"] = args
	}
	return out
}

// separateHTTP gives etcd's HTTP API a port of its own, on loopback and with the
// certificates of the other. gRPC, which is all that Kubernetes and etcdctl speak, is
// then served without an HTTP server in front, which takes more of etcd's time and
// can starve watches (--listen-client-http-urls of etcd).
func separateHTTP(in Input) any {
	loopback := "127.0.0.1"
	if in.Addresses[0].Is6() {
		loopback = "::1" // as kubeadm has it
	}
	return argument("listen-client-http-urls", "https://"+net.JoinHostPort(loopback, "2382"))
}

// TakesLearners reports whether the etcd that kubeadm of a Kubernetes version
// starts can be told to take several learners: since etcd 3.6.
func TakesLearners(kubernetes string) bool { return atLeast(kubernetes, etcd36) }

// StartsKubeletApart reports whether kubeadm join of a Kubernetes version, with these
// documents, waits for the kubelet in a phase of its own: since 1.33, unless the gate
// is turned off with which that came.
func StartsKubeletApart(kubernetes string, documents []byte) bool {
	return atLeast(kubernetes, kubeletApart) && !bytes.Contains(documents, []byte("ControlPlaneKubeletLocalMode: false"))
}

// kubeletApart is the first Kubernetes with the gate ControlPlaneKubeletLocalMode on.
var kubeletApart = version.MustParseSemantic("v1.33.0-0")

// etcd36 is the first Kubernetes whose kubeadm asks for etcd 3.6.
var etcd36 = version.MustParseSemantic("v1.34.0-0")

// names are the names by which the API is reached, without repetition.
func names(in Input) []any {
	known := []string{"localhost", "127.0.0.1", in.Cluster.ControlPlanes()[0].Name, in.Cluster.Networking.APIServerAddress.String()}
	if in.Cluster.Networking.IPv6() {
		known = append(known, "::1")
	}
	known = append(known, config.Texts(in.Addresses[1:])...) // kubeadm adds the first
	var out []any
	for _, name := range append(known, in.CertSANs...) {
		if name != "" && !slices.Contains(out, any(name)) {
			out = append(out, name)
		}
	}
	return out
}

func initConfiguration(in Input) object {
	out := object{
		"apiVersion": kubeadmAPI, "kind": "InitConfiguration",
		"bootstrapTokens": []any{object{
			"token": in.Token, "ttl": in.TokenTTL.String(), "description": "petri: joining nodes",
			"usages": []any{"signing", "authentication"},
			"groups": []any{"system:bootstrappers:kubeadm:default-node-token"},
		}},
		"localAPIEndpoint": localAPI(in),
		"nodeRegistration": nodeRegistration(in),
	}
	if in.PatchesDir != "" {
		out["patches"] = object{"directory": in.PatchesDir}
	}
	return out
}

func joinConfiguration(in Input) object {
	out := object{
		"apiVersion": kubeadmAPI, "kind": "JoinConfiguration",
		// the cluster's address and its whole CA, from the node that made them;
		// to ask the cluster itself would mean to wait for its signature
		"discovery": object{
			"file":              object{"kubeConfigPath": nodeimage.DiscoveryPath},
			"tlsBootstrapToken": in.Token,
		},
		"nodeRegistration": nodeRegistration(in),
	}
	if in.Node.Role != nodeimage.RoleControlPlane {
		return out // a worker has no patches: the directory need not be there
	}
	out["controlPlane"] = object{"localAPIEndpoint": localAPI(in)}
	if len(in.Cluster.ControlPlanes()) > 1 {
		// an etcd that takes one learner at a time may take this one last
		out["timeouts"] = object{"etcdAPICall": "5m0s"}
	}
	if in.PatchesDir != "" {
		out["patches"] = object{"directory": in.PatchesDir}
	}
	return out
}

func localAPI(in Input) object {
	return object{"advertiseAddress": in.Addresses[0].String(), "bindPort": nodeimage.APIServerPort}
}

func nodeRegistration(in Input) object {
	args := []any{
		argument("node-ip", config.Joined(in.Addresses)),
		argument("provider-id", fmt.Sprintf("petri://%s/%s/%s", in.Provider, in.Cluster.Name, in.Node.Name)),
	}
	if len(in.Node.Labels) > 0 {
		args = append(args, argument("node-labels", joined(in.Node.Labels)))
	}
	out := object{"name": in.Node.Name, "criSocket": nodeimage.ContainerdSocket, "kubeletExtraArgs": args}
	if taints := taints(in); taints != nil {
		out["taints"] = taints
	}
	return out
}

// taints are the node's own, and kubeadm's for control planes unless the
// cluster has no other place for pods. Nil leaves it to kubeadm.
func taints(in Input) []any {
	isControlPlane := in.Node.Role == nodeimage.RoleControlPlane
	alone := isControlPlane && len(in.Cluster.Workers()) == 0
	if len(in.Node.Taints) == 0 && !alone {
		return nil
	}
	out := []any{} // an empty list means no taints to kubeadm
	if isControlPlane && !alone {
		out = append(out, object{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"})
	}
	for _, t := range in.Node.Taints {
		taint := object{"key": t.Key, "effect": t.Effect}
		if t.Value != "" {
			taint["value"] = t.Value
		}
		out = append(out, taint)
	}
	return out
}

func kubeletConfiguration(in Input) object {
	out := object{
		"apiVersion": kubeletAPI, "kind": "KubeletConfiguration",
		"cgroupDriver": "systemd",
		// clusters nest: a kubelet must not take the groups of one outside
		"cgroupRoot": "/kubelet",
		"failSwapOn": false, // swap is the host's
		// kubelet sees the disk of the host, which is not for it to clean up
		"imageGCHighThresholdPercent": 100,
		"evictionHard": object{
			"nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%",
		},
	}
	if len(in.Cluster.FeatureGates) > 0 {
		out["featureGates"] = featureGates(in.Cluster)
	}
	if in.AllowCgroupV1 {
		out["failCgroupV1"] = false
	}
	if in.Cluster.Security.Hardened() {
		maps.Copy(out, kubeletSecurity())
	}
	return out
}

func kubeProxyConfiguration(in Input) object {
	out := object{
		"apiVersion": kubeProxyAPI, "kind": "KubeProxyConfiguration",
		"mode": in.Cluster.Networking.KubeProxyMode,
		// both would change the host's kernel, for all of its processes
		"conntrack": object{"maxPerCore": 0, "min": 0},
		"iptables":  object{"minSyncPeriod": "1s"},
	}
	if len(in.Cluster.FeatureGates) > 0 {
		out["featureGates"] = featureGates(in.Cluster)
	}
	return out
}

// argument is one entry of a v1beta4 list of arguments.
func argument(name, value string) any { return object{"name": name, "value": value} }

// joined writes a map as flags take it: "a=1,b=2", sorted.
func joined(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, ",")
}

// featureGateArgs is the flag --feature-gates, where there are any.
func featureGateArgs(c *config.Cluster) []any {
	if len(c.FeatureGates) == 0 {
		return nil
	}
	text := map[string]string{}
	for k, v := range c.FeatureGates {
		text[k] = strconv.FormatBool(v)
	}
	return []any{argument("feature-gates", joined(text))}
}

func featureGates(c *config.Cluster) object {
	out := object{}
	for k, v := range c.FeatureGates {
		out[k] = v
	}
	return out
}
