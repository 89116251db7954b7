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
			u := &upgrading{image: nodeImage(t), from: c.from, to: released}
			u.goes(t, create(t, append(c.args, "--image", tag)...), c.ha)
		})
	}
}

// A highly available cluster, and a hardened one, go to a later version of the
// same programs: writes go on, and what was encrypted is read.
func TestUpgradeOthers(t *testing.T) {
	image := laterImage(t, "petri/node:e2e-later-others")
	for _, c := range []struct {
		name string
		ha   bool
		args []string
	}{
		{"three control planes", true, []string{"--control-planes", "3"}},
		{"hardened", false, []string{"--workers", "1", "--profile", "hardened"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := &upgrading{image: image, from: released, to: later}
			made := create(t, c.args...)
			made.must(t, "label", "namespace", "default", "pod-security.kubernetes.io/enforce=privileged") // for what writes to a volume
			made.must(t, "create", "secret", "generic", "kept", "--from-literal=key=value")
			u.goes(t, made, c.ha)
			if got := made.must(t, "get", "secret", "kept", "-o", "jsonpath={.data.key}"); got != "dmFsdWU=" {
				t.Errorf("the Secret has %q", got)
			}
		})
	}
}

// goes upgrades a cluster, highly available or not.
func (u *upgrading) goes(t *testing.T, c *cluster, ha bool) {
	t.Helper()
	u.cluster, u.work = c, c.startWork(t)
	u.isAll(t, u.from)
	upgrade := func() {
		if r := u.upgrade(t, "--kubernetes-version", u.to, "--yes"); r.code != 0 {
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
	u.isAll(t, u.to)
	c.must(t, "rollout", "status", "statefulset/work", "--timeout=2m")
	u.work.uid = c.podUID(t) // it was moved away, and has come back to its volume
	u.work.check(t)
	c.usable(t)
}
