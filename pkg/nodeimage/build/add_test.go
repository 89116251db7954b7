package build

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/platforms"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/image"
	"github.com/petri-cluster/petri/pkg/image/imagetest"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// nodeFiles are the files of a node image with two preloaded images.
func nodeFiles(t *testing.T) map[string][]byte {
	t.Helper()
	made, preloaded := makeStore(t, twoImages())
	files := map[string][]byte{}
	for name, e := range made {
		if e.header.Typeflag == tar.TypeReg {
			files["/"+name] = e.data
		}
	}
	manifest, err := json.Marshal(nodeimage.Manifest{Architecture: "amd64", Images: preloaded})
	if err != nil {
		t.Fatal(err)
	}
	files[nodeimage.ManifestPath] = manifest
	return files
}

func reader(files map[string][]byte) func(context.Context, string) ([]byte, error) {
	return func(_ context.Context, path string) ([]byte, error) {
		data, ok := files[path]
		if !ok {
			return nil, fmt.Errorf("no file %s", path)
		}
		return data, nil
	}
}

// added adds images, and returns the files that come out.
func added(t *testing.T, files map[string][]byte, list ...imagetest.Image) (tree, error) {
	t.Helper()
	o := AddOptions{Read: reader(files), Scratch: t.TempDir()}
	for i, img := range list {
		path := filepath.Join(o.Scratch, fmt.Sprint(i))
		if err := os.WriteFile(path, imagetest.Tar(img.Saved()), 0o644); err != nil {
			t.Fatal(err)
		}
		full, err := image.FullName(img.Name)
		if err != nil {
			t.Fatal(err)
		}
		o.Archives = append(o.Archives, Archive{Path: path, Name: full})
	}
	var out bytes.Buffer
	if err := AddImages(t.Context(), o, &out); err != nil {
		return nil, err
	}
	return readTar(&out, t.TempDir())
}

// The new files make a store with all images, in which the added one is
// unpacked as its layers together make it.
func TestAddImages(t *testing.T) {
	files := nodeFiles(t)
	app := imagetest.Image{Name: "app:1", Layers: [][]byte{
		imagetest.Tar(map[string][]byte{"bin/app": []byte("old"), "etc/gone": []byte("x")}),
		imagetest.Tar(map[string][]byte{"bin/app": []byte("new"), "etc/.wh.gone": nil}),
	}}
	made, err := added(t, files, app)
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range made {
		if e.header.Typeflag == tar.TypeReg {
			files["/"+name] = e.data
		}
	}
	var links map[string]string
	if err := json.Unmarshal(files[nodeimage.StoreLinks], &links); err != nil {
		t.Fatal(err)
	}
	if len(links) != 3 {
		t.Errorf("links are %v", links)
	}
	all := newTree()
	for name, data := range files {
		all.addBytes(name, 0o644, data)
	}
	s := layOut(t, all)
	ctx := namespaces.WithNamespace(t.Context(), criNamespace)
	list, err := metadata.NewImageStore(s.db).List(ctx)
	if err != nil || len(list) != 4 { // two, and one by tag and digest
		t.Fatalf("images are %v (%v)", list, err)
	}
	i, err := metadata.NewImageStore(s.db).Get(ctx, "docker.io/library/app:1")
	if err != nil || i.Labels["io.cri-containerd.pinned"] != "pinned" {
		t.Fatalf("%+v (%v)", i, err)
	}
	config, err := images.Config(ctx, s.db.ContentStore(), i.Target, platforms.All)
	if err != nil || config.Digest != app.ID() {
		t.Errorf("the image is %s, want %s (%v)", config.Digest, app.ID(), err)
	}
	chain := image.ChainIDs(app.DiffIDs())
	if info, err := s.db.Snapshotter(storeSnapshotter).Stat(ctx, chain[len(chain)-1].String()); err != nil || info.Parent != "" {
		t.Errorf("snapshot %+v (%v)", info, err)
	}
	checkFlat(t, files)
	checkList(t, files, i.Target.Digest.String())
}

// checkFlat wants the files of both layers as one.
func checkFlat(t *testing.T, files map[string][]byte) {
	t.Helper()
	var have []string
	for name, data := range files {
		if _, below, ok := strings.Cut(name, "/snapshots/added-"); ok {
			_, below, _ = strings.Cut(below, "/")
			have = append(have, below+"="+string(data))
		}
	}
	diff(t, []string{"fs/bin/app=new"}, have)
}

func checkList(t *testing.T, files map[string][]byte, digest string) {
	t.Helper()
	var m nodeimage.Manifest
	if err := json.Unmarshal(files[nodeimage.ManifestPath], &m); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(m.Images, func(p nodeimage.Preloaded) bool {
		return p.Name == "docker.io/library/app:1" && p.Digest == digest && p.Size == 3
	}) {
		t.Errorf("the list is %+v", m.Images)
	}
}

func TestAddImagesRefuses(t *testing.T) {
	app := imagetest.Image{Name: "app:1", Layers: [][]byte{imagetest.Layer("a", []byte("a"))}}
	foreign := app
	foreign.Arch = "arm64"
	if _, err := added(t, nodeFiles(t), foreign); !errdefs.Is(err, errdefs.ClassNotFound) || !strings.Contains(err.Error(), "linux/amd64") {
		t.Errorf("another architecture: %v", err)
	}
	if _, err := added(t, map[string][]byte{}, app); !errdefs.Is(err, errdefs.ClassUsage) {
		t.Errorf("no image of petri's: %v", err)
	}
	broken := AddOptions{Read: reader(nodeFiles(t)), Scratch: t.TempDir(), Archives: []Archive{{Path: "none", Name: "docker.io/library/app:1"}}}
	if err := AddImages(t.Context(), broken, io.Discard); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("no archive: %v", err)
	}
}
