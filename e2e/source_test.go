//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/petri-cluster/petri/pkg/exec"
)

// sourceTag is the tag that the source tree has: what is built from it is later
// than the release that it was assembled from.
const sourceTag = "v1.36.4"

// source is the image of a source tree, which several tests use. The tree is
// assembled from Kubernetes' own modules, as no checkout can be fetched where
// this runs.
var source = &sourceImage{tag: "petri/node:e2e-source", err: errors.New("it was not built")}

type sourceImage struct {
	once sync.Once
	tag  string
	err  error
}

// get builds the image the first time; a failure fails every user.
func (s *sourceImage) get(t *testing.T) string {
	t.Helper()
	s.once.Do(func() {
		dir := assembleTree(t, "v1.36.3", sourceTag)
		r := (&cluster{}).petri(t.Context(), "build", "node-image", "--type", "source", dir, "--image", s.tag, "--progress", "plain")
		if r.code == 0 {
			s.err = nil
			t.Log(r.stderr)
			return
		}
		s.err = fmt.Errorf("build node-image: exit code %d\n%s", r.code, r.stderr)
	})
	if s.err != nil {
		t.Fatalf("the image of a source tree: %v", s.err)
	}
	return s.tag
}

func (s *sourceImage) close() {
	if s.err == nil {
		run(context.Background(), "", "", "docker", "rmi", s.tag)
	}
}

// An image built from a source tree runs, and its programs report the tree's
// version: the commit, and that it was changed.
func TestSourceTree(t *testing.T) {
	t.Parallel()
	c := create(t, "--image", source.get(t))
	version := c.must(t, "get", "node", "-o", "jsonpath={.items[0].status.nodeInfo.kubeletVersion}")
	if !sourceVersion.MatchString(version) {
		t.Errorf("kubelet reports %s", version)
	}
	c.reports(t, version)
}

// sourceVersion is Kubernetes' own form: commits after the tag, commit, and the
// change.
var sourceVersion = regexp.MustCompile(`^v1\.36\.4-1\+[0-9a-f]{14}-dirty$`)

// reports wants the API server and kubeadm to be of a version.
func (c *cluster) reports(t *testing.T, version string) {
	t.Helper()
	var server struct{ GitVersion string }
	if err := json.Unmarshal([]byte(c.must(t, "get", "--raw", "/version")), &server); err != nil {
		t.Fatal(err)
	}
	if server.GitVersion != version {
		t.Errorf("the API server reports %s, want %s", server.GitVersion, version)
	}
	kubeadm := docker(t, "exec", c.name+"-control-plane", "kubeadm", "version", "-o", "short")
	if kubeadm != version {
		t.Errorf("kubeadm reports %s, want %s", kubeadm, version)
	}
}

// assembleTree makes a git checkout of Kubernetes: the module's files, its
// siblings under staging/, a tag, a commit after it, and a change after that.
func assembleTree(t *testing.T, version, tag string) string {
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
	git(t, dir, "tag", "-am", tag, tag)
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
