package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	cgroupRoot = "/sys/fs/cgroup"
	// initScope is where systemd has itself, below its root group; one that begins
	// there stays (src/core/cgroup.c of systemd).
	initScope = "init.scope"
)

// rootGroup has the node's root group on cgroup v2 pass its controllers on, and no
// process in it, before systemd begins. A group can only pass them on while it is
// empty, and an engine puts what it runs in a container there. Once they are passed on
// it takes none any more, and the engine puts what it runs beside process 1. Where that
// fails, systemd and KubeletCgroup still may succeed.
func rootGroup(_ context.Context, m *Machine) error {
	if m.CgroupV1 {
		return nil
	}
	base := m.path(cgroupRoot)
	controllers, err := enabling(base)
	if err != nil {
		return err
	}
	return passOnEmptied(m.Root, controllers)
}

// KubeletCgroup makes the groups that kubelet runs pods under, with every
// controller on. It runs before each start of kubelet: systemd turns off what it has
// no use for. On v1, where Run made them, it does nothing.
func KubeletCgroup(root string) error {
	base := filepath.Join(root, cgroupRoot)
	controllers, err := enabling(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := passOnEmptied(root, controllers); err != nil {
		return err
	}
	for _, group := range []string{"kubelet", "kubelet.slice"} {
		dir := filepath.Join(base, group)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := passOn(dir, controllers); err != nil {
			return err
		}
	}
	return nil
}

// enabling is what turns on every controller that a group has
// (Documentation/admin-guide/cgroup-v2.rst of Linux).
func enabling(group string) (string, error) {
	controllers, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
	if err != nil {
		return "", err
	}
	var enable strings.Builder
	for name := range strings.FieldsSeq(string(controllers)) {
		fmt.Fprintf(&enable, "+%s ", name)
	}
	return enable.String(), nil
}

// passOn has a group pass controllers on to the groups below it.
func passOn(group, controllers string) error {
	err := os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte(controllers), 0o644)
	if err != nil {
		return fmt.Errorf("turn on controllers in %s: %w", group, err)
	}
	return nil
}

// An engine that is about to run something holds a group busy for a moment.
const (
	busyLimit    = 5 * time.Second
	busyInterval = 5 * time.Millisecond
)

// passOnEmptied has a node's root group do so, without the processes in it.
func passOnEmptied(root, controllers string) error {
	group := filepath.Join(root, cgroupRoot)
	own, err := ownGroups(root)
	if err != nil {
		return err
	}
	for began := time.Now(); ; time.Sleep(busyInterval) {
		if own {
			if err := vacate(group); err != nil {
				return err
			}
		}
		err := passOn(group, controllers)
		if !errors.Is(err, syscall.EBUSY) || time.Since(began) > busyLimit {
			return err
		}
	}
}

// ownGroups reports whether the node sees no groups but its own: process 1 is at their
// root, or where systemd has gone from there.
func ownGroups(root string) (bool, error) {
	groups, err := os.ReadFile(filepath.Join(root, "/proc/1/cgroup"))
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(groups)) { // one for each hierarchy of v1 too
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path == "/" || path == "/"+initScope, nil
		}
	}
	return false, nil
}

// vacate moves the processes of a group to systemd's own below it.
func vacate(group string) error {
	processes, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if err != nil {
		return err
	}
	scope := filepath.Join(group, initScope)
	if err := os.MkdirAll(scope, 0o755); err != nil {
		return err
	}
	for process := range strings.FieldsSeq(string(processes)) {
		if process == "0" {
			continue // of another name space, on its way to this one
		}
		err := os.WriteFile(filepath.Join(scope, "cgroup.procs"), []byte(process), 0o644)
		if err != nil && !errors.Is(err, syscall.ESRCH) { // it has ended
			return fmt.Errorf("move process %s to %s: %w", process, scope, err)
		}
	}
	return nil
}
