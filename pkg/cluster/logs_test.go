package cluster

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/provider/fake"
)

// sends answers "tar" with an archive of these entries, and ends with code.
func sends(code int, entries ...tar.Header) fake.Handler {
	return func(_ context.Context, _ node.Node, cmd exec.Cmd) error {
		w := tar.NewWriter(cmd.Stdout)
		for _, h := range entries {
			data := []byte("content of " + h.Name)
			if h.Typeflag == tar.TypeReg {
				h.Size = int64(len(data))
			}
			h.Mode = 0o640
			if err := w.WriteHeader(&h); err != nil {
				return err
			}
			if h.Typeflag == tar.TypeReg {
				if _, err := w.Write(data); err != nil {
					return err
				}
			}
		}
		if err := w.Close(); err != nil {
			return err
		}
		if code != 0 {
			return fake.Exit(cmd, code, "tar: file changed as we read it")
		}
		return nil
	}
}

func regular(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }

// logging is a scene with cluster "dev" of two nodes, whose commands answer.
func logging(t *testing.T, archive fake.Handler) *scene {
	t.Helper()
	s := newScene(t)
	s.create(t, 1)
	s.Handle(fake.Print("a line of the journal\n"), "journalctl")
	s.Handle(fake.Print("a container\n"), "crictl")
	s.Handle(fake.Print("v1.36.3\n"), "cat", "/kind/version")
	s.Handle(archive, "tar")
	return s
}

// files are the regular files below dir, with slashes.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			rel, _ := filepath.Rel(dir, path)
			out = append(out, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestExportLogs(t *testing.T) {
	// tar ends with 1 when a file grew meanwhile; that is no error
	s := logging(t, sends(1, tar.Header{Name: "./pods/", Typeflag: tar.TypeDir}, regular("./pods/etcd/0.log")))
	dir := filepath.Join(t.TempDir(), "logs")
	if err := s.ExportLogs(t.Context(), "dev", dir); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, n := range []string{"dev-control-plane", "dev-worker"} {
		for _, f := range []string{
			"containerd.log", "containers.log", "images.log", "inspect.json", "journal.log", "kubelet.log",
			"kubernetes-version.txt", "pods/etcd/0.log", "serial.log",
		} {
			want = append(want, n+"/"+f)
		}
	}
	want = append(want, "doctor.json", "petri-version.txt", "provider.json", "status.json")
	if diff := cmp.Diff(want, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for file, text := range map[string]string{
		"dev-worker/pods/etcd/0.log": "content of ./pods/etcd/0.log", "dev-worker/kubernetes-version.txt": "v1.36.3\n",
		"dev-worker/kubelet.log": "a line of the journal\n", "status.json": `"usable": true`,
		"doctor.json": `"works": true`,
	} {
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(file)))
		if err != nil || !strings.Contains(string(data), text) {
			t.Errorf("%s: %q, %v", file, data, err)
		}
	}
}

// TestExportLogsStaysInside sends what would land elsewhere: anybody in a node
// can write such a thing.
func TestExportLogsStaysInside(t *testing.T) {
	for name, refused := range map[string]bool{"../../escaped.log": true, "/escaped.log": true, "link/escaped.log": false} {
		s := logging(t, sends(0, tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/"}, regular(name)))
		top := t.TempDir()
		if err := s.ExportLogs(t.Context(), "dev", filepath.Join(top, "logs")); (err != nil) != refused {
			t.Errorf("%s: error %v, want one: %t", name, err, refused)
		}
		for _, f := range files(t, top) {
			if strings.HasSuffix(f, "escaped.log") && !strings.HasPrefix(f, "logs/dev-") {
				t.Errorf("%s was written to %s", name, f)
			}
		}
		if _, err := os.Stat("/escaped.log"); err == nil {
			t.Errorf("%s was written to the root", name)
		}
	}
}

// TestExportLogsOfBrokenCluster wants what can be had, and all errors.
func TestExportLogsOfBrokenCluster(t *testing.T) {
	s := logging(t, sends(2))
	s.Handle(fake.Fail(1, "no crictl"), "crictl")
	s.SetState("dev-worker", node.Stopped)
	dir := t.TempDir()
	err := s.ExportLogs(t.Context(), "dev", dir)
	for _, want := range []string{"node dev-control-plane: ", "no crictl", "node dev-worker is stopped"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	have := files(t, dir)
	for _, want := range []string{"dev-control-plane/journal.log", "dev-worker/serial.log", "dev-worker/inspect.json", "status.json"} {
		if !slices.Contains(have, want) {
			t.Errorf("there is no %s in %q", want, have)
		}
	}
}

func TestExportLogsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := logging(t, func(ctx context.Context, _ node.Node, _ exec.Cmd) error {
		cancel() // in the middle of the archive
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if err := s.ExportLogs(ctx, "dev", t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestWithoutPasswords(t *testing.T) {
	const text = `{"Env": ["HTTP_PROXY=http://user:s3cret@proxy.example:3128", "NO_PROXY=.svc,10.0.0.0/8"], "Url": "https://token@host/a@b"}`
	const want = `{"Env": ["HTTP_PROXY=http://REDACTED@proxy.example:3128", "NO_PROXY=.svc,10.0.0.0/8"], "Url": "https://REDACTED@host/a@b"}`
	if got := string(withoutPasswords([]byte(text))); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestUntarLinks(t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name, target := range map[string]string{
		"containers/good.log": "/var/log/pods/p/c/0.log",
		"containers/near.log": "../pods/p/c/0.log",
		"containers/key":      "/etc/kubernetes/admin.conf",
		"containers/up":       "../../../etc/passwd",
		"out":                 "..",
	} {
		if err := w.WriteHeader(&tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := untar(&archive, root); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"good.log", "near.log"} {
		if got, err := root.Readlink("containers/" + name); got != "../pods/p/c/0.log" {
			t.Errorf("%s links to %q: %v", name, got, err)
		}
	}
	for _, name := range []string{"containers/key", "containers/up", "out"} {
		if _, err := root.Lstat(name); err == nil {
			t.Errorf("%s was unpacked", name)
		}
	}
}
