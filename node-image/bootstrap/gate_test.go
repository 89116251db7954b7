package bootstrap

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
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

func TestGate(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	runner := &nftRunner{}
	g := newGate(t.Context(), listener, runner, "ip petri-gate", echo(t))
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := io.WriteString(client, "hello"); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 5)
	client.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := client.Read(answer); err == nil {
		t.Fatalf("an answer of %d bytes before the gate was open", n)
	}
	g.open(t.Context())
	client.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(client, answer); err != nil || string(answer) != "hello" {
		t.Fatalf("got %q, %v", answer, err)
	}
	g.close(t.Context())
	if _, err := client.Read(answer); err == nil {
		t.Error("the connection outlived the gate")
	}
	if _, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		t.Error("the gate still listens")
	}
	diff(t, []string{"add table ip petri-gate\ndelete table ip petri-gate\n"}, runner.loaded)
}

func TestGateRules(t *testing.T) {
	for own, match := range map[string]string{"127.0.0.1": "ip daddr 127.0.0.1", "::1": "ip6 daddr ::1"} {
		runner := &nftRunner{}
		node := &Node{Runner: runner}
		g := node.holdConnections(t.Context(), nodeimage.Plan{Address: own})
		if g == nil {
			t.Fatal("no gate")
		}
		defer g.close(t.Context())
		want := match + " tcp dport 6443 dnat to " + g.listener.Addr().String()
		if len(runner.loaded) != 1 || !strings.Contains(runner.loaded[0], want) {
			t.Errorf("rules %q, want %q", runner.loaded, want)
		}
	}
}

// TestNoGate: a node that cannot have one works without.
func TestNoGate(t *testing.T) {
	for name, test := range map[string]struct {
		address string
		err     error
	}{"no address": {"", nil}, "not its own": {"192.0.2.1", nil}, "no nft": {"127.0.0.1", errors.New("no nft")}} {
		node := &Node{Runner: &nftRunner{err: test.err}}
		if g := node.holdConnections(t.Context(), nodeimage.Plan{Address: test.address}); g != nil {
			t.Errorf("%s: there is a gate", name)
		} else {
			g.open(t.Context())
			g.close(t.Context())
		}
	}
}
