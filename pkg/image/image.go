// Package image is container images as values: what an image consists of, for
// one platform, and where its layers can be read. Sources are image archives
// (as "docker save" writes them, and OCI layouts), registries, and the storage
// of an engine. What comes from outside is checked here: sizes are bounded,
// nothing is written anywhere, and no name leads out of where it belongs. The
// package knows nothing of nodes.
package image

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is one image for one platform.
type Image struct {
	// Names are full references with a tag: "docker.io/library/app:1".
	Names []string
	// Documents are the config, the manifest and, when the image was found by
	// one, its index; each is named by the next one.
	Documents []Document
	// Layers from the bottom up.
	Layers   []Layer
	Platform ocispec.Platform
}

// Document is a blob that says what an image consists of.
type Document struct {
	ocispec.Descriptor
	Content []byte
}

// Layer is a blob with files, and the digest of its uncompressed form.
type Layer struct {
	ocispec.Descriptor
	DiffID digest.Digest
}

// ID is the digest of the config, by which Kubernetes knows an image.
func (i *Image) ID() digest.Digest { return i.Documents[0].Digest }

// Target is what names of the image lead to: its index or its manifest.
func (i *Image) Target() ocispec.Descriptor { return i.Documents[len(i.Documents)-1].Descriptor }

// DiffIDs are those of the layers, from the bottom up.
func (i *Image) DiffIDs() []digest.Digest {
	ids := make([]digest.Digest, len(i.Layers))
	for n, l := range i.Layers {
		ids[n] = l.DiffID
	}
	return ids
}

// ChainIDs name the file systems that layers with these digests make, each
// with all layers below it.
func ChainIDs(diffIDs []digest.Digest) []digest.Digest {
	return identity.ChainIDs(append([]digest.Digest(nil), diffIDs...))
}

// Blob is content by its digest. The digest is empty where it is known only
// after the content was read.
type Blob struct {
	Digest digest.Digest
	Size   int64 // bytes
}

// Source is a place that images are read from. It is used by one goroutine.
type Source interface {
	// Images are the images in the source, for the platform that it was
	// opened with; at least one.
	Images() ([]*Image, error)
	// Sequential reports that the source can be read once, from its beginning
	// to its end: Images fails until Layers has returned.
	Sequential() bool
	// Layers calls take for every layer that want asks for, once each, in the
	// source's own order. take need not read to the end. Content is not
	// checked against its digest: who keeps it must do that.
	Layers(ctx context.Context, want func(Blob) bool, take func(Blob, io.Reader) error) error
	io.Closer
}
