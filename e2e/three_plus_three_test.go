//go:build e2e && full

package e2e

import (
	"testing"
	"time"
)

// Three control planes and three workers, with etcd in memory, come up and go
// away. It takes the memory of seven nodes.
func TestThreePlusThree(t *testing.T) {
	c := create(t, "--control-planes", "3", "--workers", "3", "--ephemeral")
	if r := c.petri(t.Context(), "status", "--name", c.name); r.code != 0 {
		t.Errorf("status: %s%s", r.stdout, r.stderr)
	}
	(&highlyAvailable{cluster: c}).membersAre(t, 3)
	began := time.Now()
	if r := c.petri(t.Context(), "delete", "cluster", "--name", c.name); r.code != 0 {
		t.Errorf("delete: %s", r.stderr)
	}
	t.Logf("deleted after %s", time.Since(began).Round(time.Millisecond))
	if left := owned(t, c.name); len(left) > 0 {
		t.Errorf("delete left %v", left)
	}
}
