//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A configuration with three wrong fields reports all three with their lines,
// before anything exists.
func TestConfigErrors(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "wrong.yaml")
	const text = `apiVersion: petri.dev/v1alpha1
kind: Cluster
name: e2e-wrong
nodes:
- role: control-plan
networking:
  podSubnet: 10.244.0.0/99
  apiServerPrt: 6443
`
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c := &cluster{name: "e2e-wrong", kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	r := c.petri(t.Context(), "create", "cluster", "--config", path)
	if r.code != 2 {
		t.Errorf("exit code %d, want 2", r.code)
	}
	for _, want := range []string{":5", "role", ":7", "podSubnet", ":8", "apiServerPrt", "apiServerPort"} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("the error does not say %q:\n%s", want, r.stderr)
		}
	}
	if left := owned(t, c.name); len(left) > 0 {
		t.Errorf("something was made: %v", left)
	}
	if _, err := os.Stat(c.kubeconfig); err == nil {
		t.Error("the kubeconfig was written")
	}
}
