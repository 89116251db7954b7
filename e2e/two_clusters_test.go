//go:build e2e

package e2e

import (
	"strings"
	"sync"
	"testing"
)

// Two clusters live side by side in one kubeconfig, made at the same time.
func TestTwoClusters(t *testing.T) {
	t.Parallel()
	kubeconfig := t.TempDir() + "/kubeconfig"
	clusters := []*cluster{{name: "e2e-side-a", kubeconfig: kubeconfig}, {name: "e2e-side-b", kubeconfig: kubeconfig}}
	results := make([]result, len(clusters))
	var both sync.WaitGroup
	for i, c := range clusters {
		t.Cleanup(func() { c.remove(t) })
		both.Go(func() {
			results[i] = c.petri(t.Context(), withImage([]string{"create", "cluster", "--name", c.name})...)
		})
	}
	both.Wait()
	for i, r := range results {
		if r.code != 0 {
			t.Fatalf("create %s: exit code %d\n%s", clusters[i].name, r.code, r.stderr)
		}
	}
	for _, c := range clusters {
		if got := c.must(t, "--context", "petri-"+c.name, "get", "nodes", "-o", "name"); got != "node/"+c.name+"-control-plane" {
			t.Errorf("context petri-%s shows %q", c.name, got)
		}
	}
	listed := clusters[0].petri(t.Context(), "get", "clusters", "-o", "name").stdout
	for _, c := range clusters {
		if !strings.Contains(listed, c.name+"\n") {
			t.Errorf("get clusters does not list %s:\n%s", c.name, listed)
		}
	}
	clusters[0].petri(t.Context(), "delete", "cluster", "--name", clusters[0].name)
	clusters[1].must(t, "--context", "petri-"+clusters[1].name, "get", "--raw", "/readyz")
}
