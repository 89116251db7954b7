//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/image/imagetest"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/provider/all"
)

// loadTest is a cluster that images are loaded into, and the program that they
// run.
type loadTest struct {
	*cluster
	pause []byte
}

// app is an image whose program runs for ever: some layers that do not
// compress, then the program, and a last layer that depends on version.
func (l loadTest) app(name, version string) imagetest.Image {
	i := imagetest.Image{Name: name, Arch: runtime.GOARCH, Entrypoint: []string{"/pause"}}
	for n := range 3 {
		data := make([]byte, 4<<20)
		rand.NewChaCha8([32]byte{byte(n)}).Read(data)
		i.Layers = append(i.Layers, imagetest.Layer(fmt.Sprintf("data-%d", n), data))
	}
	i.Layers = append(i.Layers, imagetest.Layer("pause", l.pause), imagetest.Layer("version", []byte(version)))
	return i
}

// pauseProgram is a program of the node image that needs nothing else.
func pauseProgram(t *testing.T) []byte {
	t.Helper()
	p, err := all.Detect(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	ref := nodeImage(t)
	data, err := p.(provider.ImageStore).ReadImageFile(t.Context(), ref, "/petri/store/snapshots/pause/fs/pause")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// onEngine gives the engine an image, and takes it away when t ends.
func onEngine(t *testing.T, i imagetest.Image) {
	t.Helper()
	err := exec.Host{}.Run(t.Context(), exec.Cmd{Args: []string{"docker", "load"}, Stdin: bytes.NewReader(imagetest.Tar(i.Saved()))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { run(cleanupContext(t), "", "", "docker", "rmi", "--force", i.Name) })
}

// loaded is what "load --output json" prints.
type loaded struct {
	Name, Digest, ID string
	Sent             map[string]int64
}

// load runs petri load and returns what it printed.
func (l loadTest) load(t *testing.T, stdin []byte, args ...string) ([]loaded, result) {
	t.Helper()
	args = append([]string{petriBinary(), "load"}, append(args, "--name", l.name, "--output", "json")...)
	r := run(t.Context(), l.kubeconfig, string(stdin), args...)
	var out []loaded
	if r.stdout != "" {
		if err := json.Unmarshal([]byte(r.stdout), &out); err != nil {
			t.Fatalf("%v\n%s", err, r.stdout)
		}
	}
	return out, r
}

// mustLoad loads one image, and returns it.
func (l loadTest) mustLoad(t *testing.T, stdin []byte, args ...string) loaded {
	t.Helper()
	out, r := l.load(t, stdin, args...)
	if r.code != 0 || len(out) != 1 {
		t.Fatalf("load %v: exit code %d, %v\n%s", args, r.code, out, r.stderr)
	}
	t.Logf("load %v: %v", args, out[0].Sent)
	return out[0]
}

// runs starts a pod of the image on a node, which may not pull it, and waits
// until it runs.
func (l loadTest) runs(t *testing.T, image, node string) {
	t.Helper()
	l.apply(t, fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: %s}, spec: {
  nodeName: %s, terminationGracePeriodSeconds: 0,
  containers: [{name: app, image: "%s", imagePullPolicy: Never}]}}`, "app-"+node, node, image))
	l.must(t, "wait", "--for=condition=Ready", "--timeout=60s", "pod/app-"+node)
	l.must(t, "delete", "pod", "app-"+node, "--wait=true")
}

func (l loadTest) nodes() []string { return []string{l.name + "-control-plane", l.name + "-worker"} }

// Images get into nodes from everywhere that they can be, only what is missing
// is sent, and what goes wrong harms nothing.
func TestLoadImage(t *testing.T) {
	t.Parallel()
	l := loadTest{cluster: create(t, "--workers", "1"), pause: pauseProgram(t)}
	all := l.nodes()
	first, second := l.app("petri-e2e/load:dev", "1"), l.app("petri-e2e/load:dev", "2")
	total := int64(0)
	for _, layer := range first.Layers {
		total += int64(len(layer))
	}

	onEngine(t, first)
	got := l.mustLoad(t, nil, "image", first.Name)
	if got.Sent[all[0]] != total || got.Sent[all[1]] != total || got.ID != first.ID().String() {
		t.Errorf("first: %+v, want %d bytes each", got, total)
	}
	for _, node := range all {
		l.runs(t, first.Name, node)
		l.runs(t, "docker.io/petri-e2e/load@"+got.Digest, node)
	}
	if got := l.mustLoad(t, nil, "image", first.Name); got.Sent[all[0]]+got.Sent[all[1]] != 0 {
		t.Errorf("again: %v", got.Sent)
	}
	onEngine(t, second)
	if got := l.mustLoad(t, nil, "docker-image", second.Name); os.Geteuid() == 0 && got.Sent[all[0]] != int64(len(second.Layers[4])) {
		t.Errorf("with another last layer: %v, want %d bytes", got.Sent, len(second.Layers[4]))
	}
	l.runs(t, second.Name, all[1])

	t.Run("archives", func(t *testing.T) { checkArchives(t, l) })
	t.Run("list and delete", func(t *testing.T) { checkListAndDelete(t, l) })
	t.Run("wrong use", func(t *testing.T) { checkWrongLoads(t, l) })
	t.Run("full disk", func(t *testing.T) { checkFullDisk(t, l) })
	t.Run("dead node", func(t *testing.T) { checkDeadNode(t, l) })
}

func checkArchives(t *testing.T, l loadTest) {
	dir := t.TempDir()
	img := l.app("petri-e2e/archive:1", "a")
	packed, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "image.tar.zst")
	if err := os.WriteFile(file, packed.EncodeAll(imagetest.Tar(imagetest.Layout(img)), nil), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, data := range imagetest.Layout(img) {
		path := filepath.Join(dir, "layout", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	worker := l.nodes()[1]
	// the data and the program are there from the images before
	if got := l.mustLoad(t, nil, "image-archive", file, "--nodes", worker); got.Sent[worker] != int64(len(img.Layers[4])) || len(got.Sent) != 1 {
		t.Errorf("a file: %v", got.Sent)
	}
	l.runs(t, img.Name, worker)
	if got := l.mustLoad(t, nil, "image-archive", filepath.Join(dir, "layout")); got.Sent[worker] != 0 {
		t.Errorf("a directory: %v", got.Sent)
	}
	img = l.app("petri-e2e/archive:2", "b")
	l.mustLoad(t, imagetest.Tar(img.Saved()), "image-archive", "-")
	l.runs(t, img.Name, l.nodes()[0])
	for _, path := range []string{filepath.Join(dir, "none"), "/etc/passwd"} {
		if _, r := l.load(t, nil, "image-archive", path); r.code == 0 {
			t.Errorf("%s was loaded", path)
		}
	}
	whole := imagetest.Tar(img.Saved())
	if _, r := l.load(t, whole[:len(whole)/2], "image-archive", "-"); r.code != 1 || !strings.Contains(r.stderr, "IMAGE-BROKEN") {
		t.Errorf("half an archive: exit code %d\n%s", r.code, r.stderr)
	}
}

// images are the names of the images of a node.
func (l loadTest) images(t *testing.T, node string) []string {
	t.Helper()
	r := l.petri(t.Context(), "get", "images", "--name", l.name, "--node", node, "--output", "name")
	if r.code != 0 {
		t.Fatalf("get images: exit code %d\n%s", r.code, r.stderr)
	}
	return strings.Fields(r.stdout)
}

func checkListAndDelete(t *testing.T, l loadTest) {
	const name = "docker.io/petri-e2e/archive:1"
	for _, node := range l.nodes() {
		if list := l.images(t, node); !slices.Contains(list, name) || !strings.Contains(strings.Join(list, " "), "kube-proxy") {
			t.Errorf("%s has %v", node, list)
		}
	}
	if r := l.petri(t.Context(), "delete", "image", "petri-e2e/archive:1", "--name", l.name); r.code != 0 {
		t.Fatalf("delete image: exit code %d\n%s", r.code, r.stderr)
	}
	for _, node := range l.nodes() {
		if list := l.images(t, node); slices.Contains(list, name) {
			t.Errorf("%s still has %v", node, list)
		}
	}
	for _, args := range [][]string{{"petri-e2e/archive:1"}, {"registry.k8s.io/pause:3.10.2"}} {
		if r := l.petri(t.Context(), append([]string{"delete", "image", "--name", l.name}, args...)...); r.code == 0 {
			t.Errorf("delete image %v succeeded", args)
		}
	}
}

func checkWrongLoads(t *testing.T, l loadTest) {
	other := l.app("petri-e2e/foreign:1", "1")
	other.Arch = "arm64"
	onEngine(t, other)
	for want, args := range map[string][]string{
		"IMAGE-NOT-FOUND": {"image", "petri-e2e/none:1"},
		"IMAGE-PLATFORM":  {"image", other.Name},
		"NODE-NOT-FOUND":  {"image", other.Name, "--nodes", "none"},
	} {
		if _, r := l.load(t, nil, args...); r.code != 3 || !strings.Contains(r.stderr, want) {
			t.Errorf("load %v: exit code %d, want %s\n%s", args, r.code, want, r.stderr)
		}
	}
	if got := l.mustLoad(t, nil, "image", other.Name, "--platform", "linux/arm64"); got.ID != other.ID().String() {
		t.Errorf("for another platform: %+v", got)
	}
}

// checkFullDisk loads into a node that has no room for the content.
func checkFullDisk(t *testing.T, l loadTest) {
	worker := l.nodes()[1]
	const blobs = "/var/lib/containerd/io.containerd.content.v1.content/ingest"
	docker(t, "exec", worker, "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", blobs)
	defer docker(t, "exec", worker, "umount", blobs)
	img := l.app("petri-e2e/full:1", strings.Repeat("x", 1<<20))
	onEngine(t, img)
	out, r := l.load(t, nil, "image", img.Name)
	if r.code != 1 || !strings.Contains(r.stderr, "NODE-DISK-FULL") || !strings.Contains(r.stderr, worker) {
		t.Errorf("exit code %d\n%s", r.code, r.stderr)
	}
	if len(out) != 1 || len(out[0].Sent) != 1 || slices.Contains(l.images(t, worker), "docker.io/"+img.Name) {
		t.Errorf("loaded %+v", out)
	}
	l.runs(t, img.Name, l.nodes()[0])
}

// checkDeadNode loads while a node is killed: the other one has the image.
func checkDeadNode(t *testing.T, l loadTest) {
	worker := l.nodes()[1]
	img := l.app("petri-e2e/dead:1", strings.Repeat("y", 1<<20))
	stream, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	whole := imagetest.Tar(img.Saved())
	go func() {
		defer feed.Close()
		_, _ = feed.Write(whole[:len(whole)/2])
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		run(ctx, "", "", "docker", "kill", worker)
		_, _ = feed.Write(whole[len(whole)/2:])
	}()
	var out, errs bytes.Buffer
	err = exec.Host{}.Run(t.Context(), exec.Cmd{
		Args:  []string{petriBinary(), "load", "image-archive", "-", "--name", l.name, "--output", "json"},
		Stdin: stream, Stdout: &out, Stderr: &errs,
	})
	if e, ok := asExecError(err); !ok || e.Code != 1 || !strings.Contains(errs.String(), worker) {
		t.Errorf("%v\n%s", err, errs.String())
	}
	l.runs(t, img.Name, l.nodes()[0])
	if _, r := l.load(t, whole, "image-archive", "-"); r.code != 1 || !strings.Contains(r.stderr, "NODE-NOT-RUNNING") {
		t.Errorf("into a dead node: exit code %d\n%s", r.code, r.stderr)
	}
}
