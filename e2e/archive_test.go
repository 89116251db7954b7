//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petri-cluster/petri/pkg/exec"
)

// An image is built from a server archive, as a file and from a URL: with the
// right checksum, and not with a wrong one. The archive is put together from
// the programs of the image under test, as none can be fetched.
func TestServerArchive(t *testing.T) {
	t.Parallel()
	archive := serverArchive(t, released)
	data, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	checksum := "sha256:" + hex.EncodeToString(sum[:])
	const tag = "petri/node:e2e-archive"
	c := &cluster{kubeconfig: filepath.Join(t.TempDir(), "none")}
	t.Cleanup(func() { run(cleanupContext(t), "", "", "docker", "rmi", tag) })

	wrong := "sha256:" + strings.Repeat("0", 64)
	r := c.petri(t.Context(), "build", "node-image", archive, "--checksum", wrong, "--image", tag, "--progress", "none")
	if r.code == 0 || !strings.Contains(r.stderr, "checksum") {
		t.Errorf("with a wrong checksum: exit code %d\n%s", r.code, r.stderr)
	}
	r = c.petri(t.Context(), "build", "node-image", archive, "--checksum", checksum, "--image", tag, "--progress", "plain")
	if r.code != 0 {
		t.Fatalf("from a file: exit code %d\n%s", r.code, r.stderr)
	}
	manifestNames(t, c, tag, checksum)

	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(archive))))
	t.Cleanup(server.Close)
	r = c.petri(t.Context(), "build", "node-image", server.URL+"/"+filepath.Base(archive), "--checksum", checksum, "--image", tag, "--progress", "plain")
	if r.code != 0 {
		t.Fatalf("from a URL: exit code %d\n%s", r.code, r.stderr)
	}
	manifestNames(t, c, tag, checksum)
	create(t, "--image", tag)
}

// manifestNames checks that an image says which archive it is made of.
func manifestNames(t *testing.T, c *cluster, tag, checksum string) {
	t.Helper()
	r := c.petri(t.Context(), "get", "image", tag, "-o", "json")
	var m struct {
		Kubernetes string
		Components []struct{ Name, Checksum string }
	}
	if err := json.Unmarshal([]byte(r.stdout), &m); err != nil {
		t.Fatalf("%v\n%s", err, r.stderr)
	}
	if m.Kubernetes != released {
		t.Errorf("the image carries %s", m.Kubernetes)
	}
	found := ""
	for _, component := range m.Components {
		if component.Name == "kubernetes" {
			found = component.Checksum
		}
	}
	if found != checksum {
		t.Errorf("the manifest says checksum %q, want %s", found, checksum)
	}
}

// released is the version of the image under test.
const released = "v1.36.3"

// serverArchive makes kubernetes-server-linux-ARCH.tar.gz in the layout of the
// official ones, of programs that say that they are of a version, which must be
// as long as their own.
func serverArchive(t *testing.T, version string) string {
	t.Helper()
	ref := nodeImage(t)
	path := filepath.Join(t.TempDir(), "kubernetes-server-linux-amd64.tar.gz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	compressed, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	out := tar.NewWriter(compressed)
	const store = "/petri/store/snapshots/"
	for name, at := range map[string]string{
		"kubeadm": "/usr/bin/kubeadm", "kubelet": "/usr/bin/kubelet", "kubectl": "/usr/bin/kubectl",
		"kube-apiserver":          store + "kube-apiserver/fs/usr/local/bin/kube-apiserver",
		"kube-controller-manager": store + "kube-controller-manager/fs/usr/local/bin/kube-controller-manager",
		"kube-scheduler":          store + "kube-scheduler/fs/usr/local/bin/kube-scheduler",
		"kube-proxy":              store + "kube-proxy/fs/usr/local/bin/kube-proxy",
	} {
		addProgram(t, out, ref, at, "kubernetes/server/bin/"+name, version)
	}
	if err := errors.Join(out.Close(), compressed.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// addProgram copies a file of an image into an archive, and gives it another
// version.
func addProgram(t *testing.T, out *tar.Writer, ref, from, to, version string) {
	t.Helper()
	id := docker(t, "create", "--label", "dev.petri.cluster=e2e-archive-source", ref)
	defer docker(t, "rm", "-fv", id)
	r, w := io.Pipe()
	go func() {
		w.CloseWithError(exec.Host{}.Run(t.Context(), exec.Cmd{Args: []string{"docker", "cp", id + ":" + from, "-"}, Stdout: w}))
	}()
	in := tar.NewReader(r)
	h, err := in.Next()
	if err != nil {
		t.Fatalf("%s: %v", from, err)
	}
	if err := out.WriteHeader(&tar.Header{Name: to, Mode: 0o755, Size: h.Size, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write(bytes.ReplaceAll(data, []byte(released), []byte(version))); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, r)
}
