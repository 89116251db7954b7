package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// counter stands in front of the engine's socket and counts the calls.
type counter struct {
	calls  atomic.Int64
	server *http.Server
	host   string // as $DOCKER_HOST has it
}

// newCounter listens on a socket in dir for an engine at a unix socket.
func newCounter(ctx context.Context, dir, engine string) (*counter, error) {
	socket, ok := strings.CutPrefix(engine, "unix://")
	if !ok {
		return nil, &notMeasured{"the engine at " + engine + " has no socket in front of which calls could be counted"}
	}
	path := filepath.Join(dir, "engine.sock")
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for calls of the engine: %w", err)
	}
	c := &counter{host: "unix://" + path}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "engine"}) },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}},
		FlushInterval: -1, // streams pass as they come
	}
	c.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.calls.Add(1)
		proxy.ServeHTTP(w, r)
	})}
	go func() { _ = c.server.Serve(listener) }() // ends when it is closed
	return c, nil
}

// countCalls makes one node, then three, through a counter. Nothing is timed.
// One cluster comes before, and is not counted: launchers remember what they
// have found out of an engine.
func (t *trial) countCalls(ctx context.Context) (err error) {
	address, err := t.place.address(ctx)
	if err != nil {
		return err
	}
	c, err := newCounter(ctx, t.target.dir, address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.server.Close()) }()
	if err := t.makeUsable(ctx); err != nil {
		return err
	}
	var counts []float64
	for _, workers := range []int{0, 2} {
		if err := t.delete(ctx); err != nil {
			return err
		}
		t.shape(1, workers)
		n, err := t.count(ctx, c)
		if err != nil {
			return err
		}
		counts = append(counts, n)
	}
	t.set("one-node", counts[0])
	t.set("further-node", (counts[1]-counts[0])/2)
	return nil
}

// count makes a cluster through the counter, and returns when it is usable:
// one that is still being made is not deleted.
func (t *trial) count(ctx context.Context, c *counter) (float64, error) {
	direct, through := t.bench, *t.place
	through.host = c.host
	t.bench = direct.at(&through)
	defer func() { t.bench = direct }()
	before := c.calls.Load()
	err := t.makeUsable(ctx)
	return float64(c.calls.Load() - before), err
}

// at is the same run on another place.
func (b *bench) at(p *place) *bench {
	moved := *b
	moved.place = p
	return &moved
}
