package build

import (
	"archive/tar"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// An image has the places of mounts below its own directories, and no others:
// what is not there at all is made without a copy.
func TestMountPoints(t *testing.T) {
	for _, c := range []struct {
		short string
		files map[string]byte
		want  []string
	}{
		{"kube-apiserver", map[string]byte{"usr/local/bin/kube-apiserver": tar.TypeReg}, []string{
			"usr/local/share/ca-certificates", "usr/share/ca-certificates",
		}},
		{"coredns", map[string]byte{"coredns": tar.TypeReg, "etc/ssl/certs/ca-certificates.crt": tar.TypeReg}, []string{
			"etc/coredns", "etc/hostname", "etc/hosts", "etc/resolv.conf",
		}},
		{"kube-proxy", map[string]byte{"lib": tar.TypeSymlink, "run/lock": tar.TypeReg}, []string{"run/xtables.lock"}},
		{"pause", map[string]byte{"pause": tar.TypeReg}, nil},
		{"etcd", map[string]byte{"etc/hosts": tar.TypeReg, "var/lib": tar.TypeSymlink}, []string{
			"etc/hostname", "etc/kubernetes/pki/etcd", "etc/resolv.conf",
		}},
	} {
		files := newTree()
		for name, kind := range c.files {
			files.put(name, &entry{header: tar.Header{Typeflag: kind}})
		}
		before := maps.Clone(files)
		preload{short: c.short, files: files}.addMountPoints()
		var added []string
		for _, name := range slices.Sorted(maps.Keys(files)) {
			leaf := !slices.ContainsFunc(slices.Collect(maps.Keys(files)), func(o string) bool { return len(o) > len(name) && o[:len(name)+1] == name+"/" })
			if before[name] == nil && leaf {
				added = append(added, name)
			}
		}
		if diff := cmp.Diff(c.want, added); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.short, diff)
		}
	}
}
