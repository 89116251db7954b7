// Package gate lets a node's clients of the API wait while the API server
// starts. The kubelet starts it, and so is there before it, and the controllers
// are made ready beside it: their requests would be refused, and be tried again
// after pauses of up to seconds. Instead their connections are accepted, held,
// and passed on at the first moment at which they are of use. A gate is a
// process of its own, because what came through it goes on through it: it stays
// for a while when the node is a member, and then lets go.
package gate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// The words by which a gate is told, one a line, how far the API server has
// come. The end of its input says that nobody will tell more.
const (
	// Pods: it takes nodes and pods. The kubelet's connections are passed on.
	Pods = "pods"
	// Ready: it serves everyone. All connections are passed on, and new ones
	// are led here no more.
	Ready = "ready"
)

// Standing is what a gate writes, in a line, when connections are led to it. One
// that cannot stand writes another line.
const Standing = "standing"

// linger is how long a gate stays after the end of its input. Who is cut off
// lists everything anew, which would come in the middle of the first pods'
// start. A cluster of several nodes may still be joining them: it goes on.
const linger = 30 * time.Second

// heldUntil says up to which word the connections of a process are held; the
// kernel keeps 15 characters of a name. Everyone else's are passed on at once.
var heldUntil = map[string]string{"kubelet": Pods, "kube-controller": Ready, "kube-scheduler": Ready}

// Serve makes a gate before the API server on a node's own address, says so on
// output, follows the words on input, and returns when it has let go. Where
// connections cannot be led to it, it fails. It does not end while they are.
func Serve(ctx context.Context, own netip.Addr, runner exec.Runner, input io.Reader, output io.Writer) error {
	lead := leading{runner: runner, own: own}
	g, err := stand(ctx, lead)
	if err != nil {
		fmt.Fprintln(output, "there is no gate:", err)
		return err
	}
	defer g.close()
	fmt.Fprintln(output, Standing)
	go g.accept()
	ended := false
	for words := bufio.NewScanner(input); words.Scan(); {
		g.pass(words.Text())
		ended = words.Text() == Ready && lead.end(ctx) == nil
	}
	g.pass(Pods)
	g.pass(Ready)
	for !ended {
		if err = lead.end(ctx); err == nil {
			break
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return err
		}
	}
	select {
	case <-time.After(linger):
	case <-ctx.Done():
	}
	return nil
}

// stand makes a gate to which connections are led.
func stand(ctx context.Context, lead leading) (*gate, error) {
	listener, err := net.Listen("tcp", netip.AddrPortFrom(lead.own, 0).String())
	if err != nil {
		return nil, err
	}
	g := newGate(ctx, listener, localAPI, func(a net.Addr) string { return clientOf("/proc", a) })
	if err := lead.begin(ctx, listener.Addr()); err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

// localAPI is the API server on loopback, where nothing leads elsewhere.
var localAPI = net.JoinHostPort("127.0.0.1", fmt.Sprint(nodeimage.APIServerPort))

// gate holds and passes connections.
type gate struct {
	listener net.Listener
	api      string
	client   func(net.Addr) string // the name of the process at an address
	passed   map[string]chan struct{}
	once     map[string]*sync.Once
	conns    context.Context
	drop     context.CancelFunc
}

func newGate(ctx context.Context, listener net.Listener, api string, client func(net.Addr) string) *gate {
	g := &gate{listener: listener, api: api, client: client, passed: map[string]chan struct{}{}, once: map[string]*sync.Once{}}
	for _, word := range []string{Pods, Ready} {
		g.passed[word], g.once[word] = make(chan struct{}), new(sync.Once)
	}
	g.conns, g.drop = context.WithCancel(context.WithoutCancel(ctx))
	return g
}

// pass lets connections go that were held until a word. Words that mean nothing
// are passed over.
func (g *gate) pass(word string) {
	if once, ok := g.once[word]; ok {
		once.Do(func() { close(g.passed[word]) })
	}
}

// close ends every connection.
func (g *gate) close() {
	g.drop()
	g.listener.Close()
}

func (g *gate) accept() {
	for {
		conn, err := g.listener.Accept()
		if err != nil {
			return // closed
		}
		go g.join(conn)
	}
}

// join holds a connection as long as it is of no use, and then joins it to the
// API server.
func (g *gate) join(conn net.Conn) {
	defer conn.Close()
	var said []byte
	if held := g.passed[heldUntil[g.client(conn.RemoteAddr())]]; held != nil {
		var ok bool
		if said, ok = g.hold(conn, held); !ok {
			return
		}
	}
	var d net.Dialer
	api, err := d.DialContext(g.conns, "tcp", g.api)
	if err != nil {
		return // the client tries again
	}
	defer api.Close()
	defer context.AfterFunc(g.conns, func() { _ = conn.Close(); _ = api.Close() })()
	if _, err := api.Write(said); err != nil {
		return
	}
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{conn, api}, {api, conn}} {
		go func() {
			_, _ = io.Copy(way[0], way[1]) // an end of either side is the end
			ended <- struct{}{}
		}()
	}
	<-ended
}

// greeting is the most that a client is heard while it is held, in bytes. It says
// hello, and waits for an answer.
const greeting = 16 << 10

// hold waits until a connection may go on, and returns what its client has said
// meanwhile. It is not ok when the client has given up, as after ten seconds without
// an answer: on a slow machine the API server would begin a handshake with each of
// those, in place of those who still wait.
func (g *gate) hold(conn net.Conn, held <-chan struct{}) (said []byte, ok bool) {
	waiting, end := context.WithCancel(g.conns)
	defer end()
	released := make(chan struct{})
	go func() {
		defer close(released)
		select {
		case <-held:
		case <-waiting.Done():
		}
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // what is read below ends
	}()
	said = make([]byte, 0, greeting)
	for len(said) < greeting {
		n, err := conn.Read(said[len(said):greeting])
		said = said[:len(said)+n]
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return nil, false
		}
	}
	<-released
	return said, waiting.Err() == nil && conn.SetReadDeadline(time.Time{}) == nil
}

// leading is the rule by which the node's own connections to the API come here.
type leading struct {
	runner exec.Runner
	own    netip.Addr
}

func (l leading) family() string {
	if l.own.Is6() {
		return "ip6"
	}
	return "ip"
}

func (l leading) begin(ctx context.Context, to net.Addr) error {
	return l.nft(ctx, fmt.Sprintf(`add table %[1]s petri-gate
delete table %[1]s petri-gate
table %[1]s petri-gate {
	chain output {
		type nat hook output priority -110; policy accept;
		%[1]s daddr %[2]s tcp dport %[3]d dnat to %[4]s
	}
}
`, l.family(), l.own, nodeimage.APIServerPort, to))
}

// end may be said again.
func (l leading) end(ctx context.Context) error {
	return l.nft(ctx, fmt.Sprintf("add table %[1]s petri-gate\ndelete table %[1]s petri-gate\n", l.family()))
}

func (l leading) nft(ctx context.Context, rules string) error {
	return l.runner.Run(ctx, exec.Cmd{Args: []string{"nft", "-f", "-"}, Stdin: strings.NewReader(rules)})
}
