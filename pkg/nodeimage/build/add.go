package build

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	cerrdefs "github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/image"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// AddOptions say which images a node image gets beside those it has.
type AddOptions struct {
	// Read returns the content of a file of the node image.
	Read func(ctx context.Context, path string) ([]byte, error)
	// Archives are the images, one in each, as files that "docker save" wrote.
	Archives []Archive
	Scratch  string // directory for temporary files
}

// Archive is a file with an image, and the full name of the image.
type Archive struct{ Path, Name string }

// AddImages writes the files that a node image gets when images are preloaded
// in it, as a tar archive of its root. The images keep their digests; each is
// unpacked into one directory, whatever layers it has. It fails with class
// usage when the node image is none of petri's, or an image is for another
// architecture.
func AddImages(ctx context.Context, o AddOptions, w io.Writer) error {
	a, err := openAddition(ctx, o)
	if err != nil {
		return err
	}
	defer a.store.Close()
	tw := tar.NewWriter(w)
	for _, archive := range o.Archives {
		if err := a.add(ctx, archive, tw); err != nil {
			return fmt.Errorf("preload %s: %w", archive.Name, err)
		}
	}
	files, err := a.files()
	if err != nil {
		return err
	}
	// engines may tell a changed file by its size and time alone
	return errors.Join(files.writeEntries(tw, time.Now()), tw.Close())
}

// addition is a store that is taken from a node image and gets more.
type addition struct {
	store    *store
	links    map[string]string
	manifest nodeimage.Manifest
}

func openAddition(ctx context.Context, o AddOptions) (*addition, error) {
	a := &addition{}
	data, err := o.Read(ctx, nodeimage.ManifestPath)
	if err != nil {
		return nil, errdefs.New(errdefs.ClassUsage, "NOT-A-PETRI-IMAGE", "the image to add to has no %s: %w", nodeimage.ManifestPath, err)
	}
	if err := json.Unmarshal(data, &a.manifest); err != nil {
		return nil, fmt.Errorf("%s: %w", nodeimage.ManifestPath, err)
	}
	if data, err = o.Read(ctx, nodeimage.StoreLinks); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &a.links); err != nil {
		return nil, fmt.Errorf("%s: %w", nodeimage.StoreLinks, err)
	}
	dir, err := os.MkdirTemp(o.Scratch, "store-")
	if err != nil {
		return nil, err
	}
	for file, from := range map[string]string{metadataFile: metadataPath, snapshotsFile: snapshotsPath} {
		if data, err = o.Read(ctx, path.Join(nodeimage.StoreRoot, from)); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o644); err != nil {
			return nil, err
		}
	}
	a.store, err = openStoreAt(dir)
	return a, err
}

// add records an image and writes its files.
func (a *addition) add(ctx context.Context, archive Archive, tw *tar.Writer) error {
	src, err := image.OpenArchive(archive.Path, image.ForNodes(a.manifest.Architecture), archive.Name)
	if err != nil {
		return err
	}
	list, err := src.Images()
	if err = errors.Join(err, src.Close()); err != nil {
		return err
	}
	i := list[0]
	made := nodeimage.Preloaded{Name: archive.Name, Digest: i.Target().Digest.String()}
	if made.Snapshot, made.Size, err = a.unpack(ctx, i, archive.Path, tw); err != nil {
		return err
	}
	a.manifest.Images = slices.DeleteFunc(a.manifest.Images, func(p nodeimage.Preloaded) bool { return p.Name == archive.Name })
	a.manifest.Images = append(a.manifest.Images, made)
	return a.store.record(ctx, i, archive.Name)
}

// unpack writes the files of an image, as all its layers together make them,
// and records them as one snapshot under the name that containerd looks for. It
// returns the directory and the size of the files; a size of 0 when an image
// with the same files has brought them.
func (a *addition) unpack(ctx context.Context, i *image.Image, archive string, tw *tar.Writer) (dir string, size int64, err error) {
	chain := image.ChainIDs(i.DiffIDs())
	if len(chain) == 0 {
		return "", 0, nil
	}
	top := chain[len(chain)-1]
	ctx = namespaces.WithNamespace(ctx, criNamespace)
	if _, err := a.store.db.Snapshotter(storeSnapshotter).Stat(ctx, top.String()); err == nil {
		id, err := a.store.snapshotID(ctx, top)
		return a.links[id], 0, err
	}
	id, err := a.store.addSnapshot(ctx, top)
	if err != nil {
		return "", 0, err
	}
	dir = "added-" + top.Encoded()[:16]
	a.links[id] = dir
	size, err = flattened(archive, path.Join(strings.TrimPrefix(nodeimage.StoreSnapshots, "/"), dir), tw)
	return dir, size, err
}

// flattened writes the files of an archive's image below dir. What was deleted
// in a layer is left out: an engine would take its marks for the node's own.
func flattened(archive, dir string, tw *tar.Writer) (int64, error) {
	img, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		return 0, fmt.Errorf("read the image: %w", err)
	}
	parts := newTree()
	parts.addDir(dir+"/fs", 0o755)
	parts.addDir(dir+"/work", 0o711)
	if err := parts.writeEntries(tw, epoch); err != nil {
		return 0, err
	}
	files := mutate.Extract(img)
	defer files.Close()
	var size int64
	var links []*tar.Header
	for tr := tar.NewReader(files); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		if clean(h.Name) == "" {
			continue
		}
		h.Name = path.Join(dir, "fs", clean(h.Name))
		if h.Typeflag == tar.TypeLink {
			// layers come from the top down, and a link may be to a file below
			h.Linkname = path.Join(dir, "fs", clean(h.Linkname))
			links = append(links, h)
			continue
		}
		if err := tw.WriteHeader(h); err != nil {
			return 0, err
		}
		n, err := io.Copy(tw, tr)
		if size += n; err != nil {
			return 0, err
		}
	}
	for _, h := range links {
		if err := tw.WriteHeader(h); err != nil {
			return 0, err
		}
	}
	return size, nil
}

// record stores the documents of an image and names it.
func (s *store) record(ctx context.Context, i *image.Image, name string) error {
	ctx = namespaces.WithNamespace(ctx, criNamespace)
	needs := map[string]string{}
	if chain := image.ChainIDs(i.DiffIDs()); len(chain) > 0 {
		needs["containerd.io/gc.ref.snapshot."+storeSnapshotter] = chain[len(chain)-1].String()
	}
	for _, doc := range i.Documents {
		err := content.WriteBlob(ctx, s.db.ContentStore(), "document", bytes.NewReader(doc.Content), doc.Descriptor, content.WithLabels(needs))
		if err != nil {
			return err
		}
		needs = map[string]string{"containerd.io/gc.ref.content.0": doc.Digest.String()}
	}
	for _, n := range []string{image.Digested(name, i.Target().Digest.String()), name} {
		if err := s.point(ctx, images.Image{Name: n, Target: i.Target(), Labels: pinnedLabels()}); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) point(ctx context.Context, record images.Image) error {
	list := metadata.NewImageStore(s.db)
	_, err := list.Create(ctx, record)
	if cerrdefs.IsAlreadyExists(err) {
		_, err = list.Update(ctx, record)
	}
	return err
}

// files are the files of the store that have changed, and the list of what is
// in the image.
func (a *addition) files() (tree, error) {
	if err := a.store.Close(); err != nil {
		return nil, err
	}
	out, err := a.store.export()
	if err != nil {
		return nil, err
	}
	table, err := json.MarshalIndent(a.links, "", "  ")
	if err != nil {
		return nil, err
	}
	out.addBytes(nodeimage.StoreLinks, 0o644, table)
	slices.SortFunc(a.manifest.Images, func(x, y nodeimage.Preloaded) int { return cmp.Compare(x.Name, y.Name) })
	data, err := json.MarshalIndent(a.manifest, "", "  ")
	if err != nil {
		return nil, err
	}
	out.addBytes(nodeimage.ManifestPath, 0o644, append(data, '\n'))
	// directories are there already, with modes of their own
	maps.DeleteFunc(out, func(_ string, e *entry) bool { return e.header.Typeflag == tar.TypeDir })
	return out, nil
}
