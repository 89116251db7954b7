// Package imagetest makes small container images for tests, in every form in
// which they come: as "docker save" writes them, as OCI layouts, packed or not.
// It stands on the standard library and image-spec alone, so that what it
// makes does not depend on the code under test.
package imagetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is an image to make.
type Image struct {
	Name       string // "app:1"; empty: it has none
	Arch       string // empty: amd64
	Layers     [][]byte
	Entrypoint []string
	Gzip       bool // layers are compressed, in an OCI layout
}

// Layer is a layer with one file of some bytes.
func Layer(name string, content []byte) []byte {
	return Tar(map[string][]byte{name: content})
}

// Tar is an archive of executable files, sorted by name.
func Tar(files map[string][]byte) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		must(w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(files[name])), Typeflag: tar.TypeReg}))
		_, err := w.Write(files[name])
		must(err)
	}
	must(w.Close())
	return out.Bytes()
}

// Gzip packs data.
func Gzip(data []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(data)
	must(err)
	must(w.Close())
	return out.Bytes()
}

// must is for writing to memory, which does not fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Platform is the image's.
func (i Image) Platform() ocispec.Platform {
	p := ocispec.Platform{OS: "linux", Architecture: i.Arch}
	if p.Architecture == "" {
		p.Architecture = "amd64"
	}
	return p
}

// Config is the image's configuration, whose digest is its ID.
func (i Image) Config() []byte {
	c := ocispec.Image{Platform: i.Platform(), Config: ocispec.ImageConfig{Entrypoint: i.Entrypoint}, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: i.DiffIDs()}}
	data, err := json.Marshal(c)
	must(err)
	return data
}

// ID is the digest of the configuration.
func (i Image) ID() digest.Digest { return digest.FromBytes(i.Config()) }

// DiffIDs are those of the layers.
func (i Image) DiffIDs() []digest.Digest {
	var out []digest.Digest
	for _, l := range i.Layers {
		out = append(out, digest.FromBytes(l))
	}
	return out
}

// Saved are the files of a "docker save" archive, as Docker 20.10 names them.
func (i Image) Saved() map[string][]byte {
	files := map[string][]byte{}
	type item struct {
		Config           string
		RepoTags, Layers []string
	}
	one := item{Config: i.ID().Encoded() + ".json"}
	if i.Name != "" {
		one.RepoTags = []string{i.Name}
	}
	files[one.Config] = i.Config()
	for n, l := range i.Layers {
		// a name from which nothing can be learned
		name := digest.FromString(strings.Repeat("x", n)).Encoded() + "/layer.tar"
		files[name], one.Layers = l, append(one.Layers, name)
	}
	data, err := json.Marshal([]item{one})
	must(err)
	files["manifest.json"] = data
	return files
}

// Manifest is the image's own manifest, in an OCI layout.
func (i Image) Manifest() []byte {
	config := i.Config()
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: Descriptor(ocispec.MediaTypeImageConfig, config)}
	for _, l := range i.Layers {
		m.Layers = append(m.Layers, Descriptor(i.layerType(), i.blob(l)))
	}
	data, err := json.Marshal(m)
	must(err)
	return data
}

func (i Image) layerType() string {
	if i.Gzip {
		return ocispec.MediaTypeImageLayerGzip
	}
	return ocispec.MediaTypeImageLayer
}

func (i Image) blob(layer []byte) []byte {
	if i.Gzip {
		return Gzip(layer)
	}
	return layer
}

// Descriptor describes content.
func Descriptor(mediaType string, content []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
}

// Layout are the files of an OCI layout with one image. Several images make
// one that is for several platforms, under an index with the first one's name.
func Layout(images ...Image) map[string][]byte {
	files := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)}
	put := func(content []byte) { files["blobs/sha256/"+digest.FromBytes(content).Encoded()] = content }
	var descs []ocispec.Descriptor
	for _, i := range images {
		for _, l := range i.Layers {
			put(i.blob(l))
		}
		put(i.Config())
		put(i.Manifest())
		d := Descriptor(ocispec.MediaTypeImageManifest, i.Manifest())
		d.Platform = new(i.Platform())
		descs = append(descs, d)
	}
	root := descs[0]
	root.Platform = nil
	if len(images) > 1 {
		index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: descs})
		must(err)
		put(index)
		root = Descriptor(ocispec.MediaTypeImageIndex, index)
	}
	if images[0].Name != "" {
		root.Annotations = map[string]string{ocispec.AnnotationRefName: images[0].Name}
	}
	index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{root}})
	must(err)
	files["index.json"] = index
	return files
}
