// Package atomicfile replaces a file's content so that a reader, or a crash,
// sees either the old content or the new, never a part. It stands on rename
// within one directory and nothing else. It does not lock: two writers at once
// each succeed, and the last one wins (see package lockfile).
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Write makes data the content of path. A file that is there keeps its mode,
// and its owner as far as this process may set one; a new file gets mode. A
// symbolic link is followed: its target is replaced and the link stays. The
// directory must exist. On error the old content is untouched, except on a
// file that is itself a mount point, which can only be written in place.
func Write(path string, data []byte, mode fs.FileMode) error {
	target, err := Resolve(path)
	if err != nil {
		return err
	}
	old, err := os.Stat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !old.Mode().IsRegular():
		return fmt.Errorf("write %s: not a regular file", target)
	default:
		mode = old.Mode().Perm()
	}
	temp, err := writeTemp(target, data, mode, old)
	if err != nil {
		return fmt.Errorf("write %s: %w", target, err)
	}
	err = os.Rename(temp, target)
	if err == nil {
		syncDir(filepath.Dir(target))
		return nil
	}
	_ = os.Remove(temp)
	if errors.Is(err, syscall.EBUSY) {
		// A single file bind-mounted into a container cannot be renamed over.
		return writeInPlace(target, data)
	}
	return err
}

// maxLinks is how many links Resolve follows; Linux gives up at 40 as well.
const maxLinks = 40

// Resolve follows path while its last element is a symbolic link, and returns
// what it ends at. Unlike filepath.EvalSymlinks it works for a target that is
// not there yet. It fails on a loop.
func Resolve(path string) (string, error) {
	for range maxLinks {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			return path, nil
		}
		next, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(next) {
			// The parent may be a link too, where ".." means its target.
			dir, err := filepath.EvalSymlinks(filepath.Dir(path))
			if err != nil {
				return "", err
			}
			next = filepath.Join(dir, next)
		}
		path = next
	}
	return "", fmt.Errorf("follow %s: too many symbolic links", path)
}

// writeTemp puts data, on disk, into a new file beside target, and removes the
// file again if anything fails.
func writeTemp(target string, data []byte, mode fs.FileMode, old fs.FileInfo) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*.tmp")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if old != nil {
		// Best effort: only root may give a file away, and before the mode
		// is opened, so that nobody else reads it in between.
		keepOwner(f, old)
	}
	if err = f.Chmod(mode); err != nil {
		return "", err
	}
	if _, err = f.Write(data); err != nil {
		return "", err
	}
	if err = f.Sync(); err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

func writeInPlace(target string, data []byte) error {
	f, err := os.OpenFile(target, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// syncDir makes the rename itself durable. Not every system can; the content
// is safe either way, so a failure is not the caller's concern.
func syncDir(dir string) {
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	_ = d.Sync()
	_ = d.Close()
}
