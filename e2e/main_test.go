//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/provider/all"
)

// TestMain insists on an engine in CI: a skipped test is not a passed one.
func TestMain(m *testing.M) {
	if _, err := all.Detect(context.Background(), ""); err != nil {
		if os.Getenv("CI") != "" {
			fmt.Fprintln(os.Stderr, "e2e: CI needs an engine:", err)
			os.Exit(1)
		}
		fmt.Fprintln(os.Stderr, "e2e: skipped, there is no engine:", err)
		os.Exit(0)
	}
	code := m.Run()
	shared.close()
	kindPlace.close()
	os.RemoveAll(toolsDir)
	os.Exit(code)
}

// petriBinary is the binary under test.
func petriBinary() string {
	if path := os.Getenv("PETRI_BIN"); path != "" {
		return path
	}
	path, err := filepath.Abs(filepath.Join("..", "bin", "petri"))
	if err != nil {
		panic(err)
	}
	return path
}

// image is the node image under test; empty for the default.
func image() string { return os.Getenv("PETRI_E2E_IMAGE") }

// result is what a command printed and how it ended.
type result struct {
	stdout, stderr string
	code           int
}

// run runs a program with a kubeconfig of its own.
func run(ctx context.Context, kubeconfig, stdin string, args ...string) result {
	var out, errs bytes.Buffer
	err := exec.Host{}.Run(ctx, exec.Cmd{
		Args: args, Env: []string{"KUBECONFIG=" + kubeconfig, "PETRI_CLUSTER_NAME="},
		Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs,
	})
	r := result{stdout: out.String(), stderr: errs.String()}
	if err != nil {
		r.code = -1
		if e, ok := asExecError(err); ok {
			r.code = e.Code
		}
	}
	return r
}

func asExecError(err error) (*exec.Error, bool) {
	e, ok := err.(*exec.Error)
	return e, ok
}

// cluster is a cluster of one test, or one that tests share.
type cluster struct {
	name       string
	kubeconfig string
}

// create makes a cluster for t, and removes it when t ends.
func create(t *testing.T, args ...string) *cluster {
	t.Helper()
	c := &cluster{name: testName(t), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	t.Cleanup(func() { c.remove(t) })
	r := c.petri(t.Context(), append([]string{"create", "cluster", "--name", c.name}, withImage(args)...)...)
	if r.code != 0 {
		t.Fatalf("create cluster: exit code %d\n%s", r.code, r.stderr)
	}
	t.Log(r.stderr)
	return c
}

func withImage(args []string) []string {
	if image() == "" || strings.Contains(strings.Join(args, " "), "--image") {
		return args
	}
	return append(args, "--image", image())
}

// testName makes the name of a cluster of a test's.
func testName(t *testing.T) string {
	name := "e2e-" + strings.ToLower(strings.TrimPrefix(t.Name(), "Test"))
	return strings.Trim(strings.Map(func(r rune) rune {
		if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') || r == '-' {
			return r
		}
		return '-'
	}, name)[:min(len(name), 40)], "-")
}

func (c *cluster) remove(t *testing.T) {
	// the test's context has ended when clean-up runs
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if t.Failed() {
		c.saveLogs(ctx, t)
	}
	if r := c.petri(ctx, "delete", "cluster", "--name", c.name); r.code != 0 {
		t.Errorf("delete cluster: exit code %d\n%s", r.code, r.stderr)
	}
}

func (c *cluster) saveLogs(ctx context.Context, t *testing.T) {
	dir, err := filepath.Abs(filepath.Join("artifacts", c.name))
	if err != nil {
		t.Log(err)
		return
	}
	r := c.petri(ctx, "export", "logs", dir, "--name", c.name)
	t.Logf("logs are in %s (exit code %d) %s", dir, r.code, r.stderr)
}

func (c *cluster) petri(ctx context.Context, args ...string) result {
	return run(ctx, c.kubeconfig, "", append([]string{petriBinary()}, args...)...)
}

// toolsDir holds programs that tests take out of the node image.
var toolsDir, _ = os.MkdirTemp("", "petri-e2e-")

// kubectlBinary is the kubectl of the node image, on the host.
var kubectlBinary = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := all.Detect(ctx, "")
	if err != nil {
		return "", err
	}
	ref := image()
	if ref == "" {
		r := run(ctx, "", "", petriBinary(), "version", "-o", "json")
		var v struct{ NodeImage string }
		if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
			return "", err
		}
		ref = v.NodeImage
	}
	data, err := p.(provider.ImageStore).ReadImageFile(ctx, ref, "/usr/bin/kubectl")
	if err != nil {
		return "", err
	}
	path := filepath.Join(toolsDir, "kubectl")
	return path, os.WriteFile(path, data, 0o755)
})

// kubectl runs kubectl against the cluster.
func (c *cluster) kubectl(ctx context.Context, t *testing.T, stdin string, args ...string) result {
	t.Helper()
	path, err := kubectlBinary()
	if err != nil {
		t.Fatalf("kubectl: %v", err)
	}
	return run(ctx, c.kubeconfig, stdin, append([]string{path}, args...)...)
}

// must runs kubectl and returns what it printed; a failure ends the test.
func (c *cluster) must(t *testing.T, args ...string) string {
	t.Helper()
	r := c.kubectl(t.Context(), t, "", args...)
	if r.code != 0 {
		t.Fatalf("kubectl %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return strings.TrimSpace(r.stdout)
}

// apply applies manifests.
func (c *cluster) apply(t *testing.T, manifest string) {
	t.Helper()
	if r := c.kubectl(t.Context(), t, manifest, "apply", "-f", "-"); r.code != 0 {
		t.Fatalf("kubectl apply: exit code %d\n%s", r.code, r.stderr)
	}
}

// namespace makes a namespace for a test in a shared cluster.
func (c *cluster) namespace(t *testing.T) string {
	t.Helper()
	name := testName(t)
	c.must(t, "create", "namespace", name)
	t.Cleanup(func() {
		c.kubectl(context.Background(), t, "", "delete", "namespace", name, "--wait=false")
	})
	return name
}

// docker asks the engine by its command line: tests look at it from outside.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	r := run(t.Context(), "", "", append([]string{"docker"}, args...)...)
	if r.code != 0 {
		t.Fatalf("docker %s: exit code %d\n%s", strings.Join(args, " "), r.code, r.stderr)
	}
	return strings.TrimSpace(r.stdout)
}

// eventually calls check until it returns nil, and fails after the limit.
func eventually(t *testing.T, limit time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %v", limit, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}
