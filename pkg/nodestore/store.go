// Package nodestore is the image store of a node: what containerd in it has,
// and how images get there. It talks to containerd's own API through one
// stream into the node, so a node needs nothing of petri's for it. What is
// brought is held by a lease until it has a name; names come last. Where
// images come from, and which node gets what, is not its business.
package nodestore

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
)

// Services are the parts of containerd that are used.
type Services struct {
	Content   content.Store
	Images    images.Store
	Leases    leases.Manager
	Snapshots func(snapshotter string) snapshots.Snapshotter
	Diff      diff.Applier
	CRI       CRI
}

// CRI is what kubelet sees of a node's images.
type CRI interface {
	// Snapshotter is the name of what keeps unpacked images.
	Snapshotter(ctx context.Context) (string, error)
	// Image is the image with a full name or an ID, nil when there is none.
	Image(ctx context.Context, ref string) (*Image, error)
	// Images are all images.
	Images(ctx context.Context) ([]Image, error)
}

// Image is an image that a node has.
type Image struct {
	ID      string   // digest of its config
	Tags    []string // full names with a tag
	Digests []string // full names with the digest of a manifest
	Size    int64    // bytes, as containerd counts them
	Pinned  bool     // never collected: a part of the node image
}

// Store is the image store of one node. It is safe for concurrent use.
type Store struct {
	Services
	node        string
	snapshotter string
	link        *link // nil: the services are in this process
}

// New is the store of a node that has these services.
func New(ctx context.Context, node string, s Services) (*Store, error) {
	store := &Store{Services: s, node: node}
	var err error
	if store.snapshotter, err = s.CRI.Snapshotter(inNamespace(ctx)); err != nil {
		return nil, store.explain(err, "ask for the snapshotter")
	}
	return store, nil
}

// Node is the name of the node.
func (s *Store) Node() string { return s.node }

// Close ends the connection.
func (s *Store) Close() error {
	if s.link == nil {
		return nil
	}
	return s.link.close()
}

// namespace is the one that CRI keeps its images in.
const namespace = "k8s.io"

func inNamespace(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, namespace)
}

// What CRI marks images with, for itself.
const (
	labelManaged, managed = "io.cri-containerd.image", "managed"
	labelPinned, pinned   = "io.cri-containerd.pinned", "pinned"
)

// explain says what was being done when err came, names the node, and gives
// the classes that a person can act on.
func (s *Store) explain(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return s.classify(fmt.Errorf("node %s: %s: %w", s.node, fmt.Sprintf(format, args...), err))
}
