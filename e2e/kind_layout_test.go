//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Images that kind publishes bring no helper of petri's, keep their images
// packed below /var and have an entrypoint of their own. None can be had where
// these tests run: petri's builder lays one out in the same way, and petri
// makes a cluster of a control plane and a worker of it.
func TestKindLayout(t *testing.T) {
	t.Parallel()
	const tag = "petri-e2e/kind-layout:1"
	t.Cleanup(func() { run(cleanupContext(t), "", "", "docker", "rmi", tag) })
	r := run(t.Context(), "", "", petriBinary(), "build", "node-image", "--layout", "kind", "--image", tag)
	if r.code != 0 {
		t.Fatalf("build: exit code %d\n%s", r.code, r.stderr)
	}
	if got := docker(t, "image", "inspect", "--format", "{{json .Config.Labels}}", tag); strings.Contains(got, "dev.petri") {
		t.Errorf("the image has petri's labels: %s", got)
	}
	config := filepath.Join(t.TempDir(), "cluster.yaml")
	text := `apiVersion: petri.dev/v1alpha1
kind: Cluster
nodes: [{role: control-plane}, {role: worker}]
containerdConfigPatches: ["[plugins.'io.containerd.cri.v1.images']\n  max_concurrent_downloads = 7\n"]
`
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c := create(t, "--image", tag, "--config", config)
	if out := c.must(t, "get", "nodes", "--no-headers"); strings.Count(out, " Ready ") != 2 {
		t.Errorf("nodes are\n%s", out)
	}
	if out := docker(t, "exec", c.name+"-worker", "containerd", "config", "dump"); !strings.Contains(out, "max_concurrent_downloads = 7") {
		t.Errorf("the patch is not in containerd's configuration:\n%s", out)
	}
	c.must(t, "run", "pod", "--image", shell, "--restart=Never", "--command", "--", "/usr/bin/busybox", "sleep", "3600")
	c.waitReady(t, "default", "pod/pod")
	if r := c.petri(t.Context(), "status", "--name", c.name); r.code != 0 {
		t.Errorf("status: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}
