//go:build e2e && full

package e2e

import "testing"

// Clusters of older releases go to the default one, by a patch and by a minor
// version, while a pod counts in a volume and this process in the API: no write
// that was acknowledged is lost. With three control planes writes go on
// meanwhile. The images of the older releases take minutes to compile.
func TestUpgradeReleases(t *testing.T) {
	for _, c := range []struct {
		name, from string
		ha         bool
		args       []string
	}{
		{"patch", "v1.36.1", false, []string{"--workers", "2"}},
		{"minor", "v1.35.4", false, []string{"--workers", "1"}},
		{"patch of three", "v1.36.1", true, []string{"--control-planes", "3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tag := "petri/node:e2e-from-" + c.from
			r := (&cluster{}).petri(t.Context(), "build", "node-image", c.from, "--image", tag, "--progress", "plain")
			if r.code != 0 {
				t.Fatalf("build node-image: exit code %d\n%s", r.code, r.stderr)
			}
			t.Cleanup(func() { run(cleanupContext(t), "", "", "docker", "rmi", tag) })
			goesTo(t, create(t, append(c.args, "--image", tag)...), c.from, c.ha)
		})
	}
}

// goesTo upgrades a cluster, highly available or not, to the image under test.
func goesTo(t *testing.T, c *cluster, from string, ha bool) {
	u := &upgrading{cluster: c, image: nodeImage(t), from: from, to: released, work: c.startWork(t)}
	u.isAll(t, from)
	upgrade := func() {
		if r := u.upgrade(t, "--kubernetes-version", released, "--yes"); r.code != 0 {
			t.Fatalf("exit code %d", r.code)
		}
	}
	if ha {
		w := startWriter(t, c)
		w.survives(t, "the upgrade", upgrade)
		w.check(t)
	} else {
		upgrade()
	}
	u.isAll(t, released)
	c.must(t, "rollout", "status", "statefulset/work", "--timeout=2m")
	u.work.uid = c.podUID(t) // it was moved away, and has come back to its volume
	u.work.check(t)
	c.usable(t)
}
