package container

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
)

// archivist is an engine that has one directory in its containers.
type archivist struct {
	*fakeEngine
	archive []byte
}

func (a *archivist) CopyFromContainer(_ context.Context, _, path string) (io.ReadCloser, container.PathStat, error) {
	if path != "/etc/containerd" {
		return nil, container.PathStat{}, fmt.Errorf("no %s: %w", path, cerrdefs.ErrNotFound)
	}
	return io.NopCloser(bytes.NewReader(a.archive)), container.PathStat{}, nil
}

// TestReadNodeFiles takes what engines send of a directory, and nothing that is
// too much: half of the files would pass for all.
func TestReadNodeFiles(t *testing.T) {
	archive := func(size int) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for _, h := range []tar.Header{
			{Name: "containerd/", Typeflag: tar.TypeDir},
			{Name: "containerd/link", Typeflag: tar.TypeSymlink, Linkname: "/etc/shadow"},
			{Name: "containerd/config.toml", Typeflag: tar.TypeReg, Size: int64(size)},
		} {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = w.Write(bytes.Repeat([]byte("x"), size)) // into memory
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	e := &archivist{fakeEngine: newFakeEngine(), archive: archive(3)}
	p := newProvider(e, docker(), Options{CacheDir: t.TempDir(), Getenv: func(string) string { return "" }})
	got, err := p.ReadNodeFiles(t.Context(), node.Node{Name: "a"}, "/etc/containerd")
	if diff := cmp.Diff(map[string][]byte{"/etc/containerd/config.toml": []byte("xxx")}, got); diff != "" || err != nil {
		t.Errorf("error %v, files (-want +got):\n%s", err, diff)
	}
	if _, err := p.ReadNodeFiles(t.Context(), node.Node{Name: "a"}, "/none"); !errdefs.Is(err, errdefs.ClassNotFound) {
		t.Errorf("no file: %v", err)
	}
	for _, size := range []int{nodeFilesLimit, nodeFilesLimit - 3*512} { // cut in the file, and where it ends
		e.archive = archive(size)
		if _, err := p.ReadNodeFiles(t.Context(), node.Node{Name: "a"}, "/etc/containerd"); err == nil {
			t.Errorf("%d bytes: no error", size)
		}
	}
}
