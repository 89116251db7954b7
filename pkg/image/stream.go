package image

import (
	"context"
	"errors"
	"io"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"
)

// stream is an archive that is read as it comes, as from a pipe. What its
// images are is known at its end: both kinds of archive say it last.
type stream struct {
	r      io.Reader
	closer io.Closer // nil: there is nothing to close
	want   Want
	as     string

	read   bool
	images []*Image
}

// Sequential implements Source.
func (s *stream) Sequential() bool { return true }

// Images implements Source.
func (s *stream) Images() ([]*Image, error) {
	if !s.read {
		return nil, errors.New("the archive has not been read")
	}
	return s.images, nil
}

// Close implements Source.
func (s *stream) Close() error {
	if s.closer == nil {
		return nil
	}
	return s.closer.Close()
}

// Layers implements Source. Whatever is no document is taken for a layer.
func (s *stream) Layers(ctx context.Context, want func(Blob) bool, take func(Blob, io.Reader) error) error {
	r, err := s.unpacked(interruptible{ctx, s.r})
	if err != nil {
		return err
	}
	c, err := scanUnpacked(r, func(name string, e *entry, content io.Reader) error {
		content, err := e.peek(content)
		if err != nil || e.document != nil || e.size < minLayer {
			return err
		}
		blob := Blob{claimed(name), e.size}
		if !want(blob) {
			e.digest = blob.Digest
			if e.digest != "" || e.packed == none {
				return nil
			}
			return e.hash(content, func(io.Reader) error { return nil })
		}
		if err := e.hash(content, func(r io.Reader) error { return take(Blob{Size: e.size}, r) }); err != nil {
			return err
		}
		if strings.HasPrefix(name, "blobs/") && e.digest != blob.Digest {
			return broken("%s of the archive has the digest %s", name, e.digest)
		}
		return nil
	})
	if err != nil {
		return err
	}
	found, err := c.describe(s.want, s.as)
	s.images, s.read = found.images, err == nil
	// who writes to the pipe is to end well
	_, _ = io.Copy(io.Discard, interruptible{ctx, s.r})
	return err
}

// minLayer is the size of the smallest tar archive, packed: smaller files are
// marks of a layout's version.
const minLayer = 20

func (s *stream) unpacked(r io.Reader) (io.ReadCloser, error) {
	var e entry
	e.size = maxDocument + 1 // whatever it begins with, it is no document
	r, err := e.peek(r)
	if err != nil {
		return nil, err
	}
	unpacked, err := decompress(r, e.packed)
	if err != nil {
		return nil, unreadable(err)
	}
	return unpacked, nil
}

// hash notes the digest of a file that fn reads.
func (e *entry) hash(r io.Reader, fn func(io.Reader) error) error {
	hash := digest.SHA256.Digester()
	r = io.TeeReader(r, hash.Hash())
	if err := fn(r); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return unreadable(err)
	}
	e.digest = hash.Digest()
	return nil
}

// digestNames are names of layer files that have their digest in them: in an
// OCI layout, and as podman saves images.
var digestNames = regexp.MustCompile(`^(?:blobs/sha256/)?([0-9a-f]{64})(?:\.tar)?$`)

// claimed is the digest that the name of a file says it has.
func claimed(name string) digest.Digest {
	if m := digestNames.FindStringSubmatch(name); m != nil {
		return digest.NewDigestFromEncoded(digest.SHA256, m[1])
	}
	return ""
}
