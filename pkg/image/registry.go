package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// FromRegistry is an image in a registry, read with the credentials that
// Docker's configuration has. It fails with class not found when the registry
// has no such image.
func FromRegistry(ctx context.Context, ref string, want Want) (Source, error) {
	full, err := FullName(ref)
	if err != nil {
		return nil, err
	}
	parsed, err := name.ParseReference(full)
	if err != nil {
		return nil, errdefs.New(errdefs.ClassUsage, "IMAGE-NAME", "%q is not the name of an image: %w", ref, err)
	}
	repo := &repository{context: parsed.Context(), options: []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain),
	}}
	root, err := remote.Get(parsed, repo.options...)
	if err != nil {
		return nil, registryError(ref, err)
	}
	desc := ocispec.Descriptor{MediaType: string(root.MediaType), Digest: digest.Digest(root.Digest.String()), Size: root.Size}
	r := resolver{want: want, what: ref, read: func(d ocispec.Descriptor) ([]byte, error) {
		if d.Digest == desc.Digest {
			return root.Manifest, nil
		}
		return repo.document(d)
	}}
	found, err := r.resolve(desc)
	if err != nil {
		return nil, err
	}
	found.Names = []string{full}
	return byDigest(found, repo.open), nil
}

// repository is where an image is in a registry.
type repository struct {
	context name.Repository
	options []remote.Option
}

// document reads a manifest or a config, and checks it.
func (p *repository) document(d ocispec.Descriptor) ([]byte, error) {
	if err := checkDigest(d.Digest); err != nil {
		return nil, broken("%w", err)
	}
	switch d.MediaType {
	case ocispec.MediaTypeImageIndex, dockerIndex, ocispec.MediaTypeImageManifest, dockerManifest:
		got, err := remote.Get(p.context.Digest(d.Digest.String()), p.options...)
		if err != nil {
			return nil, registryError(d.Digest.String(), err)
		}
		return got.Manifest, checkDocument(d, got.Manifest)
	}
	content, err := p.open(d.Digest)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	data, err := io.ReadAll(io.LimitReader(content, maxDocument))
	if err != nil {
		return nil, fmt.Errorf("read %s from the registry: %w", d.Digest, err)
	}
	return data, checkDocument(d, data)
}

func (p *repository) open(d digest.Digest) (io.ReadCloser, error) {
	blob, err := remote.Layer(p.context.Digest(d.String()), p.options...)
	if err != nil {
		return nil, registryError(d.String(), err)
	}
	content, err := blob.Compressed()
	if err != nil {
		return nil, registryError(d.String(), err)
	}
	return content, nil
}

func registryError(what string, err error) error {
	if e, ok := errors.AsType[*transport.Error](err); ok && e.StatusCode == http.StatusNotFound {
		return errdefs.New(errdefs.ClassNotFound, "IMAGE-NOT-FOUND", "the registry has no image %s: %w", what, err)
	}
	return fmt.Errorf("read %s from the registry: %w", what, err)
}
