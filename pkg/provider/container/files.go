package container

import (
	"archive/tar"
	"bytes"
	"fmt"
	"path"
	"strings"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/provider"
)

// archive is the files as a tar of the node's root. Directories are left to
// the engine, which makes those that are missing with 0755 and leaves the
// modes of the others alone.
func archive(files []provider.File) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		if err := checkFilePath(f.Path); err != nil {
			return nil, err
		}
		mode := int64(f.Mode)
		if mode == 0 {
			mode = 0o644
		}
		header := &tar.Header{
			Typeflag: tar.TypeReg,
			Name:     strings.TrimPrefix(path.Clean(f.Path), "/"),
			Mode:     mode,
			Size:     int64(len(f.Data)),
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("pack file %s: %w", f.Path, err)
		}
		if _, err := w.Write(f.Data); err != nil {
			return nil, fmt.Errorf("pack file %s: %w", f.Path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack files: %w", err)
	}
	return out.Bytes(), nil
}

// checkFilePath refuses places that are empty when a node starts, whatever was
// put there before: a file would be lost without a word.
func checkFilePath(name string) error {
	if !path.IsAbs(name) || path.Clean(name) == "/" {
		return errdefs.New(errdefs.ClassUsage, "FILE-PATH", "put file %q into a node: not the absolute path of a file", name)
	}
	clean := path.Clean(name)
	for _, dir := range []string{"/tmp", "/run", "/var/run", "/var/lock", "/dev", "/proc", "/sys"} {
		if clean == dir || strings.HasPrefix(clean, dir+"/") {
			return errdefs.New(errdefs.ClassUsage, "FILE-PATH",
				"put file %s into a node: %s is empty when the node starts", name, dir)
		}
	}
	return nil
}
