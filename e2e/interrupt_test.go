//go:build e2e

package e2e

import (
	"bytes"
	"os"
	osexec "os/exec"
	"path/filepath"
	"testing"
	"time"
)

// An interrupted create removes what it made, and says so by its exit code;
// create of the same name then works.
func TestInterruptedCreate(t *testing.T) {
	t.Parallel()
	c := &cluster{name: testName(t), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	t.Cleanup(func() { c.remove(t) })
	args := withImage([]string{"create", "cluster", "--name", c.name})
	for _, after := range []time.Duration{300 * time.Millisecond, 3 * time.Second} {
		var stderr bytes.Buffer
		cmd := osexec.CommandContext(t.Context(), petriBinary(), args...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig)
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(after)
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 130 {
			t.Errorf("after %s: exit code %d\n%s", after, cmd.ProcessState.ExitCode(), &stderr)
		}
		if left := owned(t, c.name); len(left) > 0 {
			t.Errorf("after %s: %v is left\n%s", after, left, &stderr)
		}
	}
	if r := c.petri(t.Context(), args...); r.code != 0 {
		t.Errorf("create after interrupts: exit code %d\n%s", r.code, r.stderr)
	}
}
