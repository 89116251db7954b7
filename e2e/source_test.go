//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/petri-cluster/petri/pkg/exec"
)

// An image built from a source tree runs, and its programs report the tree's
// version: the commit, and that it was changed. The tree is assembled from
// Kubernetes' own modules, as no checkout can be fetched where this runs.
func TestSourceTree(t *testing.T) {
	t.Parallel()
	dir := assembleTree(t, "v1.36.3")
	const tag = "petri/node:e2e-source"
	c := &cluster{name: testName(t), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	t.Cleanup(func() { run(cleanupContext(t), "", "", "docker", "rmi", tag) })
	r := c.petri(t.Context(), "build", "node-image", "--type", "source", dir, "--image", tag, "--progress", "plain")
	if r.code != 0 {
		t.Fatalf("build node-image: exit code %d\n%s", r.code, r.stderr)
	}
	t.Log(r.stderr)
	c = create(t, "--image", tag)
	version := c.must(t, "get", "node", "-o", "jsonpath={.items[0].status.nodeInfo.kubeletVersion}")
	// Kubernetes' own form: commits after the tag, commit, and the change
	if !regexp.MustCompile(`^v1\.36\.3-1\+[0-9a-f]{14}-dirty$`).MatchString(version) {
		t.Errorf("kubelet reports %s", version)
	}
	var server struct{ GitVersion string }
	if err := json.Unmarshal([]byte(c.must(t, "get", "--raw", "/version")), &server); err != nil {
		t.Fatal(err)
	}
	if server.GitVersion != version {
		t.Errorf("the API server reports %s, and kubelet %s", server.GitVersion, version)
	}
	kubeadm := docker(t, "exec", c.name+"-control-plane", "kubeadm", "version", "-o", "short")
	if kubeadm != version {
		t.Errorf("kubeadm reports %s, and kubelet %s", kubeadm, version)
	}
}

// assembleTree makes a git checkout of Kubernetes: the module's files, its
// siblings under staging/, a tag, a commit after it, and a change after that.
func assembleTree(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	copyModule(t, "k8s.io/kubernetes@"+version, dir)
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	siblings := regexp.MustCompile(`(?m)^\s*k8s\.io/(\S+) => \./staging/src/k8s\.io/`).FindAllStringSubmatch(string(mod), -1)
	if len(siblings) < 20 {
		t.Fatalf("go.mod names only %d siblings", len(siblings))
	}
	for _, s := range siblings {
		at := filepath.Join(dir, "staging", "src", "k8s.io", s[1])
		if strings.HasPrefix(s[1], "sample-") {
			sample(t, s[1], at) // not all are released as modules, and nothing needs them
			continue
		}
		copyModule(t, "k8s.io/"+s[1]+"@v0."+strings.TrimPrefix(version, "v1."), at)
	}
	git(t, dir, "init", "-q")
	git(t, dir, "add", "-A", "-f")
	git(t, dir, "commit", "-qm", "import")
	git(t, dir, "tag", "-am", version, version)
	change(t, filepath.Join(dir, "cmd", "kubeadm", "kubeadm.go"), "// a commit\n")
	git(t, dir, "commit", "-qam", "change")
	change(t, filepath.Join(dir, "cmd", "kubeadm", "kubeadm.go"), "// a change\n")
	return dir
}

// sample stands in for a sample project that the workspace names.
func sample(t *testing.T, name, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module k8s.io/"+name+"\n\ngo 1.26.0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func change(t *testing.T, path, line string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(data, line...), 0o644); err != nil {
		t.Fatal(err)
	}
}

// copyModule copies a module's files, writable, to dir.
func copyModule(t *testing.T, module, dir string) {
	t.Helper()
	out, err := exec.Output(t.Context(), exec.Host{}, "go", "mod", "download", "-json", module)
	if err != nil {
		t.Fatal(err)
	}
	var m struct{ Dir string }
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := exec.Run(t.Context(), exec.Host{}, "cp", "-R", "--no-preserve=mode", m.Dir+"/.", dir); err != nil {
		t.Fatal(err)
	}
}

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	var out bytes.Buffer
	err := exec.Host{}.Run(t.Context(), exec.Cmd{
		Args: append([]string{"git", "-c", "user.name=e2e", "-c", "user.email=e2e@example.invalid"}, args...),
		Dir:  dir, Stdout: &out,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
}
