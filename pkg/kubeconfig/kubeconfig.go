// Package kubeconfig puts a cluster's entries into the user's kubeconfig and
// takes them out again. Everything else in the file stays as it was, byte for
// byte where the file allows: comments, order, line ends, fields nobody here
// knows. It stands on a YAML parser, shares client-go's lock so that kubectl
// may run at the same time, and replaces files atomically. It is not an API
// client, and it does not decide what is a good file to write to beyond
// kubectl's own rules.
package kubeconfig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/internal/atomicfile"
)

const (
	fileMode = 0o600 // a kubeconfig holds keys
	dirMode  = 0o700
)

// unusableID marks every error about a kubeconfig that cannot be used as it is.
const unusableID = "KUBECONFIG-UNUSABLE"

// Merge puts the entry's cluster, user and context into the file at path,
// replacing those of the same name in place, and makes its context the current
// one. The file and its directory are made if needed (0600, 0700); a file that
// is there keeps its mode and, where possible, its owner. It waits for other
// writers, bounded by ctx and by half a minute. On error the file is untouched;
// an error of class usage with ID KUBECONFIG-UNUSABLE means that a person must
// look at the file.
func Merge(ctx context.Context, path string, e Entry) error {
	if err := e.check(); err != nil {
		return fmt.Errorf("merge into kubeconfig %s: %w", path, err)
	}
	_, err := edit(ctx, path, func(old []byte) ([]byte, error) { return add(old, e) })
	return err
}

// Remove takes the cluster, user and context called name out of every file in
// paths, and blanks current-context where it was name. Files that are missing,
// or hold nothing of that name, are not touched. It goes on after an error and
// returns all of them joined; changed says whether any file was written.
func Remove(ctx context.Context, paths []string, name string) (changed bool, err error) {
	var errs []error
	for _, path := range paths {
		done, err := removeFrom(ctx, path, name)
		changed = changed || done
		errs = append(errs, err)
	}
	return changed, errors.Join(errs...)
}

func removeFrom(ctx context.Context, path, name string) (bool, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, unusable(path, err)
	}
	// First without the lock: no reason to write beside a file, perhaps in a
	// directory that is not ours, which has nothing to do with the cluster.
	next, err := drop(content, name)
	if err != nil && !bytes.Contains(content, []byte(name)) {
		return false, nil // broken, but not our business
	}
	if err == nil && bytes.Equal(next, content) {
		return false, nil
	}
	return edit(ctx, path, func(old []byte) ([]byte, error) { return drop(old, name) })
}

// Probe tries everything Merge will need, before minutes of work
// depend on it: the directory can be made, the file parses and can be written,
// the lock can be had. It may make the directory but never changes the file.
// The error is of class usage with ID KUBECONFIG-UNUSABLE and has a hint.
func Probe(ctx context.Context, path string) error {
	_, err := edit(ctx, path, func(old []byte) ([]byte, error) {
		if _, err := add(old, probeEntry); err != nil {
			return nil, err
		}
		return old, probeWritable(path)
	})
	return err
}

// probeEntry only has to be well formed: it is never written.
var probeEntry = Entry{Name: "petri-probe", Server: "https://127.0.0.1:6443"}

// probeWritable finds out whether a file can be put beside the target, which
// is how Write replaces it.
func probeWritable(path string) error {
	target, err := atomicfile.Resolve(path)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*.tmp")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// edit replaces the content of path by what change makes of it, under the
// lock. A missing file is empty content. An unchanged content is not written.
func edit(ctx context.Context, path string, change func([]byte) ([]byte, error)) (bool, error) {
	if err := checkFile(path); err != nil {
		return false, err
	}
	release, err := lock(ctx, path)
	if err != nil {
		return false, err
	}
	defer release()
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, unusable(path, err)
	}
	next, err := change(old)
	if err != nil {
		return false, unusable(path, err)
	}
	if bytes.Equal(old, next) {
		return false, nil
	}
	if err := atomicfile.Write(path, next, fileMode); err != nil {
		return false, unusable(path, err)
	}
	return true, nil
}

// checkFile looks at what is at path, if anything.
func checkFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return unusable(path, err)
	case !info.Mode().IsRegular():
		return unusable(path, errors.New("it is not a regular file"))
	case info.Mode().Perm()&0o222 == 0:
		// A rename would get round the mode, and root is not held by it at
		// all, but somebody meant it.
		return readOnly(path, errors.New("it is read-only"))
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return readOnly(path, err)
	}
	return f.Close()
}

func readOnly(path string, err error) error {
	return unusable(path, err).WithHint("Make it writable (chmod u+w %s), or name another file with --kubeconfig or KUBECONFIG.", path)
}

func unusable(path string, err error) *errdefs.Error {
	return errdefs.New(errdefs.ClassUsage, unusableID, "kubeconfig %s cannot be used: %w", path, err).
		WithHint("Repair or move the file, or name another one with --kubeconfig or KUBECONFIG.")
}
