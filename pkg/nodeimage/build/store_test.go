package build

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// twoImages are small images: one with PATH, one with an entrypoint.
func twoImages() []preload {
	pause, etcd := newTree(), newTree()
	pause.addBytes("pause", 0o755, []byte("pause program"))
	etcd.addBytes("usr/local/bin/etcd", 0o755, []byte("etcd"))
	return []preload{
		{name: "registry.k8s.io/pause:3.10.2", short: "pause", files: pause, entry: []string{"/pause"}},
		{name: "registry.k8s.io/etcd:3.6.8-0", short: "etcd", files: etcd, path: defaultPath},
	}
}

func makeStore(t *testing.T, list []preload) (tree, []nodeimage.Preloaded) {
	t.Helper()
	out, preloaded, err := storeMetadata(t.Context(), list, "amd64", LayoutPetri, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return out, preloaded
}

func TestStoreIsDeterministic(t *testing.T) {
	first, _ := makeStore(t, twoImages())
	second, _ := makeStore(t, twoImages())
	diff(t, slices.Sorted(maps.Keys(first)), slices.Sorted(maps.Keys(second)))
	for name, e := range first {
		if e.header.Typeflag == tar.TypeReg && !bytes.Equal(e.data, second[name].data) {
			t.Errorf("%s has other bytes when it is made again", name)
		}
	}
}

// opened is a store as containerd opens it in a node.
type opened struct {
	db     *metadata.DB
	bolt   *bolt.DB
	ledger *ledger
}

// layOut writes a store to disk, as a node does at boot, and opens it.
func layOut(t *testing.T, made tree) opened {
	t.Helper()
	dir := t.TempDir()
	root := strings.TrimPrefix(nodeimage.StoreRoot, "/") + "/"
	for name, e := range made {
		below, ok := strings.CutPrefix(name, root)
		if !ok || e.header.Typeflag != tar.TypeReg {
			continue
		}
		path := filepath.Join(dir, below)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, e.data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	blobs, err := local.NewStore(filepath.Join(dir, contentDir))
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLedger(filepath.Join(dir, overlayDir, "metadata.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	b, err := bolt.Open(filepath.Join(dir, metadataDir, "meta.db"), 0o644, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return opened{db: metadata.NewDB(b, blobs, map[string]snapshots.Snapshotter{storeSnapshotter: l}), bolt: b, ledger: l}
}

func TestContainerdSeesTheImages(t *testing.T) {
	made, preloaded := makeStore(t, twoImages())
	s := layOut(t, made)
	if err := s.db.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx := namespaces.WithNamespace(t.Context(), "k8s.io")
	if _, err := s.db.GarbageCollect(ctx); err != nil { // containerd does at its start
		t.Fatal(err)
	}
	list, err := metadata.NewImageStore(s.db).List(ctx)
	if err != nil || len(list) != 2 {
		t.Fatalf("containerd sees %d images (%v), want 2", len(list), err)
	}
	for _, p := range preloaded {
		image, err := metadata.NewImageStore(s.db).Get(ctx, p.Name)
		if err != nil {
			t.Fatal(err)
		}
		diff(t, map[string]string{"io.cri-containerd.image": "managed", "io.cri-containerd.pinned": "pinned"}, image.Labels)
		if image.Target.Digest.String() != p.Digest || !image.CreatedAt.Equal(epoch) {
			t.Errorf("%s is %s of %s, and %s in the manifest", p.Name, image.Target.Digest, image.CreatedAt, p.Digest)
		}
		checkContent(ctx, t, s, image.Target)
	}
	diff(t, int64(len("pause program")), preloaded[0].Size)
}

// checkContent follows an image from its manifest to its snapshot.
func checkContent(ctx context.Context, t *testing.T, s opened, target ocispec.Descriptor) {
	t.Helper()
	cs := s.db.ContentStore()
	var manifest ocispec.Manifest
	var config ocispec.Image
	readJSON(ctx, t, cs, target, &manifest)
	readJSON(ctx, t, cs, manifest.Config, &config)
	info, err := cs.Info(ctx, target.Digest)
	if err != nil || info.Labels["containerd.io/gc.ref.content.config"] != manifest.Config.Digest.String() {
		t.Errorf("the manifest does not hold its config: %v, %v", info.Labels, err)
	}
	layer := manifest.Layers[0].Digest
	info, err = cs.Info(ctx, manifest.Config.Digest)
	if err != nil || info.Labels["containerd.io/gc.ref.snapshot.overlayfs"] != layer.String() {
		t.Errorf("the config does not hold the snapshot: %v, %v", info.Labels, err)
	}
	if config.Architecture != "amd64" || config.OS != "linux" || config.RootFS.DiffIDs[0] != layer {
		t.Errorf("config %+v", config)
	}
	snapshot, err := s.db.Snapshotter(storeSnapshotter).Stat(ctx, layer.String())
	if err != nil || snapshot.Kind != snapshots.KindCommitted || snapshot.Parent != "" {
		t.Errorf("snapshot %s is %+v, %v", layer, snapshot, err)
	}
}

func readJSON(ctx context.Context, t *testing.T, cs content.Store, d ocispec.Descriptor, into any) {
	t.Helper()
	data, err := content.ReadBlob(ctx, cs, d)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func TestStoreNeedsNoMigration(t *testing.T) {
	made, _ := makeStore(t, twoImages())
	s := layOut(t, made)
	version := func() (v []byte) {
		err := s.bolt.View(func(tx *bolt.Tx) error {
			v = bytes.Clone(tx.Bucket([]byte("v1")).Get([]byte("version")))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	before := version()
	if err := s.db.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	if before == nil || !bytes.Equal(before, version()) {
		t.Errorf("the database is of version %x, and containerd makes it %x", before, version())
	}
}

// links is what links.json holds.
func links(t *testing.T, made tree) map[string]string {
	t.Helper()
	var out map[string]string
	if err := json.Unmarshal([]byte(contentOf(t, made, clean(nodeimage.StoreLinks))), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLinksMatchTheSnapshots(t *testing.T) {
	images := twoImages()
	made, _ := makeStore(t, images)
	s := layOut(t, made)
	ids := map[string]string{} // snapshot ID to the layer that containerd keeps there
	err := s.ledger.ms.WithTransaction(t.Context(), false, func(ctx context.Context) error {
		keys, err := storage.IDMap(ctx)
		for id, key := range keys {
			ids[id] = key[strings.LastIndex(key, "/")+1:]
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	table := links(t, made)
	if len(table) != len(images) || len(ids) != len(images) {
		t.Errorf("links %v, snapshots %v", table, ids)
	}
	for id, short := range table {
		i := slices.IndexFunc(images, func(p preload) bool { return p.short == short })
		if i < 0 {
			t.Fatalf("a link leads to %s, which is no image", short)
		}
		if want := digest.FromBytes(archive(t, images[i].files)).String(); ids[id] != want {
			t.Errorf("snapshot %s is %s to containerd, and %s (%s) on disk", id, ids[id], short, want)
		}
	}
}

func TestImagesMayShareALayer(t *testing.T) {
	images := twoImages()
	images[1].files = images[0].files
	made, preloaded := makeStore(t, images)
	if got := len(links(t, made)); got != 1 {
		t.Errorf("%d snapshots for one layer", got)
	}
	if len(preloaded) != 2 || preloaded[0].Digest == preloaded[1].Digest {
		t.Errorf("preloaded %+v", preloaded)
	}
	s := layOut(t, made)
	ctx := namespaces.WithNamespace(t.Context(), "k8s.io")
	if list, err := metadata.NewImageStore(s.db).List(ctx); err != nil || len(list) != 2 {
		t.Errorf("containerd sees %d images (%v), want 2", len(list), err)
	}
}

func TestStoreNamesTheImageThatFails(t *testing.T) {
	images := twoImages()
	images[1].files.addFile("usr/local/bin/etcd", 0o755, filepath.Join(t.TempDir(), "gone"))
	_, _, err := storeMetadata(t.Context(), images, "amd64", LayoutPetri, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "preload registry.k8s.io/etcd:3.6.8-0") {
		t.Errorf("got %v, want the image", err)
	}
}

func TestNormaliseKeepsContent(t *testing.T) {
	fill := func(path string, order []int) {
		db, err := bolt.Open(path, 0o644, &bolt.Options{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *bolt.Tx) error {
			for _, i := range order {
				b, err := tx.CreateBucketIfNotExists(fmt.Appendf(nil, "bucket-%d", i))
				if err != nil {
					return err
				}
				for _, kv := range [][2]string{{"createdat", path}, {"empty", ""}, {"key", strings.Repeat("x", i*1000)}} {
					if err := b.Put([]byte(kv[0]), []byte(kv[1])); err != nil {
						return err
					}
				}
				if err := b.SetSequence(uint64(i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.db"), filepath.Join(dir, "b.db")
	fill(a, []int{1, 2, 3, 4})
	fill(b, []int{4, 2, 1, 3})
	first, err := normalise(a)
	if err != nil {
		t.Fatal(err)
	}
	second, err := normalise(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("the same content gives other bytes")
	}
	out := filepath.Join(dir, "out.db")
	if err := os.WriteFile(out, first, 0o644); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(out, 0o644, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_ = db.View(func(tx *bolt.Tx) error {
		bucket := tx.Bucket([]byte("bucket-3"))
		if bucket == nil {
			t.Fatal("a bucket is lost")
		}
		if v := bucket.Get([]byte("empty")); v == nil || len(v) != 0 {
			t.Errorf("an empty value became %q", v)
		}
		if len(bucket.Get([]byte("key"))) != 3000 || bucket.Sequence() != 3 {
			t.Errorf("value of %d bytes, sequence %d", len(bucket.Get([]byte("key"))), bucket.Sequence())
		}
		return nil
	})
}
