//go:build e2e

package e2e

import (
	"bytes"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// longest is about how long a creation takes on a busy machine: interrupts
// come at random before it.
const longest = 15 * time.Second

// A creation that is interrupted, at any moment, removes what it made and says
// so by its exit code. One that is killed cannot: the next creation of that
// name removes what is left, and so does a deletion.
func TestInterruptedCreate(t *testing.T) {
	t.Parallel()
	c := &cluster{name: testName(t), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	t.Cleanup(func() { c.remove(t) })
	for range 2 * times {
		for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL, syscall.SIGTERM} {
			after := rand.N(longest)
			code, stderr := c.createInterrupted(t, after, s)
			t.Logf("%v after %s: exit code %d", s, after.Round(time.Millisecond), code)
			switch {
			case code == 0: // it was quicker
				c.remove(t)
			case s == syscall.SIGKILL:
				continue
			case code != 128+int(s):
				t.Errorf("%v after %s: exit code %d\n%s", s, after, code, stderr)
			}
			if left := owned(t, c.name); len(left) > 0 {
				t.Errorf("%v after %s: %v is left\n%s", s, after, left, stderr)
			}
		}
	}
	c.createInterrupted(t, 3*time.Second, syscall.SIGKILL)
	c.remove(t)
	if left := owned(t, c.name); len(left) > 0 {
		t.Errorf("delete after a kill: %v is left", left)
	}
	c.createInterrupted(t, 4*time.Second, syscall.SIGKILL)
	if r := c.petri(t.Context(), withImage([]string{"create", "cluster", "--name", c.name})...); r.code != 0 {
		t.Errorf("create after a kill: exit code %d\n%s", r.code, r.stderr)
	}
	if r := c.petri(t.Context(), "status", "--name", c.name); r.code != 0 {
		t.Errorf("status: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// createInterrupted creates the cluster and signals the process after a time.
// It returns the exit code, -1 when a signal ended the process.
func (c *cluster) createInterrupted(t *testing.T, after time.Duration, s syscall.Signal) (code int, stderr string) {
	t.Helper()
	args := withImage([]string{"create", "cluster", "--name", c.name})
	var text bytes.Buffer
	cmd := osexec.CommandContext(t.Context(), petriBinary(), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig)
	cmd.Stderr = &text
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Signal(s) })
	defer timer.Stop()
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode(), text.String()
}
