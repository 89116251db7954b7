package imageload_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/image"
	"github.com/petri-cluster/petri/pkg/image/imagetest"
	"github.com/petri-cluster/petri/pkg/imageload"
	"github.com/petri-cluster/petri/pkg/nodestore"
	"github.com/petri-cluster/petri/pkg/nodestore/storetest"
	"github.com/petri-cluster/petri/pkg/progress"
)

const appName = "docker.io/library/app:1"

// fleet are some nodes.
type fleet struct {
	t      *testing.T
	nodes  []*storetest.Containerd
	stores []*nodestore.Store
}

func newFleet(t *testing.T, n int) *fleet {
	t.Helper()
	f := &fleet{t: t}
	for i := range n {
		c, err := storetest.New(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		s, err := c.Store(t.Context(), fmt.Sprintf("node%d", i+1))
		if err != nil {
			t.Fatal(err)
		}
		f.nodes, f.stores = append(f.nodes, c), append(f.stores, s)
	}
	return f
}

// app is an image of a large layer, and a small one that depends on version.
func app(version string) imagetest.Image {
	return imagetest.Image{Name: "app:1", Layers: [][]byte{
		imagetest.Layer("large", bytes.Repeat([]byte("x"), 3<<20)),
		imagetest.Layer("middle", bytes.Repeat([]byte("y"), 1<<20)),
		imagetest.Layer("small", []byte(version)),
	}}
}

// source opens an image, as a file or as it comes through a pipe.
func source(t *testing.T, files map[string][]byte, stream bool) image.Source {
	t.Helper()
	data := imagetest.Tar(files)
	if stream {
		src, err := image.ReadArchive(bytes.NewReader(data), image.ForNodes("amd64"), "")
		if err != nil {
			t.Fatal(err)
		}
		return src
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	src, err := image.OpenArchive(path, image.ForNodes("amd64"), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

func (f *fleet) load(src image.Source, o imageload.Options) (imageload.Result, error) {
	return imageload.Load(f.t.Context(), src, f.stores, o)
}

// mustLoad loads, and returns what was sent to all nodes together.
func (f *fleet) mustLoad(src image.Source, o imageload.Options) int64 {
	f.t.Helper()
	result, err := f.load(src, o)
	if err != nil {
		f.t.Fatal(err)
	}
	var sent int64
	for _, n := range result.Sent {
		sent += n
	}
	return sent
}

// has checks that a node has the image, under its tag and its digest, and that
// nothing is held there but what it needs.
func (f *fleet) has(n int, img imagetest.Image, target digest.Digest) {
	f.t.Helper()
	found, err := f.stores[n].Find(f.t.Context(), appName)
	if err != nil || found == nil || found.ID != img.ID().String() {
		f.t.Fatalf("node %d: %+v (%v), want %s", n+1, found, err, img.ID())
	}
	if want := "docker.io/library/app@" + target.String(); target != "" && !slices.Contains(found.Digests, want) {
		f.t.Errorf("node %d has not %s: %v", n+1, want, found.Digests)
	}
	has, err := f.stores[n].Has(f.t.Context(), appName, img.ID().String(), img.DiffIDs())
	if err != nil || !has {
		f.t.Errorf("node %d: the image is not unpacked (%v)", n+1, err)
	}
	blobs, err := f.nodes[n].Blobs(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	for _, d := range img.DiffIDs() {
		if slices.Contains(blobs, d) {
			f.t.Errorf("node %d keeps layer %s, which is unpacked", n+1, d)
		}
	}
}

// Every node gets what it lacks, once, from a file and from a pipe: everything,
// then nothing, then one layer.
func TestOnlyWhatIsMissing(t *testing.T) {
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprintf("stream=%v", stream), func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3)
			load := func(version string) int64 {
				o := imageload.Options{}
				if stream { // as an engine says it beforehand
					o.DiffIDs = app(version).DiffIDs()
				}
				return f.mustLoad(source(t, imagetest.Layout(app(version)), stream), o)
			}
			if sent := load("1"); sent != 3*layersSize(app("1")) {
				t.Errorf("first: %d bytes, want %d", sent, 3*layersSize(app("1")))
			}
			if sent := load("1"); sent != 0 {
				t.Errorf("again: %d bytes", sent)
			}
			if sent, want := load("2"), int64(3*len(app("2").Layers[2])); sent != want {
				t.Errorf("with another last layer: %d bytes, want %d", sent, want)
			}
			for n := range f.nodes {
				f.has(n, app("2"), digest.FromBytes(app("2").Manifest()))
				if unpacked := f.nodes[n].Unpacked(); unpacked != 4 {
					t.Errorf("node %d unpacked %d layers, want 4", n+1, unpacked)
				}
			}
		})
	}
}

func layersSize(img imagetest.Image) (total int64) {
	for _, l := range img.Layers {
		total += int64(len(l))
	}
	return total
}

// A pipe of which nothing is known brings its image, too.
func TestUnknownStream(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string][]byte{"saved": app("1").Saved(), "layout": imagetest.Layout(app("1"))} {
		f := newFleet(t, 1)
		if sent := f.mustLoad(source(t, files, true), imageload.Options{}); sent != layersSize(app("1")) {
			t.Errorf("%s: %d bytes", name, sent)
		}
		f.has(0, app("1"), "")
	}
}

// A node that lacks less gets less.
func TestNodesDiffer(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	both := f.stores
	f.stores = both[:1]
	f.mustLoad(source(t, app("1").Saved(), false), imageload.Options{})
	f.stores = both
	result, err := f.load(source(t, app("2").Saved(), false), imageload.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if small := int64(len(app("2").Layers[2])); result.Sent["node1"] != small || result.Sent["node2"] != layersSize(app("2")) {
		t.Errorf("sent %v", result.Sent)
	}
}

// Layers that are packed arrive as they are, and are found unpacked next time.
func TestPackedLayers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	img := app("1")
	img.Gzip = true
	f.mustLoad(source(t, imagetest.Layout(img), false), imageload.Options{})
	f.has(0, img, digest.FromBytes(img.Manifest()))
	if sent := f.mustLoad(source(t, imagetest.Layout(img), false), imageload.Options{}); sent != 0 {
		t.Errorf("again: %d bytes", sent)
	}
	// an engine gives the same layers as they are
	if sent := f.mustLoad(source(t, app("1").Saved(), false), imageload.Options{}); sent != 0 {
		t.Errorf("unpacked: %d bytes", sent)
	}
}

// A pipe with packed layers, as from an engine that keeps images in containerd:
// those that were seen before are known again, though nodes do not keep them.
func TestPackedStream(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	for n, version := range []string{"1", "2", "2"} {
		img := app(version)
		img.Gzip = true
		sent := f.mustLoad(source(t, imagetest.Layout(img), true), imageload.Options{DiffIDs: img.DiffIDs()})
		last := int64(len(imagetest.Gzip(img.Layers[2])))
		if want := []int64{sent, 2 * last, 0}[n]; sent != want || n == 0 && sent <= 2*last {
			t.Errorf("load %d: %d bytes, want %d", n+1, sent, want)
		}
		f.has(1, img, digest.FromBytes(img.Manifest()))
	}
}

// The node on which a write fails is named; the others have the image.
func TestOneNodeFails(t *testing.T) {
	for name, c := range map[string]struct {
		err error
		id  string
	}{
		"disk full": {fmt.Errorf("write ingest: %w", syscall.ENOSPC), "NODE-DISK-FULL"},
		"broken":    {errors.New("it broke"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3)
			f.nodes[1].OnWrite(func(total int64) error {
				if total > 2<<20 {
					return c.err
				}
				return nil
			})
			result, err := f.load(source(t, app("1").Saved(), false), imageload.Options{})
			if err == nil || !strings.Contains(err.Error(), "node node2: ") || strings.Contains(err.Error(), "node1") {
				t.Fatalf("error %v", err)
			}
			if e, ok := errors.AsType[*errdefs.Error](err); c.id != "" && (!ok || e.ID != c.id) {
				t.Errorf("error %v, want %s", err, c.id)
			}
			if len(result.Sent) != 2 {
				t.Errorf("sent to %v", result.Sent)
			}
			f.has(0, app("1"), "")
			f.has(2, app("1"), "")
			f.nothing(1)
			// it can be done again
			f.nodes[1].OnWrite(nil)
			f.mustLoad(source(t, app("1").Saved(), false), imageload.Options{})
			f.has(1, app("1"), "")
		})
	}
}

// nothing checks that a node has no name and no content of a failed load.
func (f *fleet) nothing(n int) {
	f.t.Helper()
	names, err := f.nodes[n].Names(f.t.Context())
	if err != nil || len(names) > 0 {
		f.t.Errorf("node %d has names %v (%v)", n+1, names, err)
	}
	blobs, err := f.nodes[n].Blobs(f.t.Context())
	if err != nil || len(blobs) > 0 {
		f.t.Errorf("node %d keeps %v (%v)", n+1, blobs, err)
	}
}

// An image whose content is not what it says gets no name on any node, and one
// that was there before keeps its own.
func TestBrokenSource(t *testing.T) {
	img := app("2")
	layer := "blobs/sha256/" + img.DiffIDs()[2].Encoded()
	wrong := imagetest.Layout(img)
	wrong[layer] = bytes.Repeat([]byte{'z'}, len(wrong[layer]))
	lying := img.Saved()
	for name, data := range lying {
		if strings.HasSuffix(name, "/layer.tar") && bytes.Equal(data, img.Layers[2]) {
			lying[name] = bytes.Repeat([]byte{'z'}, len(data))
		}
	}
	for name, src := range map[string]func(*testing.T) image.Source{
		"layout": func(t *testing.T) image.Source { return source(t, wrong, false) },
		"stream": func(t *testing.T) image.Source { return source(t, wrong, true) },
		"saved":  func(t *testing.T) image.Source { return source(t, lying, false) },
		"cut": func(t *testing.T) image.Source {
			data := imagetest.Tar(img.Saved())
			src, err := image.ReadArchive(bytes.NewReader(data[:len(data)/2]), image.ForNodes("amd64"), "")
			if err != nil {
				t.Fatal(err)
			}
			return src
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 2)
			f.mustLoad(source(t, app("1").Saved(), false), imageload.Options{})
			_, err := f.load(src(t), imageload.Options{})
			if e, ok := errors.AsType[*errdefs.Error](err); !ok || e.ID != "IMAGE-BROKEN" {
				t.Fatalf("error %v", err)
			}
			for n := range f.nodes {
				f.has(n, app("1"), "")
				names, err := f.nodes[n].Names(t.Context())
				if err != nil || len(names) != 3 { // tag, digest, ID
					t.Errorf("node %d has names %v (%v)", n+1, names, err)
				}
			}
		})
	}
}

// When all nodes have failed the source is not read on.
func TestNobodyLeft(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	for _, n := range f.nodes {
		n.OnWrite(func(int64) error { return errors.New("it broke") })
	}
	for _, stream := range []bool{false, true} {
		_, err := f.load(source(t, app("1").Saved(), stream), imageload.Options{})
		if err == nil || !strings.Contains(err.Error(), "node1") || !strings.Contains(err.Error(), "node2") {
			t.Errorf("stream=%v: error %v", stream, err)
		}
	}
}

// An interrupted load leaves no name, and frees what it brought.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	f.nodes[0].OnWrite(func(total int64) error {
		if total > 1<<20 {
			cancel()
		}
		return nil
	})
	_, err := imageload.Load(ctx, source(t, app("1").Saved(), false), f.stores, imageload.Options{})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	f.nothing(0)
}

// Two loads at once do not get into each other's way.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	var all sync.WaitGroup
	for range 2 {
		src := source(t, app("1").Saved(), false)
		all.Go(func() {
			if _, err := f.load(src, imageload.Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	f.has(0, app("1"), "")
}

// Progress names each node with its bytes, and ends.
func TestProgress(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	r := progress.NewRecorder()
	f.mustLoad(source(t, app("1").Saved(), false), imageload.Options{Title: "Loading app:1", Reporter: r})
	events := r.Events()
	if first, last := events[0], events[len(events)-1]; first.Title != "Loading app:1" || last.Status != progress.Done {
		t.Errorf("%+v", events)
	}
	var said string
	for _, e := range events {
		said += e.Message + "\n"
	}
	if !strings.Contains(said, "node1 ") || !strings.Contains(said, "/4.2 MB") || !strings.Contains(said, "node2 ") {
		t.Errorf("said %q", said)
	}
}
