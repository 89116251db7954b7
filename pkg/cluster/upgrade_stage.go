package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/noderelease"
	"github.com/petri-cluster/petri/pkg/nodestore"
	"github.com/petri-cluster/petri/pkg/progress"
)

// stage brings all nodes what they need, at once: the programs, beside those
// that run, and the images that they lack. Nothing changes by it for what runs.
// Pods of the new version may be scheduled to any node as soon as the control
// plane is new, so that all nodes must have their images before.
func (u *upgrade) stage(ctx context.Context, nodes []node.Node) error {
	if len(nodes) == 0 {
		return nil
	}
	task := progress.Start(u.reporter, "stage", "Bringing "+u.plan.To+" to the nodes", "")
	return task.Done(u.bring(ctx, task, nodes))
}

func (u *upgrade) bring(ctx context.Context, task *progress.Task, nodes []node.Node) (err error) {
	stores, err := u.dialStores(ctx, nodes)
	defer func() {
		for _, s := range stores {
			s.Close()
		}
	}()
	if err != nil {
		return err
	}
	lacking, err := u.lacking(ctx, stores)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "petri-upgrade-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	archive, err := os.Create(path.Join(scratch, "release.tar"))
	if err != nil {
		return err
	}
	defer archive.Close()
	task.Update("reading it from the image")
	if err := u.release.Pack(ctx, lacking, scratch, archive); err != nil {
		return err
	}
	size, err := archive.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	task.Update(fmt.Sprintf("%d MB to each of %d", size/1e6, len(nodes)))
	return together(nodes, func(i int, n node.Node) error {
		if err := script(ctx, n, unpackRelease, io.NewSectionReader(archive, 0, size), u.plan.To); err != nil {
			return err
		}
		if err := u.place(ctx, n, stores[i], lacking); err != nil {
			return err
		}
		return exec.Run(ctx, n, "rm", "-rf", u.directory()+"/"+noderelease.ImagesDir)
	})
}

// directory is where the release is in a node.
func (u *upgrade) directory() string { return nodeimage.ReleasesDir + "/" + u.plan.To }

// lacking are the images that any of the nodes lacks.
func (u *upgrade) lacking(ctx context.Context, stores []*nodestore.Store) ([]noderelease.Image, error) {
	var out []noderelease.Image
	for _, i := range u.release.Images {
		all := true
		for _, s := range stores {
			has, err := s.Has(ctx, i.Names[0], i.ID().String(), i.DiffIDs())
			if err != nil {
				return nil, err
			}
			all = all && has
		}
		if !all {
			out = append(out, i)
		}
	}
	return out, nil
}

// place gives images to the containerd of a node: their files become a part of
// its store where they are, by links, so that the programs of Kubernetes stay
// one file on the disk and in memory.
func (u *upgrade) place(ctx context.Context, n node.Node, store *nodestore.Store, images []noderelease.Image) (err error) {
	session, err := store.Begin(ctx)
	if err != nil {
		return err
	}
	session.Pinned = true
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		err = errors.Join(err, session.End(end))
	}()
	for _, i := range images {
		from := path.Join(u.directory(), noderelease.ImagesDir, i.Snapshot)
		err := session.Place(ctx, i.Image, func(dir string) error {
			return exec.Run(ctx, n, "cp", "-al", from+"/.", dir+"/")
		})
		if err == nil {
			err = session.Record(ctx, i.Image)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
