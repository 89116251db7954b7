package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// Media types of Docker's, which mean the same as OCI's.
const (
	dockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

const (
	maxDepth  = 4    // of indexes in indexes
	maxLayers = 1024 // of one image; engines allow 127
)

// documents reads the content of a document, and has checked its digest.
type documents func(ocispec.Descriptor) ([]byte, error)

// resolver finds an image by what it is named by.
type resolver struct {
	read documents
	want Want
	what string // for errors
}

// FromDocuments finds an image by what it is named by, in documents that read
// returns. Its name is full, with a tag.
func FromDocuments(name string, target digest.Digest, want Want, read func(digest.Digest) ([]byte, error)) (*Image, error) {
	r := resolver{want: want, what: name, read: func(desc ocispec.Descriptor) ([]byte, error) {
		content, err := read(desc.Digest)
		if err != nil {
			return nil, err
		}
		return content, checkDocument(desc, content)
	}}
	content, err := read(target)
	if err != nil {
		return nil, err
	}
	i, err := r.resolve(ocispec.Descriptor{MediaType: mediaTypeOf(content), Digest: target, Size: int64(len(content))})
	if err == nil {
		i.Names = []string{name}
	}
	return i, err
}

// mediaTypeOf is what a document says that it is.
func mediaTypeOf(content []byte) string {
	var d struct{ MediaType string }
	_ = json.Unmarshal(content, &d) // one that is none says nothing
	return d.MediaType
}

// resolve follows desc down to the manifest for the wanted platform.
func (r resolver) resolve(desc ocispec.Descriptor) (*Image, error) {
	var outer []Document
	for range maxDepth {
		content, err := r.read(desc)
		if err != nil {
			return nil, err
		}
		doc := Document{desc, content}
		if !isIndex(desc, content) {
			return r.image(doc, outer)
		}
		var index ocispec.Index
		if err := json.Unmarshal(content, &index); err != nil {
			return nil, broken("index %s of %s: %w", desc.Digest, r.what, err)
		}
		if desc, err = r.choose(index.Manifests); err != nil {
			return nil, err
		}
		outer = append([]Document{doc}, outer...)
	}
	return nil, broken("%s has an index in an index in an index", r.what)
}

func isIndex(desc ocispec.Descriptor, content []byte) bool {
	switch desc.MediaType {
	case ocispec.MediaTypeImageIndex, dockerIndex:
		return true
	case ocispec.MediaTypeImageManifest, dockerManifest:
		return false
	}
	var parts struct{ Manifests []json.RawMessage }
	return json.Unmarshal(content, &parts) == nil && parts.Manifests != nil
}

// choose picks what is for the wanted platform. An index may name more than
// has come with it: what is not there is not offered.
func (r resolver) choose(offered []ocispec.Descriptor) (ocispec.Descriptor, error) {
	var there []ocispec.Descriptor
	var platforms []ocispec.Platform
	for _, desc := range offered {
		p, err := r.platformOf(desc)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return desc, err
		}
		there, platforms = append(there, desc), append(platforms, p)
	}
	best := r.want.choose(platforms)
	if best < 0 {
		return ocispec.Descriptor{}, r.want.missing(r.what, platforms)
	}
	return there[best], nil
}

// platformOf is the platform that a descriptor, else the config, names.
func (r resolver) platformOf(desc ocispec.Descriptor) (ocispec.Platform, error) {
	content, err := r.read(desc)
	if err != nil {
		return ocispec.Platform{}, err
	}
	if desc.Platform != nil {
		return *desc.Platform, nil
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(content, &manifest); err != nil {
		return ocispec.Platform{}, broken("manifest %s of %s: %w", desc.Digest, r.what, err)
	}
	if content, err = r.read(manifest.Config); err != nil {
		return ocispec.Platform{}, err
	}
	var config ocispec.Image
	if err := json.Unmarshal(content, &config); err != nil {
		return ocispec.Platform{}, broken("config %s of %s: %w", manifest.Config.Digest, r.what, err)
	}
	return config.Platform, nil
}

// image puts an image together from its manifest.
func (r resolver) image(manifest Document, outer []Document) (*Image, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(manifest.Content, &m); err != nil {
		return nil, broken("manifest %s of %s: %w", manifest.Digest, r.what, err)
	}
	content, err := r.read(m.Config)
	if err != nil {
		return nil, err
	}
	if manifest.MediaType == "" {
		manifest.MediaType = m.MediaType
	}
	return r.assemble(Document{m.Config, content}, manifest, m.Layers, outer)
}

// assemble checks that the parts of an image agree.
func (r resolver) assemble(config, manifest Document, layers []ocispec.Descriptor, outer []Document) (*Image, error) {
	var c ocispec.Image
	if err := json.Unmarshal(config.Content, &c); err != nil {
		return nil, broken("config %s of %s: %w", config.Digest, r.what, err)
	}
	if len(layers) != len(c.RootFS.DiffIDs) || len(layers) > maxLayers {
		return nil, broken("%s has %d layers in its manifest and %d in its config: it is no container image", r.what, len(layers), len(c.RootFS.DiffIDs))
	}
	if r.want.choose([]ocispec.Platform{c.Platform}) < 0 {
		return nil, r.want.missing(r.what, []ocispec.Platform{c.Platform})
	}
	i := &Image{Documents: []Document{config, manifest}, Platform: c.Platform}
	// containerd looks in an index for what the node runs by itself, and would
	// not find another platform there
	if r.want.native {
		i.Documents = append(i.Documents, outer...)
	}
	for n, desc := range layers {
		l := Layer{Descriptor: desc, DiffID: c.RootFS.DiffIDs[n]}
		if l.Size < 0 {
			return nil, broken("layer %d of %s has %d bytes", n+1, r.what, l.Size)
		}
		if err := errors.Join(checkDigest(l.Digest), checkDigest(l.DiffID)); err != nil {
			return nil, broken("layer %d of %s: %w", n+1, r.what, err)
		}
		i.Layers = append(i.Layers, l)
	}
	return i, nil
}

// checkDigest accepts SHA-256 alone, as containerd is sure to know it.
func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d, err)
	}
	if d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("digest %q is not SHA-256", d)
	}
	return nil
}

// checkDocument compares a document with what it is named by.
func checkDocument(desc ocispec.Descriptor, content []byte) error {
	if err := checkDigest(desc.Digest); err != nil {
		return broken("%w", err)
	}
	if got := digest.FromBytes(content); got != desc.Digest {
		return broken("what is named %s has the digest %s", desc.Digest, got)
	}
	if desc.Size != 0 && desc.Size != int64(len(content)) {
		return broken("%s is to have %d bytes, and has %d", desc.Digest, desc.Size, len(content))
	}
	return nil
}

// broken is the error for an image that is not what it says, by accident or on
// purpose.
func broken(format string, args ...any) error {
	return errdefs.New(errdefs.ClassFailed, "IMAGE-BROKEN", format, args...).
		WithHint("No name of it was changed on any node. Write or build it again.")
}
