package build

import (
	"archive/tar"
	"compress/gzip"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// In kind's layout containerd finds each image with its layer, compressed, and
// keeps all of it when it collects garbage at its start.
func TestPackedStore(t *testing.T) {
	made, preloaded, err := storeMetadata(t.Context(), twoImages(), "amd64", LayoutKind, t.TempDir())
	if err != nil || len(preloaded) != 2 {
		t.Fatalf("%d images, %v", len(preloaded), err)
	}
	root := t.TempDir()
	for name := range made {
		below, ok := strings.CutPrefix(name, packedRoot+"/")
		if !ok || made[name].header.Typeflag != tar.TypeReg {
			continue
		}
		at := filepath.Join(root, below)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(contentOf(t, made, name)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	blobs, err := local.NewStore(filepath.Join(root, contentDir))
	if err != nil {
		t.Fatal(err)
	}
	database, err := bolt.Open(filepath.Join(root, metadataDir, "meta.db"), 0o644, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()
	db := metadata.NewDB(database, blobs, nil)
	ctx := namespaces.WithNamespace(t.Context(), criNamespace)
	if _, err := db.GarbageCollect(ctx); err != nil {
		t.Fatal(err)
	}
	images, err := metadata.NewImageStore(db).List(ctx)
	if err != nil || len(images) != 2 {
		t.Fatalf("%d images, %v", len(images), err)
	}
	for _, image := range images {
		var manifest ocispec.Manifest
		var config ocispec.Image
		readJSON(ctx, t, db.ContentStore(), image.Target, &manifest)
		readJSON(ctx, t, db.ContentStore(), manifest.Config, &config)
		r, err := db.ContentStore().ReaderAt(ctx, manifest.Layers[0])
		if err != nil {
			t.Fatalf("layer of %s: %v", image.Name, err)
		}
		unzipped, err := gzip.NewReader(content.NewReader(r))
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(unzipped)
		if got := digest.FromBytes(data); err != nil || got != config.RootFS.DiffIDs[0] {
			t.Errorf("the layer of %s is %s, %v; want %s", image.Name, got, err, config.RootFS.DiffIDs[0])
		}
	}
}

// An image in kind's layout has what kind's images have, and nothing by which
// petri knows its own.
func TestAssembleAsKind(t *testing.T) {
	in := fakeInputs(t, epoch)
	in.Layout = LayoutKind
	image, _, trees := assemble(t, in)
	config, err := image.ConfigFile()
	if err != nil || len(config.Config.Labels) != 0 || !slices.Equal(config.Config.Entrypoint, []string{nodeimage.EntrypointPath, "/sbin/init"}) {
		t.Errorf("the configuration is %+v, %v", config.Config, err)
	}
	all := newTree()
	for _, tr := range trees {
		all.addTree("", tr)
	}
	for name := range all {
		if strings.HasPrefix(name, "petri/") || "/"+name == nodeimage.HelperPath {
			t.Errorf("there is /%s", name)
		}
	}
	for _, name := range []string{
		"kind/version", "usr/local/bin/etcdctl", "usr/local/bin/entrypoint",
		strings.TrimPrefix(packedHelper, "/"), path.Join(packedRoot, metadataDir, "meta.db"),
	} {
		if all[name] == nil {
			t.Errorf("there is no /%s", name)
		}
	}
}
