package container

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"github.com/vbatts/tar-split/tar/asm"
	tarstorage "github.com/vbatts/tar-split/tar/storage"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/image/imagetest"
)

// stored is an image of two layers.
func stored() imagetest.Image {
	return imagetest.Image{Name: "app:1", Layers: [][]byte{
		imagetest.Tar(map[string][]byte{"bin/a": bytes.Repeat([]byte("a"), 5000), "empty": nil}),
		imagetest.Layer("bin/b", []byte("b")),
	}}
}

// dockerRoot is a directory as Docker lays out its storage, with an image.
func dockerRoot(t *testing.T, driver string, img imagetest.Image) string {
	t.Helper()
	root := t.TempDir()
	put := func(data []byte, parts ...string) {
		path := filepath.Join(append([]string{root}, parts...)...)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	put(img.Config(), "image", driver, "imagedb", "content", "sha256", img.ID().Encoded())
	chains := identity.ChainIDs(img.DiffIDs())
	for n, layer := range img.Layers {
		cache := string(rune('x' + n))
		put([]byte(cache), "image", driver, "layerdb", "sha256", chains[n].Encoded(), "cache-id")
		diff := filepath.Join(root, driver, cache, "diff")
		put(recipe(t, layer, diff), "image", driver, "layerdb", "sha256", chains[n].Encoded(), "tar-split.json.gz")
	}
	return root
}

// recipe takes a layer apart: its files go to dir, all else is returned.
func recipe(t *testing.T, layer []byte, dir string) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	r, done, err := asm.NewInputTarStreamWithDone(bytes.NewReader(layer), tarstorage.NewJSONPacker(zip), putter{dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// putter writes the files of a layer, and hashes them as tar-split wants it.
type putter struct{ dir string }

func (p putter) Put(name string, r io.Reader) (int64, []byte, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return 0, nil, err
	}
	path := filepath.Join(p.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
		return 0, nil, err
	}
	return tarstorage.NewDiscardFilePutter().Put(name, bytes.NewReader(data))
}

// Every layer comes out of the storage byte for byte, with its size before.
func TestStorage(t *testing.T) {
	for _, driver := range layeredDrivers {
		t.Run(driver, func(t *testing.T) {
			img := stored()
			e := newFakeEngine()
			e.info.Driver, e.info.DockerRootDir = driver, dockerRoot(t, driver, img)
			found, err := fakeProvider(t, e).OpenImage(t.Context(), img.ID().String())
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(found.Config, img.Config()) || len(found.Layers) != len(img.Layers) {
				t.Fatalf("got %d layers and config %s", len(found.Layers), found.Config)
			}
			for n, l := range found.Layers {
				r, err := l.Open()
				if err != nil {
					t.Fatal(err)
				}
				data, err := io.ReadAll(r)
				if err != nil || !bytes.Equal(data, img.Layers[n]) || l.Size != int64(len(data)) {
					t.Errorf("layer %d: %d bytes of %d, with digest %s (%v)", n, len(data), l.Size, digest.FromBytes(data), err)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// Where the storage cannot be read, or is not what it is to be, there is
// another way: the error says so by its class.
func TestStorageUnavailable(t *testing.T) {
	img := stored()
	const driver = "overlay2"
	for name, spoil := range map[string]func(t *testing.T, e *fakeEngine, root string){
		"another driver": func(_ *testing.T, e *fakeEngine, _ string) { e.info.Driver = "btrfs" },
		"no directory":   func(_ *testing.T, e *fakeEngine, _ string) { e.info.DockerRootDir = "/nonexistent" },
		"another config": func(t *testing.T, _ *fakeEngine, root string) {
			path := filepath.Join(root, "image", driver, "imagedb", "content", "sha256", img.ID().Encoded())
			if err := os.WriteFile(path, []byte("{}"), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"directory elsewhere": func(t *testing.T, _ *fakeEngine, root string) {
			path := filepath.Join(root, "image", driver, "layerdb", "sha256", img.DiffIDs()[0].Encoded(), "cache-id")
			if err := os.WriteFile(path, []byte("../../etc"), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"no recipe": func(t *testing.T, _ *fakeEngine, root string) {
			if err := os.Remove(filepath.Join(root, "image", driver, "layerdb", "sha256", img.DiffIDs()[0].Encoded(), "tar-split.json.gz")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newFakeEngine()
			e.info.Driver, e.info.DockerRootDir = driver, dockerRoot(t, driver, img)
			spoil(t, e, e.info.DockerRootDir)
			if _, err := fakeProvider(t, e).OpenImage(t.Context(), img.ID().String()); !errdefs.Is(err, errdefs.ClassUnavailable) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A file that was changed, or that a link leads out of the layer to, ends the
// archive with an error.
func TestStorageChanged(t *testing.T) {
	img := stored()
	outside := filepath.Join(t.TempDir(), "b")
	if err := os.WriteFile(outside, []byte("b"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(path string) error{
		"changed":  func(path string) error { return os.WriteFile(path, []byte("c"), 0o644) },
		"removed":  os.Remove,
		"link out": func(path string) error { return errors.Join(os.Remove(path), os.Symlink(outside, path)) },
	} {
		t.Run(name, func(t *testing.T) {
			e := newFakeEngine()
			e.info.Driver, e.info.DockerRootDir = "overlay2", dockerRoot(t, "overlay2", img)
			found, err := fakeProvider(t, e).OpenImage(t.Context(), img.ID().String())
			if err != nil {
				t.Fatal(err)
			}
			if err := change(filepath.Join(e.info.DockerRootDir, "overlay2", "y", "diff", "bin", "b")); err != nil {
				t.Fatal(err)
			}
			r, err := found.Layers[1].Open()
			if err != nil {
				t.Fatal(err)
			}
			if data, err := io.ReadAll(r); err == nil {
				t.Errorf("read %d bytes", len(data))
			}
		})
	}
}
