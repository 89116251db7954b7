//go:build e2e

package e2e

import (
	"bytes"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/petri-cluster/petri/pkg/image/imagetest"
)

// A creation that is interrupted, at any moment, removes what it made and says
// so by its exit code. One that is killed cannot: the next creation of that
// name removes what is left, and so does a deletion.
func TestInterruptedCreate(t *testing.T) {
	t.Parallel()
	c := &cluster{name: testName(t), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	t.Cleanup(func() { c.remove(t) })
	begin := time.Now()
	if r := c.petri(t.Context(), withImage([]string{"create", "cluster", "--name", c.name})...); r.code != 0 {
		t.Fatalf("create: exit code %d\n%s", r.code, r.stderr)
	}
	longest := time.Since(begin)
	c.remove(t)
	for range 2 * times {
		for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL, syscall.SIGTERM} {
			after := rand.N(longest)
			code, stderr := c.interrupted(t, c.creation(), after, s)
			t.Logf("%v after %s: exit code %d", s, after.Round(time.Millisecond), code)
			switch {
			case code == 0: // it was quicker
				c.remove(t)
			case s == syscall.SIGKILL:
				continue
			case code == 128+int(s) && stderr == "":
				continue // it had not begun, and what a kill left is still there
			case code != 128+int(s):
				t.Errorf("%v after %s: exit code %d\n%s", s, after, code, stderr)
			}
			if left := owned(t, c.name); len(left) > 0 {
				t.Errorf("%v after %s: %v is left\n%s", s, after, left, stderr)
			}
		}
	}
	c.killedCreation(t, longest/3)
	c.remove(t)
	if left := owned(t, c.name); len(left) > 0 {
		t.Errorf("delete after a kill: %v is left", left)
	}
	c.killedCreation(t, longest/2)
	if r := c.petri(t.Context(), withImage([]string{"create", "cluster", "--name", c.name})...); r.code != 0 {
		t.Errorf("create after a kill: exit code %d\n%s", r.code, r.stderr)
	}
	if r := c.petri(t.Context(), "status", "--name", c.name); r.code != 0 {
		t.Errorf("status: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// creation are the arguments that create the cluster.
func (c *cluster) creation() []string {
	return withImage([]string{"create", "cluster", "--name", c.name})
}

// killedCreation kills a creation on its way, after a time or, when that was too
// long, half of it.
func (c *cluster) killedCreation(t *testing.T, after time.Duration) {
	t.Helper()
	for {
		code, stderr := c.interrupted(t, c.creation(), after, syscall.SIGKILL)
		if code == -1 {
			return
		}
		if code != 0 {
			t.Fatalf("create: exit code %d\n%s", code, stderr)
		}
		c.remove(t)
		after /= 2
	}
}

// interrupted runs petri and sends signals to it: the first one after a time, the
// others right after it. It returns the exit code, -1 when a signal ended the
// process.
func (c *cluster) interrupted(t *testing.T, args []string, after time.Duration, signals ...syscall.Signal) (code int, stderr string) {
	t.Helper()
	var text bytes.Buffer
	cmd := osexec.CommandContext(t.Context(), petriBinary(), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig)
	cmd.Stderr = &text
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() {
		for _, s := range signals {
			_ = cmd.Process.Signal(s)
			time.Sleep(100 * time.Millisecond) // two of a kind at once are one
		}
	})
	defer timer.Stop()
	_ = cmd.Wait()
	code = cmd.ProcessState.ExitCode()
	if code == -1 && text.Len() == 0 && signals[0] != syscall.SIGKILL {
		code = 128 + int(signals[0]) // it came before the program had begun, and the kernel ended that
	}
	return code, text.String()
}

// The second signal ends a command at once, which says how to clean up.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	c := &cluster{name: testName(t), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	t.Cleanup(func() { c.remove(t) })
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		const after = 1500 * time.Millisecond
		begin := time.Now()
		code, stderr := c.interrupted(t, c.creation(), after, s, s)
		took := time.Since(begin) - after
		switch {
		case strings.Contains(stderr, "ended at once"):
			if code != 128+int(s) || took > 5*time.Second || !strings.Contains(stderr, "petri delete cluster") {
				t.Errorf("%v twice: exit code %d after %s\n%s", s, code, took, stderr)
			}
		case code != 128+int(s): // what was made was removed within the blink between them
			t.Errorf("%v twice: exit code %d after %s\n%s", s, code, took, stderr)
		}
		c.remove(t)
		if left := owned(t, c.name); len(left) > 0 {
			t.Errorf("%v twice, and delete: %v is left", s, left)
		}
	}
}

// What changes a cluster can be interrupted and killed at any moment: it then
// succeeds when it is repeated, and the cluster is as it should be.
func TestInterruptedVerbs(t *testing.T) {
	t.Parallel()
	c := create(t)
	img := imagetest.Image{Name: "petri-e2e/interrupted:1", Layers: [][]byte{imagetest.Layer("big", bytes.Repeat([]byte("0123456789abcdef"), 1<<21))}}
	archive := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(archive, imagetest.Tar(img.Saved()), 0o644); err != nil {
		t.Fatal(err)
	}
	const tag = "petri/node:e2e-interrupted"
	onEngine(t, img)
	t.Cleanup(func() { run(cleanupContext(t), "", "", "docker", "rmi", tag) })
	for _, verb := range [][]string{
		withImage([]string{"build", "add-image", "--out", tag, img.Name}),
		{"load", "image-archive", archive, "--name", c.name},
		withImage([]string{"create", "node", "--name", c.name}),
		{"scale", "cluster", "--workers", "2", "--name", c.name},
		{"scale", "cluster", "--workers", "0", "--name", c.name},
		{"stop", "cluster", "--name", c.name},
		{"start", "cluster", "--name", c.name},
		{"delete", "cluster", "--name", c.name},
	} {
		t.Run(strings.Join(verb[:2], " "), func(t *testing.T) { c.interruptedVerb(t, verb) })
	}
	if left := owned(t, c.name); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

func (c *cluster) interruptedVerb(t *testing.T, verb []string) {
	for range times {
		for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
			after := rand.N(3 * time.Second)
			code, stderr := c.interrupted(t, verb, after, s)
			t.Logf("%v after %s: exit code %d", s, after.Round(time.Millisecond), code)
			// what is quicker than the signal is done
			if want := 128 + int(s); code != 0 && code != want && (s != syscall.SIGKILL || code != -1) {
				t.Errorf("%v after %s: exit code %d, want %d\n%s", s, after, code, want, stderr)
			}
		}
	}
	if r := c.petri(t.Context(), verb...); r.code != 0 {
		t.Fatalf("repeated: exit code %d\n%s", r.code, r.stderr)
	}
	if !slices.Contains([]string{"build", "stop", "delete"}, verb[0]) {
		c.usable(t)
	}
}
