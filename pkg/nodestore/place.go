package nodestore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	cerrdefs "github.com/containerd/errdefs"

	"github.com/petri-cluster/petri/pkg/image"
)

// Place brings the files of an image as they are together, without its layers:
// fill puts them into a directory of the node. An image that is unpacked
// already is left alone. What fill puts there is trusted to be what the image
// says.
func (x *Session) Place(ctx context.Context, i *image.Image, fill func(dir string) error) error {
	if n, err := x.Unpacked(ctx, i.DiffIDs()); err != nil || n == len(i.DiffIDs()) {
		return err
	}
	chain := image.ChainIDs(i.DiffIDs())
	return x.explain(x.place(x.in(ctx), chain[len(chain)-1].String(), fill), "place the files of %v", i.Names)
}

func (x *Session) place(ctx context.Context, name string, fill func(dir string) error) error {
	snapshots := x.Snapshots(x.snapshotter)
	key := fmt.Sprintf("petri-%s-%d", x.lease.ID, x.refs.Add(1))
	mounts, err := snapshots.Prepare(ctx, key, "")
	if err != nil {
		return err
	}
	x.received.Store(true)
	dir, err := directory(mounts)
	if err == nil {
		err = fill(dir)
	}
	if err == nil {
		err = snapshots.Commit(ctx, name, key)
	}
	if err == nil {
		return x.Leases.AddResource(ctx, x.lease, leases.Resource{ID: name, Type: "snapshots/" + x.snapshotter})
	}
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = snapshots.Remove(cleanup, key) // else it goes with the lease
	if cerrdefs.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// directory is where the files of a snapshot without a parent are.
func directory(mounts []mount.Mount) (string, error) {
	if len(mounts) != 1 || mounts[0].Type != "bind" {
		return "", errors.New("the snapshotter keeps files where they cannot be put")
	}
	return mounts[0].Source, nil
}
