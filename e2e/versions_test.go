//go:build e2e && full

package e2e

import "testing"

// Other Kubernetes versions build from their modules, and make clusters. Each
// takes minutes to compile.
func TestKubernetesVersions(t *testing.T) {
	for _, version := range []string{"v1.35.4", "v1.34.4"} {
		t.Run(version, func(t *testing.T) {
			tag := "petri/node:e2e-" + version
			c := &cluster{kubeconfig: t.TempDir() + "/none"}
			t.Cleanup(func() { run(cleanupContext(t), "", "", "docker", "rmi", tag) })
			if r := c.petri(t.Context(), "build", "node-image", version, "--image", tag, "--progress", "plain"); r.code != 0 {
				t.Fatalf("build node-image: exit code %d\n%s", r.code, r.stderr)
			}
			c = create(t, "--image", tag, "--workers", "1")
			if got := c.must(t, "get", "nodes", "-o", "jsonpath={.items[*].status.nodeInfo.kubeletVersion}"); got != version+" "+version {
				t.Errorf("kubelets report %q", got)
			}
		})
	}
}
