package build

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// Layout is how a node image is laid out.
type Layout string

// The layouts of node images.
const (
	// LayoutPetri: preloaded images are unpacked, and a node links them.
	LayoutPetri Layout = "petri"
	// LayoutKind is that of the images that kind publishes: the store is where
	// containerd has it, below /var, with compressed layers that containerd
	// unpacks at their first use; there is nothing of petri's to be found, and
	// no label. It is for tests of how petri gets on with such images.
	LayoutKind Layout = "kind"
)

// packedRoot is where the store is in LayoutKind; packedHelper is the program
// that is petri's helper in its own layout.
const (
	packedRoot   = "var/lib/containerd"
	packedHelper = "/usr/local/lib/node-entrypoint"
)

// addPacked records one image with its layer as a compressed blob.
func (s *store) addPacked(ctx context.Context, p preload, arch string, diff digest.Digest) (nodeimage.Preloaded, string, error) {
	var none nodeimage.Preloaded
	file, layer, err := s.pack(p)
	if err != nil {
		return none, "", err
	}
	defer file.Close()
	err = content.WriteBlob(ctx, s.db.ContentStore(), "layer-"+layer.Digest.Encoded(), file, layer,
		content.WithLabels(map[string]string{"containerd.io/uncompressed": diff.String()}))
	if err != nil {
		return none, "", err
	}
	manifest, config, err := p.describe(arch, diff, layer)
	if err != nil {
		return none, "", err
	}
	target, err := s.addBlobs(ctx, manifest, config, nil, map[string]string{"containerd.io/gc.ref.content.l.0": layer.Digest.String()})
	if err != nil {
		return none, "", err
	}
	one, err := s.addImage(ctx, p, target)
	return one, p.short, err
}

// pack writes an image's layer to a file, compressed.
func (s *store) pack(p preload) (*os.File, ocispec.Descriptor, error) {
	layer := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip}
	file, err := os.CreateTemp(s.dir, "layer-")
	if err != nil {
		return nil, layer, err
	}
	hash, size := digest.Canonical.Digester(), &counter{}
	zipped, err := gzip.NewWriterLevel(io.MultiWriter(file, hash.Hash(), size), gzip.BestSpeed)
	if err == nil {
		err = errors.Join(p.files.write(zipped), zipped.Close())
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	layer.Digest, layer.Size = hash.Digest(), size.n
	return file, layer, err
}

// exportPacked gives the store's files at their paths in the image.
func (s *store) exportPacked() (tree, error) {
	out := newTree()
	data, err := normalise(filepath.Join(s.dir, "meta.db"))
	if err != nil {
		return nil, err
	}
	out.addBytes(path.Join(packedRoot, metadataDir, "meta.db"), 0o644, data)
	blobs := filepath.Join(s.dir, "content", "blobs")
	return out, filepath.WalkDir(blobs, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		relative, err := filepath.Rel(blobs, name)
		out.addFile(path.Join(packedRoot, contentDir, "blobs", filepath.ToSlash(relative)), 0o444, name)
		return err
	})
}
