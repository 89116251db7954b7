//go:build e2e && full

package e2e

import (
	"strings"
	"testing"
)

// Clusters of older releases, one of them with three control planes, go to the
// default one, and no write that was acknowledged is lost. The images of the
// older releases take minutes to compile.
func TestUpgradeReleases(t *testing.T) {
	for _, c := range []struct {
		from string
		args []string
	}{
		{"v1.36.1", []string{"--control-planes", "3", "--workers", "1"}},
		{"v1.35.4", []string{"--workers", "1"}},
		{"v1.35.4", []string{"--control-planes", "3"}},
	} {
		t.Run(c.from+strings.Join(c.args, ""), func(t *testing.T) {
			tag := "petri/node:e2e-from-" + c.from
			r := (&cluster{}).petri(t.Context(), "build", "node-image", c.from, "--image", tag, "--progress", "plain")
			if r.code != 0 {
				t.Fatalf("build node-image: exit code %d\n%s", r.code, r.stderr)
			}
			t.Cleanup(func() { run(cleanupContext(t), "", "", "docker", "rmi", tag) })
			goesTo(t, create(t, append(c.args, "--image", tag)...))
		})
	}
}

// goesTo upgrades a cluster to the image under test.
func goesTo(t *testing.T, c *cluster) {
	w := startWriter(t, c)
	target := withImage(nil)
	if len(target) == 0 {
		target = []string{"--kubernetes-version", "v1.36.3"}
	}
	r := c.petri(t.Context(), append([]string{"upgrade", "cluster", "--name", c.name, "--yes"}, target...)...)
	if r.code != 0 {
		t.Fatalf("upgrade: exit code %d\n%s", r.code, r.stderr)
	}
	t.Log(r.stderr)
	w.check(t)
	if err := c.reports(t, "v1.36.3"); err != nil {
		t.Error(err)
	}
	for _, version := range c.kubelets(t) {
		if version != "v1.36.3" {
			t.Errorf("a kubelet is %s", version)
		}
	}
	c.usable(t)
}
