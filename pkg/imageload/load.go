// Package imageload brings images from a source to the stores of nodes. It
// finds out what each node lacks, reads each layer once for all nodes that
// lack it, and unpacks while it reads on. A node that fails does not hold up
// the others. It knows neither engines nor clusters.
package imageload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/petri-cluster/petri/pkg/image"
	"github.com/petri-cluster/petri/pkg/nodestore"
	"github.com/petri-cluster/petri/pkg/progress"
)

// Options say what is known beside the source.
type Options struct {
	// Title of the load, for progress: "Loading app:1".
	Title    string
	Reporter progress.Reporter
	// DiffIDs of the one image in a sequential source, when they are known:
	// what nodes have of them is not sent. Nil: they are not known.
	DiffIDs []digest.Digest
}

// Result is what a load did.
type Result struct {
	Images []*image.Image
	// Sent is how many bytes of layers went to each node that has all images
	// now, by name.
	Sent map[string]int64
}

// phase is the name of a load in progress events.
const phase = "load-image"

// endTimeout bounds the end of a session, also when the load was interrupted.
const endTimeout = 15 * time.Second

// Load brings every image of the source to every store. The error names each
// node that failed; the others have the images all the same. When the source
// fails, no node has any image of it that was not there before.
func Load(ctx context.Context, src image.Source, stores []*nodestore.Store, o Options) (Result, error) {
	task := progress.Start(o.Reporter, phase, o.Title, "")
	l := &load{src: src, opts: o, meter: &meter{task: task}, inFlight: make(chan struct{}, maxInFlight)}
	for _, s := range stores {
		l.nodes = append(l.nodes, newReceiver(ctx, s, l.meter))
	}
	l.meter.nodes = l.nodes
	result, err := l.run(ctx)
	return result, task.Done(err)
}

// maxInFlight is how many layers are on their way at once: the next one is
// read while nodes write the last ones to disk.
const maxInFlight = 4

// load is one load under way.
type load struct {
	src      image.Source
	opts     Options
	nodes    []*receiver
	meter    *meter
	inFlight chan struct{}
	sending  sync.WaitGroup
	chosen   []*receiver // of the layer that a sequential source comes to next
}

func (l *load) run(ctx context.Context) (Result, error) {
	l.each(func(r *receiver) error { return r.begin() })
	defer l.end(ctx)
	var images []*image.Image
	var err error
	finished := func() {}
	if l.src.Sequential() {
		l.each(func(r *receiver) error { return r.planBlind(l.opts.DiffIDs) })
	} else {
		if images, err = l.src.Images(); err != nil {
			return Result{}, err
		}
		l.each(func(r *receiver) error { return r.plan(images) })
		finished = l.finish(images)
	}
	err = l.src.Layers(ctx, l.wants, l.take)
	l.sending.Wait()
	if err != nil && !errors.Is(err, errNobody) {
		l.abandon(err)
		finished()
		return Result{}, err
	}
	if l.src.Sequential() && err == nil {
		if images, err = l.src.Images(); err != nil {
			return Result{}, err
		}
		l.each(func(r *receiver) error { return r.planRead(images) })
		finished = l.finish(images)
	}
	for _, r := range l.nodes {
		close(r.delivered)
	}
	finished()
	return l.result(images)
}

// each calls fn for all nodes that have not failed, at once.
func (l *load) each(fn func(*receiver) error) {
	var all sync.WaitGroup
	for _, r := range l.nodes {
		if r.alive() {
			all.Go(func() { r.fail(fn(r)) })
		}
	}
	all.Wait()
}

// finish unpacks and names the images on all nodes as their layers arrive. The
// function it returns waits for the end.
func (l *load) finish(images []*image.Image) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.each(func(r *receiver) error { return r.finish(images) })
	}()
	return func() { <-done }
}

// abandon ends what nodes do, because the source has failed.
func (l *load) abandon(why error) {
	for _, r := range l.nodes {
		r.fail(why)
	}
}

func (l *load) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, r := range l.nodes {
		all.Go(func() { r.end(ctx) })
	}
	all.Wait()
}

// result joins the failures, each of which names its node.
func (l *load) result(images []*image.Image) (Result, error) {
	out := Result{Images: images, Sent: map[string]int64{}}
	var errs []error
	for _, r := range l.nodes {
		if err := r.failure(); err != nil {
			errs = append(errs, err)
		} else {
			out.Sent[r.store.Node()] = r.sent.Load()
		}
	}
	return out, errors.Join(errs...)
}

// wants reports whether any node lacks the content.
func (l *load) wants(b image.Blob) bool {
	l.chosen = slices.DeleteFunc(slices.Clone(l.nodes), func(r *receiver) bool { return !r.alive() || !r.lacks(b) })
	return len(l.chosen) > 0
}

// errNobody ends a source that no node is left for.
var errNobody = errors.New("no node is left to load to")

// take sends content to every node that lacks it.
func (l *load) take(b image.Blob, content io.Reader) error {
	to := l.chosen
	if !l.src.Sequential() { // which asked for all of them before
		to = slices.DeleteFunc(slices.Clone(l.nodes), func(r *receiver) bool { return !r.alive() || !r.lacks(b) })
	}
	if !slices.ContainsFunc(l.nodes, (*receiver).alive) {
		return errNobody
	}
	l.inFlight <- struct{}{}
	var arriving sync.WaitGroup
	var pipes []*io.PipeWriter
	for _, r := range to {
		in, out := io.Pipe()
		pipes = append(pipes, out)
		arriving.Go(func() { r.receive(b, in) })
	}
	l.sending.Go(func() {
		arriving.Wait()
		<-l.inFlight
	})
	err := spread(content, pipes)
	for _, p := range pipes {
		p.CloseWithError(err)
	}
	return err
}

// chunk is how much is read at once, and sent in one call.
const chunk = 1 << 20

// spread copies what is read to all pipes whose other side still reads. Its
// error is the reader's.
func spread(content io.Reader, pipes []*io.PipeWriter) error {
	buf := make([]byte, chunk)
	for {
		n, err := fill(content, buf)
		pipes = slices.DeleteFunc(slices.Clone(pipes), func(p *io.PipeWriter) bool {
			_, err := p.Write(buf[:n])
			return err != nil // that node has failed, or has the content
		})
		switch {
		case errors.Is(err, io.EOF), err == nil && len(pipes) == 0:
			return nil
		case err != nil:
			return &sourceError{fmt.Errorf("read a layer: %w", err)}
		}
	}
}

// fill reads until buf is full. Unlike io.ReadFull it leaves the error alone:
// an input that was cut short is told from one that has ended.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}

// sourceError is an error of the source's, as against a node's.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }
