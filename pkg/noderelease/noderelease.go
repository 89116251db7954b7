// Package noderelease is what a node image brings to nodes that are there
// already: the programs of its Kubernetes, the container images in its store,
// and the manifests of its addons. It reads them out of the image through the
// engine, without a node of it, and packs what nodes lack into one archive in
// which each file is there once. How that gets into a node, and when its
// programs take over, is not its business.
package noderelease

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/image"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

// Release is what a node image brings. Use Read.
type Release struct {
	// Ref is the name of the node image.
	Ref      string
	Manifest nodeimage.Manifest
	Images   []Image
	// Addons are the manifests of the default CNI and storage, by their paths.
	Addons map[string]string

	engine provider.ImageFiles
}

// Image is a container image of a release.
type Image struct {
	*image.Image
	// Snapshot is the directory of its files, in the image's store and in
	// the archive that Pack writes.
	Snapshot string
}

// blobs is where the documents of the preloaded images are.
const blobs = nodeimage.StoreRoot + "/io.containerd.content.v1.content/blobs/sha256"

// Read reads what an image brings, but for its programs and the files of its
// images. It fails with class usage when the image is none of petri's, or is
// of a petri that kept no record of where files are.
func Read(ctx context.Context, engine provider.ImageFiles, ref string) (*Release, error) {
	found := map[string][]byte{}
	paths := []string{nodeimage.ManifestPath, nodeimage.CNIManifestPath, nodeimage.StorageManifestPath, blobs}
	err := engine.ReadImageFiles(ctx, ref, paths, func(at string, archive io.Reader) error {
		return eachFile(archive, func(h *tar.Header, content io.Reader) error {
			if h.Typeflag != tar.TypeReg {
				return nil
			}
			data, err := io.ReadAll(content)
			found[path.Join(path.Dir(at), h.Name)] = data
			return err
		})
	})
	if errdefs.Is(err, errdefs.ClassNotFound) {
		return nil, errdefs.New(errdefs.ClassUsage, "NOT-A-PETRI-IMAGE", "image %s cannot be upgraded to: %w", ref, err).
			WithHint("use an image of petri build node-image")
	}
	if err != nil {
		return nil, err
	}
	r := &Release{Ref: ref, engine: engine, Addons: map[string]string{}}
	for _, p := range []string{nodeimage.CNIManifestPath, nodeimage.StorageManifestPath} {
		r.Addons[p] = string(found[p])
	}
	if err := json.Unmarshal(found[nodeimage.ManifestPath], &r.Manifest); err != nil {
		return nil, fmt.Errorf("%s of image %s: %w", nodeimage.ManifestPath, ref, err)
	}
	return r, r.findImages(found)
}

// findImages puts the images together from their documents.
func (r *Release) findImages(files map[string][]byte) error {
	read := func(d digest.Digest) ([]byte, error) {
		data, ok := files[blobs+"/"+d.Encoded()]
		if !ok {
			return nil, fmt.Errorf("image %s has no document %s: %w", r.Ref, d, errNoDocument)
		}
		return data, nil
	}
	for _, p := range r.Manifest.Images {
		if p.Snapshot == "" {
			return errdefs.New(errdefs.ClassUsage, "OLD-NODE-IMAGE", "image %s was built by an older petri, which did not write down where the files of %s are", r.Ref, p.Name).
				WithHint("build it again: petri build node-image")
		}
		i, err := image.FromDocuments(p.Name, digest.Digest(p.Digest), image.ForNodes(r.Manifest.Architecture), read)
		if err != nil {
			return fmt.Errorf("preloaded image %s: %w", p.Name, err)
		}
		r.Images = append(r.Images, Image{Image: i, Snapshot: p.Snapshot})
	}
	return nil
}

var errNoDocument = errors.New("its store is not whole")

// eachFile calls on for each entry of an archive.
func eachFile(archive io.Reader, on func(*tar.Header, io.Reader) error) error {
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = on(h, r)
		}
		if err != nil {
			return err
		}
	}
}

// Tag is the tag of the image of a release with this repository, such as
// "registry.k8s.io/etcd"; empty when it has none.
func Tag(m nodeimage.Manifest, repository string) string {
	for _, p := range m.Images {
		if tag, ok := strings.CutPrefix(p.Name, repository+":"); ok {
			return tag
		}
	}
	return ""
}
