package nodestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/rootfs"
	cerrdefs "github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/image"
)

// Session brings images to a store. Everything that it brings is held by a
// lease, and is collected after End unless an image has been recorded that
// needs it. It is safe for concurrent use.
type Session struct {
	*Store
	// Pinned: what is recorded is a part of the node's image, and stays.
	Pinned   bool
	lease    leases.Lease
	refs     atomic.Int64
	received atomic.Bool
}

// leaseTime is after how long containerd frees what a session holds that was
// never ended.
const leaseTime = time.Hour

// Begin opens a session. End must be called.
func (s *Store) Begin(ctx context.Context) (*Session, error) {
	lease, err := s.Leases.Create(inNamespace(ctx), leases.WithRandomID(), leases.WithExpiration(leaseTime))
	if err != nil {
		return nil, s.explain(err, "open a lease")
	}
	return &Session{Store: s, lease: lease}, nil
}

// End closes the session. What it brought and no image needs is gone then:
// layers too, since they are unpacked.
func (x *Session) End(ctx context.Context) error {
	var opts []leases.DeleteOpt
	if x.received.Load() {
		opts = append(opts, leases.SynchronousDelete)
	}
	err := x.Leases.Delete(inNamespace(ctx), x.lease, opts...)
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return x.explain(err, "close the lease")
}

func (x *Session) in(ctx context.Context) context.Context {
	return leases.WithLease(inNamespace(ctx), x.lease.ID)
}

// Unpacked is how many of these layers, from the bottom up, are unpacked. They
// stay until the session ends.
func (x *Session) Unpacked(ctx context.Context, diffIDs []digest.Digest) (int, error) {
	ctx = x.in(ctx)
	chain := image.ChainIDs(diffIDs)
	for n := len(chain); n > 0; n-- {
		id := chain[n-1].String()
		_, err := x.Snapshots(x.snapshotter).Stat(ctx, id)
		if err == nil {
			// a snapshot holds those below it
			err = x.Leases.AddResource(ctx, x.lease, leases.Resource{ID: id, Type: "snapshots/" + x.snapshotter})
		}
		if err == nil {
			return n, nil
		}
		if !cerrdefs.IsNotFound(err) {
			return 0, x.explain(err, "look for layer %s", id)
		}
	}
	return 0, nil
}

// HasBlob reports whether the content is there.
func (x *Session) HasBlob(ctx context.Context, d digest.Digest) (bool, error) {
	ctx = x.in(ctx)
	err := x.Leases.AddResource(ctx, x.lease, leases.Resource{ID: d.String(), Type: "content"})
	if err == nil {
		_, err = x.Content.Info(ctx, d)
	}
	if cerrdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, x.explain(err, "look for %s", d)
}

// chunk is how much content goes in one call.
const chunk = 1 << 20

// Receive stores content. It need not read r when the content is there. It
// fails with IMAGE-BROKEN when the content is not what the blob says.
func (x *Session) Receive(ctx context.Context, b image.Blob, r io.Reader) error {
	x.received.Store(true)
	ref := fmt.Sprintf("petri-%s-%d", x.lease.ID, x.refs.Add(1))
	err := x.receive(x.in(ctx), ref, b, r)
	if err == nil || cerrdefs.IsAlreadyExists(err) {
		return nil
	}
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	// a node that is lost keeps it until its lease ends
	_ = x.Content.Abort(x.in(cleanup), ref)
	return x.explain(err, "store layer %s", b.Digest)
}

func (x *Session) receive(ctx context.Context, ref string, b image.Blob, r io.Reader) error {
	w, err := content.OpenWriter(ctx, x.Content, content.WithRef(ref), content.WithDescriptor(ocispec.Descriptor{Digest: b.Digest, Size: b.Size}))
	if err != nil {
		return err
	}
	defer w.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, chunk))
	if err != nil {
		return err
	}
	if n != b.Size {
		return errdefs.New(errdefs.ClassFailed, "IMAGE-BROKEN", "it is to have %d bytes, and has %d", b.Size, n)
	}
	return w.Commit(ctx, b.Size, b.Digest)
}

// Unpack unpacks the n-th layer of an image, whose content is there, on those
// below it, which are unpacked. One that is unpacked already is left alone.
func (x *Session) Unpack(ctx context.Context, i *image.Image, n int) error {
	diffIDs := i.DiffIDs()
	layer := rootfs.Layer{
		Diff: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: diffIDs[n]},
		Blob: i.Layers[n].Descriptor,
	}
	_, err := rootfs.ApplyLayerWithOpts(x.in(ctx), layer, slices.Clip(diffIDs[:n]), x.Snapshots(x.snapshotter), x.Diff, nil, nil)
	return x.explain(err, "unpack layer %d of %d", n+1, len(diffIDs))
}

// Record gives an image, whose layers are unpacked, its names, and returns
// once kubelet can see it. The name with a tag comes last: until then nothing
// has changed for those who use it.
func (x *Session) Record(ctx context.Context, i *image.Image) error {
	if err := x.storeDocuments(x.in(ctx), i); err != nil {
		return x.explain(err, "store the manifest")
	}
	names := []string{i.ID().String()}
	for _, name := range i.Names {
		names = append(names, image.Digested(name, i.Target().Digest.String()))
	}
	for _, name := range append(names, i.Names...) {
		if err := x.point(x.in(ctx), name, i.Target()); err != nil {
			return x.explain(err, "name the image %s", name)
		}
	}
	for _, name := range i.Names {
		if err := x.waitSeen(ctx, name, i.ID().String()); err != nil {
			return x.explain(err, "wait until kubelet sees %s", name)
		}
	}
	return nil
}

// storeDocuments stores config, manifest and index. Each is labelled with what
// it needs, by which containerd knows what to keep: the index its manifest,
// that one the config, which has the snapshots. Layers are not needed once they
// are unpacked.
func (x *Session) storeDocuments(ctx context.Context, i *image.Image) error {
	chain := image.ChainIDs(i.DiffIDs())
	for n, doc := range i.Documents {
		label, value := "containerd.io/gc.ref.snapshot."+x.snapshotter, ""
		if n > 0 {
			label, value = "containerd.io/gc.ref.content.0", i.Documents[n-1].Digest.String()
		} else if len(chain) > 0 {
			value = chain[len(chain)-1].String()
		}
		ref := fmt.Sprintf("petri-%s-%d", x.lease.ID, x.refs.Add(1))
		err := content.WriteBlob(ctx, x.Content, ref, bytes.NewReader(doc.Content), doc.Descriptor)
		if err != nil {
			return err
		}
		if value == "" {
			continue // an image without a layer
		}
		// what was there before may lack the label
		if _, err := x.Content.Update(ctx, content.Info{Digest: doc.Digest, Labels: map[string]string{label: value}}, "labels."+label); err != nil {
			return err
		}
	}
	return nil
}

// point makes a name lead to an image.
func (x *Session) point(ctx context.Context, name string, target ocispec.Descriptor) error {
	record := images.Image{Name: name, Target: target, Labels: map[string]string{labelManaged: managed}}
	fields := []string{"target", "labels." + labelManaged}
	if x.Pinned {
		record.Labels[labelPinned] = pinned
		fields = append(fields, "labels."+labelPinned)
	}
	_, err := x.Images.Create(ctx, record)
	if cerrdefs.IsAlreadyExists(err) {
		_, err = x.Images.Update(ctx, record, fields...)
	}
	return err
}

// seenTimeout is how long CRI may take to notice a new image: it is told by
// events, at once.
const seenTimeout = 20 * time.Second

func (x *Session) waitSeen(ctx context.Context, name, id string) error {
	ctx, cancel := context.WithTimeoutCause(inNamespace(ctx), seenTimeout, fmt.Errorf("it does not after %s", seenTimeout))
	defer cancel()
	for delay := time.Millisecond; ; delay = min(2*delay, 100*time.Millisecond) {
		found, err := x.CRI.Image(ctx, name)
		if found != nil && found.ID == id {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(delay):
		}
	}
}
