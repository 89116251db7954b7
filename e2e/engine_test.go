//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"
)

// An engine is restarted as by a reboot of its machine: what was stopped stays
// stopped, and what ran comes back by itself, with its data. Other tests use
// the same engine, so this one runs alone.
func TestEngineRestarted(t *testing.T) {
	place := kindPlace.get(t)
	u := place.user(t)
	const name = "e2e-reboot"
	petri := func(args ...string) []string {
		return append(append([]string{petriBinary()}, args...), "--name", name)
	}
	t.Cleanup(func() { u.call(cleanupContext(t), petri("delete", "cluster")...) })
	u.must(t, petri("create", "cluster", "--image", place.image, "--workers", "1")...)
	u.must(t, "docker", "exec", name+"-control-plane", "kubectl", "create", "configmap", "kept")

	u.must(t, petri("stop", "cluster")...)
	if err := place.engine.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if running := u.must(t, "docker", "ps", "--quiet"); running != "" {
		t.Errorf("what was stopped runs after the engine was restarted: %s", running)
	}
	u.must(t, petri("start", "cluster")...)

	if err := place.engine.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	eventually(t, 2*time.Minute, func() error {
		if r := u.call(t.Context(), petri("status")...); r.code != 0 {
			return fmt.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		return nil
	})
	t.Logf("usable %.1fs after the engine was", time.Since(begin).Seconds())
	u.must(t, "docker", "exec", name+"-control-plane", "kubectl", "get", "configmap", "kept")
}
