// Package nodeimage is the contract between petri on the host and the node
// image: paths, labels, and the messages that the node helper and the host
// exchange. Both sides import it, so it stands on the standard library alone
// and holds no logic. kind's part of the contract (paths under /kind) is kept
// so that the image also boots under kind and Cluster API.
package nodeimage

// Paths inside a node.
const (
	// HelperPath is the node helper: the entrypoint and "petri-node" commands.
	HelperPath = "/usr/local/bin/petri-node"
	// EntrypointPath is the image's entrypoint, a link to HelperPath.
	EntrypointPath = "/usr/local/bin/entrypoint"
	// ManifestPath holds the Manifest of the image as JSON.
	ManifestPath = "/petri/manifest.json"
	// StorePath is the preloaded, unpacked image store: see Store* below.
	StorePath = "/petri/store"
	// PlanPath is where the host puts the node's Plan before it starts.
	PlanPath = "/petri/plan.json"
	// CompletePath is the last file that the host puts into a node which runs
	// already; EnvAwaitFiles, when it is set, makes the node wait for it.
	CompletePath  = "/petri/complete"
	EnvAwaitFiles = "PETRI_AWAIT_FILES"
	// ConfigPath keeps the applied cluster configuration on control planes.
	ConfigPath = "/petri/config.yaml"
	// PatchesDir holds kubeadm patches that the image or the host supplies.
	PatchesDir = "/petri/patches"
	// KubeadmConfigPath holds the node's kubeadm documents (kind's path).
	KubeadmConfigPath = "/kind/kubeadm.conf"
	// VersionPath holds one line: the Kubernetes version with its "v".
	VersionPath = "/kind/version"
	// CNIManifestPath and StorageManifestPath are the manifests of the default
	// CNI and StorageClass (kind's paths). The CNI manifest is a text/template
	// with .PodSubnet, marked by kind's phrase.
	CNIManifestPath     = "/kind/manifests/default-cni.yaml"
	StorageManifestPath = "/kind/manifests/default-storage.yaml"
	// ReleasesDir has a directory for each Kubernetes version that a node was
	// upgraded to, called like it, with the programs of its image at their own
	// paths. It is on the volume of the node, as containerd's store is.
	ReleasesDir = "/var/lib/petri/releases"
	// ProgramsDir is where links lead to the programs of an upgrade: it comes
	// before ImageProgramsDir, where those of the node's image are, in the PATH.
	ProgramsDir      = "/usr/local/bin"
	ImageProgramsDir = "/usr/bin"
	// BalancerPath holds the configuration of the node's balancer over the
	// API servers. The balancer runs where the file is: on every node of a
	// cluster with several control planes, and in its load balancer. It is on the
	// node's volume because it is replaced while pods start: a file that is moved
	// in a root of fuse-overlayfs meanwhile can end in a deadlock of that with the
	// kernel's overlays.
	BalancerPath = "/var/lib/petri/haproxy.cfg"
	// BalancerPIDPath holds the number of the balancer's first process.
	BalancerPIDPath = "/run/petri-balancer.pid"
	// ResolverPath holds the IPv6 address at which the node passes DNS on to
	// the engine's server. It is there where pods have no IPv4.
	ResolverPath = "/petri/resolver"
	// EngineResolver is where the engine's DNS server listens in a node.
	EngineResolver = "127.0.0.11"
	// SnapshotterVariable is the variable of a node's environment that names
	// containerd's snapshotter where it is not the default; kind's name.
	SnapshotterVariable = "KIND_EXPERIMENTAL_CONTAINERD_SNAPSHOTTER"
	// CertificatesDir holds kubeadm's keys and certificates.
	CertificatesDir = "/etc/kubernetes/pki"
	// SecurityDir holds what the API server is told of security. kubeadm mounts
	// CertificatesDir into its pod, so that this needs no volume of its own.
	SecurityDir = CertificatesDir + "/petri"
	// AuthenticationPath, AdmissionPath and AuditPolicyPath are files of the
	// host's in SecurityDir: what anonymous users may ask, how pods are admitted,
	// and what is written to the audit log.
	AuthenticationPath = SecurityDir + "/authentication.yaml"
	AdmissionPath      = SecurityDir + "/admission.yaml"
	AuditPolicyPath    = SecurityDir + "/audit-policy.yaml"
	// EncryptionPath holds the key by which Secrets are encrypted in etcd. The
	// first control plane makes it, and it is one of the Certificates.
	EncryptionPath = SecurityDir + "/encryption.yaml"
	// ServingDir holds, below their names, the certificates with which the
	// controller-manager and the scheduler serve their metrics: tls.crt, tls.key.
	ServingDir = CertificatesDir + "/serving"
	// AuditLogDir holds the audit logs of a control plane.
	AuditLogDir = "/var/log/kubernetes/audit"
	// DiscoveryPath holds a joining node's kubeconfig with the address and CA
	// of the cluster, and no credentials.
	DiscoveryPath = "/petri/discovery.conf"
	// RolesPath holds the roles and bindings that the API server of the image's
	// version of Kubernetes makes by default, as a List in JSON. Only images that
	// were built of a released module have it.
	RolesPath = "/petri/roles.json"
	// AdminConfPath and SuperAdminConfPath are kubeadm's credentials.
	AdminConfPath      = "/etc/kubernetes/admin.conf"
	SuperAdminConfPath = "/etc/kubernetes/super-admin.conf"
	// KubeletDropInDir holds kubelet configuration drop-ins ("*.conf").
	KubeletDropInDir = "/etc/kubernetes/kubelet.conf.d"
	// ContainerdSocket is the CRI socket as kubeadm names it.
	ContainerdSocket = "unix:///run/containerd/containerd.sock"
)

// EnvDNSSearch is kind's variable in a node's environment for the search domains
// of its resolv.conf, with blanks between them. Set and empty: none; not set:
// those that the engine wrote.
const EnvDNSSearch = "KIND_DNS_SEARCH"

// ShimGroupAnnotation on a pod is how containerd's shim for runc knows that
// pods share one process instead of one each, and ShimGroup the group of the
// cluster's own pods. The image lets the annotation through to the shim.
const (
	ShimGroupAnnotation = "io.containerd.runc.v2.group"
	ShimGroup           = "petri-system"
)

// Parts of the preloaded store under StorePath. At boot the helper copies Root
// (metadata, manifests and configs: a few hundred KB) into containerd's root
// and links each directory of Snapshots into containerd's snapshotter.
const (
	StoreRoot      = StorePath + "/root"
	StoreSnapshots = StorePath + "/snapshots"
	// StoreLinks is a JSON object: the snapshot ID that containerd knows to the
	// name of its directory in Snapshots.
	StoreLinks = StorePath + "/links.json"
)

// Contract is the version of this contract between petri and its node images: the
// paths, and what the node helper is told and does. It goes up when nodes of an
// image that was built before would not do what petri counts on.
const Contract = "2"

// Labels on every container, network and volume of a cluster. kind's labels
// are set on nodes too, so that kind's own tools see them.
const (
	LabelCluster = "dev.petri.cluster"
	LabelRole    = "dev.petri.role"
	LabelVersion = "dev.petri.version"  // version of the petri that made it
	LabelPort    = "dev.petri.api-port" // host port of the API, on the endpoint's container
	LabelMode    = "dev.petri.privileges"
	// LabelEphemeral is on everything of a cluster that keeps etcd's data in
	// memory: "true".
	LabelEphemeral = "dev.petri.ephemeral"
	// LabelCreation is on everything of a cluster that one creation made: an
	// ID that no other creation has.
	LabelCreation = "dev.petri.creation"
	// LabelDialect is on nodes: whose names the cluster's kubeconfig entries
	// have, one of the Dialects. Without it, and with kind's labels, they are
	// kind's.
	LabelDialect = "dev.petri.dialect"
	// LabelKubernetes is on node images: the Kubernetes version they carry.
	LabelKubernetes = "dev.petri.kubernetes"
	// LabelContract is on node images: the Contract that they keep.
	LabelContract = "dev.petri.contract"

	// LabelRegistry is on the container and the volume of a registry: its name.
	LabelRegistry = "dev.petri.registry"

	LabelKindCluster = "io.x-k8s.kind.cluster"
	LabelKindRole    = "io.x-k8s.kind.role"
)

// Annotations of the Node objects of a cluster.
const (
	// AnnotationUpgrading is on a node that petri keeps pods from while it is
	// upgraded: the version that it is upgraded to.
	AnnotationUpgrading = "petri.dev/upgrading-to"
	// AnnotationImage is on a node that was upgraded: the image whose Kubernetes
	// it runs.
	AnnotationImage = "petri.dev/image"
)

// Dialects are the launchers whose names clusters have: the kubeconfig entries
// of cluster "dev" are called "petri-dev" or "kind-dev".
const (
	DialectPetri = "petri"
	DialectKind  = "kind"
)

// LocalPrefix begins the names of node images that are built and never
// published.
const LocalPrefix = "petri/node:"

// Node roles, as labels carry them.
const (
	RoleControlPlane = "control-plane"
	RoleWorker       = "worker"
	RoleLoadBalancer = "external-load-balancer"
	// RoleImageServer is that of the container which serves the engine's images
	// to the nodes of its cluster.
	RoleImageServer = "image-server"
)

// LoneEtcdHeartbeat is the interval of heartbeats, in milliseconds, that an etcd with no
// peers is given; the node knows such an etcd by it.
const LoneEtcdHeartbeat = "50"

// Ports inside a node.
const (
	// APIServerPort is the port of an API server. The load balancer serves it
	// too.
	APIServerPort = 6443
	// BalancerPort is the port of the balancer: on the loopback of a node, and
	// on every address of the load balancer. No API server listens on it, so
	// that it means the balancer on control planes as well.
	BalancerPort = 6444
)

// Programs of the node image that containers beside nodes run.
const (
	// RegistryProgram is CNCF distribution.
	RegistryProgram = "/usr/local/bin/registry"
	// ImageServerProgram serves the engine's images on ImageServerPort.
	ImageServerProgram = "/usr/local/bin/petri-images"
	ImageServerPort    = 5000
)

// ShutdownSeconds is how long a node may take to shut down in order: its pods
// get their termination first, the control plane next, etcd last.
const ShutdownSeconds = 30

// BootLine is the regular expression, kind's and Cluster API's, of the console
// line that says that a node has booted and may be entered.
const BootLine = `Reached target .*Multi-User System.*`

// Manifest describes an image: what is in it, from where, with what checksum.
// Component and image lists are sorted by name.
type Manifest struct {
	SchemaVersion int         `json:"schemaVersion"` // 1
	Kubernetes    string      `json:"kubernetes"`    // "v1.36.3"
	Architecture  string      `json:"architecture"`  // "amd64", "arm64"
	Base          string      `json:"base"`          // "debian trixie" or the image it starts from
	Components    []Component `json:"components"`
	Images        []Preloaded `json:"images"`
}

// Component is one program or package set in the image.
type Component struct {
	Name     string `json:"name"`               // "containerd"
	Version  string `json:"version"`            // "v2.4.2"
	Source   string `json:"source"`             // Go module path, "debian", a URL or "source tree"
	Checksum string `json:"checksum,omitempty"` // Go module sum "h1:..." or "sha256:..."
}

// Preloaded is one container image in the store.
type Preloaded struct {
	Name   string `json:"name"`   // "registry.k8s.io/pause:3.10.2"
	Digest string `json:"digest"` // manifest digest, "sha256:..."
	Size   int64  `json:"size"`   // bytes, unpacked
	// Snapshot is the directory of its files below StoreSnapshots, as one tree.
	Snapshot string `json:"snapshot,omitempty"`
}

// Plan tells a node what it is. The host writes it before the node starts.
type Plan struct {
	Cluster        string   `json:"cluster"`
	Name           string   `json:"name"`
	Role           string   `json:"role"`
	Address        string   `json:"address"` // the node's own, on the cluster's network
	PodSubnets     []string `json:"podSubnets"`
	ServiceSubnets []string `json:"serviceSubnets"`
	// PodRanges are the node's own part of PodSubnets, where it is known
	// before the node is registered and petri's default CNI is used.
	PodRanges []string `json:"podRanges,omitempty"`
	// PodGateways are the addresses of the first control plane, one of each
	// family of PodSubnets, by which pods of other nodes are reached until the
	// agent of petri's default CNI runs; empty on that one, and with other CNIs.
	PodGateways []string `json:"podGateways,omitempty"`
	// APIService is the address of Service kubernetes, and APIServer the
	// control plane behind it; empty where nobody serves Services.
	APIService string `json:"apiService,omitempty"`
	APIServer  string `json:"apiServer,omitempty"`
	// Balanced is the name of the control plane's endpoint where the node's own
	// balancer serves it; empty in a cluster that never had several control
	// planes.
	Balanced string `json:"balanced,omitempty"`
	// EtcdMembers are the peer URLs of all members of etcd that a new cluster
	// will have, by the names of their nodes, on each control plane of several.
	// The first announces all others before any of them starts. It is empty
	// where kubeadm announces each when it joins.
	EtcdMembers map[string]string `json:"etcdMembers,omitempty"`
	// EtcdBefore are the peer URLs of those of EtcdMembers that start before this
	// node's own, the first control plane's first.
	EtcdBefore []string `json:"etcdBefore,omitempty"`
	// Foreign: the image is not petri's, and its own entrypoint has booted the
	// node. The helper does what petri's would have done beside.
	Foreign bool `json:"foreign,omitempty"`
	// Hardened is whether the profile of security is: the first control plane
	// makes the key for Secrets, and certificates are for root's eyes too.
	Hardened bool `json:"hardened,omitempty"`
	// KubeletApart: "kubeadm join" waits for the kubelet in a phase of its own
	// (kubeadm.StartsKubeletApart).
	KubeletApart bool `json:"kubeletApart,omitempty"`
	// ServingCertificates: kubelets ask the cluster for serving certificates, and
	// control planes approve those for what a node really is.
	ServingCertificates bool `json:"servingCertificates,omitempty"`
	// IgnorePreflight lists kubeadm's preflight checks that do not hold in a
	// container, each with its reason in the host's code.
	IgnorePreflight []string `json:"ignorePreflight,omitempty"`
	// RegistryAuth is a TOML document with the credentials for registries, which
	// is merged into containerd's config before any patch. It is a secret.
	RegistryAuth string `json:"registryAuth,omitempty"`
	// ContainerdPatches are TOML documents merged into containerd's config.
	ContainerdPatches []string `json:"containerdPatches,omitempty"`
	// ContainerdJSONPatches are RFC 6902 patches for it, which come after them.
	ContainerdJSONPatches []string `json:"containerdJSONPatches,omitempty"`
}

// JoinInput is what "petri-node join" reads from standard input, as JSON.
type JoinInput struct {
	// Discovery is the Data of a JoinReady event.
	Discovery string `json:"discovery"`
	// Certificates are what all control planes share; a worker gets none.
	Certificates Certificates `json:"certificates,omitempty"`
}

// Certificates are the keys and certificates, and the key for Secrets, that all
// control planes of a cluster share, by their paths below CertificatesDir, as "petri-node
// certificates" writes them to standard output. They are secrets: they are
// never logged.
type Certificates map[string][]byte

// Extension is what "petri-node extend" reads from standard input, as JSON, on
// a node of a cluster that had one control plane and is to have several.
type Extension struct {
	// Balanced is what the plan will say of it.
	Balanced string `json:"balanced"`
	// Endpoint is the API as nodes then name it: "host:port".
	Endpoint string `json:"endpoint"`
	// Balancer is the content of BalancerPath.
	Balancer string `json:"balancer"`
	// ClusterConfiguration is kubeadm's document of that name, as it will be;
	// it is for the control plane.
	ClusterConfiguration string `json:"clusterConfiguration,omitempty"`
}

// EtcdMember is a member of etcd, in the list that "petri-node members" writes
// to standard output as JSON. One that has not begun yet has no name.
type EtcdMember struct {
	ID         string   `json:"id"` // hexadecimal
	Name       string   `json:"name,omitempty"`
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs,omitempty"`
	Learner    bool     `json:"learner,omitempty"` // it has no vote yet
	Healthy    bool     `json:"healthy,omitempty"`
}

// EventKind says what a NodeEvent carries.
type EventKind string

// The kinds of event that "petri-node init" and "petri-node join" write to
// standard output, one JSON object a line. The stream ends with Finished or
// Failed, and the exit code agrees.
const (
	PhaseStarted EventKind = "phase-started"
	PhaseDone    EventKind = "phase-done"
	// JoinReady says that nodes may join. Data is what they are to know of the
	// cluster before: a kubeconfig with its address and CA, and no secret.
	JoinReady EventKind = "join-ready"
	// KubeconfigReady carries super-admin.conf (or admin.conf) in Data. It is
	// a secret: it is never logged.
	KubeconfigReady EventKind = "kubeconfig-ready"
	// AdminReady carries admin.conf in Data. It is a secret.
	AdminReady EventKind = "admin-ready"
	// ManifestFound carries a file's content in Data and its path in Name.
	ManifestFound EventKind = "manifest"
	Finished      EventKind = "finished"
	// NodeFailed carries the error in Error and log lines in Log.
	NodeFailed EventKind = "failed"
)

// NodeEvent is one line of a node helper's output.
type NodeEvent struct {
	Kind EventKind `json:"kind"`
	Time int64     `json:"time"` // Unix milliseconds
	// Phase is "kubeadm/" and a phase of kubeadm's, or "node/" and one of the
	// node helper's own.
	Phase string `json:"phase,omitempty"`
	Name  string `json:"name,omitempty"`
	Data  string `json:"data,omitempty"`
	Error string `json:"error,omitempty"`
	Log   string `json:"log,omitempty"`
}
