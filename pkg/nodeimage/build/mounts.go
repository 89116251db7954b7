package build

import (
	"archive/tar"
	"path"
	"strings"
)

// Where containers of preloaded images have something mounted: directories and,
// below, files.
var (
	mountedDirs = map[string][]string{
		"etcd":                    {"var/lib/etcd", "etc/kubernetes/pki/etcd"},
		"kube-apiserver":          append([]string{"etc/kubernetes/pki"}, certificateDirs...),
		"kube-controller-manager": append([]string{"etc/kubernetes/pki", "usr/libexec/kubernetes/kubelet-plugins/volume/exec"}, certificateDirs...),
		"kube-proxy":              {"lib/modules", "var/lib/kube-proxy", serviceAccountDir},
		"coredns":                 {"etc/coredns", serviceAccountDir},
		"cni":                     {"lib/modules", "etc/cni/net.d", serviceAccountDir},
		"local-path-provisioner":  {"etc/config", serviceAccountDir},
	}
	certificateDirs = []string{"etc/ssl/certs", "etc/ca-certificates", "usr/share/ca-certificates", "usr/local/share/ca-certificates"}

	mountedEverywhere = []string{"etc/hosts", "etc/hostname", "etc/resolv.conf"}
	mountedFiles      = map[string][]string{
		"kube-controller-manager": {"etc/kubernetes/controller-manager.conf"},
		"kube-scheduler":          {"etc/kubernetes/scheduler.conf"},
		"kube-proxy":              {"run/xtables.lock"},
	}
)

const serviceAccountDir = "var/run/secrets/kubernetes.io/serviceaccount"

// addMountPoints adds what a container runtime would make when a container
// starts, where that is below a directory of the image.
//
// To make something there the kernel's overlay copies the directory up, and asks
// the file system of the store about it while it holds the rename lock of the one
// that it writes to. Where the node's root is of fuse-overlayfs, and both are on
// one disk, the two can wait for each other for ever: fuse-overlayfs, which has one
// thread, renames files for whatever a node writes to its root.
func (p preload) addMountPoints() {
	for _, name := range mountedDirs[p.short] {
		if p.files.copiesUp(name) {
			p.files.addDir(name, 0o755)
		}
	}
	for _, list := range [][]string{mountedEverywhere, mountedFiles[p.short]} {
		for _, name := range list {
			if p.files.copiesUp(name) {
				p.files.addBytes(name, 0o644, nil)
			}
		}
	}
}

// copiesUp reports whether name is not there, and would be made below a directory
// of the tree.
func (t tree) copiesUp(name string) bool {
	top, _, _ := strings.Cut(name, "/")
	if t[top] == nil || t[name] != nil {
		return false
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if e := t[dir]; e != nil && e.header.Typeflag != tar.TypeDir {
			return false // the runtime follows a link to somewhere else
		}
	}
	return true
}
