package cluster

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// archiveOf is a tar archive of entries without content.
func archiveOf(entries ...tar.Header) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range entries {
		_ = w.WriteHeader(&h) // into memory
	}
	_ = w.Close()
	return out.Bytes()
}

// FuzzUntar: whatever a node's log directory holds, unpacking it ends and
// nothing outside is written or led to.
func FuzzUntar(f *testing.F) {
	f.Add(archiveOf(tar.Header{Name: "./pods/", Typeflag: tar.TypeDir}, tar.Header{Name: "pods/a.log", Typeflag: tar.TypeReg}))
	f.Add(archiveOf(tar.Header{Name: "../x", Typeflag: tar.TypeReg}, tar.Header{Name: "/x", Typeflag: tar.TypeReg}))
	f.Add(archiveOf(tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: ".."}, tar.Header{Name: "l/x", Typeflag: tar.TypeReg}))
	f.Add(archiveOf(tar.Header{Name: "containers/l", Typeflag: tar.TypeSymlink, Linkname: "/var/log/pods/x"}, tar.Header{Name: "containers/l/y", Typeflag: tar.TypeDir}))
	f.Fuzz(func(t *testing.T, archive []byte) {
		if len(archive) > 1<<16 {
			return // a sparse file of a header's wish is no news
		}
		top := t.TempDir()
		dir := filepath.Join(top, "in")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		_ = untar(bytes.NewReader(archive), root, new(export).unpackFile)
		if outside, err := os.ReadDir(top); err != nil || len(outside) != 1 {
			t.Fatalf("outside there are %v, %v", outside, err)
		}
		err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type() == fs.ModeSymlink {
				target, err := os.Readlink(path)
				if err != nil || filepath.IsAbs(target) || !inside(dir, filepath.Join(filepath.Dir(path), target)) {
					t.Fatalf("%s leads to %s (%v)", path, target, err)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func inside(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}
