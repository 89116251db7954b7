package nodestore_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/image"
	"github.com/petri-cluster/petri/pkg/image/imagetest"
)

// An image whose files somebody puts in place is there like one that came in
// layers, and is a part of the node image.
func TestPlace(t *testing.T) {
	t.Parallel()
	c, s := newStore(t)
	img := imagetest.Image{Layers: [][]byte{imagetest.Layer("a", []byte("a")), imagetest.Layer("b", []byte("b"))}}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(path, imagetest.Tar(imagetest.Layout(img)), 0o644); err != nil {
		t.Fatal(err)
	}
	src, err := image.OpenArchive(path, image.ForNodes("amd64"), one)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	images, err := src.Images()
	if err != nil {
		t.Fatal(err)
	}
	i := images[0]
	broken := errors.New("no space")
	for _, failure := range []error{broken, nil, nil} { // the second time it is there
		x, err := s.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		x.Pinned = true
		err = x.Place(t.Context(), i, func(dir string) error {
			if !strings.HasPrefix(dir, "/snapshots/") {
				t.Errorf("the files go to %q", dir)
			}
			return failure
		})
		if !errors.Is(err, failure) {
			t.Errorf("%v, want %v", err, failure)
		}
		if err == nil {
			err = x.Record(t.Context(), i)
		}
		if err = errors.Join(err, x.End(t.Context())); failure == nil && err != nil {
			t.Fatal(err)
		}
		has, err := s.Has(t.Context(), one, i.ID().String(), i.DiffIDs())
		if err != nil || has != (failure == nil) {
			t.Errorf("after %v the image is there: %t (%v)", failure, has, err)
		}
	}
	if c.Unpacked() != 0 {
		t.Errorf("%d layers were unpacked", c.Unpacked())
	}
	if _, err := s.Delete(t.Context(), one); !errdefs.Is(err, errdefs.ClassUsage) {
		t.Errorf("a part of the node image can be deleted: %v", err)
	}
}
