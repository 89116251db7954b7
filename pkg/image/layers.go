package image

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
)

// Stored is an image of which single layers can be read, as from the storage
// of an engine.
type Stored struct {
	Names  []string // full ones
	Config []byte
	Layers []StoredLayer // as many as the config says, from the bottom up
}

// StoredLayer is the tar archive of a layer.
type StoredLayer struct {
	Size int64 // bytes
	Open func() (io.ReadCloser, error)
}

// FromStored makes a source of a stored image. Its manifest is made here.
func FromStored(s Stored, want Want, what string) (Source, error) {
	var files []*entry
	for _, l := range s.Layers {
		files = append(files, &entry{size: l.Size})
	}
	i, err := fromConfig(s.Config, files, want, what)
	if err != nil {
		return nil, err
	}
	i.Names = s.Names
	open := map[digest.Digest]func() (io.ReadCloser, error){}
	for n, l := range i.Layers {
		open[l.Digest] = s.Layers[n].Open
	}
	return byDigest(i, func(d digest.Digest) (io.ReadCloser, error) { return open[d]() }), nil
}

// byDigest is a source with one image, whose layers open reads.
func byDigest(i *Image, open func(digest.Digest) (io.ReadCloser, error)) Source {
	a := &archive{contents: contents{images: []*Image{i}}, close: func() error { return nil }}
	seen := map[digest.Digest]bool{}
	for _, l := range i.Layers {
		if !seen[l.Digest] {
			a.layers = append(a.layers, layerFile{Blob: Blob{l.Digest, l.Size}})
		}
		seen[l.Digest] = true
	}
	a.each = func(_ context.Context, files []layerFile, take func(layerFile, io.Reader) error) error {
		for _, f := range files {
			content, err := open(f.Digest)
			if err != nil {
				return err
			}
			if err := errors.Join(take(f, content), content.Close()); err != nil {
				return err
			}
		}
		return nil
	}
	return a
}
