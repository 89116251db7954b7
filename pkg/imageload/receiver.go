package imageload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/image"
	"github.com/petri-cluster/petri/pkg/nodestore"
)

// receiver is a node that images are brought to.
type receiver struct {
	store   *nodestore.Store
	session *nodestore.Session
	ctx     context.Context // the node's own: it ends when the node fails
	cancel  context.CancelCauseFunc
	meter   *meter
	sent    atomic.Int64 // bytes
	total   atomic.Int64 // bytes that are to be sent, as far as that is known

	// What the node has and lacks; written before anything is sent.
	done     map[*image.Image]bool // it needs nothing
	unpacked map[*image.Image]int  // layers from the bottom up
	lacking  map[digest.Digest]*arrival
	blind    bool                   // what is sent is not known before
	complete bool                   // blind, and yet known to lack nothing
	wanted   map[digest.Digest]bool // blind, by digest and by that of the uncompressed layer

	delivered chan struct{} // closed when nothing more will come

	mu  sync.Mutex
	err error
}

// arrival is content on its way.
type arrival struct {
	there chan struct{} // closed once it is stored
	once  sync.Once
}

func newReceiver(ctx context.Context, s *nodestore.Store, m *meter) *receiver {
	ctx, cancel := context.WithCancelCause(ctx)
	return &receiver{
		store: s, ctx: ctx, cancel: cancel, meter: m,
		done: map[*image.Image]bool{}, unpacked: map[*image.Image]int{}, lacking: map[digest.Digest]*arrival{},
		wanted: map[digest.Digest]bool{}, delivered: make(chan struct{}),
	}
}

// fail notes the first error, and ends what the node does.
func (r *receiver) fail(err error) {
	if err == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
		r.cancel(err)
	}
}

func (r *receiver) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *receiver) alive() bool { return r.failure() == nil }

func (r *receiver) begin() (err error) {
	r.session, err = r.store.Begin(r.ctx)
	return err
}

// end frees what the node was sent and did not need. A node that is lost does
// so by itself when the lease runs out.
func (r *receiver) end(ctx context.Context) {
	if r.session != nil {
		r.fail(r.session.End(ctx))
	}
	r.cancel(nil)
}

// plan finds out what the node lacks of the images.
func (r *receiver) plan(images []*image.Image) error {
	for _, i := range images {
		has, err := r.hasAll(i)
		if err != nil {
			return err
		}
		if r.done[i] = has; has {
			continue
		}
		if err := r.planLayers(i); err != nil {
			return err
		}
	}
	return nil
}

func (r *receiver) hasAll(i *image.Image) (bool, error) {
	for _, name := range i.Names {
		has, err := r.store.Has(r.ctx, name, i.Target().Digest.String(), i.DiffIDs())
		if !has || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (r *receiver) planLayers(i *image.Image) error {
	n, err := r.session.Unpacked(r.ctx, i.DiffIDs())
	if err != nil {
		return err
	}
	r.unpacked[i] = n
	for _, l := range i.Layers[n:] {
		if r.lacking[l.Digest] != nil {
			continue
		}
		has, err := r.session.HasBlob(r.ctx, l.Digest)
		if err != nil {
			return err
		}
		if !has {
			r.lacking[l.Digest] = &arrival{there: make(chan struct{})}
			r.total.Add(l.Size)
		}
	}
	return nil
}

// planBlind prepares for content of which only this is known, if at all.
func (r *receiver) planBlind(diffIDs []digest.Digest) error {
	r.blind = true
	if diffIDs == nil {
		return nil
	}
	n, err := r.session.Unpacked(r.ctx, diffIDs)
	if err != nil {
		return err
	}
	r.complete = n == len(diffIDs)
	for i, d := range diffIDs {
		r.wanted[d] = r.wanted[d] || i >= n
	}
	if r.complete {
		return nil
	}
	packed, err := r.store.Packed(r.ctx)
	for d, diffID := range packed {
		if wanted, known := r.wanted[diffID]; known {
			r.wanted[d] = wanted
		}
	}
	return err
}

// planRead finds out what is left to do for images whose layers have come.
func (r *receiver) planRead(images []*image.Image) error {
	if err := r.plan(images); err != nil {
		return err
	}
	for d := range r.lacking {
		return errdefs.New(errdefs.ClassFailed, "IMAGE-BROKEN", "node %s: layer %s has not come with the archive", r.store.Node(), d)
	}
	return nil
}

// lacks reports whether the content is to be sent to the node.
func (r *receiver) lacks(b image.Blob) bool {
	if !r.blind {
		return r.lacking[b.Digest] != nil
	}
	if r.complete {
		return false
	}
	if wanted, known := r.wanted[b.Digest]; known || b.Digest == "" {
		return wanted || !known
	}
	has, err := r.session.HasBlob(r.ctx, b.Digest)
	r.fail(err)
	return !has && err == nil
}

// receive stores content that comes through a pipe.
func (r *receiver) receive(b image.Blob, in *io.PipeReader) {
	err := r.session.Receive(r.ctx, b, &counted{in, r})
	// nobody may be kept waiting for a reader that has gone
	in.CloseWithError(errors.Join(err, io.ErrClosedPipe))
	if _, ok := errors.AsType[*sourceError](err); ok {
		return // it is no failure of the node's
	}
	r.fail(err)
	if a := r.lacking[b.Digest]; a != nil && err == nil {
		a.once.Do(func() { close(a.there) })
	}
}

// finish unpacks the images as their layers arrive, and names them.
func (r *receiver) finish(images []*image.Image) error {
	for _, i := range images {
		if r.done[i] {
			continue
		}
		for n := r.unpacked[i]; n < len(i.Layers); n++ {
			if err := r.await(i.Layers[n].Digest); err != nil {
				return err
			}
			if err := r.session.Unpack(r.ctx, i, n); err != nil {
				return err
			}
		}
	}
	// names come when the whole source is known to be sound
	select {
	case <-r.delivered:
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
	for _, i := range images {
		if r.done[i] {
			continue
		}
		if err := r.session.Record(r.ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// await returns once the content is stored.
func (r *receiver) await(d digest.Digest) error {
	a := r.lacking[d]
	if a == nil {
		return nil
	}
	select {
	case <-a.there:
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	case <-r.delivered:
	}
	select {
	case <-a.there:
		return nil
	default:
		return fmt.Errorf("node %s: layer %s did not arrive", r.store.Node(), d)
	}
}
