// Package v1alpha1 is the file format of a cluster, as people write it:
// apiVersion petri.dev/v1alpha1, kind Cluster. It holds types and comments and
// no behaviour; package config loads, checks and resolves them. The reference
// page of the site is made from these comments, so each field has its text
// followed by a list: Unit (where there is one), Allowed, Default, Example.
package v1alpha1

// APIVersion and Kind are the first two lines of a file.
const (
	APIVersion = "petri.dev/v1alpha1"
	Kind       = "Cluster"
)

// Cluster is one Kubernetes cluster on this machine. Every field may be left
// out: an empty file is a cluster of one control plane. Flags of the command
// line win over the file.
//
// In the same file, after a line with three dashes, more YAML documents may
// follow whose apiVersion is kubeadm.k8s.io/v1beta4,
// kubelet.config.k8s.io/v1beta1 or kubeproxy.config.k8s.io/v1alpha1. They are
// taken as if they were in the field kubeadm.
type Cluster struct {
	// APIVersion is the version of this format.
	//
	//   - Allowed: petri.dev/v1alpha1
	//   - Default: none, a file must have it
	//   - Example: apiVersion: petri.dev/v1alpha1
	APIVersion string `json:"apiVersion"`

	// Kind is the kind of the document.
	//
	//   - Allowed: Cluster
	//   - Default: none, a file must have it
	//   - Example: kind: Cluster
	Kind string `json:"kind"`

	// Name is the cluster's name. The names of its nodes and its kubeconfig
	// context begin with it.
	//
	//   - Unit: characters
	//   - Allowed: lower-case letters, digits, dashes and dots, a letter or digit at both ends and beside each dot, at most 46 characters
	//   - Default: petri
	//   - Example: name: shop
	Name string `json:"name,omitempty"`

	// KubernetesVersion is the version that the node images must carry. When
	// no image is named anywhere, it also picks the tag of the default image.
	//
	//   - Allowed: v1.31.0 and later, with the "v" and all three numbers
	//   - Default: that of the node image
	//   - Example: kubernetesVersion: v1.36.3
	KubernetesVersion string `json:"kubernetesVersion,omitempty"`

	// Image is the node image of every node that does not name its own.
	//
	//   - Allowed: an image reference
	//   - Default: petri/node with petri's default Kubernetes version as its tag
	//   - Example: image: petri/node:v1.36.3
	Image string `json:"image,omitempty"`

	// Ephemeral keeps etcd's data in memory and does not wait for a disk: for
	// clusters that live for one run of a test. All that the API holds is lost
	// when a lone control plane stops; one of several that stops cannot come
	// back. The data counts as the node's memory.
	//
	//   - Allowed: true, false
	//   - Default: false, etcd writes to disk and syncs
	//   - Example: ephemeral: true
	Ephemeral bool `json:"ephemeral,omitempty"`

	// Nodes are the machines of the cluster. The control planes are called
	// NAME-control-plane, NAME-control-plane2 and so on, the workers
	// NAME-worker, NAME-worker2, in the order of this list. The flags
	// --control-planes and --workers replace the numbers: the first entry of the
	// role is then the model of all.
	//
	//   - Allowed: 1 to 9 control planes, an odd number of which is best, and at most 250 nodes in all
	//   - Default: one control plane; without workers it also runs ordinary pods
	//   - Example: nodes: [{role: control-plane}, {role: worker, count: 2}]
	Nodes []Node `json:"nodes,omitempty"`

	// Networking is the cluster's addresses, its proxy and its CNI.
	//
	//   - Default: as each of its fields says
	//   - Example: networking: {podSubnet: 10.128.0.0/16, kubeProxyMode: iptables}
	Networking Networking `json:"networking,omitzero"`

	// Registries say how nodes reach registries: by which mirrors, with which
	// certificates, and as whom.
	//
	//   - Allowed: each host once
	//   - Default: none, nodes ask registries themselves, as nobody
	//   - Example: registries: [{host: docker.io, mirrors: ["https://mirror.example"]}]
	Registries []Registry `json:"registries,omitempty"`

	// LocalRegistries are registries of "petri create registry" on this machine
	// that the cluster uses: nodes find what was pushed to localhost:PORT, and
	// ask those that cache another registry before that one.
	//
	//   - Allowed: names of registries that are there
	//   - Default: none
	//   - Example: localRegistries: [local]
	LocalRegistries []string `json:"localRegistries,omitempty"`

	// Images is where nodes find images beside registries.
	//
	//   - Default: as each of its fields says
	//   - Example: images: {share: engine}
	Images Images `json:"images,omitzero"`

	// Security is how much of its security Kubernetes switches on.
	//
	//   - Default: as each of its fields says
	//   - Example: security: {profile: hardened}
	Security Security `json:"security,omitzero"`

	// FeatureGates switches features of Kubernetes on or off, in all of its
	// components.
	//
	//   - Allowed: names of feature gates; a component of that version must know them
	//   - Default: none
	//   - Example: featureGates: {InPlacePodVerticalScaling: true}
	FeatureGates map[string]bool `json:"featureGates,omitempty"`

	// RuntimeConfig switches API groups and versions of the API server on or
	// off: its flag --runtime-config.
	//
	//   - Allowed: a group and version such as "batch/v1", or api/all, api/ga, api/beta, api/alpha; the value is "true" or "false"
	//   - Default: none
	//   - Example: runtimeConfig: {api/alpha: "true"}
	RuntimeConfig map[string]string `json:"runtimeConfig,omitempty"`

	// Kubeadm holds raw documents for kubeadm, kubelet and kube-proxy. Each is
	// laid over the one that petri renders, field by field: lists of arguments
	// are merged by name, certSANs are added to, other lists are replaced, and
	// null removes a field.
	//
	//   - Allowed: ClusterConfiguration, InitConfiguration and JoinConfiguration of kubeadm.k8s.io/v1beta4, KubeletConfiguration of kubelet.config.k8s.io/v1beta1, KubeProxyConfiguration of kubeproxy.config.k8s.io/v1alpha1
	//   - Default: none
	//   - Example: kubeadm: [{apiVersion: kubelet.config.k8s.io/v1beta1, kind: KubeletConfiguration, maxPods: 250}]
	Kubeadm []Document `json:"kubeadm,omitempty"`

	// KubeadmConfigPatches are merge patches (RFC 7386) as text, for the
	// documents of every node, after those of the field kubeadm. The patch's
	// kind picks the document. Arguments (extraArgs, kubeletExtraArgs) are
	// merged by name and certSANs are added to, as kind does it; other lists
	// are replaced whole. Patches written for kubeadm v1beta2 and v1beta3, with
	// arguments as an object, are translated.
	//
	//   - Allowed: YAML with a kind that the field kubeadm allows
	//   - Default: none
	//   - Example: kubeadmConfigPatches: ["{kind: KubeProxyConfiguration, conntrack: null}"]
	KubeadmConfigPatches []string `json:"kubeadmConfigPatches,omitempty"`

	// KubeadmConfigPatchesJSON6902 are JSON patches (RFC 6902) for the
	// documents of every node, after kubeadmConfigPatches.
	//
	//   - Default: none
	//   - Example: kubeadmConfigPatchesJSON6902: [{kind: KubeletConfiguration, patch: "[{op: add, path: /maxPods, value: 40}]"}]
	KubeadmConfigPatchesJSON6902 []JSONPatch `json:"kubeadmConfigPatchesJSON6902,omitempty"`

	// ContainerdConfigPatches are TOML documents that are merged into the
	// configuration of containerd on every node, in their order: tables field
	// by field, all else whole. What was written for version 2 of that
	// configuration, containerd 1, is translated; mirrors of registries become
	// hosts.toml files.
	//
	//   - Allowed: TOML, whose version is at most 4
	//   - Default: none
	//   - Example: containerdConfigPatches: ["[debug]\n  level = 'debug'\n"]
	ContainerdConfigPatches []string `json:"containerdConfigPatches,omitempty"`

	// ContainerdConfigPatchesJSON6902 are JSON patches (RFC 6902), as YAML or
	// JSON text, for the configuration of containerd on every node, after
	// containerdConfigPatches.
	//
	//   - Allowed: a list of operations
	//   - Default: none
	//   - Example: containerdConfigPatchesJSON6902: ["[{op: add, path: /oom_score, value: -500}]"]
	ContainerdConfigPatchesJSON6902 []string `json:"containerdConfigPatchesJSON6902,omitempty"`
}

// Node is one machine of the cluster, or several that are alike.
type Node struct {
	// Role is what the node does.
	//
	//   - Allowed: control-plane, worker
	//   - Default: control-plane
	//   - Example: role: worker
	Role string `json:"role,omitempty"`

	// Name is the node's name. A cluster whose nodes were added or deleted keeps
	// a configuration in which it is needed.
	//
	//   - Unit: characters
	//   - Allowed: lower-case letters, digits and dashes, a letter or digit at both ends, at most 63 characters; each name once, and none in an entry with a count over 1
	//   - Default: the cluster's name, a dash and the role, and from the second one on a number
	//   - Example: name: shop-worker3
	Name string `json:"name,omitempty"`

	// Count is how many such nodes there are.
	//
	//   - Unit: nodes
	//   - Allowed: 0 to 250; with 0 the entry counts for nothing
	//   - Default: 1
	//   - Example: count: 3
	Count *int `json:"count,omitempty"`

	// Image is the node image.
	//
	//   - Allowed: an image reference
	//   - Default: the cluster's image
	//   - Example: image: petri/node:v1.35.4
	Image string `json:"image,omitempty"`

	// Labels are the Kubernetes labels that the node registers with.
	//
	//   - Allowed: label names and values; of the names under kubernetes.io and k8s.io only those that kubelet may give itself
	//   - Default: none
	//   - Example: labels: {tier: frontend}
	Labels map[string]string `json:"labels,omitempty"`

	// Taints are the Kubernetes taints that the node registers with. A control
	// plane with workers beside it keeps kubeadm's own taint too.
	//
	//   - Allowed: each key and effect once
	//   - Default: none
	//   - Example: taints: [{key: dedicated, value: gpu, effect: NoSchedule}]
	Taints []Taint `json:"taints,omitempty"`

	// ExtraMounts are files and directories of the host in the node.
	//
	//   - Allowed: each containerPath once
	//   - Default: none
	//   - Example: extraMounts: [{hostPath: ./src, containerPath: /src}]
	ExtraMounts []Mount `json:"extraMounts,omitempty"`

	// ExtraPortMappings publish ports of the node on the host.
	//
	//   - Allowed: each host address, port and protocol once in the whole cluster, so none with a fixed hostPort in an entry with a count over 1
	//   - Default: none
	//   - Example: extraPortMappings: [{containerPort: 30080, hostPort: 8080}]
	ExtraPortMappings []PortMapping `json:"extraPortMappings,omitempty"`

	// KubeadmConfigPatches are merge patches as those of the cluster, for this
	// node alone and after them.
	//
	//   - Allowed: as those of the cluster; on a worker only JoinConfiguration, because all other documents are the cluster's
	//   - Default: none
	//   - Example: kubeadmConfigPatches: ["{kind: JoinConfiguration, nodeRegistration: {imagePullPolicy: Never}}"]
	KubeadmConfigPatches []string `json:"kubeadmConfigPatches,omitempty"`

	// KubeadmConfigPatchesJSON6902 are JSON patches as those of the cluster, for
	// this node alone and after all others.
	//
	//   - Allowed: as those of the cluster; on a worker only for JoinConfiguration
	//   - Default: none
	//   - Example: kubeadmConfigPatchesJSON6902: [{kind: JoinConfiguration, patch: "[{op: add, path: /nodeRegistration/imagePullSerial, value: false}]"}]
	KubeadmConfigPatchesJSON6902 []JSONPatch `json:"kubeadmConfigPatchesJSON6902,omitempty"`
}

// JSONPatch is a JSON patch (RFC 6902) and the document that it is for.
type JSONPatch struct {
	// Group is the API group of the document.
	//
	//   - Allowed: kubeadm.k8s.io, kubelet.config.k8s.io, kubeproxy.config.k8s.io; empty together with version
	//   - Default: empty, the kind decides
	//   - Example: group: kubelet.config.k8s.io
	Group string `json:"group,omitempty"`

	// Version is the version of the API group. With v1beta2 or v1beta3 of
	// kubeadm.k8s.io the patch sees lists of arguments as objects, by name.
	//
	//   - Allowed: v1beta2, v1beta3 or v1beta4 of kubeadm.k8s.io, v1beta1 of kubelet.config.k8s.io, v1alpha1 of kubeproxy.config.k8s.io; empty together with group
	//   - Default: empty, the kind decides
	//   - Example: version: v1beta1
	Version string `json:"version,omitempty"`

	// Kind is the kind of the document.
	//
	//   - Allowed: the kinds that the field kubeadm allows
	//   - Default: none, it must be given
	//   - Example: kind: KubeletConfiguration
	Kind string `json:"kind"`

	// Patch is the list of operations, as YAML or JSON text.
	//
	//   - Allowed: a list of operations
	//   - Default: none, it must be given
	//   - Example: patch: "[{op: add, path: /maxPods, value: 40}]"
	Patch string `json:"patch"`
}

// Taint keeps pods away from a node.
type Taint struct {
	// Key is the taint's name.
	//
	//   - Allowed: a label name
	//   - Default: none, it must be given
	//   - Example: key: dedicated
	Key string `json:"key"`

	// Value is the taint's value.
	//
	//   - Allowed: a label value
	//   - Default: empty
	//   - Example: value: gpu
	Value string `json:"value,omitempty"`

	// Effect is what happens to pods that do not tolerate the taint.
	//
	//   - Allowed: NoSchedule, PreferNoSchedule, NoExecute
	//   - Default: none, it must be given
	//   - Example: effect: NoSchedule
	Effect string `json:"effect"`
}

// Mount is a file or directory of the host in a node.
type Mount struct {
	// HostPath is the path on the host. A relative one is meant from the
	// directory that petri runs in.
	//
	//   - Allowed: the path of a file or directory that exists, or any with create
	//   - Default: none, it must be given
	//   - Example: hostPath: ./src
	HostPath string `json:"hostPath"`

	// ContainerPath is the path in the node.
	//
	//   - Allowed: an absolute path other than "/"
	//   - Default: none, it must be given
	//   - Example: containerPath: /src
	ContainerPath string `json:"containerPath"`

	// Create makes an empty directory at hostPath, which belongs to root, where
	// there is nothing.
	//
	//   - Allowed: true, false
	//   - Default: false
	//   - Example: create: true
	Create bool `json:"create,omitempty"`

	// ReadOnly forbids the node to write there.
	//
	//   - Allowed: true, false
	//   - Default: false
	//   - Example: readOnly: true
	ReadOnly bool `json:"readOnly,omitempty"`

	// SelinuxRelabel gives the host's files a label that lets the node use
	// them, on hosts with SELinux.
	//
	//   - Allowed: true, false
	//   - Default: false
	//   - Example: selinuxRelabel: true
	SelinuxRelabel bool `json:"selinuxRelabel,omitempty"`

	// Propagation says whether mounts below the path that are made later are
	// seen on the other side.
	//
	//   - Allowed: None, HostToContainer, Bidirectional
	//   - Default: None
	//   - Example: propagation: HostToContainer
	Propagation string `json:"propagation,omitempty"`
}

// PortMapping publishes a port of a node on the host.
type PortMapping struct {
	// ContainerPort is the port in the node.
	//
	//   - Allowed: 1 to 65535
	//   - Default: none, it must be given
	//   - Example: containerPort: 30080
	ContainerPort int `json:"containerPort"`

	// HostPort is the port on the host.
	//
	//   - Allowed: 0 to 65535; 0 takes a free one
	//   - Default: 0
	//   - Example: hostPort: 8080
	HostPort int `json:"hostPort,omitempty"`

	// ListenAddress is the address on the host.
	//
	//   - Allowed: an IP address; 0.0.0.0 opens the port to the network
	//   - Default: 127.0.0.1, for ipFamily ipv6 ::1
	//   - Example: listenAddress: 0.0.0.0
	ListenAddress string `json:"listenAddress,omitempty"`

	// Protocol is the transport protocol.
	//
	//   - Allowed: TCP, UDP, SCTP
	//   - Default: TCP
	//   - Example: protocol: UDP
	Protocol string `json:"protocol,omitempty"`
}

// Registry is how nodes reach one registry. No password stands in a
// configuration: it names where one is, which is read when the cluster is made.
type Registry struct {
	// Host is the registry as the names of images have it.
	//
	//   - Allowed: a host, with a port or without
	//   - Default: none, it must be given
	//   - Example: host: docker.io
	Host string `json:"host"`

	// Mirrors are asked before the registry, in their order. Certificates and
	// credentials for a mirror are those of the entry with its host.
	//
	//   - Allowed: http or https URLs
	//   - Default: none
	//   - Example: mirrors: ["https://mirror.example"]
	Mirrors []string `json:"mirrors,omitempty"`

	// CAFile holds the certificates, in PEM form, of which one must have signed
	// the registry's own. A relative path is meant from the directory that
	// petri runs in.
	//
	//   - Allowed: the path of a file that exists
	//   - Default: those that the node image trusts
	//   - Example: caFile: ./registry-ca.pem
	CAFile string `json:"caFile,omitempty"`

	// Username is who nodes are for the registry.
	//
	//   - Allowed: together with passwordFile or passwordEnv
	//   - Default: nobody
	//   - Example: username: puller
	Username string `json:"username,omitempty"`

	// PasswordFile holds the password or token, without the line's end. A
	// relative path is meant from the directory that petri runs in.
	//
	//   - Allowed: the path of a file that exists, and no passwordEnv
	//   - Default: none
	//   - Example: passwordFile: ./registry-token
	PasswordFile string `json:"passwordFile,omitempty"`

	// PasswordEnv is the variable of petri's environment that holds the
	// password or token.
	//
	//   - Allowed: the name of a variable that is set, and no passwordFile
	//   - Default: none
	//   - Example: passwordEnv: REGISTRY_TOKEN
	PasswordEnv string `json:"passwordEnv,omitempty"`
}

// Images is where nodes find images beside registries.
type Images struct {
	// Share is whose images nodes have without loading: with engine, a node asks
	// the container engine before the registry that an image's name leads to. A
	// container of the cluster serves them, which has the engine's socket: who
	// breaks into it is root on this machine.
	//
	//   - Allowed: none, engine
	//   - Default: none
	//   - Example: share: engine
	Share string `json:"share,omitempty"`
}

// Security is how much of its security Kubernetes switches on.
type Security struct {
	// Profile is a set of settings. Both close what costs nobody anything:
	// anonymous requests but for the API server's health and what kubeadm needs,
	// profiling, the read-only port of kubelets, credentials that nobody needs
	// any more. With hardened there are an audit log, Secrets that are encrypted
	// in etcd, Pod Security "restricted", seccomp for all pods, and serving
	// certificates of kubelets that the cluster signs and checks; some pods do
	// not run in such a cluster that do in others.
	//
	//   - Allowed: default, hardened
	//   - Default: default
	//   - Example: profile: hardened
	Profile string `json:"profile,omitempty"`

	// PodSecurity is what pods may do in namespaces that do not say it
	// themselves, by labels of Pod Security admission.
	//
	//   - Default: as each of its fields says
	//   - Example: podSecurity: {enforce: baseline, warn: restricted}
	PodSecurity PodSecurity `json:"podSecurity,omitzero"`
}

// PodSecurity is the configuration of Pod Security admission: levels of the Pod
// Security Standards for all namespaces whose labels do not name others.
type PodSecurity struct {
	// Enforce is the level that pods must have, or are refused.
	//
	//   - Allowed: privileged, baseline, restricted
	//   - Default: privileged, for profile hardened restricted
	//   - Example: enforce: baseline
	Enforce string `json:"enforce,omitempty"`

	// EnforceVersion is the version of Kubernetes whose rules enforce means.
	//
	//   - Allowed: latest, or a minor version such as v1.36
	//   - Default: latest
	//   - Example: enforceVersion: v1.36
	EnforceVersion string `json:"enforceVersion,omitempty"`

	// Audit is the level below which pods are marked in the audit log.
	//
	//   - Allowed: privileged, baseline, restricted
	//   - Default: privileged, for profile hardened restricted
	//   - Example: audit: restricted
	Audit string `json:"audit,omitempty"`

	// AuditVersion is the version of Kubernetes whose rules audit means.
	//
	//   - Allowed: latest, or a minor version such as v1.36
	//   - Default: latest
	//   - Example: auditVersion: latest
	AuditVersion string `json:"auditVersion,omitempty"`

	// Warn is the level below which whoever makes a pod is warned.
	//
	//   - Allowed: privileged, baseline, restricted
	//   - Default: privileged, for profile hardened restricted
	//   - Example: warn: restricted
	Warn string `json:"warn,omitempty"`

	// WarnVersion is the version of Kubernetes whose rules warn means.
	//
	//   - Allowed: latest, or a minor version such as v1.36
	//   - Default: latest
	//   - Example: warnVersion: latest
	WarnVersion string `json:"warnVersion,omitempty"`

	// ExemptNamespaces are namespaces in which pods may do anything, beside
	// those of the cluster's own parts: kube-system and local-path-storage.
	//
	//   - Allowed: names of namespaces, each once; they need not be there
	//   - Default: none
	//   - Example: exemptNamespaces: [monitoring]
	ExemptNamespaces []string `json:"exemptNamespaces,omitempty"`
}

// Networking is the cluster's addresses, its proxy and its CNI. The subnets of
// pods, services and nodes may not overlap.
type Networking struct {
	// IPFamily is what addresses pods and Services have. With dual, pods have
	// one of each family, and Services those that they ask for. Nodes have an
	// IPv4 address in each case, because networks of the engine are made so; with
	// ipv6 nothing of Kubernetes uses it. The engine and the kernel of its host
	// must have IPv6 for ipv6 and dual.
	//
	//   - Allowed: ipv4, ipv6, dual
	//   - Default: ipv4
	//   - Example: ipFamily: dual
	IPFamily string `json:"ipFamily,omitempty"`

	// PodSubnet is the range of the pods' addresses. Each node gets a /24 of
	// them, in IPv6 a /64, so the range bounds the number of nodes. With dual
	// these are two ranges with a comma between.
	//
	//   - Allowed: an IPv4 prefix from /8 to /24, an IPv6 prefix from /48 to /64, or one of each for dual, with a part for each node
	//   - Default: 10.244.0.0/16, for ipv6 fd00:10:244::/56, for dual both
	//   - Example: podSubnet: 10.128.0.0/16
	PodSubnet string `json:"podSubnet,omitempty"`

	// ServiceSubnet is the range of the Services' addresses. With dual these
	// are two ranges with a comma between; the family of the first is the one
	// that Services have unless they ask for another, and that of the address
	// by which nodes and pods are known first.
	//
	//   - Allowed: an IPv4 prefix from /12 to /28, an IPv6 prefix from /108 to /124, or one of each for dual
	//   - Default: 10.96.0.0/16, for ipv6 fd00:10:96::/112, for dual both
	//   - Example: serviceSubnet: 10.112.0.0/20
	ServiceSubnet string `json:"serviceSubnet,omitempty"`

	// NodeSubnet is the range of the nodes' own addresses. With ipv6 and dual
	// it may be two ranges with a comma between, or one of either family.
	//
	//   - Allowed: an IPv4 prefix from /16 to /28 and, with ipv6 and dual, an IPv6 prefix from /64 to /120, with room for the nodes, a load balancer before several control planes, the gateway and the ends of the range
	//   - Default: a free range of each family that petri picks
	//   - Example: nodeSubnet: 172.30.0.0/24
	NodeSubnet string `json:"nodeSubnet,omitempty"`

	// DNSDomain is the domain of the cluster's own names.
	//
	//   - Allowed: a DNS name in lower case
	//   - Default: cluster.local
	//   - Example: dnsDomain: shop.internal
	DNSDomain string `json:"dnsDomain,omitempty"`

	// APIServerAddress is the address on the host at which the API is
	// published.
	//
	//   - Allowed: an IP address of either family; 0.0.0.0 opens the API to the network
	//   - Default: 127.0.0.1, for ipFamily ipv6 ::1
	//   - Example: apiServerAddress: 192.168.1.10
	APIServerAddress string `json:"apiServerAddress,omitempty"`

	// APIServerPort is the port on the host at which the API is published.
	//
	//   - Allowed: 0 to 65535; 0 takes a free one and keeps it over restarts
	//   - Default: 0
	//   - Example: apiServerPort: 6443
	APIServerPort int `json:"apiServerPort,omitempty"`

	// KubeProxyMode is how kube-proxy makes Services work. With none,
	// kube-proxy is left out, for a CNI that takes its place. For ipvs the
	// host's kernel must have IPVS, or kube-proxy does not start.
	//
	//   - Allowed: nftables, iptables, ipvs, none
	//   - Default: nftables
	//   - Example: kubeProxyMode: iptables
	KubeProxyMode string `json:"kubeProxyMode,omitempty"`

	// DNSSearch are the domains in which nodes, and the pods on them, look for
	// short names. An empty list means none.
	//
	//   - Allowed: DNS names
	//   - Default: those that the engine gives to containers, mostly the host's
	//   - Example: dnsSearch: [corp.example]
	DNSSearch *[]string `json:"dnsSearch,omitempty"`

	// CNI is the pod network: petri's own, none, or manifests in a file or
	// behind a URL. A relative path is meant from the directory that petri
	// runs in; a file that is called default or none is written "./none".
	//
	//   - Allowed: default, none, the path of a file that exists, an http or https URL
	//   - Default: default
	//   - Example: cni: none
	CNI string `json:"cni,omitempty"`
}

// Document is a document for kubeadm, kubelet or kube-proxy, with its
// apiVersion and kind.
type Document map[string]any
