package release

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

var update = flag.Bool("update", false, "write golden files")

func testVersions(t *testing.T) Versions {
	t.Helper()
	data, err := os.ReadFile("../../node-image/versions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	v, err := LoadVersions(data)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func testFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParseConstants(t *testing.T) {
	src := testFile(t, "constants.go.txt")
	got, err := ParseConstants(src)
	if err != nil {
		t.Fatal(err)
	}
	want := Prescribed{Etcd: "v3.6.8", EtcdTag: "3.6.8-0", CoreDNS: "v1.14.2", Pause: "3.10.2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	without := strings.Replace(string(src), "PauseVersion  ", "OtherVersion  ", 1)
	if _, err := ParseConstants([]byte(without)); err == nil || !strings.Contains(err.Error(), "PauseVersion") {
		t.Errorf("a missing constant gives %v, want an error that names it", err)
	}
}

func TestEtcdTagOfPrerelease(t *testing.T) {
	p, err := newPrescribed("3.7.0-rc.1-0", "v1.15.0", "3.11")
	if err != nil || p.Etcd != "v3.7.0-rc.1" {
		t.Errorf("etcd %q, %v; want v3.7.0-rc.1", p.Etcd, err)
	}
}

func TestRewriteModule(t *testing.T) {
	got, err := rewriteModule(testFile(t, "go.mod.upstream"), "kubernetes", "k8s.io/kubernetes", "v1.36.3")
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "go.mod.golden")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(testFile(t, "go.mod.golden")), string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestRewriteModuleRefusesUnreleased(t *testing.T) {
	upstream := []byte("module example.com/a\n\nrequire example.com/b v0.0.0\n\nreplace example.com/b => ../b\n")
	if _, err := rewriteModule(upstream, "a", "example.com/a", "v1.2.3"); err == nil {
		t.Error("a requirement that was never released is accepted")
	}
}

func TestLoadVersionsErrors(t *testing.T) {
	good, err := os.ReadFile("../../node-image/versions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ old, new, want string }{
		"unknown field":     {"debian:", "debain:", "debain"},
		"unknown component": {"  runc:", "  crun:", "crun"},
		"not a version":     {"version: v1.5.2", "version: latest", "components.runc.version"},
		"no module":         {"module: k8s.io/kubernetes", `module: ""`, "kubernetes.module"},
	} {
		t.Run(name, func(t *testing.T) {
			data := strings.Replace(string(good), test.old, test.new, 1)
			if _, err := LoadVersions([]byte(data)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error that names %s", err, test.want)
			}
		})
	}
}

func TestDetect(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "kubernetes-server-linux-amd64.tar.gz")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		arg, typ string
		want     string // String of the source, or the error's text
	}{
		{"", "", "module k8s.io/kubernetes v1.36.3"},
		{"", "release", "module k8s.io/kubernetes v1.36.3"},
		{"v1.34.2", "", "module k8s.io/kubernetes v1.34.2"},
		{"1.34.2", "", "module k8s.io/kubernetes v1.34.2"},
		{"v1.37.0-alpha.1", "module", "module k8s.io/kubernetes v1.37.0-alpha.1"},
		{"v1.34", "", "not a full version"},
		{dir, "", "source tree " + dir},
		{dir, "source", "source tree " + dir},
		{dir, "file", "is not a file"},
		{file, "", "archive " + file},
		{file, "source", "is not a directory"},
		{"https://user:secret@example.com/k.tar.gz?token=x", "", "https://example.com/k.tar.gz"},
		{"example.com/k.tar.gz", "url", "not a URL"},
		{"./nowhere", "", "no existing file"},
		{"./nowhere", "source", "is not a directory"},
		{dir, "dir", "not a type"},
	} {
		t.Run(test.typ+" "+test.arg, func(t *testing.T) {
			src, err := Detect(test.arg, test.typ, Options{Versions: testVersions(t)})
			if err == nil {
				if src.String() != test.want {
					t.Errorf("got %s, want %s", src, test.want)
				}
				return
			}
			if !strings.Contains(err.Error(), test.want) || !errdefs.Is(err, errdefs.ClassUsage) {
				t.Errorf("got %v, want a usage error with %q", err, test.want)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	p := Prescribed{Etcd: "v3.6.8", CoreDNS: "v1.14.2"}
	steps := map[string]Step{}
	programs := map[string]bool{}
	for _, s := range Plan(testVersions(t), p, PlanOptions{Petri: Petri{Dir: "/src", Version: "v0.1.0"}, Env: map[string][]string{"runc": {"CC=cc"}}}) {
		steps[s.Name] = s
		for name := range s.Programs {
			programs[name] = true
		}
	}
	for _, name := range strings.Fields("etcd etcdctl coredns containerd containerd-shim-runc-v2 ctr runc ptp bridge loopback host-local portmap crictl local-path-provisioner pause petri-cni petri-images petri-node registry") {
		if !programs[name] {
			t.Errorf("nothing builds %s", name)
		}
	}
	if got := steps["etcd"]; got.Version != "v3.6.8" || got.Programs["etcd"] != "go.etcd.io/etcd/server/v3" {
		t.Errorf("etcd is built as %+v", got)
	}
	if got := steps["containerd"].Programs["ctr"]; got != "github.com/containerd/containerd/v2/cmd/ctr" {
		t.Errorf("ctr is built from %s", got)
	}
	if shim := steps["containerd-shim"]; shim.Version != steps["containerd"].Version || !slices.Contains(shim.Tags, "no_grpc") {
		t.Errorf("the shim is built as %+v", shim)
	}
	if diff := cmp.Diff([]string{"CC=cc"}, steps["runc"].Env); diff != "" {
		t.Error(diff)
	}
}

func TestMerge(t *testing.T) {
	a := Artifacts{Programs: map[string]string{"x": "/a"}, Components: []nodeimage.Component{{Name: "z"}, {Name: "x", Version: "1"}}}
	b := Artifacts{Programs: map[string]string{"x": "/b"}, Licenses: map[string]string{"x": "/l"}, Components: []nodeimage.Component{{Name: "x", Version: "2"}}}
	want := Artifacts{
		Programs: map[string]string{"x": "/b"}, Licenses: map[string]string{"x": "/l"},
		Components: []nodeimage.Component{{Name: "x", Version: "2"}, {Name: "z"}},
	}
	if diff := cmp.Diff(want, a.Merge(b)); diff != "" {
		t.Error(diff)
	}
}
