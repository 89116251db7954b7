// Package kindv1alpha4 is the file format of kind's clusters, as kind v0.33
// reads it: apiVersion kind.x-k8s.io/v1alpha4, kind Cluster. It holds types and
// comments and no behaviour; package config loads them, and turns them into
// petri's own format. The comments say what a field means to kind where petri
// takes care to mean the same.
package kindv1alpha4

// APIVersion and Kind are the first two lines of a file.
const (
	APIVersion = "kind.x-k8s.io/v1alpha4"
	Kind       = "Cluster"
)

// Cluster is one cluster. Without nodes it has one control plane.
type Cluster struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`

	// Name may have dots. The flag --name wins over it.
	Name  string `json:"name,omitempty"`
	Nodes []Node `json:"nodes,omitempty"`

	Networking    Networking        `json:"networking,omitzero"`
	FeatureGates  map[string]bool   `json:"featureGates,omitempty"`
	RuntimeConfig map[string]string `json:"runtimeConfig,omitempty"`

	// KubeadmConfigPatches are merge patches (RFC 7386) as text, each one or
	// several YAML documents. Those that match no document do nothing.
	KubeadmConfigPatches []string `json:"kubeadmConfigPatches,omitempty"`
	// KubeadmConfigPatchesJSON6902 come after all merge patches.
	KubeadmConfigPatchesJSON6902 []PatchJSON6902 `json:"kubeadmConfigPatchesJSON6902,omitempty"`

	// ContainerdConfigPatches are TOML documents that are merged into
	// containerd's configuration.
	ContainerdConfigPatches []string `json:"containerdConfigPatches,omitempty"`
	// ContainerdConfigPatchesJSON6902 come after them.
	ContainerdConfigPatchesJSON6902 []string `json:"containerdConfigPatchesJSON6902,omitempty"`
}

// Node is one node. Its patches come after those of the cluster.
type Node struct {
	Role   string            `json:"role,omitempty"` // "control-plane" by default
	Image  string            `json:"image,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`

	ExtraMounts       []Mount       `json:"extraMounts,omitempty"`
	ExtraPortMappings []PortMapping `json:"extraPortMappings,omitempty"`

	KubeadmConfigPatches         []string        `json:"kubeadmConfigPatches,omitempty"`
	KubeadmConfigPatchesJSON6902 []PatchJSON6902 `json:"kubeadmConfigPatchesJSON6902,omitempty"`
}

// Networking is the cluster's addresses, its proxy and its CNI.
type Networking struct {
	IPFamily string `json:"ipFamily,omitempty"` // "ipv4" by default, "ipv6" or "dual"
	// APIServerPort is 0 for a port that is picked and kept, -1 for one that
	// the engine picks at each start.
	APIServerPort    int    `json:"apiServerPort,omitempty"`
	APIServerAddress string `json:"apiServerAddress,omitempty"` // 127.0.0.1 by default, ::1 for ipv6
	// PodSubnet and ServiceSubnet are of the family, with a comma between the
	// two of "dual": 10.244.0.0/16 and fd00:10:244::/56 by default, and
	// 10.96.0.0/16 and fd00:10:96::/112.
	PodSubnet     string `json:"podSubnet,omitempty"`
	ServiceSubnet string `json:"serviceSubnet,omitempty"`
	// DisableDefaultCNI leaves the pod network to the user.
	DisableDefaultCNI bool   `json:"disableDefaultCNI,omitempty"`
	KubeProxyMode     string `json:"kubeProxyMode,omitempty"` // "iptables" by default
	// DNSSearch are the search domains of nodes: not given, those of the host;
	// an empty list, none.
	DNSSearch *[]string `json:"dnsSearch,omitempty"`
}

// PatchJSON6902 is a JSON patch (RFC 6902), as YAML or JSON text, and the
// document that it is for. Without a group and version the kind decides.
type PatchJSON6902 struct {
	Group   string `json:"group"`
	Version string `json:"version"`
	Kind    string `json:"kind"`
	Patch   string `json:"patch"`
}

// Mount is a file or directory of the host in a node.
type Mount struct {
	ContainerPath string `json:"containerPath,omitempty"`
	// HostPath is made, as a directory, when it is not there. A relative one is
	// meant from the working directory.
	HostPath       string `json:"hostPath,omitempty"`
	ReadOnly       bool   `json:"readOnly,omitempty"`
	SelinuxRelabel bool   `json:"selinuxRelabel,omitempty"`
	Propagation    string `json:"propagation,omitempty"` // "None" by default
}

// PortMapping publishes a port of a node on the host.
type PortMapping struct {
	ContainerPort int `json:"containerPort,omitempty"`
	// HostPort is 0 for a port that is picked and kept, -1 for one that the
	// engine picks at each start.
	HostPort      int    `json:"hostPort,omitempty"`
	ListenAddress string `json:"listenAddress,omitempty"` // 0.0.0.0 by default
	Protocol      string `json:"protocol,omitempty"`      // "TCP" by default, "UDP" or "SCTP", in any case
}
