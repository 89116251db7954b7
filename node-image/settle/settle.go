// Package settle makes a node that is up cheap to keep. It tells the kernel that
// the timers of the control plane and the kubelet need no precision, and gives back memory in
// which files are kept that were only read while the node was made. Both are
// done again from time to time: a static pod may have been started anew. It runs
// inside a node and decides nothing that a pod could notice.
package settle

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// Run does it to the node whose file system is at root.
func Run(root string) error {
	errs := []error{slacken(root)}
	if own, err := ownPages(root); err != nil {
		errs = append(errs, err)
	} else if own {
		errs = append(errs, release(root, forget))
	}
	return errors.Join(errs...)
}

// How late a sleep of a program may end when the processor has nothing else to do,
// in nanoseconds. Go programs wake up for each of their timers alone, and for a look
// after each waking; the control plane has hundreds a second, of queues that count
// what they hold and of loops that ask each tenth of a second. What is due within
// this time of each other becomes one waking.
const (
	patient = "100000000" // few requests wait for a timer
	brisk   = "20000000"  // several short waits come one after the other
)

// slack is by the names that the kernel knows processes by: at most 15 characters.
var slack = map[string]string{
	etcd:              brisk,
	"kube-apiserver":  patient,
	"kube-controller": patient,
	"kube-scheduler":  patient,
	kubelet:           brisk,
}

// A member of etcd counts ticks until it takes its leader for dead. One that is alone
// has nobody to wait for.
const (
	etcd  = "etcd"
	alone = "--heartbeat-interval=" + nodeimage.LoneEtcdHeartbeat
)

// kubelet is the node's own, which no container has. It has precise timers while
// the node starts: it takes many short waits then.
const kubelet = "kubelet"

// slacken gives the threads of the control plane and the kubelet their slack.
// Threads that they start inherit it, and what others run does not.
func slacken(root string) error {
	statuses, err := filepath.Glob(filepath.Join(root, "/proc/[0-9]*/status"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range statuses {
		status, err := os.ReadFile(path)
		if err != nil {
			continue // it ended
		}
		name := ofNode(status)
		late, ok := slack[name]
		if !ok {
			continue
		}
		if name == etcd && isAlone(filepath.Dir(path)) {
			late = patient
		}
		threads, err := os.ReadDir(filepath.Join(filepath.Dir(path), "task"))
		if err != nil {
			continue
		}
		for _, thread := range threads {
			// each thread has a directory of its own there, though none is listed
			at := filepath.Join(root, "/proc", thread.Name(), "timerslack_ns")
			if err := os.WriteFile(at, []byte(late), 0); !gone(err) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// gone reports whether a thread has ended, which is no error.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

// isAlone reports whether the etcd with that directory of /proc has no peers.
func isAlone(process string) bool {
	cmdline, err := os.ReadFile(filepath.Join(process, "cmdline"))
	return err == nil && slices.Contains(strings.Split(string(cmdline), "\x00"), alone)
}

// ofNode reads a process's status and returns the name of the node's kubelet, or of
// the first process of a container of this node and not of a node within it. For
// others it returns nothing.
func ofNode(status []byte) (name string) {
	var ids []string
	for line := range bytes.Lines(status) {
		key, value, _ := strings.Cut(string(line), ":")
		switch key {
		case "Name":
			name = strings.TrimSpace(value)
		case "NSpid":
			ids = strings.Fields(value)
		}
	}
	if name == kubelet && len(ids) == 1 || name != kubelet && len(ids) == 2 && ids[1] == "1" {
		return name
	}
	return ""
}

// programDirs are where the programs and libraries of a node are.
var programDirs = []string{"usr", "opt", "petri/store"}

// release calls on for every program and library of the node.
func release(root string, on func(*os.File) error) error {
	var errs []error
	for _, dir := range programDirs {
		errs = append(errs, filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || err == nil && !d.Type().IsRegular() {
				return nil
			}
			if err != nil {
				return err
			}
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			return errors.Join(on(f), f.Close())
		}))
	}
	return errors.Join(errs...)
}

// forget lets the kernel drop the pages of a file that no process has mapped.
func forget(f *os.File) error {
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// ownPages reports whether the node has page cache of its own, as it does on a
// file system in user space. Elsewhere nodes share the pages of their image, and
// the next one that is made needs them.
func ownPages(root string) (bool, error) {
	var at unix.Statfs_t
	if err := unix.Statfs(root, &at); err != nil {
		return false, &fs.PathError{Op: "statfs", Path: root, Err: err}
	}
	return at.Type == unix.FUSE_SUPER_MAGIC, nil
}
