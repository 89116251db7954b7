//go:build e2e && linux

package boot

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// realRoot is a node's root group on cgroup v2: a group of this machine's, mounted
// where a node has it. A machine with cgroup v1 has cgroup v2 beside it, with the
// controllers that v1 does not use.
func realRoot(t *testing.T) (root, group string) {
	t.Helper()
	all := t.TempDir()
	mount(t, "none", all, "cgroup2", 0)
	passOnAll(t, all)
	made, err := os.MkdirTemp(all, "petri-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, made) })
	root = t.TempDir()
	group = filepath.Join(root, cgroupRoot)
	if err := os.MkdirAll(group, 0o755); err != nil {
		t.Fatal(err)
	}
	mount(t, made, group, "", unix.MS_BIND)
	return root, group
}

func mount(t *testing.T, source, target, kind string, flags uintptr) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, 0); err != nil {
			t.Error(err)
		}
	})
}

// passOnAll has the machine's root group pass on all that it has, until the test ends.
func passOnAll(t *testing.T, all string) {
	t.Helper()
	before := fieldsOf(t, filepath.Join(all, "cgroup.subtree_control"))
	for _, controller := range fieldsOf(t, filepath.Join(all, "cgroup.controllers")) {
		if slices.Contains(before, controller) {
			continue
		}
		if err := passOn(all, "+"+controller); errors.Is(err, unix.EBUSY) {
			t.Skip("this is a container, whose root group has processes")
		} else if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := passOn(all, "-"+controller); err != nil {
				t.Error(err)
			}
		})
	}
}

// remove removes a group and those below it.
func remove(t *testing.T, group string) {
	below, err := os.ReadDir(group)
	if err != nil {
		t.Error(err)
	}
	for _, g := range below {
		if g.IsDir() {
			remove(t, filepath.Join(group, g.Name()))
		}
	}
	if err := os.Remove(group); err != nil {
		t.Error(err)
	}
}

// inhabit puts a process into a group until the test ends.
func inhabit(t *testing.T, group string) (pid string) {
	t.Helper()
	process := exec.Command("sleep", "1000")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.Process.Kill(); process.Wait() })
	pid = strconv.Itoa(process.Process.Pid)
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(pid), 0o644); err != nil {
		t.Fatal(err)
	}
	return pid
}

func fieldsOf(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(data))
}

// TestProcessesInTheRootGroup: what an engine has put into a node's root group does not
// keep controllers from the groups below it. The kernel judges.
func TestProcessesInTheRootGroup(t *testing.T) {
	for name, do := range map[string]func(root string) error{
		"boot":    func(root string) error { return rootGroup(t.Context(), &Machine{Root: root}) },
		"kubelet": KubeletCgroup,
	} {
		t.Run(name, func(t *testing.T) {
			root, group := realRoot(t)
			if err := os.MkdirAll(filepath.Join(root, "proc/1"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, "proc/1/cgroup"), []byte("0::/\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			controllers, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
			if err != nil {
				t.Fatal(err)
			}
			if len(bytes.TrimSpace(controllers)) == 0 {
				t.Skip("cgroup v1 has every controller of this machine's")
			}
			pid := inhabit(t, group)
			for range 2 {
				if err := do(root); err != nil {
					t.Fatal(err)
				}
			}
			if got := fieldsOf(t, filepath.Join(group, "cgroup.subtree_control")); !slices.Equal(got, strings.Fields(string(controllers))) {
				t.Errorf("it passes on %q of %q", got, controllers)
			}
			if in := fieldsOf(t, filepath.Join(group, initScope, "cgroup.procs")); !slices.Contains(in, pid) {
				t.Errorf("process %s is not among %q", pid, in)
			}
		})
	}
}
