package nodestore_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/image"
	"github.com/petri-cluster/petri/pkg/image/imagetest"
	"github.com/petri-cluster/petri/pkg/nodestore"
	"github.com/petri-cluster/petri/pkg/nodestore/storetest"
)

// load brings an image to a store by hand, under some names.
func load(t *testing.T, s *nodestore.Store, img imagetest.Image, names ...string) *image.Image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(path, imagetest.Tar(imagetest.Layout(img)), 0o644); err != nil {
		t.Fatal(err)
	}
	src, err := image.OpenArchive(path, image.ForNodes("amd64"), "docker.io/library/app:1")
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	images, err := src.Images()
	if err != nil {
		t.Fatal(err)
	}
	i := images[0]
	i.Names = names
	x, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n, l := range i.Layers {
		if err := x.Receive(t.Context(), image.Blob{Digest: l.Digest, Size: l.Size}, bytes.NewReader(img.Layers[n])); err != nil {
			t.Fatal(err)
		}
		if err := x.Unpack(t.Context(), i, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Record(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	if err := x.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	return i
}

func newStore(t *testing.T) (*storetest.Containerd, *nodestore.Store) {
	t.Helper()
	c, err := storetest.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := c.Store(t.Context(), "node1")
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

const (
	one   = "docker.io/library/app:1"
	two   = "docker.io/library/app:2"
	other = "docker.io/library/other:1"
)

// A name that is deleted goes alone while the image has another one, and takes
// everything with it when it was the last.
func TestDelete(t *testing.T) {
	t.Parallel()
	c, s := newStore(t)
	i := load(t, s, imagetest.Image{Layers: [][]byte{imagetest.Layer("a", []byte("a"))}}, one, two, other)
	sum := i.Target().Digest.String()
	for _, step := range []struct {
		name string
		left []string
	}{
		{one, []string{"docker.io/library/app@" + sum, two, "docker.io/library/other@" + sum, other, i.ID().String()}},
		{two, []string{"docker.io/library/other@" + sum, other, i.ID().String()}},
		{other, nil},
	} {
		if there, err := s.Delete(t.Context(), step.name); err != nil || !there {
			t.Fatalf("delete %s: %v %v", step.name, there, err)
		}
		names, err := c.Names(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(step.left)
		if diff := cmp.Diff(step.left, names); diff != "" {
			t.Errorf("after %s: %s", step.name, diff)
		}
	}
	if there, err := s.Delete(t.Context(), one); there || err != nil {
		t.Errorf("what is not there: %v %v", there, err)
	}
}

func TestDeleteByID(t *testing.T) {
	t.Parallel()
	c, s := newStore(t)
	i := load(t, s, imagetest.Image{Layers: [][]byte{imagetest.Layer("a", []byte("a"))}}, one, other)
	if there, err := s.Delete(t.Context(), i.ID().String()); err != nil || !there {
		t.Fatal(there, err)
	}
	if names, err := c.Names(t.Context()); err != nil || len(names) > 0 {
		t.Errorf("left: %v (%v)", names, err)
	}
}

// What belongs to the node image stays.
func TestPinned(t *testing.T) {
	t.Parallel()
	c, s := newStore(t)
	load(t, s, imagetest.Image{}, one)
	if err := c.Pin(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Delete(t.Context(), one); !errdefs.Is(err, errdefs.ClassUsage) {
		t.Errorf("%v", err)
	}
	list, err := s.List(t.Context())
	if err != nil || len(list) != 1 || !list[0].Pinned {
		t.Errorf("%+v (%v)", list, err)
	}
}

// A name moves from one image to the next.
func TestNameMoves(t *testing.T) {
	t.Parallel()
	_, s := newStore(t)
	load(t, s, imagetest.Image{Layers: [][]byte{imagetest.Layer("a", []byte("a"))}}, one)
	second := load(t, s, imagetest.Image{Layers: [][]byte{imagetest.Layer("b", []byte("b"))}}, one)
	found, err := s.Find(t.Context(), one)
	if err != nil || found == nil || found.ID != second.ID().String() {
		t.Fatalf("%+v (%v)", found, err)
	}
	if got := found.DigestOf(one); got != second.Target().Digest.String() {
		t.Errorf("its digest is %s", got)
	}
}
