//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/petri-cluster/petri/pkg/image/imagetest"
)

// An image that was added to a node image is in every node from its start,
// keeps its digest, runs, and takes no disk there. What its layers deleted is
// not in it.
func TestBuildAddImage(t *testing.T) {
	t.Parallel()
	const tag = "petri/node:e2e-added"
	l := loadTest{pause: pauseProgram(t)}
	img := l.app("petri-e2e/added:1", "1")
	img.Layers = append(img.Layers, imagetest.Layer(".wh.data-0", nil))
	onEngine(t, img)
	t.Cleanup(func() { run(cleanupContext(t), "", "", "docker", "rmi", tag) })
	args := []string{"build", "add-image", "--out", tag, img.Name}
	r := (&cluster{}).petri(t.Context(), withImage(args)...)
	if r.code != 0 || strings.TrimSpace(r.stdout) != tag {
		t.Fatalf("exit code %d, printed %q\n%s", r.code, r.stdout, r.stderr)
	}
	l.cluster = create(t, "--image", tag)
	node := l.name + "-control-plane"
	l.runs(t, img.Name, node)
	if got := l.mustLoad(t, nil, "image", img.Name); got.Sent[node] != 0 || got.ID != img.ID().String() {
		t.Errorf("the image is not the engine's: %+v", got)
	}
	if size := diskUsage(t, node, "/var/lib/containerd"); size > 10_000 {
		t.Errorf("containerd's store of a new node takes %d KB", size)
	}
	files := docker(t, "exec", node, "sh", "-c", "ls /petri/store/snapshots/added-*/fs")
	if strings.Contains(files, "data-0") || strings.Contains(files, ".wh.") || !strings.Contains(files, "data-1") {
		t.Errorf("the image has %q", files)
	}
	r = l.petri(t.Context(), "get", "image", tag)
	if !strings.Contains(r.stdout, "docker.io/petri-e2e/added:1") {
		t.Errorf("the list of the image lacks it:\n%s", r.stdout)
	}
	r = l.petri(t.Context(), "build", "add-image", "--out", tag, "petri-e2e/none:1")
	if r.code != 3 {
		t.Errorf("an image that is not there: exit code %d\n%s", r.code, r.stderr)
	}
}
