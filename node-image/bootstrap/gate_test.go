package bootstrap

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/petri-cluster/petri/node-image/gate"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// gateRunner stands for the process of a gate, which keeps what it is told.
type gateRunner struct {
	says  string
	err   error
	args  []string
	words chan []string
}

func (r *gateRunner) Run(_ context.Context, cmd exec.Cmd) error {
	r.args = cmd.Args
	fmt.Fprintln(cmd.Stdout, r.says)
	var words []string
	for s := bufio.NewScanner(cmd.Stdin); r.err == nil && s.Scan(); {
		words = append(words, s.Text())
	}
	r.words <- words
	return r.err
}

// TestGate tells a gate how far the API server is, and lets it go.
func TestGate(t *testing.T) {
	runner := &gateRunner{says: gate.Standing, words: make(chan []string, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	g := (&Node{Runner: runner}).holdConnections(ctx, nodeimage.Plan{Address: "10.1.2.3"})
	if g == nil {
		t.Fatal("no gate")
	}
	cancel() // what is under way may end, and the gate not yet
	g.tell(gate.Pods)
	g.tell(gate.Ready)
	g.leave()
	diff(t, []string{gate.Pods, gate.Ready}, <-runner.words)
	diff(t, []string{nodeimage.HelperPath, "gate", "10.1.2.3"}, runner.args)
	g.tell(gate.Ready) // nobody listens, and nothing is wrong
}

// TestNoGate: a node that cannot have one works without.
func TestNoGate(t *testing.T) {
	for name, test := range map[string]struct {
		address string
		runner  gateRunner
	}{
		"no address": {"", gateRunner{}},
		"failed":     {"10.1.2.3", gateRunner{err: errors.New("no nft")}},
		"other word": {"10.1.2.3", gateRunner{says: "usage"}},
	} {
		test.runner.words = make(chan []string, 1)
		if g := (&Node{Runner: &test.runner}).holdConnections(t.Context(), nodeimage.Plan{Address: test.address}); g != nil {
			t.Errorf("%s: there is a gate", name)
		} else {
			g.tell(gate.Ready)
			g.leave()
		}
	}
}

// TestWarm reads what is there.
func TestWarm(t *testing.T) {
	node, fake, _ := newNode(t, nodeimage.Plan{}, "")
	fake.put(warmed[len(warmed)-1], "program")
	node.warm() // the first one is not there
	if len(slices.Compact(slices.Clone(warmed))) != len(warmed) {
		t.Error("a program is read twice")
	}
}
