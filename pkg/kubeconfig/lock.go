package kubeconfig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/petri-cluster/petri/pkg/internal/atomicfile"
	"github.com/petri-cluster/petri/pkg/internal/lockfile"
)

// Two locks guard a kubeconfig. One is ours: a kernel lock on a file beside it,
// which excludes other petri processes and cannot outlive its holder. The
// other is client-go's, a file NAME.lock that whoever created it removes
// again; it excludes kubectl. That one does stay behind when its holder is
// killed, and then blocks kubectl, and anyone who plays by the rule, for ever.
// client-go holds it for the milliseconds of one read and one write. So a lock
// file older than staleAge, or one that stood unchanged while we watched it
// for watchTime, which also works when clocks differ, has no holder any more
// and is removed.
const (
	staleAge  = time.Minute
	watchTime = 10 * time.Second
	pollTime  = 20 * time.Millisecond
	lockWait  = 30 * time.Second // for both locks together
)

// lock takes both locks for path, making its directory if needed. It waits
// until ctx ends, or lockWait.
func lock(ctx context.Context, path string) (release func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lockWait,
		fmt.Errorf("other processes kept it locked for %s", lockWait))
	defer cancel()
	target, err := atomicfile.Resolve(path)
	if err != nil {
		return nil, unusable(path, err)
	}
	for _, p := range []string{path, target} {
		if err := os.MkdirAll(filepath.Dir(p), dirMode); err != nil {
			return nil, unusable(path, err)
		}
	}
	unlock, err := lockfile.Acquire(ctx, target+".petri-lock")
	if err != nil {
		return nil, lockError(ctx, path, err)
	}
	// kubectl locks the name it was given: behind a link that may be either.
	names := []string{path + ".lock"}
	if target != path {
		names = append(names, target+".lock")
	}
	for _, name := range names {
		if err := createLock(ctx, name); err != nil {
			unlock()
			return nil, lockError(ctx, path, err)
		}
		next := unlock
		unlock = func() { _ = os.Remove(name); next() }
	}
	return unlock, nil
}

// lockError keeps a cancelled command a cancelled command: the file is not to
// blame for that.
func lockError(ctx context.Context, path string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("lock kubeconfig %s: %w", path, err)
	}
	return unusable(path, err).WithHint("If no other program is changing it, remove %s.lock and try again.", path)
}

// createLock creates client-go's lock file, waiting while another one is there.
func createLock(ctx context.Context, name string) error {
	var seen fs.FileInfo
	var since time.Time
	for {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
		if err == nil {
			return f.Close()
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		info, err := os.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // let go just now
		case err != nil:
			return err
		case !sameLock(seen, info):
			seen, since = info, time.Now()
		}
		if time.Since(info.ModTime()) > staleAge || time.Since(since) >= watchTime {
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove abandoned lock: %w", err)
			}
			continue
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for lock file %s: %w", name, context.Cause(ctx))
		case <-time.After(pollTime):
		}
	}
}

// sameLock says whether two looks at a lock file saw the same holding of it. A
// file system may give a new file the old one's number, so time counts too.
func sameLock(a, b fs.FileInfo) bool {
	return a != nil && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime())
}
