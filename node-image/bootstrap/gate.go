package bootstrap

import (
	"bufio"
	"context"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/petri-cluster/petri/node-image/gate"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// gateway is the way to the gate that holds connections while the API server
// starts. A nil one stands for none. It is safe for concurrent use.
type gateway struct {
	mu    sync.Mutex
	words io.WriteCloser
}

// gateTimeout bounds the wait for a gate. Without one clients try again by
// themselves.
const gateTimeout = 5 * time.Second

// holdConnections starts a gate before the API on the node's own address. Where
// that cannot be done there is none.
func (n *Node) holdConnections(ctx context.Context, plan nodeimage.Plan) *gateway {
	if plan.Address == "" {
		return nil
	}
	input, words := io.Pipe()
	said, output := io.Pipe()
	go func() {
		// it outlives this process, whose end is the end of its input
		err := n.Runner.Run(context.WithoutCancel(ctx), exec.Cmd{Args: []string{nodeimage.HelperPath, "gate", plan.Address}, Stdin: input, Stdout: output})
		input.CloseWithError(io.ErrClosedPipe)
		output.CloseWithError(err)
	}()
	standing := make(chan bool, 1)
	go func() {
		line, _ := bufio.NewReader(said).ReadString('\n')
		standing <- strings.TrimSpace(line) == gate.Standing
	}()
	select {
	case ok := <-standing:
		if ok {
			return &gateway{words: words}
		}
	case <-time.After(gateTimeout):
	case <-ctx.Done():
	}
	words.Close()
	return nil
}

// tell tells the gate how far the API server has come. A gate that has ended
// holds nobody.
func (g *gateway) tell(word string) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	_, _ = io.WriteString(g.words, word+"\n")
}

// leave lets the gate go.
func (g *gateway) leave() {
	if g != nil {
		g.words.Close()
	}
}
