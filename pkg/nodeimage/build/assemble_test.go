package build

import (
	"archive/tar"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// fakeBase writes a base with the few programs that images take from it.
func fakeBase(t *testing.T) string {
	t.Helper()
	base := newTree()
	for _, name := range []string{"usr/sbin/nft", "usr/sbin/xtables-nft-multi", "usr/sbin/conntrack", "usr/bin/busybox", "usr/lib/x86_64-linux-gnu/xtables/libxt_tcp.so"} {
		base.addBytes(name, 0o755, []byte(name))
	}
	base.addBytes("etc/ssl/certs/ca-certificates.crt", 0o644, []byte("certificates"))
	base.addBytes("etc/machine-id", 0o444, []byte("of the build machine"))
	base.addBytes("var/log/dpkg.log", 0o644, []byte("at some time"))
	dest := filepath.Join(t.TempDir(), "base.tar")
	if err := os.WriteFile(dest, archive(t, base), 0o644); err != nil {
		t.Fatal(err)
	}
	return dest
}

func fakeInputs(t *testing.T, modified time.Time) Inputs {
	t.Helper()
	in := Inputs{
		Arch: "amd64", Kubernetes: "v1.36.3", KubernetesTag: "v1.36.3",
		EtcdTag: "3.6.8-0", CoreDNSTag: "v1.14.2", PauseTag: "3.10.2",
		PetriVersion: "v0.1.0", LocalPathVersion: "v0.0.30",
		Base: "debian trixie", BaseArchive: fakeBase(t), Scratch: t.TempDir(),
		Programs: map[string]string{}, Licenses: map[string]string{"etcd": file(t, "a licence", modified)},
		Components: []nodeimage.Component{{Name: "runc", Version: "v1.5.2"}, {Name: "containerd", Version: "v2.4.2"}},
		RootFS: fstest.MapFS{
			"etc/containerd/config.toml":  {Data: []byte("sandbox = '@PAUSE_IMAGE@'\n")},
			"kind/manifests/storage.yaml": {Data: []byte("image: @LOCAL_PATH_PROVISIONER_IMAGE@\nhelper: @LOCAL_PATH_HELPER_IMAGE@\ncni: @CNI_IMAGE@\n")},
			"etc/crictl.yaml":             {Data: []byte("timeout: 10\n")},
		},
	}
	for _, name := range programNames() {
		in.Programs[name] = file(t, "program "+name, modified)
	}
	return in
}

// assemble gives the image and the trees of its layers.
func assemble(t *testing.T, in Inputs) (v1.Image, nodeimage.Manifest, []tree) {
	t.Helper()
	image, manifest, err := Assemble(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var trees []tree
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		tr, err := readTar(r, t.TempDir())
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		trees = append(trees, tr)
	}
	return image, manifest, trees
}

// A combined program is one file under each of its names, and so is a library
// of the base that images have too.
func TestFilesAreStoredOnce(t *testing.T) {
	in := fakeInputs(t, epoch)
	for _, name := range []string{"kube-apiserver", "kube-proxy"} {
		in.Programs[name] = in.Programs["kubelet"]
	}
	_, _, trees := assemble(t, in)
	const snapshots = "petri/store/snapshots/"
	for i, names := range [][]string{
		0: {snapshots + "cni/fs/usr/sbin/nft", snapshots + "kube-proxy/fs/usr/sbin/nft", "usr/sbin/nft"},
		2: {snapshots + "kube-apiserver/fs/usr/local/bin/kube-apiserver", snapshots + "kube-proxy/fs/usr/local/bin/kube-proxy", "usr/bin/kubelet"},
	} {
		for j, name := range names {
			h := trees[i][name].header
			if j == 0 && h.Typeflag != tar.TypeReg || j > 0 && (h.Typeflag != tar.TypeLink || h.Linkname != names[0]) {
				t.Errorf("%s is of type %c, a link to %q", name, h.Typeflag, h.Linkname)
			}
		}
	}
	if h := trees[2]["usr/bin/kubeadm"].header; h.Typeflag != tar.TypeReg {
		t.Errorf("kubeadm, a program of its own, is a link to %q", h.Linkname)
	}
}

func TestAssembleIsDeterministic(t *testing.T) {
	var digests []v1.Hash
	for _, year := range []int64{1e9, 2e9} {
		image, _, err := Assemble(t.Context(), fakeInputs(t, time.Unix(year, 0)))
		if err != nil {
			t.Fatal(err)
		}
		digest, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest)
	}
	if digests[0] != digests[1] {
		t.Errorf("the same inputs gave %s, then %s", digests[0], digests[1])
	}
}

// One image is looked at from all sides.
func TestAssemble(t *testing.T) {
	image, manifest, trees := assemble(t, fakeInputs(t, epoch))
	t.Run("configuration", func(t *testing.T) { checkConfiguration(t, image) })
	t.Run("layers", func(t *testing.T) { checkLayers(t, trees) })
	t.Run("own files", func(t *testing.T) { checkOwnFiles(t, manifest, trees) })
	t.Run("links", func(t *testing.T) { checkLinks(t, trees) })
	t.Run("archive", func(t *testing.T) { checkArchive(t, image) })
}

func checkConfiguration(t *testing.T, image v1.Image) {
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Architecture != "amd64" || config.OS != "linux" || !config.Created.Equal(epoch) || len(config.RootFS.DiffIDs) != 4 {
		t.Errorf("configuration %+v", config)
	}
	c := config.Config
	diff(t, []string{"/usr/local/bin/entrypoint", "/sbin/init"}, c.Entrypoint)
	diff(t, "SIGRTMIN+3", c.StopSignal)
	diff(t, "v1.36.3", c.Labels[nodeimage.LabelKubernetes])
	diff(t, nodeimage.Contract, c.Labels[nodeimage.LabelContract])
	if !slices.Contains(c.Env, "container=docker") || !slices.ContainsFunc(c.Env, func(v string) bool { return strings.HasPrefix(v, "PATH=/usr/local/sbin:") }) {
		t.Errorf("environment %q", c.Env)
	}
}

func checkLayers(t *testing.T, trees []tree) {
	const snapshots = "petri/store/snapshots/"
	// what changes seldom comes first
	for i, names := range [][]string{
		{"usr/sbin/nft", "var/run", snapshots + "coredns/fs/etc/ssl/certs/ca-certificates.crt",
			snapshots + "kube-proxy/fs/usr/lib/x86_64-linux-gnu/xtables/libxt_tcp.so", snapshots + "cni/fs/usr/sbin/nft"},
		{"usr/local/bin/containerd", "usr/local/sbin/runc", "opt/cni/bin/ptp", "usr/local/bin/etcdctl", snapshots + "etcd/fs/usr/local/bin/etcd",
			snapshots + "coredns/fs/coredns", snapshots + "local-path-helper/fs/bin/sh", snapshots + "pause/work"},
		{"usr/bin/kubelet", "usr/bin/kubeadm", "usr/bin/kubectl", snapshots + "kube-apiserver/fs/usr/local/bin/kube-apiserver",
			snapshots + "kube-proxy/fs/usr/sbin/iptables-restore"},
		{"usr/local/bin/petri-node", "petri/manifest.json", "petri/store/links.json", "LICENSES/etcd", "etc/kubernetes/manifests", "etc/cni/net.d", "etc/kubernetes/kubelet.conf.d",
			snapshots + "cni/fs/usr/local/bin/petri-cni"},
	} {
		for _, name := range names {
			if trees[i][name] == nil {
				t.Errorf("layer %d has no %s", i, name)
			}
		}
	}
	for name, want := range map[string]string{
		"usr/local/bin/entrypoint":                                      "petri-node",
		"etc/systemd/system/multi-user.target.wants/containerd.service": "../containerd.service",
		"etc/systemd/system/multi-user.target.wants/kubelet.service":    "../kubelet.service",
		"etc/systemd/system/multi-user.target.wants/petri-pods.service": "../petri-pods.service",
		"etc/systemd/system/multi-user.target.wants/petri-settle.timer": "../petri-settle.timer",
		"etc/systemd/system/multi-user.target.wants/dbus.service":       "/usr/lib/systemd/system/dbus.service",
	} {
		if e := trees[3][name]; e == nil || e.header.Typeflag != tar.TypeSymlink || e.header.Linkname != want {
			t.Errorf("%s is %+v, want a link to %s", name, e, want)
		}
	}
	for i, tr := range trees {
		for name, e := range tr {
			if size, err := e.size(); e.header.Typeflag == tar.TypeReg && e.header.Mode&0o111 != 0 && size == 0 {
				t.Errorf("layer %d: program %s is empty (%v)", i, name, err)
			}
		}
	}
}

func checkOwnFiles(t *testing.T, manifest nodeimage.Manifest, trees []tree) {
	petri := trees[3]
	diff(t, "v1.36.3\n", contentOf(t, petri, "kind/version"))
	diff(t, "sandbox = 'registry.k8s.io/pause:3.10.2'\n", contentOf(t, petri, "etc/containerd/config.toml"))
	diff(t, "image: docker.io/rancher/local-path-provisioner:v0.0.30\nhelper: docker.io/petri/local-path-helper:v0.0.30\ncni: docker.io/petri/cni:v0.1.0\n",
		contentOf(t, petri, "kind/manifests/storage.yaml"))
	diff(t, "timeout: 10\n", contentOf(t, petri, "etc/crictl.yaml"))
	diff(t, "a licence", contentOf(t, petri, "LICENSES/etcd"))
	diff(t, "", contentOf(t, trees[0], "etc/machine-id"))

	var inside nodeimage.Manifest
	if err := json.Unmarshal([]byte(contentOf(t, petri, "petri/manifest.json")), &inside); err != nil {
		t.Fatal(err)
	}
	diff(t, manifest, inside)
	if m := inside; m.SchemaVersion != 1 || m.Kubernetes != "v1.36.3" || m.Architecture != "amd64" || m.Base != "debian trixie" {
		t.Errorf("manifest %+v", m)
	}
	diff(t, []nodeimage.Component{{Name: "containerd", Version: "v2.4.2"}, {Name: "runc", Version: "v1.5.2"}}, inside.Components)
	var names []string
	for _, p := range inside.Images {
		names = append(names, p.Name)
		if !strings.HasPrefix(p.Digest, "sha256:") || p.Size == 0 {
			t.Errorf("image %+v", p)
		}
	}
	diff(t, []string{
		"docker.io/petri/cni:v0.1.0",
		"docker.io/petri/local-path-helper:v0.0.30",
		"docker.io/rancher/local-path-provisioner:v0.0.30",
		"registry.k8s.io/coredns/coredns:v1.14.2",
		"registry.k8s.io/etcd:3.6.8-0",
		"registry.k8s.io/kube-apiserver:v1.36.3",
		"registry.k8s.io/kube-controller-manager:v1.36.3",
		"registry.k8s.io/kube-proxy:v1.36.3",
		"registry.k8s.io/kube-scheduler:v1.36.3",
		"registry.k8s.io/pause:3.10.2",
	}, names)
}

// checkLinks: every snapshot of the store must be in some layer, and the other way round.
func checkLinks(t *testing.T, trees []tree) {
	const dir = "petri/store/snapshots"
	have := map[string]bool{}
	for _, tr := range trees {
		for name := range tr {
			if path.Dir(name) == dir {
				have[path.Base(name)] = true
			}
		}
	}
	linked := slices.Sorted(maps.Values(links(t, trees[3])))
	diff(t, slices.Sorted(maps.Keys(have)), linked)
}

func TestAssembleNamesAMissingProgram(t *testing.T) {
	in := fakeInputs(t, epoch)
	for _, name := range programNames() {
		without := in
		without.Programs = maps.Clone(in.Programs)
		delete(without.Programs, name)
		if _, _, err := Assemble(t.Context(), without); err == nil || err.Error() != "program "+name+" is missing" {
			t.Errorf("without %s: %v", name, err)
		}
	}
	in.Programs["kubelet"] = filepath.Join(t.TempDir(), "gone")
	in.Programs["etcd"] = file(t, "", epoch)
	_, _, err := Assemble(t.Context(), in)
	for _, want := range []string{"program kubelet: ", "program etcd: ", "no file with content"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestAssembleErrors(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*testing.T, *Inputs)
		want   string
	}{
		"no base":       {func(t *testing.T, in *Inputs) { in.BaseArchive = filepath.Join(t.TempDir(), "gone") }, "read base"},
		"broken base":   {func(t *testing.T, in *Inputs) { in.BaseArchive = file(t, strings.Repeat("x", 2048), epoch) }, "read base"},
		"an empty base": {func(t *testing.T, in *Inputs) { in.BaseArchive = file(t, string(archive(t, newTree())), epoch) }, "usr/sbin/nft is not in the base"},
		"no licence":    {func(_ *testing.T, in *Inputs) { in.Licenses["etcd"] = in.Scratch + "/gone" }, "licence of etcd"},
	} {
		t.Run(name, func(t *testing.T) {
			in := fakeInputs(t, epoch)
			test.change(t, &in)
			if _, _, err := Assemble(t.Context(), in); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestDropped(t *testing.T) {
	const units = "usr/lib/systemd/system/"
	for name, want := range map[string]bool{
		"dev":                          false,
		"dev/null":                     true,
		"tmp":                          false,
		"tmp/x":                        true,
		"run/lock":                     true,
		"var/run":                      true,
		"var/run/x":                    true,
		"var/log":                      false,
		"var/log/apt":                  true,
		"var/lib/dpkg":                 false,
		"var/lib/dpkg/status":          false,
		"var/lib/dpkg/status-old":      true,
		"var/lib/apt/lists/x":          true,
		"var/lib/ucf/registry":         true,
		"var/cache/ldconfig/aux-cache": true,
		"etc/resolv.conf":              true,
		"etc/hosts":                    true,
		"etc/passwd":                   false,
		"etc/passwd-":                  true,
		"etc/systemd/system":           false,
		"etc/systemd/system/getty.target.wants/x":                  true,
		"etc/systemd/journald.conf":                                false,
		units + "dbus.service":                                     false,
		units + "sockets.target.wants":                             false,
		units + "sockets.target.wants/dbus.socket":                 false,
		units + "sockets.target.wants/udevd.socket":                true,
		units + "sysinit.target.wants/systemd-journald.service":    false,
		units + "sysinit.target.wants/systemd-hwdb-update.service": true,
		"usr/lib/systemd/user/x.wants/y":                           false,
		"usr/lib/udev/hwdb.bin":                                    true,
		"usr/lib/systemd/systemd-networkd":                         true,
		"usr/lib/x86_64-linux-gnu/gconv/IBM037.so":                 true,
		"usr/lib/x86_64-linux-gnu/libcrun.a":                       true,
		"usr/lib/x86_64-linux-gnu/libcrypt.so.1.1.0":               false,
		"var/lib/dpkg/info/libssl3t64:amd64.symbols":               true,
		"var/lib/dpkg/info/libssl3t64:amd64.list":                  false,
		"usr/bin/pzstd":                                            true,
	} {
		if got := dropped(name); got != want {
			t.Errorf("%s: dropped %v, want %v", name, got, want)
		}
	}
}

func TestPrune(t *testing.T) {
	tr := newTree()
	tr.addBytes("etc/machine-id", 0o644, []byte("abc"))
	tr.addBytes("etc/hostname", 0o644, []byte("builder"))
	tr.addBytes("var/run/old.pid", 0o644, []byte("1"))
	tr.addBytes("etc/systemd/system/ssh.service", 0o644, []byte("x"))
	tr.addBytes("usr/lib/systemd/system/systemd-udevd.service", 0o644, []byte("x"))
	tr.addBytes("var/lib/dpkg/info/bash.list", 0o644, []byte("/bin/bash"))
	prune(tr)
	diff(t, "/bin/bash", contentOf(t, tr, "usr/lib/sysimage/dpkg/info/bash.list"))
	diff(t, "", contentOf(t, tr, "etc/machine-id"))
	diff(t, "petri\n", contentOf(t, tr, "etc/hostname"))
	for name, want := range map[string]string{
		"etc/systemd/system/systemd-udevd.service": "/dev/null",
		"etc/systemd/system/getty.target":          "/dev/null",
		"etc/systemd/system/default.target":        "/usr/lib/systemd/system/multi-user.target",
		"var/run":                                  "/run",
		"var/lib/dpkg":                             "/usr/lib/sysimage/dpkg",
	} {
		if e := tr[name]; e == nil || e.header.Linkname != want {
			t.Errorf("%s is %+v, want a link to %s", name, e, want)
		}
	}
	for _, name := range []string{"var/run/old.pid", "etc/systemd/system/ssh.service", "var/lib/dpkg/info", "var/lib/dpkg/info/bash.list"} {
		if tr[name] != nil {
			t.Errorf("%s is still there", name)
		}
	}
}

func checkArchive(t *testing.T, image v1.Image) {
	r := Result{Image: image}
	read, write := io.Pipe()
	go func() { write.CloseWithError(r.Write("petri/node:v1.36.3", write)) }()
	var index []struct{ RepoTags []string }
	files := 0
	for tr := tar.NewReader(read); ; files++ {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == "manifest.json" {
			if err := json.NewDecoder(tr).Decode(&index); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(index) != 1 || !slices.Equal(index[0].RepoTags, []string{"petri/node:v1.36.3"}) || files != 6 {
		t.Errorf("an archive of %d files for %+v, want a configuration, four layers and the index", files, index)
	}
	if err := r.Write("Not A Name", io.Discard); err == nil {
		t.Error("an image was written under no name")
	}
}
