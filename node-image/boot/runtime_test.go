package boot

import (
	"os"
	"strings"
	"testing"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

const snapshotsDir = overlayRoot + "/snapshots"

func TestImageStore(t *testing.T) {
	metadata := "/io.containerd.metadata.v1.bolt/meta.db"
	blob := "/io.containerd.content.v1.content/blobs/sha256/0123"
	m, _ := machine(t, map[string]string{
		nodeimage.StoreRoot + metadata:                 "metadata",
		nodeimage.StoreRoot + blob:                     "manifest",
		nodeimage.StoreLinks:                           `{"1": "pause", "2": "etcd"}`,
		nodeimage.StoreSnapshots + "/pause/fs/pause":   "program",
		nodeimage.StoreSnapshots + "/etcd/fs/bin/etcd": "program",
	})
	if err := os.Chmod(m.path(nodeimage.StoreRoot+blob), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := imageStore(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	diff(t, "metadata", read(t, m, containerdRoot+metadata))
	diff(t, "manifest", read(t, m, containerdRoot+blob))
	if info, err := os.Stat(m.path(containerdRoot + blob)); err != nil || info.Mode().Perm() != 0o444 {
		t.Errorf("the copy's mode is %v, %v", info.Mode(), err)
	}
	for id, name := range map[string]string{"1": "pause", "2": "etcd"} {
		target, err := os.Readlink(m.path(snapshotsDir + "/" + id))
		if want := nodeimage.StoreSnapshots + "/" + name; err != nil || target != want {
			t.Errorf("snapshot %s leads to %q, %v; want %q", id, target, err, want)
		}
	}

	// what containerd did to its store since is kept
	lay(t, m, map[string]string{containerdRoot + metadata: "containerd's own"})
	if err := os.Remove(m.path(snapshotsDir + "/2")); err != nil {
		t.Fatal(err)
	}
	if err := imageStore(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	diff(t, "containerd's own", read(t, m, containerdRoot+metadata))
	if exists(m, snapshotsDir+"/2") {
		t.Error("an image that was removed is back after a restart")
	}
}

func TestImageStoreGoesOnWhereItWasInterrupted(t *testing.T) {
	m, _ := machine(t, map[string]string{
		nodeimage.StoreRoot + "/meta.db": "metadata", containerdRoot + "/meta.db": "meta",
		nodeimage.StoreLinks: `{"1": "pause", "2": "etcd"}`, snapshotsDir + "/": "",
	})
	if err := os.Symlink(nodeimage.StoreSnapshots+"/pause", m.path(snapshotsDir+"/1")); err != nil {
		t.Fatal(err)
	}
	if err := imageStore(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	diff(t, "metadata", read(t, m, containerdRoot+"/meta.db"))
	if !exists(m, snapshotsDir+"/2") {
		t.Error("the second snapshot is not linked")
	}
}

func TestImageStoreErrors(t *testing.T) {
	none, _ := machine(t, nil)
	twice(t, none, imageStore)
	if exists(none, containerdRoot) {
		t.Error("an image without a store got one")
	}
	for name, links := range map[string]string{"broken": "{", "missing": ""} {
		files := map[string]string{nodeimage.StoreRoot + "/meta.db": "metadata"}
		if links != "" {
			files[nodeimage.StoreLinks] = links
		}
		m, _ := machine(t, files)
		// a boot that failed must not look done to the next one
		for range 2 {
			if err := imageStore(t.Context(), m); err == nil || !strings.Contains(err.Error(), "links.json") {
				t.Errorf("%s links: got %v", name, err)
			}
		}
	}
}

const (
	containerdOOM = containerdConfD + "/10-oom.toml"
	serviceOOM    = "/etc/systemd/system/containerd.service.d/10-oom.conf"
)

// TestContainerdGroups has the runtime make groups by itself on cgroup v1 alone, as
// the kubelet then does.
func TestContainerdGroups(t *testing.T) {
	m, _ := machine(t, nil)
	for _, v1 := range []bool{true, false, true} {
		m.CgroupV1 = v1
		twice(t, m, containerd)
		want := ""
		if v1 {
			want = cgroupfs
		}
		diff(t, want, read(t, m, containerdConfD+"/10-cgroup-v1.toml"))
	}
}

func TestContainerdOOMScores(t *testing.T) {
	m, _ := machine(t, nil)
	// the machine may be another one after a restart
	for _, held := range []bool{true, false, false, true, true} {
		m.ResourceCap = held
		if err := containerd(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		conf, service := read(t, m, containerdOOM), read(t, m, serviceOOM)
		if restricted := strings.Contains(conf, "restrict_oom_score_adj = true"); restricted == held {
			t.Errorf("CAP_SYS_RESOURCE %v: containerd is told %q", held, conf)
		}
		if lowered := strings.Contains(service, "OOMScoreAdjust=-999"); lowered != held {
			t.Errorf("CAP_SYS_RESOURCE %v: the service is told %q", held, service)
		}
	}
}

func TestContainerdSnapshotter(t *testing.T) {
	const variable, file = "KIND_EXPERIMENTAL_CONTAINERD_SNAPSHOTTER", containerdConfD + "/20-snapshotter.toml"
	for value, want := range map[string]string{
		"":                "",
		"fuse-overlayfs":  "version = 3\n[plugins.'io.containerd.cri.v1.images']\n  snapshotter = 'fuse-overlayfs'\n",
		"x'\n[evil]":      "error",
		`x"`:              "error",
		"native\nanother": "error",
	} {
		t.Setenv(variable, value)
		m, _ := machine(t, nil)
		err := containerd(t.Context(), m)
		if want == "error" {
			if err == nil || exists(m, file) {
				t.Errorf("%q was taken for a snapshotter: %v", value, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		diff(t, want, read(t, m, file))
	}
}

// The patched configuration takes the place of the image's, which is kept: a
// restart patches it anew, on a machine that may be another one.
func TestContainerdPatches(t *testing.T) {
	const own = "version = 3\nimports = ['/etc/containerd/conf.d/*.toml']\noom_score = 1\n"
	m, _ := machine(t, map[string]string{containerdConf: own})
	m.Plan = &nodeimage.Plan{
		ContainerdPatches:     []string{"oom_score = 2\n", "[debug]\nlevel = 'x'\n"},
		ContainerdJSONPatches: []string{"[{op: add, path: /list, value: [a]}]", "[{op: add, path: /list/-, value: b}]"},
	}
	twice(t, m, containerd)
	const patched = "list = ['a', 'b']\noom_score = 2\nversion = 3\n\n[debug]\nlevel = 'x'\n"
	const restricted = "\n[plugins]\n[plugins.'io.containerd.cri.v1.runtime']\nrestrict_oom_score_adj = true\n"
	diff(t, patched+restricted, read(t, m, containerdConf))
	diff(t, own, read(t, m, imageContainerdConf))
	m.ResourceCap = true
	twice(t, m, containerd)
	// there is nothing left to import, and it may stay
	diff(t, "imports = ['/etc/containerd/conf.d/*.toml']\n"+patched, read(t, m, containerdConf))
}

func TestContainerdIsLeftAlone(t *testing.T) {
	for name, plan := range map[string]*nodeimage.Plan{"no plan": nil, "no patches": {}} {
		m, _ := machine(t, map[string]string{containerdConf: "version = 3\n"})
		m.Plan = plan
		twice(t, m, containerd)
		if got := read(t, m, containerdConf); got != "version = 3\n" || exists(m, imageContainerdConf) {
			t.Errorf("%s: the configuration became %q", name, got)
		}
	}
}

func TestContainerdHosts(t *testing.T) {
	const own = "[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d'\n"
	const hosts = "/etc/containerd/certs.d/localhost:5001/hosts.toml"
	m, _ := machine(t, map[string]string{containerdConf: own})
	m.Plan = &nodeimage.Plan{ContainerdPatches: []string{
		"[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'localhost:5001']\nendpoint = ['http://r:5000']\n",
	}}
	twice(t, m, containerd)
	if got := read(t, m, hosts); !strings.Contains(got, "[host.'http://r:5000']") {
		t.Errorf("the hosts are %q", got)
	}
	// it may be the user's, on the host
	lay(t, m, map[string]string{hosts: "# mine\n"})
	if err := containerd(t.Context(), m); err == nil || !strings.Contains(err.Error(), hosts) {
		t.Errorf("the error is %v", err)
	}
	diff(t, "# mine\n", read(t, m, hosts))
}

func TestContainerdPatchThatDoesNotFit(t *testing.T) {
	m, _ := machine(t, map[string]string{containerdConf: "version = 3\n"})
	m.Plan = &nodeimage.Plan{ContainerdJSONPatches: []string{"[{op: remove, path: /nothing}]"}}
	for range 2 {
		if err := containerd(t.Context(), m); err == nil || !strings.Contains(err.Error(), "containerdConfigPatchesJSON6902[0]") {
			t.Errorf("the error is %v", err)
		}
	}
}

func TestKubeletDropIns(t *testing.T) {
	const v1, capability = nodeimage.KubeletDropInDir + "/10-cgroup-v1.conf", nodeimage.KubeletDropInDir + "/20-no-resource-cap.conf"
	const head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
	m, _ := machine(t, nil)
	for _, test := range []struct {
		v1, held       bool
		wantV1, wantNo string
	}{
		{true, false, head + "failCgroupV1: false\ncgroupDriver: cgroupfs\n", head + "featureGates:\n  KubeletInUserNamespace: true\noomScoreAdj: 0\n"},
		{true, true, head + "failCgroupV1: false\ncgroupDriver: cgroupfs\n", ""},
		{false, false, "", head + "featureGates:\n  KubeletInUserNamespace: true\noomScoreAdj: 0\n"},
		{false, true, "", ""},
	} {
		m.CgroupV1, m.ResourceCap = test.v1, test.held
		twice(t, m, kubelet)
		diff(t, test.wantV1, read(t, m, v1))
		diff(t, test.wantNo, read(t, m, capability))
	}
}
