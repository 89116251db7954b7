// Package provider says what a source of nodes must do, and what it may also
// be able to do. It is the seam under which Docker, and later other engines,
// live: nothing above it knows what a node is made of, and a provider never
// learns what kubeadm is. Implementations are in the folders below; all of
// them pass the suite in providertest.
package provider

import (
	"context"
	"io"
	"net/netip"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/progress"
)

// Provider makes, lists and removes the nodes of clusters. All state is in the
// engine, as labels: two Providers on one engine see the same clusters. It is
// safe for concurrent use. Errors are of the classes in errdefs: unavailable
// when the engine cannot be reached, exists and not found where it says so.
type Provider interface {
	// Name is the provider's name, for users: "docker".
	Name() string
	// Check asks the engine who it is. It fails with class unavailable when
	// the engine cannot be reached or is too old.
	Check(ctx context.Context) (Info, error)
	// Create makes the cluster's network and all its nodes, as many at once as is of use, and
	// starts them. It fails with class exists when any node of that cluster
	// is there. It does not wait until nodes have booted: a command that is
	// run on a node starts beside the boot and returns after it. On error it
	// leaves what it made: Delete is the one undo.
	Create(ctx context.Context, spec Spec, r progress.Reporter) ([]node.Node, error)
	// Delete removes every container, volume and network of the cluster,
	// running or not, complete or not. Nothing to remove is no error.
	Delete(ctx context.Context, cluster string) error
	// Clusters lists the names of clusters that have a node or a network,
	// sorted.
	Clusters(ctx context.Context) ([]string, error)
	// Nodes lists the nodes of a cluster sorted by name, control planes
	// first. None is no error.
	Nodes(ctx context.Context, cluster string) ([]node.Node, error)
	// Endpoint is the "host:port" at which the host reaches the cluster's
	// API; not found when the cluster has none.
	Endpoint(ctx context.Context, cluster string) (string, error)
}

// Info describes an engine.
type Info struct {
	Name          string // "docker"
	Version       string // "20.10.24"
	APIVersion    string // "1.41"
	OS            string // "linux"
	Architecture  string // as Go names it: "amd64"
	CgroupVersion int    // 1 or 2
	CgroupDriver  string
	StorageDriver string
	CPUs          int
	MemoryBytes   int64
	Rootless      bool
	KernelVersion string
	ID            string // the engine's own stable identifier
	// Local: the engine runs on this machine's kernel, so that what this
	// process sees of files, ports and routes is what the engine sees.
	Local bool
	Root  string    // the directory of its storage, on its machine
	Time  time.Time // by its clock; zero when it did not say
	// Privileges is how nodes may run there, one of those that node.Node has;
	// empty: no node has found out yet.
	Privileges string
	// Lacks are the cgroup controllers that the engine says it has not.
	Lacks []string
}

// Spec is the machines and network that are wanted.
type Spec struct {
	Cluster string
	// Network is the name of the network; empty: "petri-<cluster>".
	Network string
	// Subnets of the network, at most one of each family. Where one is needed
	// and not named, the provider picks one that clashes with no route of the
	// host, no other network and none of Avoid.
	Subnets []netip.Prefix
	Avoid   []netip.Prefix
	// IPv6: nodes have an IPv6 address beside that of IPv4, which all have. It
	// fails with class unavailable, before anything is made, where the engine
	// or the host has no IPv6.
	IPv6 bool
	// API is where the API is published on the host. Port 0: the provider
	// picks a free one and keeps it.
	API   Publish
	Nodes []NodeSpec
	// Files renders the files of a node once its address is known. They are
	// in place before the node starts. It is called once for each node, at
	// once for several; and again for all when a host port that was picked is
	// taken by another program before it could be published. On a network that
	// lets nobody choose addresses nodes start first and wait for their files.
	Files func(Placement) ([]File, error)
	// Started is told of the node that is started before the others, when it is
	// certain that it stays, so that work on it may begin while Create goes on. It is
	// told of none where Create may have to make that node anew; nil: nobody is told.
	// Create waits for it to return.
	Started func(node.Node)
	// Labels are put on every object, beside the contract's.
	Labels map[string]string
}

// Publish is an address on the host.
type Publish struct {
	Address string // "127.0.0.1"
	Port    uint16
}

// NodeSpec is one machine that is wanted.
type NodeSpec struct {
	Name   string
	Role   string // nodeimage.Role*
	Image  string
	Mounts []Mount
	Ports  []node.Port // HostPort 0: the provider picks a free one
	Env    []string
	// BootFirst: commands do not start before the node has booted. On cgroup
	// v2 a process that is in a node too early keeps systemd from dividing the
	// root group; only petri's own entrypoint knows how to live with that.
	BootFirst bool
	// Engine gives the node the engine's own API, at EngineSocket: who has it is
	// root on the engine's machine.
	Engine bool
	// Command is run in place of the image's own entrypoint, ended by SIGTERM,
	// and started again when it ends by itself. What runs one program is no
	// machine: it gets no privileges and no disk of its own.
	Command []string
}

// EngineSocket is where a node finds the engine's API, when it is given that.
const EngineSocket = "/var/run/docker.sock"

// Mount is a directory or file of the host in a node.
type Mount struct {
	HostPath       string // absolute
	ContainerPath  string // absolute
	ReadOnly       bool
	SelinuxRelabel bool
	Propagation    string // "None", "HostToContainer", "Bidirectional"
}

// Placement is a node whose place is known.
type Placement struct {
	Node  NodeSpec
	Addrs node.Addrs
	// Nodes holds the addresses of all nodes of the cluster by name.
	Nodes map[string]node.Addrs
	// Endpoint is the "host:port" of the API on the host.
	Endpoint netip.AddrPort
	// Gateway is the network's IPv4 gateway, the host as nodes see it, and
	// Subnet its IPv4 range.
	Gateway netip.Addr
	Subnet  netip.Prefix
}

// File is a file to put into a node. Mode's zero is 0644. Directories on the
// way are made with 0755.
type File struct {
	Path string
	Data []byte
	Mode uint32
}

// ImageStore is the ability of an engine that keeps images. All container
// providers have it.
type ImageStore interface {
	// Image describes a local image, or fails with class not found.
	Image(ctx context.Context, ref string) (Image, error)
	// LoadImage reads an image archive in docker-save form.
	LoadImage(ctx context.Context, archive io.Reader) error
	// PullImage pulls ref and reports bytes to the task.
	PullImage(ctx context.Context, ref string, t *progress.Task) error
	// ReadImageFile returns the content of a file of a local image.
	ReadImageFile(ctx context.Context, ref, path string) ([]byte, error)
	// ExtendImage makes the local image ref of the local image base and the
	// files of a tar archive, and keeps base's configuration. It fails with
	// class not found when there is no base.
	ExtendImage(ctx context.Context, base, ref string, files io.Reader) error
}

// Image is what an engine knows of one of its images.
type Image struct {
	ID           string // "sha256:...": of its config, or of what its names lead to
	Architecture string
	Size         int64
	Labels       map[string]string
	Tags         []string // names with a tag, as the engine gives them
	DiffIDs      []string // of its layers, from the bottom up
}

// ImageSource is the ability of an engine to give away images that it keeps.
// All container providers have it.
type ImageSource interface {
	ImageStore
	// SaveImage streams a local image as an archive: in docker-save form, with
	// an OCI layout, or both. An image for several platforms is saved for one,
	// where it is given ("linux/arm64") and the engine can choose.
	SaveImage(ctx context.Context, ref, platform string) (io.ReadCloser, error)
	// OpenImage finds the image with this ID in the engine's storage, where
	// single layers can be read without the others. It fails with class
	// unavailable when this process cannot read there, or does not know how.
	OpenImage(ctx context.Context, id string) (StoredImage, error)
}

// StoredImage is an image in an engine's storage.
type StoredImage struct {
	Config []byte // whose digest is the image's ID
	Layers []StoredLayer
}

// StoredLayer is the uncompressed tar archive of a layer, byte for byte.
type StoredLayer struct {
	Size int64
	Open func() (io.ReadCloser, error)
}

// Surveyor is the ability to say what else is on the engine, that a cluster
// may collide with. All container providers have it.
type Surveyor interface {
	// Survey lists all networks and all containers, of clusters and of others.
	Survey(ctx context.Context) (Survey, error)
}

// Survey is what an engine has, sorted by name.
type Survey struct {
	Networks   []Network
	Containers []Container
}

// Network is a network of the engine.
type Network struct {
	Name    string
	Cluster string // that petri made it for; empty: none
	Subnets []netip.Prefix
}

// Container is a container of the engine, running or not.
type Container struct {
	Name    string
	Cluster string // that it is a node of; empty: none
	Role    string
	State   node.State
	Ports   []node.Port // that it publishes now
	// Passing: petri made it for a moment, and should have removed it.
	Passing bool
}

// ImageFiles is the ability of an engine to give away the files of images that
// it keeps. All container providers have it.
type ImageFiles interface {
	// ReadImageFiles calls take for each of some paths of a local image, in
	// order, with a tar archive of what is there: a file or a directory, whose
	// names in the archive begin with the last part of the path. It fails with
	// class not found when there is nothing. What take leaves is not read.
	ReadImageFiles(ctx context.Context, ref string, paths []string, take func(path string, archive io.Reader) error) error
}

// LogCollector is the ability to tell what became of a node, running or not.
// All container providers have it.
type LogCollector interface {
	// Console writes the last lines of what the node wrote to its console to
	// w; all of them when lines is 0.
	Console(ctx context.Context, n node.Node, lines int, w io.Writer) error
	// Inspect returns what the engine knows of the node.
	Inspect(ctx context.Context, n node.Node) (Inspection, error)
	// ReadNodeFiles returns the regular files at path or below it, by their
	// paths, of a node that runs or does not; class not found when there is no
	// such path. It is for what is small: what is not is an error.
	ReadNodeFiles(ctx context.Context, n node.Node, path string) (map[string][]byte, error)
	// Remains is a place that has what a node left below /var when it stopped,
	// to be read, and the programs of its image. Call release once.
	Remains(ctx context.Context, n node.Node) (place exec.Runner, release func() error, err error)
}

// Inspection is what an engine knows of a node.
type Inspection struct {
	Raw []byte // its own description, as JSON
	// Started and Finished are when the node last did so; zero: never.
	Started, Finished time.Time
	ExitCode          int
	OutOfMemory       bool   // it was ended because it took too much memory
	Error             string // why it could not be started
}
