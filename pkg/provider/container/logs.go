package container

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/docker/docker/api/types/container"

	"github.com/petri-cluster/petri/pkg/node"
)

// Console implements provider.LogCollector.
func (p *Provider) Console(ctx context.Context, n node.Node, lines int) ([]byte, error) {
	tail := "all"
	if lines > 0 {
		tail = strconv.Itoa(lines)
	}
	stream, err := p.engine.ContainerLogs(ctx, n.Name, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: tail})
	if err != nil {
		return nil, p.engineError(err, "read the console of node %s", n.Name)
	}
	defer stream.Close()
	// A console is a terminal, so its log is one plain stream.
	data, err := io.ReadAll(stream)
	if err != nil {
		return nil, fmt.Errorf("read the console of node %s: %w", n.Name, err)
	}
	return data, nil
}

// Inspect implements provider.LogCollector.
func (p *Provider) Inspect(ctx context.Context, n node.Node) ([]byte, error) {
	_, raw, err := p.engine.ContainerInspectWithRaw(ctx, n.Name, false)
	return raw, p.engineError(err, "inspect node %s", n.Name)
}
