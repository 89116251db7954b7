// Package lockfile is a lock between processes, and between goroutines, that
// the kernel lets go of when its holder dies, so that it never has to be
// cleaned up. It stands on flock. The file names the holder for the benefit of
// error messages; its being there says nothing, and holders remove it.
package lockfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// poll is how often a waiter tries again. Locks are either held for a few
// milliseconds or for minutes, so there is nothing to tune.
const poll = 20 * time.Millisecond

// Acquire waits until the lock at path is free and takes it. The directory is
// made if needed. When ctx ends first, the error wraps its cause, is of class
// timeout if that was a deadline, and says which process holds the lock. Call
// release once.
func Acquire(ctx context.Context, path string) (release func(), err error) {
	for {
		release, err := try(path)
		if release != nil || err != nil {
			return release, err
		}
		select {
		case <-ctx.Done():
			return nil, gaveUp(ctx, path)
		case <-time.After(poll):
		}
	}
}

// TryAcquire takes the lock at path if it is free. If it is not, the error is
// of class exists with ID LOCKED and says which process holds it. The
// directory is made if needed. Call release once.
func TryAcquire(path string) (release func(), err error) {
	release, err = try(path)
	if release == nil && err == nil {
		return nil, errdefs.New(errdefs.ClassExists, "LOCKED", "%s is locked%s", path, heldBy(path)).
			WithHint("wait until that process has ended: the lock ends with it")
	}
	return release, err
}

func gaveUp(ctx context.Context, path string) error {
	cause := context.Cause(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errdefs.New(errdefs.ClassTimeout, "LOCKED", "wait for lock %s%s: %w", path, heldBy(path), cause)
	}
	return fmt.Errorf("wait for lock %s%s: %w", path, heldBy(path), cause)
}

// try returns neither a release nor an error when somebody else has the lock.
func try(path string) (release func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	lock := flock.New(path)
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if !ok {
		return nil, nil
	}
	// The holder before us may have removed the file between our opening it
	// and our locking it: then ours is the lock of a file nobody else finds.
	if !current(lock, path) {
		return nil, lock.Close()
	}
	sign(path)
	return func() {
		// First the name, then the lock: the other way round we could
		// remove the file of the next holder.
		_ = os.Remove(path)
		_ = lock.Close()
	}, nil
}

func current(lock *flock.Flock, path string) bool {
	mine, err := lock.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(mine, there)
}

// sign writes who we are into the file, for heldBy: the process, the machine and
// the command, a line each. Where a lock also keeps its holder from writing, the
// file stays empty.
func sign(path string) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return
	}
	host, _ := os.Hostname() // without it a part of a sentence is missing
	_, _ = fmt.Fprintf(f, "%d\n%s\n%s\n", os.Getpid(), host, command())
	_ = f.Close()
}

// commandLength bounds how much of a command errors quote.
const commandLength = 120

// command is this process's command line, in one line.
func command() string {
	args := slices.Clone(os.Args)
	args[0] = filepath.Base(args[0])
	line := strings.Join(strings.Fields(strings.Join(args, " ")), " ")
	return line[:min(len(line), commandLength)]
}

func heldBy(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := append(strings.Split(string(data), "\n"), "", "")
	pid, err := strconv.Atoi(lines[0])
	if err != nil || pid <= 0 {
		return ""
	}
	who := fmt.Sprintf(", held by process %d", pid)
	if lines[1] != "" {
		who += " on " + lines[1]
	}
	if lines[2] != "" {
		who += ": " + lines[2]
	}
	return who
}
