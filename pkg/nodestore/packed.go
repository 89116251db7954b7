package nodestore

import (
	"context"
	"encoding/json"

	"github.com/containerd/containerd/v2/core/content"
	cerrdefs "github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Packed returns, of every layer of the node's images that came compressed, the
// digest that it has uncompressed. The layers themselves are not kept once they
// are unpacked: this is how such a layer is known again.
func (s *Store) Packed(ctx context.Context) (map[digest.Digest]digest.Digest, error) {
	ctx = inNamespace(ctx)
	list, err := s.Images.List(ctx)
	if err != nil {
		return nil, s.explain(err, "list images")
	}
	out := map[digest.Digest]digest.Digest{}
	seen := map[digest.Digest]bool{}
	for _, i := range list {
		if seen[i.Target.Digest] {
			continue
		}
		seen[i.Target.Digest] = true
		if err := s.addPacked(ctx, i.Target, out, maxDepth); err != nil {
			return nil, s.explain(err, "read the manifest of %s", i.Name)
		}
	}
	return out, nil
}

// maxDepth bounds indexes in indexes.
const maxDepth = 4

// addPacked reads a manifest, or those of an index that are there.
func (s *Store) addPacked(ctx context.Context, desc ocispec.Descriptor, out map[digest.Digest]digest.Digest, depth int) error {
	var parts struct {
		Manifests []ocispec.Descriptor
		Config    ocispec.Descriptor
		Layers    []ocispec.Descriptor
	}
	if there, err := s.readJSON(ctx, desc, &parts); !there || depth == 0 {
		return err
	}
	for _, m := range parts.Manifests {
		if err := s.addPacked(ctx, m, out, depth-1); err != nil {
			return err
		}
	}
	var config ocispec.Image
	if len(parts.Layers) == 0 {
		return nil
	}
	if there, err := s.readJSON(ctx, parts.Config, &config); !there || len(config.RootFS.DiffIDs) != len(parts.Layers) {
		return err
	}
	for n, l := range parts.Layers {
		if l.Digest != config.RootFS.DiffIDs[n] {
			out[l.Digest] = config.RootFS.DiffIDs[n]
		}
	}
	return nil
}

// readJSON reads a document; one that is not there, or is none, says nothing.
func (s *Store) readJSON(ctx context.Context, desc ocispec.Descriptor, into any) (there bool, err error) {
	data, err := content.ReadBlob(ctx, s.Content, desc)
	if cerrdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return json.Unmarshal(data, into) == nil, nil
}
