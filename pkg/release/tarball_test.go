package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// program is the head of a Linux program, which is all that is looked at.
func program(machine elf.Machine, tail string) string {
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Ehsize: 64, Phentsize: 56, Shentsize: 64}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, h)
	return b.String() + tail
}

type entry struct {
	name, content string
	typ           byte // 0 is a regular file
}

func archive(t *testing.T, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(e.content))}
		if e.typ != 0 {
			h.Typeflag, h.Size, h.Linkname = e.typ, 0, "/etc/passwd"
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(w, e.content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// serverEntries are those of an official archive.
func serverEntries(t *testing.T) []entry {
	source := archive(t, []entry{
		{name: "./README.md", content: "read me"},
		{name: "./LICENSE", content: "Apache"},
		{name: "./" + constantsPath, content: string(testFile(t, "constants.go.txt"))},
		{name: "./pkg/later.go", content: "package pkg"},
	})
	entries := []entry{
		{name: "kubernetes/", typ: tar.TypeDir},
		{name: "kubernetes/server/bin/kube-apiserver.docker_tag", content: "v1.36.3\n"},
		{name: "kubernetes/server/bin/kube-apiserver.tar", content: "an image"},
		{name: "kubernetes/kubernetes-src.tar.gz", content: string(source)},
	}
	for _, name := range KubernetesPrograms() {
		entries = append(entries, entry{name: "kubernetes/server/bin/" + name, content: program(elf.EM_X86_64, name)})
	}
	return entries
}

func without(entries []entry, name string) []entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e entry) bool { return strings.HasSuffix(e.name, name) })
}

func tarball(t *testing.T, b *Builder, entries []entry) Tarball {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubernetes-server-linux-amd64.tar.gz")
	if err := os.WriteFile(path, archive(t, entries), 0o644); err != nil {
		t.Fatal(err)
	}
	return Tarball{Path: path, Builder: b}
}

func TestTarball(t *testing.T) {
	b, _ := newFakeBuilder(t)
	src := tarball(t, b, serverEntries(t))
	data, err := os.ReadFile(src.Path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(data)
	src.Checksum = "sha512:" + hex.EncodeToString(sum[:])
	for _, last := range []string{"unpack-kubernetes done", "unpack-kubernetes skipped"} {
		var events recorder
		k, err := src.Fetch(t.Context(), "amd64", &events)
		if err != nil {
			t.Fatal(err)
		}
		if got := events.statuses(); got[len(got)-1] != last {
			t.Errorf("events %q, want %s at the end", got, last)
		}
		sum := sha256.Sum256(data)
		want := []nodeimage.Component{{Name: "kubernetes", Version: "v1.36.3", Source: filepath.Base(src.Path), Checksum: "sha256:" + hex.EncodeToString(sum[:])}}
		if diff := cmp.Diff(want, k.Components); diff != "" {
			t.Error(diff)
		}
		if k.Prescribed.EtcdTag != "3.6.8-0" || k.Licenses["kubernetes"] == "" {
			t.Errorf("got %+v", k)
		}
		for _, name := range KubernetesPrograms() {
			if got, err := os.ReadFile(k.Programs[name]); err != nil || !strings.HasSuffix(string(got), name) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	// nothing but the programs is unpacked
	found, err := filepath.Glob(filepath.Join(b.Cache, "amd64", "*", "bin", "*"))
	if err != nil || len(found) != 7 {
		t.Errorf("unpacked %q", found)
	}
}

func TestTarballRefusals(t *testing.T) {
	good := serverEntries(t)
	kubelet := "kubernetes/server/bin/kubelet"
	for name, test := range map[string]struct {
		entries []entry
		want    string
	}{
		"leads out":       {append([]entry{{name: "kubernetes/../../etc/passwd", content: "x"}}, good...), "leads out"},
		"absolute":        {append([]entry{{name: "/etc/passwd", content: "x"}}, good...), "leads out"},
		"program twice":   {append(slices.Clone(good), entry{name: kubelet, content: "x"}), "twice"},
		"symbolic link":   {append([]entry{{name: kubelet, typ: tar.TypeSymlink}}, without(good, "kubelet")...), "not a regular file"},
		"hard link":       {append([]entry{{name: kubelet, typ: tar.TypeLink}}, without(good, "kubelet")...), "not a regular file"},
		"device":          {append([]entry{{name: kubelet, typ: tar.TypeChar}}, without(good, "kubelet")...), "not a regular file"},
		"version is link": {append([]entry{{name: "kubernetes/server/bin/kube-apiserver.docker_tag", typ: tar.TypeSymlink}}, good...), "not a text"},
		"program missing": {without(good, "kubelet"), "has no kubernetes/server/bin/kubelet"},
		"no program":      {append(without(good, "kubelet"), entry{name: kubelet, content: "#!/bin/sh"}), "not a Linux program"},
		"other processor": {append(without(good, "kubelet"), entry{name: kubelet, content: program(elf.EM_AARCH64, "")}), "not for amd64"},
		"no version":      {append(without(good, "docker_tag"), entry{name: "kubernetes/server/bin/kube-apiserver.docker_tag", content: "latest"}), "not one of Kubernetes"},
		"hostile source": {append(without(good, "src.tar.gz"), entry{name: "kubernetes/kubernetes-src.tar.gz",
			content: string(archive(t, []entry{{name: "../x", content: "x"}}))}), "leads out"},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := newFakeBuilder(t)
			_, err := tarball(t, b, test.entries).Fetch(t.Context(), "amd64", nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want an error with %q", err, test.want)
			}
			left, globErr := filepath.Glob(filepath.Join(b.Cache, "amd64", "kubernetes-archive-*", "*"))
			if globErr != nil || len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func TestTarballChecksum(t *testing.T) {
	b, _ := newFakeBuilder(t)
	src := tarball(t, b, serverEntries(t))
	src.Checksum = "sha256:" + strings.Repeat("0", 64)
	if _, err := src.Fetch(t.Context(), "amd64", nil); err == nil || !strings.Contains(err.Error(), "expected 0000") {
		t.Errorf("a wrong checksum gives %v", err)
	}
	src.Checksum = "md5:1234"
	if _, err := src.Fetch(t.Context(), "amd64", nil); !errdefs.Is(err, errdefs.ClassUsage) {
		t.Errorf("a bad checksum gives %v", err)
	}
}

// askedKubeadm answers for the kubeadm of an archive.
type askedKubeadm struct{ asked []string }

func (k *askedKubeadm) Run(_ context.Context, cmd exec.Cmd) error {
	k.asked = append(k.asked, strings.Join(cmd.Args[1:], " "))
	answer := "v1.36.1\n"
	if cmd.Args[1] == "config" {
		answer = "registry.k8s.io/kube-proxy:v1.36.1\nregistry.k8s.io/coredns/coredns:v1.14.1\nregistry.k8s.io/pause:3.10.1\nregistry.k8s.io/etcd:3.6.7-0\n"
	}
	_, err := io.WriteString(cmd.Stdout, answer)
	return err
}

func TestTarballWithoutSource(t *testing.T) {
	machine := elf.EM_NONE
	for name, m := range machines {
		if name == runtime.GOARCH {
			machine = m
		}
	}
	if runtime.GOOS != "linux" || machine == elf.EM_NONE {
		t.Skip("kubeadm is asked on Linux only")
	}
	var entries []entry
	for _, name := range KubernetesPrograms() {
		entries = append(entries, entry{name: "kubernetes/server/bin/" + name, content: program(machine, name)})
	}
	kubeadm := &askedKubeadm{}
	b := &Builder{Cache: t.TempDir(), Runner: kubeadm}
	src := tarball(t, b, entries)
	k, err := src.Fetch(t.Context(), runtime.GOARCH, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Prescribed{Etcd: "v3.6.7", EtcdTag: "3.6.7-0", CoreDNS: "v1.14.1", Pause: "3.10.1"}
	if diff := cmp.Diff(want, k.Prescribed); diff != "" || k.Version != "v1.36.1" {
		t.Errorf("version %s, %s", k.Version, diff)
	}
	if diff := cmp.Diff([]string{"version --output=short", "config images list --kubernetes-version=v1.36.1"}, kubeadm.asked); diff != "" {
		t.Error(diff)
	}
	_, err = src.Fetch(t.Context(), "riscv64", nil)
	if !errdefs.Is(err, errdefs.ClassUsage) || !strings.Contains(err.Error(), "cannot be asked") {
		t.Errorf("for another architecture: %v", err)
	}
}

// site serves one archive, and checksums beside it.
type site struct {
	files map[string][]byte
	hits  map[string]int
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.hits[r.URL.Path]++
	data, ok := s.files[r.URL.Path]
	switch {
	case r.URL.Path == "/broken.tar.gz.sha512":
		w.WriteHeader(http.StatusInternalServerError)
	case !ok:
		http.NotFound(w, r)
	default:
		_, _ = w.Write(data)
	}
}

func TestURL(t *testing.T) {
	data := archive(t, serverEntries(t))
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	s := &site{hits: map[string]int{}, files: map[string][]byte{
		"/offered.tar.gz": data, "/offered.tar.gz.sha256": []byte(digest + "  offered.tar.gz\n"),
		"/plain.tar.gz": data,
		"/lies.tar.gz":  data, "/lies.tar.gz.sha256": []byte(strings.Repeat("0", 64)),
		"/odd.tar.gz": data, "/odd.tar.gz.sha256": []byte("<html>"),
		"/broken.tar.gz": data,
	}}
	server := httptest.NewServer(s)
	defer server.Close()
	for _, test := range []struct {
		path, checksum, want string
		downloads            int // after two tries
	}{
		{"/offered.tar.gz", "", "", 1},
		{"/plain.tar.gz", "", "", 2},
		{"/plain.tar.gz?v=2", "sha256:" + digest, "", 1},
		{"/plain.tar.gz?v=3", "sha256:" + strings.Repeat("1", 64), "expected 1111", 2},
		{"/lies.tar.gz", "", "expected 0000", 2},
		{"/odd.tar.gz", "", "is not a checksum", 0},
		{"/broken.tar.gz", "", "500", 0},
		{"/missing.tar.gz?token=secret", "", "404", 2},
	} {
		t.Run(test.path, func(t *testing.T) {
			clear(s.hits)
			b, _ := newFakeBuilder(t)
			src := URL{URL: server.URL + test.path, Checksum: test.checksum, Builder: b}
			path, _, _ := strings.Cut(test.path, "?")
			for range 2 {
				k, err := src.Fetch(t.Context(), "amd64", nil)
				if test.want != "" {
					if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
						t.Errorf("got %v, want an error with %q and no secret", err, test.want)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				want := nodeimage.Component{Name: "kubernetes", Version: "v1.36.3", Source: server.URL + path, Checksum: "sha256:" + digest}
				if diff := cmp.Diff(want, k.Components[0]); diff != "" {
					t.Error(diff)
				}
			}
			if got := s.hits[path]; got != test.downloads {
				t.Errorf("downloaded %d times, want %d", got, test.downloads)
			}
		})
	}
}
