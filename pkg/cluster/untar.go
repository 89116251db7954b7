package cluster

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// untar unpacks directories, regular files and links among them below root; the
// archive is of a node's /var/log, where anybody may have written, so nothing
// leaves root. A regular file's content is written by file, in a directory that
// is there.
func untar(r io.Reader, root *os.Root, file func(r io.Reader, root *os.Root, name string) error) error {
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, r) // let the writer end
			return err
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		name := filepath.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeReg:
			if err = root.MkdirAll(filepath.Dir(name), 0o755); err == nil {
				err = file(tr, root, name)
			}
		case tar.TypeSymlink:
			err = unpackLink(root, name, h.Linkname)
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", h.Name, err)
		}
	}
}

// unpackLink makes a link to another log: /var/log/containers holds nothing
// else. A link to any other place is left out.
func unpackLink(root *os.Root, name, target string) error {
	if below, ok := strings.CutPrefix(target, "/var/log/"); ok {
		up, err := filepath.Rel(filepath.Dir(name), below)
		if err != nil {
			return err
		}
		target = up
	}
	if filepath.IsAbs(target) || !filepath.IsLocal(filepath.Join(filepath.Dir(name), target)) {
		return nil
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := root.Symlink(target, name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
