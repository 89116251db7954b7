// Package storetest is containerd's image store in the process of a test:
// containerd's own databases and rules of garbage collection, on a directory,
// with snapshots that hold no files. Layers are read and checked when they are
// unpacked, and thrown away. Writes can be made to fail.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"

	"github.com/petri-cluster/petri/pkg/nodestore"
)

// Snapshotter is the only one.
const Snapshotter = "overlayfs"

// Containerd is the store of one node. Use New. It is safe for concurrent use.
type Containerd struct {
	db      *metadata.DB
	bolt    *bolt.DB
	ledger  *ledger
	written atomic.Int64
	unpacks atomic.Int64

	mu      sync.Mutex
	onWrite func(total int64) error
}

// New makes a store in a directory, which must be there.
func New(dir string) (*Containerd, error) {
	blobs, err := local.NewStore(filepath.Join(dir, "content"))
	if err != nil {
		return nil, err
	}
	ms, err := storage.NewMetaStore(filepath.Join(dir, "snapshots.db"))
	if err != nil {
		return nil, err
	}
	db, err := bolt.Open(filepath.Join(dir, "meta.db"), 0o644, &bolt.Options{NoSync: true})
	if err != nil {
		return nil, errors.Join(err, ms.Close())
	}
	c := &Containerd{bolt: db, ledger: &ledger{ms}}
	c.db = metadata.NewDB(db, blobs, map[string]snapshots.Snapshotter{Snapshotter: c.ledger})
	return c, nil
}

// Close closes the databases.
func (c *Containerd) Close() error { return errors.Join(c.bolt.Close(), c.ledger.Close()) }

// OnWrite makes every write of content fail with what fn returns, which it
// gives the number of bytes written so far. Nil: writes succeed.
func (c *Containerd) OnWrite(fn func(total int64) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onWrite = fn
}

// Unpacked is how many layers were unpacked.
func (c *Containerd) Unpacked() int64 { return c.unpacks.Load() }

// Store is the store as petri sees it.
func (c *Containerd) Store(ctx context.Context, node string) (*nodestore.Store, error) {
	return nodestore.New(ctx, node, nodestore.Services{
		Content: contents{c.db.ContentStore(), c}, Images: metadata.NewImageStore(c.db), Leases: collecting{metadata.NewLeaseManager(c.db), c},
		Snapshots: c.db.Snapshotter, Diff: applier{c}, CRI: kubelet{c},
	})
}

// collecting are leases that are deleted with what only they held.
type collecting struct {
	leases.Manager
	c *Containerd
}

func (l collecting) Delete(ctx context.Context, lease leases.Lease, opts ...leases.DeleteOpt) error {
	if err := l.Manager.Delete(ctx, lease); err != nil {
		return err
	}
	_, err := l.c.db.GarbageCollect(ctx)
	return err
}

// Blobs are the digests of all content that is there.
func (c *Containerd) Blobs(ctx context.Context) ([]digest.Digest, error) {
	var out []digest.Digest
	err := c.db.ContentStore().Walk(inNamespace(ctx), func(i content.Info) error {
		out = append(out, i.Digest)
		return nil
	})
	return out, err
}

// Names are the names of all images, sorted.
func (c *Containerd) Names(ctx context.Context) ([]string, error) {
	list, err := metadata.NewImageStore(c.db).List(inNamespace(ctx))
	var out []string
	for _, i := range list {
		out = append(out, i.Name)
	}
	slices.Sort(out)
	return out, err
}

// Pin marks an image as one of the node image's.
func (c *Containerd) Pin(ctx context.Context, name string) error {
	_, err := metadata.NewImageStore(c.db).Update(inNamespace(ctx),
		images.Image{Name: name, Labels: map[string]string{"io.cri-containerd.pinned": "pinned"}}, "labels.io.cri-containerd.pinned")
	return err
}

func inNamespace(ctx context.Context) context.Context { return namespaces.WithNamespace(ctx, "k8s.io") }

// contents is the content store with the failures of OnWrite.
type contents struct {
	content.Store
	c *Containerd
}

func (s contents) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	w, err := s.Store.Writer(ctx, opts...)
	if err != nil {
		return nil, err
	}
	return writer{w, s.c}, nil
}

type writer struct {
	content.Writer
	c *Containerd
}

func (w writer) Write(b []byte) (int, error) {
	total := w.c.written.Add(int64(len(b)))
	w.c.mu.Lock()
	fn := w.c.onWrite
	w.c.mu.Unlock()
	if fn != nil {
		if err := fn(total); err != nil {
			return 0, err
		}
	}
	return w.Writer.Write(b)
}

// applier reads a layer and says what its digest is, unpacked.
type applier struct{ c *Containerd }

func (a applier) Apply(ctx context.Context, desc ocispec.Descriptor, _ []mount.Mount, _ ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	var none ocispec.Descriptor
	ra, err := a.c.db.ContentStore().ReaderAt(ctx, desc)
	if err != nil {
		return none, err
	}
	defer ra.Close()
	r, err := compression.DecompressStream(content.NewReader(ra))
	if err != nil {
		return none, err
	}
	defer r.Close()
	hash := digest.Canonical.Digester()
	n, err := io.Copy(hash.Hash(), r)
	a.c.unpacks.Add(1)
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: hash.Digest(), Size: n}, err
}

// kubelet is what CRI would tell kubelet.
type kubelet struct{ c *Containerd }

func (k kubelet) Snapshotter(context.Context) (string, error) { return Snapshotter, nil }

func (k kubelet) Image(ctx context.Context, ref string) (*nodestore.Image, error) {
	all, err := k.Images(ctx)
	for _, i := range all {
		if i.ID == ref || slices.Contains(i.Tags, ref) || slices.Contains(i.Digests, ref) {
			return &i, err
		}
	}
	return nil, err
}

func (k kubelet) Images(ctx context.Context) ([]nodestore.Image, error) {
	records, err := metadata.NewImageStore(k.c.db).List(ctx)
	if err != nil {
		return nil, err
	}
	var out []nodestore.Image
	for _, r := range records {
		config, err := images.Config(ctx, k.c.db.ContentStore(), r.Target, platforms.All)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", r.Name, err)
		}
		at := slices.IndexFunc(out, func(i nodestore.Image) bool { return i.ID == config.Digest.String() })
		if at < 0 {
			at = len(out)
			out = append(out, nodestore.Image{ID: config.Digest.String(), Size: r.Target.Size})
		}
		i := &out[at]
		i.Pinned = i.Pinned || r.Labels["io.cri-containerd.pinned"] == "pinned"
		switch parsed := kindOf(r.Name); parsed {
		case tagged:
			i.Tags = append(i.Tags, r.Name)
		case digested:
			i.Digests = append(i.Digests, r.Name)
		}
	}
	return out, nil
}
