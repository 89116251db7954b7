package build

import (
	"fmt"
	"path"
	"strings"
)

// origin is what a preloaded image changes with.
type origin int

const (
	fromComponents origin = iota // a release of another project
	fromKubernetes
	fromPetri
)

func originOf(short string) origin {
	switch short {
	case "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy":
		return fromKubernetes
	case "cni":
		return fromPetri
	}
	return fromComponents
}

// upstream is the registry whose names kubeadm asks for.
const upstream = "registry.k8s.io/"

func (in Inputs) pauseImage() string { return upstream + "pause:" + in.PauseTag }
func (in Inputs) cniImage() string   { return "docker.io/petri/cni:" + in.PetriVersion }
func (in Inputs) localPathImage() string {
	return "docker.io/rancher/local-path-provisioner:" + in.LocalPathVersion
}
func (in Inputs) localPathHelperImage() string {
	return "docker.io/petri/local-path-helper:" + in.LocalPathVersion
}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// preloads lists the images of a node. Each holds the program alone, and the
// part of the base that it cannot run without.
func (in Inputs) preloads(base tree) ([]preload, error) {
	proxy, err := proxyFiles(base)
	if err != nil {
		return nil, fmt.Errorf("kube-proxy image: %w", err)
	}
	nft, err := programs(base, "usr/sbin/nft")
	if err != nil {
		return nil, fmt.Errorf("CNI image: %w", err)
	}
	busybox, err := busyboxFiles(base)
	if err != nil {
		return nil, fmt.Errorf("local-path helper image: %w", err)
	}
	certificates := newTree()
	if e := base["etc/ssl/certs/ca-certificates.crt"]; e != nil {
		certificates.put("etc/ssl/certs/ca-certificates.crt", e) // forward over TLS
	}
	version := in.KubernetesTag
	list := []preload{
		{name: in.pauseImage(), short: "pause", files: in.with(nil, "pause", "pause"), entry: []string{"/pause"}},
		{name: upstream + "etcd:" + in.EtcdTag, short: "etcd", path: defaultPath,
			files: in.with(in.with(nil, "etcd", "usr/local/bin/etcd"), "etcdctl", "usr/local/bin/etcdctl")},
		{name: upstream + "coredns/coredns:" + in.CoreDNSTag, short: "coredns", files: in.with(certificates, "coredns", "coredns"), entry: []string{"/coredns"}},
		{name: in.localPathImage(), short: "local-path-provisioner", path: defaultPath,
			files: in.with(nil, "local-path-provisioner", "usr/bin/local-path-provisioner"), entry: []string{"local-path-provisioner"}},
		{name: in.localPathHelperImage(), short: "local-path-helper", path: defaultPath, files: busybox, entry: []string{"/bin/sh"}},
		{name: upstream + "kube-proxy:" + version, short: "kube-proxy", path: defaultPath, files: in.with(proxy, "kube-proxy", "usr/local/bin/kube-proxy")},
		{name: in.cniImage(), short: "cni", path: defaultPath, files: in.with(nft, "petri-cni", "usr/local/bin/petri-cni"), entry: []string{"petri-cni"}},
	}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		list = append(list, preload{name: upstream + name + ":" + version, short: name, path: defaultPath,
			files: in.with(nil, name, "usr/local/bin/"+name)})
	}
	for _, p := range list {
		p.addMountPoints()
	}
	return list, nil
}

// with adds a built program to a tree.
func (in Inputs) with(t tree, program, at string) tree {
	if t == nil {
		t = newTree()
	}
	t.addFile(at, 0o755, in.Programs[program])
	return t
}

// proxyFiles are the programs that kube-proxy calls, in any of its modes.
func proxyFiles(base tree) (tree, error) {
	t, err := programs(base, "usr/sbin/nft", "usr/sbin/xtables-nft-multi", "usr/sbin/conntrack")
	if err != nil {
		return nil, err
	}
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, verb := range []string{"", "-save", "-restore"} {
			t.addLink("usr/sbin/"+family+verb, "xtables-nft-multi")
		}
	}
	for name, e := range base {
		// iptables opens its matches and targets by itself
		if path.Base(path.Dir(name)) == "xtables" && strings.HasSuffix(name, ".so") {
			t.put(name, e)
		}
	}
	libs, err := extensionLibraries(base, t)
	if err != nil {
		return nil, err
	}
	t.addTree("", libs)
	t.addDir("run", 0o755)
	t.addDir("tmp", 0o1777)
	return t, nil
}

// extensionLibraries are the libraries that the plug-ins in t need.
func extensionLibraries(base, t tree) (tree, error) {
	var plugins []string
	for name := range t {
		if path.Base(path.Dir(name)) == "xtables" {
			plugins = append(plugins, name)
		}
	}
	return programs(base, plugins...)
}

// busyboxFiles are a shell and the few programs that set up a volume.
func busyboxFiles(base tree) (tree, error) {
	t, err := programs(base, "usr/bin/busybox")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"sh", "mkdir", "rm", "chmod", "chown", "mv", "ls", "cat", "echo", "test", "stat", "du", "df"} {
		t.addLink("bin/"+name, "/usr/bin/busybox")
	}
	t.addDir("tmp", 0o1777)
	return t, nil
}
