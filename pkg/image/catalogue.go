package image

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// What an archive may have. Real ones have far less; without bounds a small
// file could fill the memory.
const (
	maxEntries   = 50_000
	maxDocument  = 4 << 20  // bytes of one document, as registries have it
	maxDocuments = 32 << 20 // bytes of all that are kept
	maxLinks     = 8        // that lead from one to the next
)

// catalogue is what is known of the files of an archive, by clean name.
type catalogue struct {
	entries map[string]*entry
	kept    int64 // bytes of documents
}

// entry is one file or link.
type entry struct {
	size     int64
	packed   compression
	document []byte        // its content when it may be a document
	digest   digest.Digest // of its content, where that was read
	link     string        // clean name of what it leads to
	offset   int64         // in an archive that is read at any place
}

func newCatalogue() *catalogue { return &catalogue{entries: map[string]*entry{}} }

// cleanName is the name of a file in an archive, which must stay below its root.
func cleanName(name string) (string, error) {
	clean := path.Clean(name)
	if path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") {
		return "", broken("the archive has a file %q, outside of itself", name)
	}
	return clean, nil
}

// add notes a file. A name that comes twice means its last file, as with tar.
func (c *catalogue) add(name string, e *entry) error {
	if len(c.entries) >= maxEntries {
		return broken("the archive has more than %d files", maxEntries)
	}
	if c.kept += int64(len(e.document)); c.kept > maxDocuments {
		return broken("the archive has more than %d MB of manifests", maxDocuments>>20)
	}
	c.entries[name] = e
	return nil
}

// find follows links to a file.
func (c *catalogue) find(name string) (string, *entry, error) {
	for range maxLinks {
		e, ok := c.entries[name]
		if !ok {
			return name, nil, fmt.Errorf("the archive has no file %s: %w", name, fs.ErrNotExist)
		}
		if e.link == "" {
			return name, e, nil
		}
		name = e.link
	}
	return name, nil, broken("the archive has links at %s that lead to each other", name)
}

// blobName is where an OCI layout keeps a blob.
func blobName(d digest.Digest) string { return "blobs/" + d.Algorithm().String() + "/" + d.Encoded() }

// read is the documents of an OCI layout.
func (c *catalogue) read(desc ocispec.Descriptor) ([]byte, error) {
	if err := checkDigest(desc.Digest); err != nil {
		return nil, broken("%w", err)
	}
	name, e, err := c.find(blobName(desc.Digest))
	if err != nil {
		return nil, err
	}
	if e.document == nil {
		return nil, broken("%s of the archive is to be a manifest, and is none", name)
	}
	return e.document, checkDocument(desc, e.document)
}

// contents are the images of an archive, and the file of each layer.
type contents struct {
	images []*Image
	layers []layerFile // in the order of images and their layers, once each
}

type layerFile struct {
	Blob
	name string
}

// describe finds the images of an archive. An OCI layout is preferred where
// there are both: it has the image's own manifests.
func (c *catalogue) describe(want Want, as string) (contents, error) {
	var out contents
	var err error
	switch {
	case c.entries[ocispec.ImageIndexFile] != nil:
		out, err = c.layout(want)
	case c.entries["manifest.json"] != nil:
		out, err = c.saved(want)
	default:
		return out, broken("the archive has neither index.json nor manifest.json: it is no image archive")
	}
	if err != nil {
		return out, err
	}
	return out, out.rename(as)
}

// rename gives the only image its name, and makes sure that all have one.
func (c *contents) rename(as string) error {
	if as != "" {
		if len(c.images) != 1 {
			return errdefs.New(errdefs.ClassUsage, "IMAGE-NAME", "the archive has %d images, which cannot all be %s", len(c.images), as)
		}
		c.images[0].Names = []string{as}
	}
	for _, i := range c.images {
		if len(i.Names) == 0 {
			return errdefs.New(errdefs.ClassUsage, "IMAGE-NAMELESS", "the archive does not say what image %s is called", i.Target().Digest).
				WithHint("Give it a name: --as NAME:TAG")
		}
	}
	return nil
}

// layout reads an OCI layout (image-spec 1.1).
func (c *catalogue) layout(want Want) (contents, error) {
	var out contents
	var index ocispec.Index
	if err := c.decode(ocispec.ImageIndexFile, &index); err != nil {
		return out, err
	}
	if len(index.Manifests) == 0 {
		return out, broken("index.json of the archive names no image")
	}
	for _, group := range byName(index.Manifests) {
		r := resolver{read: c.read, want: want, what: cmp.Or(group.name, "the image in the archive")}
		desc := group.of[0]
		if len(group.of) > 1 {
			var err error
			if desc, err = r.choose(group.of); err != nil {
				return out, err
			}
		}
		i, err := r.resolve(desc)
		if err != nil {
			return out, missingFile(err)
		}
		if group.name != "" {
			i.Names = []string{group.name}
		}
		if out, err = c.place(out, i, func(n int) string { return blobName(i.Layers[n].Digest) }); err != nil {
			return out, err
		}
	}
	return out, nil
}

// named are descriptors that share a name: one image, for several platforms.
type named struct {
	name string
	of   []ocispec.Descriptor
}

// byName groups the descriptors of an index.json by the full name they give.
func byName(descs []ocispec.Descriptor) []named {
	var out []named
	for _, d := range descs {
		name := nameOf(d)
		i := slices.IndexFunc(out, func(n named) bool { return n.name == name })
		if i < 0 {
			i = len(out)
			out = append(out, named{name: name})
		}
		out[i].of = append(out[i].of, d)
	}
	return out
}

// nameOf is the full name that a descriptor has. Of the two annotations in
// use, OCI's may hold a tag alone, which is no name.
func nameOf(d ocispec.Descriptor) string {
	for _, text := range []string{d.Annotations["io.containerd.image.name"], d.Annotations[ocispec.AnnotationRefName]} {
		if !strings.ContainsAny(text, "/:") {
			continue
		}
		if name, err := FullName(text); err == nil {
			return name
		}
	}
	return ""
}

// saved reads an archive as "docker save" writes it. Such an archive has no
// manifests of the images: they are made here, from the config and the layers,
// so that the same archive always gives the same ones.
func (c *catalogue) saved(want Want) (contents, error) {
	var out contents
	var list []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := c.decode("manifest.json", &list); err != nil {
		return out, err
	}
	if len(list) == 0 {
		return out, broken("manifest.json of the archive names no image")
	}
	for _, item := range list {
		if len(item.Layers) > maxLayers {
			return out, broken("an image of the archive has %d layers", len(item.Layers))
		}
		what := "the image in the archive"
		if len(item.RepoTags) > 0 {
			what = item.RepoTags[0]
		}
		files, config, err := c.savedFiles(item.Config, item.Layers)
		if err != nil {
			return out, err
		}
		i, err := fromConfig(config, files, want, what)
		if err != nil {
			return out, err
		}
		for _, tag := range item.RepoTags {
			name, err := FullName(tag)
			if err != nil {
				return out, broken("the archive has an image %q: %w", tag, err)
			}
			i.Names = append(i.Names, name)
		}
		if out, err = c.place(out, i, func(n int) string { return item.Layers[n] }); err != nil {
			return out, err
		}
	}
	return out, nil
}

// savedFiles finds the config and the layer files of a saved image.
func (c *catalogue) savedFiles(config string, layers []string) ([]*entry, []byte, error) {
	_, e, err := c.find(path.Clean(config))
	if err != nil {
		return nil, nil, missingFile(err)
	}
	if e.document == nil {
		return nil, nil, broken("%s of the archive is to be a config, and is none", config)
	}
	var files []*entry
	for _, name := range layers {
		_, file, err := c.find(path.Clean(name))
		if err != nil {
			return nil, nil, missingFile(err)
		}
		files = append(files, file)
	}
	return files, e.document, nil
}

// fromConfig is the image with this config and these files as its layers.
func fromConfig(config []byte, files []*entry, want Want, what string) (*Image, error) {
	var c ocispec.Image
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, broken("config of %s: %w", what, err)
	}
	if len(files) != len(c.RootFS.DiffIDs) {
		return nil, broken("%s has %d layers, and %d in its config", what, len(files), len(c.RootFS.DiffIDs))
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers: []ocispec.Descriptor{}, // also of an empty image: a list
	}
	for n, file := range files {
		desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: c.RootFS.DiffIDs[n], Size: file.size}
		switch file.packed {
		case gzipped:
			desc.MediaType, desc.Digest = ocispec.MediaTypeImageLayerGzip, file.digest
		case zstandard:
			desc.MediaType, desc.Digest = ocispec.MediaTypeImageLayerZstd, file.digest
		default:
			if file.digest != "" && file.digest != desc.Digest {
				return nil, broken("layer %d of %s is to have the digest %s, and has %s", n+1, what, desc.Digest, file.digest)
			}
		}
		m.Layers = append(m.Layers, desc)
	}
	content, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	manifest := Document{ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}, content}
	return resolver{want: want, what: what}.assemble(Document{m.Config, config}, manifest, m.Layers, nil)
}

// place adds an image whose n-th layer is in the file that fileOf names.
func (c *catalogue) place(out contents, i *Image, fileOf func(n int) string) (contents, error) {
	for n, l := range i.Layers {
		name, e, err := c.find(path.Clean(fileOf(n)))
		if err != nil {
			return out, missingFile(err)
		}
		if e.size != l.Size {
			return out, broken("%s of the archive is to have %d bytes, and has %d", name, l.Size, e.size)
		}
		if !slices.ContainsFunc(out.layers, func(f layerFile) bool { return f.Digest == l.Digest }) {
			out.layers = append(out.layers, layerFile{Blob{l.Digest, l.Size}, name})
		}
	}
	out.images = append(out.images, i)
	return out, nil
}

// decode reads a JSON file of the archive.
func (c *catalogue) decode(name string, into any) error {
	_, e, err := c.find(name)
	if err != nil {
		return missingFile(err)
	}
	if err := json.Unmarshal(e.document, into); err != nil {
		return broken("%s of the archive: %w", name, err)
	}
	return nil
}

// missingFile is the error for an archive that names what it has not.
func missingFile(err error) error {
	if _, ok := errors.AsType[*errdefs.Error](err); ok {
		return err
	}
	return broken("%w", err)
}
