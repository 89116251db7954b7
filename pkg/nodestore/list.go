package nodestore

import (
	"context"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	cerrdefs "github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/image"
)

// List returns all images of the node, as kubelet sees them.
func (s *Store) List(ctx context.Context) ([]Image, error) {
	list, err := s.CRI.Images(inNamespace(ctx))
	return list, s.explain(err, "list images")
}

// Find returns the image with a full name or an ID, nil when there is none.
func (s *Store) Find(ctx context.Context, name string) (*Image, error) {
	found, err := s.CRI.Image(inNamespace(ctx), name)
	return found, s.explain(err, "look for image %s", name)
}

// DigestOf is the digest by which the image can be named instead of by name.
func (i *Image) DigestOf(name string) string {
	for _, d := range i.Digests {
		if _, sum, ok := strings.Cut(d, "@"); ok && image.Digested(name, sum) == d {
			return sum
		}
	}
	return ""
}

// Has reports whether the name leads to the image with this ID, and the image
// is unpacked. Engines know an image by the digest of its config, or of what
// its names lead to: the ID may be either.
func (s *Store) Has(ctx context.Context, name, id string, diffIDs []digest.Digest) (bool, error) {
	found, err := s.Find(ctx, name)
	if err != nil {
		return false, err
	}
	if found == nil || found.ID != id && !slices.Contains(found.Digests, image.Digested(name, id)) {
		return false, nil
	}
	if len(diffIDs) == 0 {
		return true, nil
	}
	_, err = s.Snapshots(s.snapshotter).Stat(inNamespace(ctx), identity.ChainID(diffIDs).String())
	if cerrdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, s.explain(err, "look for the layers of %s", name)
}

// Delete takes a full name from its image, and removes the image when that was
// its last tag; with an ID it takes all names. It reports whether there was
// such an image. Images of the node image are refused with class usage:
// nothing could bring them back.
func (s *Store) Delete(ctx context.Context, name string) (bool, error) {
	ctx = inNamespace(ctx)
	found, err := s.Images.Get(ctx, name)
	if cerrdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, s.explain(err, "look for image %s", name)
	}
	if found.Labels[labelPinned] == pinned {
		return true, errdefs.New(errdefs.ClassUsage, "IMAGE-PINNED", "node %s: image %s is a part of the node image, and is needed", s.node, name)
	}
	all, err := s.Images.List(ctx)
	if err != nil {
		return true, s.explain(err, "list images")
	}
	var of []string // every name of the image
	for _, i := range all {
		if i.Target.Digest == found.Target.Digest {
			of = append(of, i.Name)
		}
	}
	for _, gone := range namesToDelete(name, of) {
		err := s.Images.Delete(ctx, gone, images.SynchronousDelete())
		if err != nil && !cerrdefs.IsNotFound(err) {
			return true, s.explain(err, "delete image %s", gone)
		}
	}
	return true, nil
}

// namesToDelete are the names that go with one of an image's names.
func namesToDelete(name string, of []string) []string {
	if strings.HasPrefix(name, "sha256:") {
		return of
	}
	left := slices.DeleteFunc(slices.Clone(of), func(n string) bool { return n == name })
	if !slices.ContainsFunc(left, image.HasTag) {
		return append([]string{name}, left...)
	}
	out := []string{name}
	for _, n := range left {
		// the name with the digest goes with the last tag of its repository
		if repo, _, ok := strings.Cut(n, "@"); ok && strings.HasPrefix(name, repo+":") &&
			!slices.ContainsFunc(left, func(o string) bool { return strings.HasPrefix(o, repo+":") }) {
			out = append(out, n)
		}
	}
	return out
}
