// Package config turns what people write into a resolved cluster: it loads a
// file strictly, fills in defaults, validates everything at once with the
// place of each problem, and converts it to Cluster. From here on nothing is
// optional or unset. The file format itself is in config/v1alpha1.
package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// Cluster is the resolved configuration of a cluster. It is never serialised.
type Cluster struct {
	Name string
	// KubernetesVersion is "" when any image will do, else "v1.36.3": the node
	// image must then carry that version.
	KubernetesVersion string
	// Ephemeral is whether etcd keeps its data in memory only.
	Ephemeral bool
	// Nodes in order: control planes first, each with its final name.
	Nodes      []Node
	Networking Networking
	Security   Security
	Registries []Registry
	// LocalRegistries are names of registries that petri runs.
	LocalRegistries []string
	// ShareEngine is whether nodes get the engine's images.
	ShareEngine   bool
	FeatureGates  map[string]bool
	RuntimeConfig map[string]string
	// Kubeadm holds raw v1beta4 (or kubelet, kube-proxy) documents that replace
	// or extend what petri renders, field by field, in file order.
	Kubeadm []RawDocument
	// KubeadmPatches are merge patches (RFC 7386) for the rendered documents,
	// each one object in YAML for a document that may be there.
	KubeadmPatches []string
	// KubeadmJSONPatches come after KubeadmPatches.
	KubeadmJSONPatches []JSONPatch
	// ContainerdPatches are TOML documents merged into containerd's config,
	// written for any version of it.
	ContainerdPatches []string
	// ContainerdJSONPatches are RFC 6902 patches, YAML or JSON, that come
	// after ContainerdPatches.
	ContainerdJSONPatches []string
}

// JSONPatch is a patch (RFC 6902), YAML or JSON, for one of the rendered
// documents. Group and Version are empty where the kind decides; a version
// older than the document's says how the patch sees it.
type JSONPatch struct{ Group, Version, Kind, Patch string }

// RawDocument is one kubeadm, kubelet or kube-proxy document as it was given.
type RawDocument struct {
	APIVersion string
	Kind       string
	YAML       string
}

// Node is one machine of the cluster.
type Node struct {
	Name   string // container and Kubernetes node name
	Role   string // nodeimage.RoleControlPlane or RoleWorker
	Image  string
	Labels map[string]string
	Taints []Taint
	Mounts []Mount
	Ports  []PortMapping
	// KubeadmPatches and then KubeadmJSONPatches come after the cluster's; on
	// a worker they are for JoinConfiguration only.
	KubeadmPatches     []string
	KubeadmJSONPatches []JSONPatch
}

// Security is how much of its security Kubernetes switches on.
type Security struct {
	Profile     string // ProfileDefault or ProfileHardened
	PodSecurity PodSecurity
}

// PodSecurity is what pods may do in namespaces whose labels do not say it. Each
// level is "privileged", "baseline" or "restricted", each version "latest" or
// "v1.36".
type PodSecurity struct {
	Enforce, EnforceVersion string
	Audit, AuditVersion     string
	Warn, WarnVersion       string
	ExemptNamespaces        []string // beside those of the cluster's own parts
}

// Registry is how nodes reach a registry. Passwords are read when nodes are made.
type Registry struct {
	Host     string
	Mirrors  []string // URLs
	CAFile   string   // on the host; empty: none
	Username string   // empty: nobody
	// One of them says where the password is, when there is a user.
	PasswordFile, PasswordEnv string
}

// Taint is a Kubernetes taint.
type Taint struct{ Key, Value, Effect string }

// Mount is a path of the host in the node.
type Mount struct {
	HostPath       string // absolute
	ContainerPath  string // absolute
	Create         bool   // an empty directory is made where there is no HostPath
	ReadOnly       bool
	SelinuxRelabel bool
	Propagation    string // "None", "HostToContainer" or "Bidirectional"
}

// PortMapping publishes a port of the node on the host.
type PortMapping struct {
	ContainerPort uint16
	HostPort      uint16 // 0: a free one is picked
	ListenAddress string
	Protocol      string // "tcp", "udp" or "sctp"
}

// Networking is the cluster's addresses and proxies.
type Networking struct {
	// IPFamily is "ipv4", "ipv6" or "dual".
	IPFamily string
	// PodSubnets and ServiceSubnets have one range of each of the cluster's
	// families, the primary one first.
	PodSubnets       []netip.Prefix
	ServiceSubnets   []netip.Prefix
	DNSDomain        string
	APIServerAddress netip.Addr
	APIServerPort    uint16 // 0: a free one is picked
	KubeProxyMode    string // "iptables", "ipvs", "nftables" or "none"
	// DNSSearch are the search domains of nodes. Nil: as the engine has it;
	// empty: none.
	DNSSearch []string
	// CNI is "default", "none", an absolute path, or an http(s) URL.
	CNI string
	// NodeSubnets are the ranges of the nodes' network, at most one of each
	// family; petri picks what is missing.
	NodeSubnets []netip.Prefix
}

// IPv6 reports whether nodes need an IPv6 address.
func (n Networking) IPv6() bool { return n.IPFamily == ipv6 || n.IPFamily == dual }

// Texts writes ranges or addresses one by one.
func Texts[T fmt.Stringer](items []T) []string {
	var out []string
	for _, item := range items {
		out = append(out, item.String())
	}
	return out
}

// Joined writes ranges or addresses as flags of Kubernetes take them: with
// commas.
func Joined[T fmt.Stringer](items []T) string { return strings.Join(Texts(items), ",") }

// ControlPlanes are the control-plane nodes, at least one.
func (c *Cluster) ControlPlanes() []Node { return c.withRole("control-plane") }

// Workers are the worker nodes.
func (c *Cluster) Workers() []Node { return c.withRole("worker") }

// besides is how many machines the cluster's network has beside its nodes: a load
// balancer in front of several control planes, what serves the engine's images,
// and registries.
func (c *Cluster) besides() int {
	count := len(c.LocalRegistries)
	if len(c.ControlPlanes()) > 1 {
		count++
	}
	if c.ShareEngine {
		count++
	}
	return count
}

func (c *Cluster) withRole(role string) []Node {
	var out []Node
	for _, n := range c.Nodes {
		if n.Role == role {
			out = append(out, n)
		}
	}
	return out
}
