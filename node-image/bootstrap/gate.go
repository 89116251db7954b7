package bootstrap

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// gate lets this node's clients of the API wait while the API server starts.
// The kubelet starts it, and so is there before it: its own requests would be
// refused, and be tried again after pauses that double up to seconds. Instead
// its connections are accepted, held, and passed on at the first moment at
// which they are of use. What came through the gate goes on through it
// until close, which the kubelet takes as any lost connection.
type gate struct {
	listener net.Listener
	runner   exec.Runner
	table    string // which holds the rule that leads connections here
	api      string
	opened   chan struct{}
	once     sync.Once
	conns    context.Context
	drop     context.CancelFunc
}

// holdConnections makes a gate before the API on the node's own address. Where
// that cannot be done there is none: clients then try again by themselves.
func (n *Node) holdConnections(ctx context.Context, plan nodeimage.Plan) *gate {
	own, err := netip.ParseAddr(plan.Address)
	if err != nil {
		return nil
	}
	family := "ip"
	if own.Is6() {
		family = "ip6"
	}
	listener, err := net.Listen("tcp", netip.AddrPortFrom(own, 0).String())
	if err != nil {
		return nil
	}
	g := newGate(ctx, listener, n.Runner, family+" petri-gate", localAPI)
	rules := fmt.Sprintf(`add table %[1]s
delete table %[1]s
table %[1]s {
	chain output {
		type nat hook output priority -110; policy accept;
		%[2]s daddr %[3]s tcp dport %[4]d dnat to %[5]s
	}
}
`, g.table, family, own, nodeimage.APIServerPort, listener.Addr())
	if err := g.nft(ctx, rules); err != nil {
		g.close(ctx)
		return nil
	}
	return g
}

func newGate(ctx context.Context, listener net.Listener, runner exec.Runner, table, api string) *gate {
	g := &gate{listener: listener, runner: runner, table: table, api: api, opened: make(chan struct{})}
	g.conns, g.drop = context.WithCancel(context.WithoutCancel(ctx))
	go g.accept()
	return g
}

func (g *gate) nft(ctx context.Context, rules string) error {
	return g.runner.Run(ctx, exec.Cmd{Args: []string{"nft", "-f", "-"}, Stdin: strings.NewReader(rules)})
}

func (g *gate) accept() {
	for {
		conn, err := g.listener.Accept()
		if err != nil {
			return // closed
		}
		go g.pass(conn)
	}
}

// pass holds a connection until the gate is open, and then joins it to the
// API server.
func (g *gate) pass(conn net.Conn) {
	defer conn.Close()
	select {
	case <-g.opened:
	case <-g.conns.Done():
		return
	}
	var d net.Dialer
	api, err := d.DialContext(g.conns, "tcp", g.api)
	if err != nil {
		return // the client tries again
	}
	defer api.Close()
	defer context.AfterFunc(g.conns, func() { _ = conn.Close(); _ = api.Close() })()
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{conn, api}, {api, conn}} {
		go func() {
			_, _ = io.Copy(way[0], way[1]) // an end of either side is the end
			ended <- struct{}{}
		}()
	}
	<-ended
}

// open passes on what is held and leads no more connections here.
func (g *gate) open(ctx context.Context) {
	if g == nil {
		return
	}
	g.once.Do(func() {
		close(g.opened)
		// without it the listener goes on passing connections until close
		_ = g.nft(ctx, "add table "+g.table+"\ndelete table "+g.table+"\n")
	})
}

// close ends every connection that came through the gate.
func (g *gate) close(ctx context.Context) {
	if g == nil {
		return
	}
	g.open(ctx)
	g.drop()
	_ = g.listener.Close()
}
