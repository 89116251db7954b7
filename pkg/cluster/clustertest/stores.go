package clustertest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"

	"github.com/petri-cluster/petri/pkg/image/imagetest"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodestore"
	"github.com/petri-cluster/petri/pkg/nodestore/storetest"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/provider/fake"
)

// nodeStore is the image store of a node, and where it is kept.
type nodeStore struct {
	*storetest.Containerd
	dir string
}

// NodeStore is the image store of a node, which is empty at first. A world in
// which it was called must be left with CloseStores.
func (w *World) NodeStore(node string) (*storetest.Containerd, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s, ok := w.stores[node]; ok {
		return s.Containerd, nil
	}
	dir, err := os.MkdirTemp("", "petri-store-")
	if err != nil {
		return nil, err
	}
	c, err := storetest.New(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if w.stores == nil {
		w.stores = map[string]nodeStore{}
	}
	w.stores[node] = nodeStore{c, dir}
	return c, nil
}

// OpenStore connects to the image store of a node.
func (w *World) OpenStore(ctx context.Context, n node.Node) (*nodestore.Store, error) {
	c, err := w.NodeStore(n.Name)
	if err != nil {
		return nil, err
	}
	return c.Store(ctx, n.Name)
}

// CloseStores removes the image stores of all nodes.
func (w *World) CloseStores() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, s := range w.stores {
		errs = append(errs, s.Close(), os.RemoveAll(s.dir))
	}
	w.stores = nil
	return errors.Join(errs...)
}

// AppImage is an image on the engine, for pods, of which the engine's storage
// can be read.
func AppImage(i imagetest.Image) fake.Image {
	out := fake.Image{
		Image:   provider.Image{ID: i.ID().String(), Architecture: i.Platform().Architecture, Tags: []string{i.Name}},
		Archive: imagetest.Tar(i.Saved()),
		Stored:  provider.StoredImage{Config: i.Config()},
	}
	for n, layer := range i.Layers {
		out.DiffIDs = append(out.DiffIDs, i.DiffIDs()[n].String())
		out.Stored.Layers = append(out.Stored.Layers, provider.StoredLayer{
			Size: int64(len(layer)), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil },
		})
	}
	return out
}
