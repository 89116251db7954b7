package gate

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
)

// nftRunner keeps what it is told to load.
type nftRunner struct {
	mu     sync.Mutex
	loaded []string
	err    error
}

func (r *nftRunner) Run(_ context.Context, cmd exec.Cmd) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	rules, err := io.ReadAll(cmd.Stdin)
	r.loaded = append(r.loaded, string(rules))
	return errors.Join(err, r.err)
}

// echo is an API server that says everything back.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// standing is a gate all of whose clients are one process.
func standing(t *testing.T, client string) *gate {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := newGate(t.Context(), listener, echo(t), func(net.Addr) string { return client })
	t.Cleanup(g.close)
	go g.accept()
	return g
}

// dial says hello through a gate.
func dial(t *testing.T, g *gate) net.Conn {
	t.Helper()
	client, err := net.Dial("tcp", g.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if _, err := io.WriteString(client, "hello"); err != nil {
		t.Fatal(err)
	}
	return client
}

// answered reports whether the API server answers within some time.
func answered(client net.Conn, within time.Duration) bool {
	answer := make([]byte, 5)
	client.SetReadDeadline(time.Now().Add(within))
	_, err := io.ReadFull(client, answer)
	return err == nil && string(answer) == "hello"
}

const (
	moment = 50 * time.Millisecond
	ample  = 5 * time.Second
)

// TestHeld holds each client until its word, and nobody else.
func TestHeld(t *testing.T) {
	for client, words := range map[string][]string{
		"kubelet": {Pods}, "kube-controller": {Pods, Ready}, "kube-scheduler": {Pods, Ready}, "": nil,
	} {
		t.Run(client, func(t *testing.T) {
			g := standing(t, client)
			conn := dial(t, g)
			for _, word := range words {
				if answered(conn, moment) {
					t.Fatalf("an answer before %q", word)
				}
				g.pass("what means nothing")
				g.pass(word)
				g.pass(word)
			}
			if !answered(conn, ample) {
				t.Error("no answer")
			}
		})
	}
}

// TestGivenUp: the API server hears nothing of a client that has given up while it was
// held, and all that one has said which still waits.
func TestGivenUp(t *testing.T) {
	g := standing(t, "kubelet")
	api, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	g.api = api.Addr().String()
	gone, waiting := dial(t, g), dial(t, g)
	if err := gone.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	gone.SetReadDeadline(time.Now().Add(ample))
	if _, err := gone.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("it is still held: %v", err)
	}
	g.pass(Pods)
	if _, err := io.WriteString(waiting, ", and more"); err != nil {
		t.Fatal(err)
	}
	first, err := api.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if err := waiting.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	heard := make([]byte, len("hello, and more"))
	if _, err := io.ReadFull(first, heard); err != nil || string(heard) != "hello, and more" {
		t.Errorf("the API server heard %q, %v", heard, err)
	}
	api.(*net.TCPListener).SetDeadline(time.Now().Add(moment))
	if _, err := api.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a second client came: %v", err)
	}
}

// TestClose ends connections, those that are held as well.
func TestClose(t *testing.T) {
	g := standing(t, "kubelet")
	held := dial(t, g)
	g.close()
	held.SetReadDeadline(time.Now().Add(ample))
	if _, err := held.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the connection outlived the gate: %v", err)
	}
	if _, err := net.Dial("tcp", g.listener.Addr().String()); err == nil {
		t.Error("the gate still listens")
	}
}

// TestServe: rules lead connections to the gate until the API server is ready,
// or nobody tells more.
func TestServe(t *testing.T) {
	for own, match := range map[string]string{"127.0.0.1": "ip daddr 127.0.0.1", "::1": "ip6 daddr ::1"} {
		runner := &nftRunner{}
		ctx, cancel := context.WithCancel(t.Context())
		input, words := io.Pipe()
		output, said := io.Pipe()
		done := make(chan error, 1)
		go func() { done <- Serve(ctx, netip.MustParseAddr(own), runner, input, said) }()
		line := make([]byte, len(Standing)+1)
		if _, err := io.ReadFull(output, line); err != nil || string(line) != Standing+"\n" {
			t.Fatalf("it says %q, %v", line, err)
		}
		for _, word := range []string{Pods, Ready} {
			if _, err := io.WriteString(words, word+"\n"); err != nil {
				t.Fatal(err)
			}
		}
		words.Close()
		cancel() // it would linger
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		family, _, _ := strings.Cut(match, " ")
		if len(runner.loaded) < 2 || !strings.Contains(runner.loaded[0], match+" tcp dport 6443 dnat to ") ||
			!strings.HasSuffix(runner.loaded[1], "delete table "+family+" petri-gate\n") {
			t.Errorf("rules %q", runner.loaded)
		}
	}
}

// TestCannotServe: where connections cannot be led to a gate there is none.
func TestCannotServe(t *testing.T) {
	for own, runner := range map[string]*nftRunner{"192.0.2.1": {}, "127.0.0.1": {err: errors.New("no nft")}} {
		var said strings.Builder
		if err := Serve(t.Context(), netip.MustParseAddr(own), runner, strings.NewReader(""), &said); err == nil || strings.HasPrefix(said.String(), Standing) || said.Len() == 0 {
			t.Errorf("%s: got %v, and it said %q", own, err, said.String())
		}
	}
}
