//go:build e2e && full

package e2e

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Clusters of one and two, and of three and three, come back from whatever ends
// their nodes, with all that was in them.
func TestOnePlusTwoReboots(t *testing.T) {
	c := create(t, "--workers", "2")
	w := c.startWork(t)
	for range times {
		c.reboots(t, w, 1)
	}
}

// It takes the memory of seven nodes.
func TestThreePlusThree(t *testing.T) {
	c := create(t, "--control-planes", "3", "--workers", "3")
	if r := c.petri(t.Context(), "status", "--name", c.name); r.code != 0 {
		t.Errorf("status: %s%s", r.stdout, r.stderr)
	}
	w := c.startWork(t)
	for range times {
		c.reboots(t, w, 3)
	}
	began := time.Now()
	if r := c.petri(t.Context(), "delete", "cluster", "--name", c.name); r.code != 0 {
		t.Errorf("delete: %s", r.stderr)
	}
	t.Logf("deleted after %s", time.Since(began).Round(time.Millisecond))
	if left := owned(t, c.name); len(left) > 0 {
		t.Errorf("delete left %v", left)
	}
}

// reboots ends all nodes at once, in three ways: the engine starts them again,
// they come up in any order, or petri starts them.
func (c *cluster) reboots(t *testing.T, w *work, controlPlanes int) {
	t.Helper()
	all := c.containers(t)
	killed := append([]string{"kill"}, all...)
	for name, reboot := range map[string]func(){
		"the engine starts them": func() {
			for _, node := range all {
				c.killInit(t, node)
			}
		},
		"in any order": func() {
			docker(t, killed...)
			rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			t.Logf("they come in the order %v", all)
			for _, node := range all {
				docker(t, "start", node)
			}
		},
		"petri starts them": func() {
			docker(t, killed...)
			c.timed(t, "start", "cluster", "--wait", "5m")
		},
	} {
		t.Log(name)
		reboot()
		c.usable(t)
		(&highlyAvailable{cluster: c, asked: c.name + "-control-plane"}).membersAre(t, controlPlanes)
		w.check(t)
	}
}
