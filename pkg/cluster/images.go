package cluster

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/image"
	"github.com/petri-cluster/petri/pkg/nodestore"
)

// NodeImage is an image that nodes of a cluster have.
type NodeImage struct {
	ID      string   `json:"id"` // digest of its config
	Tags    []string `json:"tags"`
	Digests []string `json:"digests,omitempty"`
	Size    int64    `json:"size"`   // bytes, as containerd counts them
	Pinned  bool     `json:"pinned"` // a part of the node image
	Nodes   []string `json:"nodes"`
}

// Images returns the images of a cluster's nodes, or of one of them, sorted by
// name. An error names the nodes that could not be asked.
func (m *Manager) Images(ctx context.Context, cluster, nodeName string) ([]NodeImage, error) {
	var names []string
	if nodeName != "" {
		names = []string{nodeName}
	}
	nodes, err := m.chooseNodes(ctx, cluster, names)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	found := map[string]*NodeImage{}
	_, err = m.withStores(ctx, nodes, func(stores []*nodestore.Store) ([]Loaded, error) {
		return nil, eachStore(stores, func(s *nodestore.Store) error {
			list, err := s.List(ctx)
			mu.Lock()
			defer mu.Unlock()
			for _, i := range list {
				addImage(found, i, s.Node())
			}
			return err
		})
	})
	out := []NodeImage{}
	for _, i := range found {
		slices.Sort(i.Tags)
		slices.Sort(i.Digests)
		slices.Sort(i.Nodes)
		out = append(out, *i)
	}
	slices.SortFunc(out, func(a, b NodeImage) int {
		return cmp.Or(strings.Compare(a.Name(), b.Name()), strings.Compare(a.ID, b.ID))
	})
	return out, err
}

// addImage adds an image of a node to those that were found.
func addImage(found map[string]*NodeImage, i nodestore.Image, node string) {
	known := found[i.ID]
	if known == nil {
		known = &NodeImage{ID: i.ID, Tags: []string{}, Size: i.Size}
		found[i.ID] = known
	}
	known.Pinned = known.Pinned || i.Pinned
	known.Nodes = append(known.Nodes, node)
	for _, tag := range i.Tags {
		if !slices.Contains(known.Tags, tag) {
			known.Tags = append(known.Tags, tag)
		}
	}
	for _, d := range i.Digests {
		if !slices.Contains(known.Digests, d) {
			known.Digests = append(known.Digests, d)
		}
	}
}

// Name is the first name of an image, which sorts it.
func (i NodeImage) Name() string {
	switch {
	case len(i.Tags) > 0:
		return i.Tags[0]
	case len(i.Digests) > 0:
		return i.Digests[0]
	}
	return i.ID
}

// DeleteImages removes names, and the images that have none left then, from
// nodes of a cluster. An ID stands for all names of an image. What no node has
// is an error of class not found, and what belongs to the node image one of
// class usage.
func (m *Manager) DeleteImages(ctx context.Context, cluster string, refs, nodeNames []string) error {
	nodes, err := m.chooseNodes(ctx, cluster, nodeNames)
	if err != nil {
		return err
	}
	names := make([]string, len(refs))
	for i, ref := range refs {
		if names[i] = ref; !strings.HasPrefix(ref, "sha256:") {
			if names[i], err = image.FullName(ref); err != nil {
				return err
			}
		}
	}
	_, err = m.withStores(ctx, nodes, func(stores []*nodestore.Store) ([]Loaded, error) {
		var errs []error
		for i, name := range names {
			errs = append(errs, deleteImage(ctx, stores, refs[i], name))
		}
		return nil, errors.Join(errs...)
	})
	return err
}

func deleteImage(ctx context.Context, stores []*nodestore.Store, ref, name string) error {
	var mu sync.Mutex
	anywhere := false
	err := eachStore(stores, func(s *nodestore.Store) error {
		there, err := s.Delete(ctx, name)
		mu.Lock()
		defer mu.Unlock()
		anywhere = anywhere || there
		return err
	})
	if err == nil && !anywhere {
		return errdefs.New(errdefs.ClassNotFound, "IMAGE-NOT-FOUND", "no node has an image %s", ref).WithHint("See what they have: petri get images")
	}
	return err
}
