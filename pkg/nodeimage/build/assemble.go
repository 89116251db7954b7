// Package build puts a node image together: a Debian base, the programs, the
// preloaded container images in unpacked form, and petri's own files, as
// layers whose bytes depend on the inputs alone. It needs no engine and no
// registry. Where the programs come from is the business of pkg/release;
// loading the result into an engine is the caller's.
package build

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// Inputs are everything that a node image is made of.
type Inputs struct {
	Arch       string // as Go names it
	Kubernetes string // "v1.36.3"
	// KubernetesTag is the tag of Kubernetes' own images.
	KubernetesTag string
	// Tags of the images that kubeadm asks for: etcd, CoreDNS and pause.
	EtcdTag, CoreDNSTag, PauseTag string
	// PetriVersion is the tag of petri's own images.
	PetriVersion string
	// LocalPathVersion is the tag of the storage provisioner's images.
	LocalPathVersion string
	// Layout is how the image is laid out; empty is LayoutPetri.
	Layout Layout
	// Base is the name of the base for the manifest, and BaseArchive the
	// path of its root file system as a tar archive.
	Base, BaseArchive string
	// Programs are paths of the built programs by name ("kubelet").
	Programs map[string]string
	// Roles are the default roles of that version of Kubernetes, a List in JSON;
	// nil when they are not known.
	Roles []byte
	// RootFS are files of the image; placeholders in them are filled in.
	RootFS fs.FS
	// Licenses are paths of licence texts by component name.
	Licenses   map[string]string
	Components []nodeimage.Component
	// Scratch is a directory for temporary files, which must outlive the
	// image: its layers are there.
	Scratch string
}

// Assemble makes the image. Layers go from large and rarely changed to small
// and often changed.
func Assemble(ctx context.Context, in Inputs) (v1.Image, nodeimage.Manifest, error) {
	var manifest nodeimage.Manifest
	if err := in.checkPrograms(); err != nil {
		return nil, manifest, err
	}
	base, err := readBase(in.BaseArchive, in.Scratch)
	if err != nil {
		return nil, manifest, fmt.Errorf("read base: %w", err)
	}
	preloads, err := in.preloads(base)
	if err != nil {
		return nil, manifest, err
	}
	metadata, preloaded, err := storeMetadata(ctx, preloads, in.Arch, in.Layout, in.Scratch)
	if err != nil {
		return nil, manifest, fmt.Errorf("make image store: %w", err)
	}
	manifest = in.manifest(preloaded)
	trees, err := in.layers(base, preloads, metadata, manifest)
	if err != nil {
		return nil, manifest, err
	}
	image, err := in.image(trees)
	return image, manifest, err
}

func (in Inputs) manifest(preloaded []nodeimage.Preloaded) nodeimage.Manifest {
	m := nodeimage.Manifest{
		SchemaVersion: 1, Kubernetes: in.Kubernetes, Architecture: in.Arch, Base: in.Base,
		Components: slices.Clone(in.Components), Images: preloaded,
	}
	slices.SortFunc(m.Components, func(a, b nodeimage.Component) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(m.Images, func(a, b nodeimage.Preloaded) int { return cmp.Compare(a.Name, b.Name) })
	return m
}

// Where programs go in the node. What is not here is in an image only.
var places = []struct{ program, path string }{
	{"containerd", "usr/local/bin/containerd"},
	{"containerd-shim-runc-v2", "usr/local/bin/containerd-shim-runc-v2"},
	{"ctr", "usr/local/bin/ctr"},
	{"runc", "usr/local/sbin/runc"},
	{"crictl", "usr/local/bin/crictl"},
	{"bridge", "opt/cni/bin/bridge"},
	{"host-local", "opt/cni/bin/host-local"},
	{"loopback", "opt/cni/bin/loopback"},
	{"portmap", "opt/cni/bin/portmap"},
	{"ptp", "opt/cni/bin/ptp"},
	{"registry", "usr/local/bin/registry"},
}

var kubernetesPlaces = []struct{ program, path string }{
	{"kubeadm", "usr/bin/kubeadm"},
	{"kubelet", "usr/bin/kubelet"},
	{"kubectl", "usr/bin/kubectl"},
}

// imageOnly are the programs that are in an image and nowhere else in a node;
// helper and imageServer are petri's own in the node.
var imageOnly = []string{
	"pause", "etcd", "etcdctl", "coredns", "local-path-provisioner", "petri-cni",
	"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy",
}

const (
	helper      = "petri-node"
	imageServer = "petri-images"
)

// programNames are the programs that a node is made of.
func programNames() []string {
	names := append(slices.Clone(imageOnly), helper, imageServer)
	for _, p := range slices.Concat(places, kubernetesPlaces) {
		names = append(names, p.program)
	}
	return names
}

// checkPrograms makes sure that every program of a node is there: one that is
// not would become an empty file.
func (in Inputs) checkPrograms() error {
	var errs []error
	for _, name := range programNames() {
		path, ok := in.Programs[name]
		if !ok {
			errs = append(errs, fmt.Errorf("program %s is missing", name))
		} else if info, err := os.Stat(path); err != nil {
			errs = append(errs, fmt.Errorf("program %s: %w", name, err))
		} else if !info.Mode().IsRegular() || info.Size() == 0 {
			errs = append(errs, fmt.Errorf("program %s: %s is no file with content", name, path))
		}
	}
	return errors.Join(errs...)
}

// layers gives the trees of the image's layers in order. A file is in one layer
// under all of its names: what images have of the base is in the base's.
func (in Inputs) layers(base tree, preloads []preload, metadata tree, manifest nodeimage.Manifest) ([]tree, error) {
	base = maps.Clone(base)
	runtime, kubernetes, petri := newTree(), newTree(), newTree()
	for _, p := range places {
		runtime.addFile(p.path, 0o755, in.Programs[p.program])
	}
	for _, p := range kubernetesPlaces {
		kubernetes.addFile(p.path, 0o755, in.Programs[p.program])
	}
	if in.Layout == LayoutKind {
		preloads = nil // they are in the metadata's tree
		runtime.addFile("usr/local/bin/etcdctl", 0o755, in.Programs["etcdctl"])
	} else {
		// the same file serves the node and the image
		runtime.addLink("usr/local/bin/etcdctl", nodeimage.StoreSnapshots+"/etcd/fs/usr/local/bin/etcdctl")
	}
	snapshots := strings.TrimPrefix(nodeimage.StoreSnapshots, "/")
	for _, p := range preloads {
		into := map[origin]tree{fromKubernetes: kubernetes, fromPetri: petri}[originOf(p.short)]
		if into == nil {
			into = runtime
		}
		shared, own := p.files.split(base)
		base.addTree(filepath.Join(snapshots, p.short, "fs"), shared)
		into.addTree(filepath.Join(snapshots, p.short, "fs"), own)
		into.addDir(filepath.Join(snapshots, p.short, "work"), 0o711)
	}
	if err := in.addOwn(petri, metadata, manifest); err != nil {
		return nil, err
	}
	return []tree{base.linked(), runtime.linked(), kubernetes.linked(), petri.linked()}, nil
}

// addOwn adds petri's files: root file system, helper, store metadata.
func (in Inputs) addOwn(t, metadata tree, manifest nodeimage.Manifest) error {
	files := newTree()
	if err := files.addFS(in.RootFS); err != nil {
		return err
	}
	fill := in.placeholders()
	for _, e := range files {
		if e.data != nil {
			e.data = []byte(fill.Replace(string(e.data)))
		}
	}
	t.addTree("", files)
	t.addTree("", metadata)
	t.addFile(in.helperPath(), 0o755, in.Programs[helper])
	target, err := filepath.Rel(filepath.Dir(nodeimage.EntrypointPath), in.helperPath())
	if err != nil {
		return err
	}
	t.addLink(nodeimage.EntrypointPath, target)
	t.addBytes(nodeimage.VersionPath, 0o644, []byte(in.Kubernetes+"\n"))
	for _, unit := range []string{
		"containerd.service", "kubelet.service", "petri-balancer.service", "petri-pods.service", "petri-resolver.service", "petri-settle.timer",
	} {
		t.addLink("etc/systemd/system/multi-user.target.wants/"+unit, "../"+unit)
	}
	// the first pod would start it, and wait for it
	t.addLink("etc/systemd/system/multi-user.target.wants/dbus.service", "/usr/lib/systemd/system/dbus.service")
	for _, dir := range []string{"etc/kubernetes/manifests", "etc/cni/net.d", nodeimage.KubeletDropInDir, "etc/containerd/conf.d", "etc/containerd/certs.d"} {
		t.addDir(dir, 0o755)
	}
	for name, path := range in.Licenses {
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("licence of %s: %w", name, err)
		}
		t.addBytes("LICENSES/"+name, 0o644, text)
	}
	if in.Layout == LayoutKind {
		return nil
	}
	t.addFile(nodeimage.ImageServerProgram, 0o755, in.Programs[imageServer])
	if in.Roles != nil {
		t.addBytes(nodeimage.RolesPath, 0o644, in.Roles)
	}
	data, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return err
	}
	t.addBytes(nodeimage.ManifestPath, 0o644, append(data, '\n'))
	return nil
}

// helperPath is where the node's own program is.
func (in Inputs) helperPath() string {
	if in.Layout == LayoutKind {
		return packedHelper
	}
	return nodeimage.HelperPath
}

// placeholders are the names of images in the files of the image.
func (in Inputs) placeholders() *strings.Replacer {
	return strings.NewReplacer(
		"@PAUSE_IMAGE@", in.pauseImage(),
		"@CNI_IMAGE@", in.cniImage(),
		"@LOCAL_PATH_PROVISIONER_IMAGE@", in.localPathImage(),
		"@LOCAL_PATH_HELPER_IMAGE@", in.localPathHelperImage(),
		"@HELPER@", in.helperPath(),
	)
}

// image turns the trees into an image with the contract's configuration.
func (in Inputs) image(trees []tree) (v1.Image, error) {
	image := empty.Image
	for i, t := range trees {
		l, err := writeLayer(t, filepath.Join(in.Scratch, fmt.Sprintf("layer-%d.tar", i)))
		if err != nil {
			return nil, err
		}
		add := mutate.Addendum{Layer: l, MediaType: types.DockerUncompressedLayer, History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "petri build node-image"}}
		if image, err = mutate.Append(image, add); err != nil {
			return nil, err
		}
	}
	return mutate.ConfigFile(image, in.config(image))
}

func (in Inputs) config(image v1.Image) *v1.ConfigFile {
	config, err := image.ConfigFile()
	if err != nil {
		config = &v1.ConfigFile{} // an image made in memory has one
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = in.Arch, "linux"
	config.Created = v1.Time{Time: epoch}
	config.Config = v1.Config{
		// kind and Cluster API start the image's own entrypoint
		Entrypoint: []string{nodeimage.EntrypointPath, "/sbin/init"},
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"container=docker", // how systemd learns that it is in a container
		},
		// systemd halts on this signal instead of ignoring SIGTERM
		StopSignal: "SIGRTMIN+3",
		Labels: map[string]string{
			nodeimage.LabelKubernetes:          in.Kubernetes,
			nodeimage.LabelContract:            nodeimage.Contract,
			"org.opencontainers.image.title":   "petri node",
			"org.opencontainers.image.version": in.Kubernetes,
		},
	}
	if in.Layout == LayoutKind {
		config.Config.Labels = nil
	}
	return config
}

// readBase reads the base's root file system and makes it a node's: nothing
// that depends on when it was built, and no service that a node does not need.
func readBase(archive, scratch string) (tree, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	spill, err := os.MkdirTemp(scratch, "base-")
	if err != nil {
		return nil, err
	}
	t, err := readTar(f, spill)
	if err != nil {
		return nil, err
	}
	prune(t)
	return t, nil
}

// prune removes what a node must not have from a base.
func prune(t tree) {
	for name := range t {
		if dropped(name) {
			delete(t, name)
		}
	}
	moveDpkg(t)
	for _, unit := range maskedUnits {
		t.addLink("etc/systemd/system/"+unit, "/dev/null")
	}
	t.addLink("etc/systemd/system/default.target", "/usr/lib/systemd/system/multi-user.target")
	t.addLink("var/run", "/run") // Cluster API names the CRI socket below it
	t.addBytes("etc/machine-id", 0o444, nil)
	t.addBytes("etc/hostname", 0o644, []byte("petri\n"))
}

// dpkgDir is where dpkg looks for what it keeps, and dpkgPlace where that is.
const (
	dpkgDir   = "var/lib/dpkg"
	dpkgPlace = "usr/lib/sysimage/dpkg"
)

// moveDpkg leaves a link in the place of dpkg's 900 files: /var is a volume
// of each node, and the engine copies there what the image has below it.
func moveDpkg(t tree) {
	for _, name := range slices.Collect(maps.Keys(t)) {
		if rest, ok := strings.CutPrefix(name, dpkgDir+"/"); ok {
			t.put(dpkgPlace+"/"+rest, t[name])
			delete(t, name)
		}
	}
	if _, ok := t[dpkgDir]; ok {
		t.addLink(dpkgDir, "/"+dpkgPlace)
	}
}

// dropped reports whether a file of the base has no use in a node, or would
// make two builds differ.
func dropped(name string) bool {
	for _, prefix := range []string{
		"dev/", "var/cache/", "var/lib/apt/lists/", "var/log/", "var/run/",
		// what installing packages leaves
		"var/lib/systemd/deb-systemd-helper-enabled/", "var/lib/ucf/", "var/lib/pam/", "tmp/", "run/",
		// wants of a general-purpose machine: timers, logins, networks, disks
		"etc/systemd/system/",
		// run at each reload of systemd, which kubeadm asks for, and make
		// units for disks, consoles and scripts that a node does not have
		"usr/lib/systemd/system-generators/",
		// names of hardware for udev, which is masked
		"usr/lib/udev/hwdb",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	if slices.Contains(droppedFiles, name) || strings.Contains(name, "/gconv/") {
		return true // tables of character sets; UTF-8 needs none
	}
	if slices.Contains(toolchainFiles, filepath.Ext(name)) {
		return true
	}
	if dir, ok := strings.CutPrefix(filepath.Dir(name), "usr/lib/systemd/system/"); ok && strings.HasSuffix(dir, ".wants") {
		return !strings.Contains(keptWants, " "+filepath.Base(name)+" ")
	}
	return false
}

// droppedFiles are single files that the engine makes, that tools leave, or that
// a node never runs: its engine configures its network, nobody logs in, and zstd
// itself uses several processors.
var droppedFiles = []string{
	"usr/lib/systemd/systemd-networkd", "usr/bin/networkctl", "usr/lib/systemd/systemd-logind", "usr/bin/pzstd",
	"etc/resolv.conf", "etc/hosts", "var/run", "var/lib/systemd/random-seed",
	"var/lib/dpkg/status-old", "var/lib/dpkg/diversions-old",
	"etc/passwd-", "etc/shadow-", "etc/group-", "etc/gshadow-",
}

// toolchainFiles are what compilers and builders of packages read, by how their
// names end: static libraries, and the versions of symbols in shared ones.
var toolchainFiles = []string{".a", ".symbols", ".shlibs"}

// keptWants are the only units that stay wanted by systemd's own targets.
const keptWants = " systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket systemd-tmpfiles-setup.service dbus.socket "

// maskedUnits would act on the host's devices and kernel, or wait for what a
// container never has.
var maskedUnits = []string{
	"systemd-udevd.service", "systemd-udevd-kernel.socket", "systemd-udevd-control.socket", "systemd-udev-trigger.service",
	"systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount", "systemd-modules-load.service",
	"systemd-firstboot.service", "systemd-logind.service", "systemd-remount-fs.service", "systemd-sysctl.service",
	"getty.target", "console-getty.service", "iscsid.service", "open-iscsi.service", "haproxy.service",
}
