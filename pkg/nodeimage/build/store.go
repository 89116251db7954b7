package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// preload is a container image that goes into the node image: one layer,
// unpacked already.
type preload struct {
	name  string // "registry.k8s.io/pause:3.10.2"
	short string // directory in the store: "pause"
	files tree
	entry []string // entrypoint
	path  string   // PATH of its processes; empty: none
}

// The snapshotter of the store, and the namespace that CRI uses.
const (
	storeSnapshotter = "overlayfs"
	criNamespace     = "k8s.io"
)

// storeMetadata makes what containerd keeps about the images: its metadata,
// manifests and configs. The layers themselves are not in it, as they are
// unpacked; in the layout of kind they are, compressed, and not unpacked. The
// result is deterministic. scratch is a directory for temporary files.
func storeMetadata(ctx context.Context, list []preload, arch string, layout Layout, scratch string) (tree, []nodeimage.Preloaded, error) {
	s, err := openStore(scratch)
	if err != nil {
		return nil, nil, err
	}
	defer s.Close()
	s.packed = layout == LayoutKind
	// marks the version of the database: containerd would migrate it at boot
	if err := s.db.Init(ctx); err != nil {
		return nil, nil, err
	}
	links := map[string]string{}
	var done []nodeimage.Preloaded
	for _, p := range list {
		one, id, err := s.add(ctx, p, arch)
		if err != nil {
			return nil, nil, fmt.Errorf("preload %s: %w", p.name, err)
		}
		links[id] = p.short
		done = append(done, one)
	}
	if err := s.Close(); err != nil {
		return nil, nil, err
	}
	if s.packed {
		out, err := s.exportPacked()
		return out, done, err
	}
	out, err := s.export()
	if err != nil {
		return nil, nil, err
	}
	table, err := json.MarshalIndent(links, "", "  ")
	if err != nil {
		return nil, nil, err
	}
	out.addBytes(nodeimage.StoreLinks, 0o644, table)
	return out, done, nil
}

// store is a containerd store under construction.
type store struct {
	dir     string
	bolt    *bolt.DB
	db      *metadata.DB
	backend *ledger
	layers  map[digest.Digest]string // the snapshotter's ID of each
	packed  bool                     // layers are blobs, and nothing is unpacked
}

func openStore(scratch string) (*store, error) {
	dir, err := os.MkdirTemp(scratch, "store-")
	if err != nil {
		return nil, err
	}
	return openStoreAt(dir)
}

// openStoreAt opens the store in a directory, or makes one there.
func openStoreAt(dir string) (*store, error) {
	blobs, err := local.NewStore(filepath.Join(dir, "content"))
	if err != nil {
		return nil, err
	}
	backend, err := newLedger(filepath.Join(dir, snapshotsFile))
	if err != nil {
		return nil, err
	}
	db, err := bolt.Open(filepath.Join(dir, metadataFile), 0o644, &bolt.Options{NoSync: true})
	if err != nil {
		return nil, err
	}
	all := map[string]snapshots.Snapshotter{storeSnapshotter: backend}
	return &store{dir: dir, bolt: db, db: metadata.NewDB(db, blobs, all), backend: backend, layers: map[digest.Digest]string{}}, nil
}

// Close closes the databases; it may be called twice.
func (s *store) Close() error {
	return errors.Join(s.bolt.Close(), s.backend.Close())
}

// add records one image, and returns the snapshotter's ID of its layer.
func (s *store) add(ctx context.Context, p preload, arch string) (nodeimage.Preloaded, string, error) {
	var none nodeimage.Preloaded
	ctx = namespaces.WithNamespace(ctx, criNamespace)
	hash := digest.Canonical.Digester()
	counted := &counter{}
	if err := p.files.write(io.MultiWriter(hash.Hash(), counted)); err != nil {
		return none, "", err
	}
	layer := hash.Digest()
	if s.packed {
		return s.addPacked(ctx, p, arch, layer)
	}
	manifest, config, err := p.describe(arch, layer, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: layer, Size: counted.n})
	if err != nil {
		return none, "", err
	}
	target, err := s.addBlobs(ctx, manifest, config,
		map[string]string{"containerd.io/gc.ref.snapshot." + storeSnapshotter: layer.String()}, nil)
	if err != nil {
		return none, "", err
	}
	id, err := s.addSnapshot(ctx, layer)
	if err != nil {
		return none, "", err
	}
	one, err := s.addImage(ctx, p, target)
	return one, id, err
}

// addImage records the image of a manifest.
func (s *store) addImage(ctx context.Context, p preload, target ocispec.Descriptor) (nodeimage.Preloaded, error) {
	_, err := metadata.NewImageStore(s.db).Create(ctx, images.Image{
		Name: p.name, Target: target,
		// as CRI labels what it pulled itself; pinned: never collected
		Labels: pinnedLabels(),
	})
	if err != nil {
		return nodeimage.Preloaded{}, err
	}
	size, err := p.files.size()
	return nodeimage.Preloaded{Name: p.name, Digest: target.Digest.String(), Size: size, Snapshot: p.short}, err
}

func pinnedLabels() map[string]string {
	return map[string]string{"io.cri-containerd.image": "managed", "io.cri-containerd.pinned": "pinned"}
}

// describe makes the image's manifest and config (OCI image spec 1.1).
func (p preload) describe(arch string, diff digest.Digest, layer ocispec.Descriptor) (manifest, config []byte, err error) {
	image := ocispec.Image{
		Created:  &epoch,
		Platform: ocispec.Platform{Architecture: arch, OS: "linux"},
		Config:   ocispec.ImageConfig{Entrypoint: p.entry},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{diff}},
		History:  []ocispec.History{{Created: &epoch, CreatedBy: "petri build node-image"}},
	}
	if p.path != "" {
		image.Config.Env = []string{"PATH=" + p.path}
	}
	config, err = json.Marshal(image)
	if err != nil {
		return nil, nil, err
	}
	m := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers:    []ocispec.Descriptor{layer},
	}
	m.SchemaVersion = 2
	manifest, err = json.Marshal(m)
	return manifest, config, err
}

// addBlobs stores manifest and config, with the labels that keep containerd's
// garbage collector from taking config and what else the labels name.
func (s *store) addBlobs(ctx context.Context, manifest, config []byte, ofConfig, ofManifest map[string]string) (ocispec.Descriptor, error) {
	configDesc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))}
	target := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}
	cs := s.db.ContentStore()
	err := content.WriteBlob(ctx, cs, "config", bytes.NewReader(config), configDesc,
		content.WithLabels(ofConfig))
	if err != nil {
		return target, err
	}
	labels := map[string]string{"containerd.io/gc.ref.content.config": configDesc.Digest.String()}
	maps.Copy(labels, ofManifest)
	return target, content.WriteBlob(ctx, cs, "manifest", bytes.NewReader(manifest), target, content.WithLabels(labels))
}

// addSnapshot records a committed snapshot of one layer, named by its chain
// ID, which for a single layer is its diff ID. Two images may share it.
func (s *store) addSnapshot(ctx context.Context, layer digest.Digest) (string, error) {
	if id, ok := s.layers[layer]; ok {
		return id, nil
	}
	sn := s.db.Snapshotter(storeSnapshotter)
	if _, err := sn.Prepare(ctx, "prepare-"+layer.Encoded(), ""); err != nil {
		return "", err
	}
	if err := sn.Commit(ctx, layer.String(), "prepare-"+layer.Encoded()); err != nil {
		return "", err
	}
	s.layers[layer] = s.backend.last
	return s.backend.last, nil
}

// snapshotID is what the snapshotter calls a snapshot that is there.
func (s *store) snapshotID(ctx context.Context, layer digest.Digest) (id string, err error) {
	err = s.backend.Walk(ctx, func(ctx context.Context, info snapshots.Info) error {
		if strings.HasSuffix(info.Name, "/"+layer.String()) {
			id, _, _, err = storage.GetInfo(ctx, info.Name)
		}
		return err
	})
	return id, err
}

// Where containerd keeps its parts, below its root.
const (
	contentDir  = "io.containerd.content.v1.content"
	metadataDir = "io.containerd.metadata.v1.bolt"
	overlayDir  = "io.containerd.snapshotter.v1." + storeSnapshotter

	metadataPath  = metadataDir + "/meta.db"
	snapshotsPath = overlayDir + "/metadata.db"
)

// The databases of a store under construction, in its directory.
const (
	metadataFile  = "meta.db"
	snapshotsFile = "snapshots.db"
)

// export gives the store's files at their paths in the image.
func (s *store) export() (tree, error) {
	out := newTree()
	root := strings.TrimPrefix(nodeimage.StoreRoot, "/")
	for name, to := range map[string]string{
		metadataFile:  path.Join(root, metadataPath),
		snapshotsFile: path.Join(root, snapshotsPath),
	} {
		data, err := normalise(filepath.Join(s.dir, name))
		if err != nil {
			return nil, err
		}
		out.addBytes(to, 0o644, data)
	}
	blobs := os.DirFS(filepath.Join(s.dir, "content", "blobs"))
	return out, fs.WalkDir(blobs, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(blobs, name)
		if err != nil {
			return err
		}
		out.addBytes(path.Join(root, contentDir, "blobs", name), 0o444, data)
		return nil
	})
}

// ledger is a snapshotter that records snapshots and holds no files: those
// are in the image. It can do what building a store needs, and nothing else.
type ledger struct {
	ms   *storage.MetaStore
	last string // ID of the snapshot committed last
}

func newLedger(path string) (*ledger, error) {
	ms, err := storage.NewMetaStore(path)
	if err != nil {
		return nil, err
	}
	return &ledger{ms: ms}, nil
}

func (l *ledger) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	return nil, l.ms.WithTransaction(ctx, true, func(ctx context.Context) error {
		_, err := storage.CreateSnapshot(ctx, snapshots.KindActive, key, parent, opts...)
		return err
	})
}

func (l *ledger) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	return l.ms.WithTransaction(ctx, true, func(ctx context.Context) error {
		id, err := storage.CommitActive(ctx, key, name, snapshots.Usage{}, opts...)
		l.last = id
		return err
	})
}

func (l *ledger) Stat(ctx context.Context, key string) (info snapshots.Info, err error) {
	err = l.ms.WithTransaction(ctx, false, func(ctx context.Context) error {
		_, info, _, err = storage.GetInfo(ctx, key)
		return err
	})
	return info, err
}

func (l *ledger) Walk(ctx context.Context, fn snapshots.WalkFunc, filters ...string) error {
	return l.ms.WithTransaction(ctx, false, func(ctx context.Context) error {
		return storage.WalkInfo(ctx, fn, filters...)
	})
}

func (l *ledger) Close() error { return l.ms.Close() }

var errLedger = errors.New("the store under construction has no files")

func (l *ledger) Update(context.Context, snapshots.Info, ...string) (snapshots.Info, error) {
	return snapshots.Info{}, errLedger
}
func (l *ledger) Usage(context.Context, string) (snapshots.Usage, error) {
	return snapshots.Usage{}, errLedger
}
func (l *ledger) Mounts(context.Context, string) ([]mount.Mount, error) { return nil, errLedger }
func (l *ledger) View(context.Context, string, string, ...snapshots.Opt) ([]mount.Mount, error) {
	return nil, errLedger
}
func (l *ledger) Remove(context.Context, string) error { return errLedger }
