package bench

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/petri-cluster/petri/pkg/exec"
)

// usageScript prints a node's memory, then its CPU time before and after a
// pause: one command, so that starting it is not in what it measures.
//
//go:embed usage.sh
var usageScript string

// usage is what one idle node takes.
type usage struct {
	memory float64 // bytes, page cache that can be dropped aside
	cpu    float64 // percent of one core
	disk   float64 // bytes, etcd's data aside
	etcd   float64 // bytes of etcd's data
}

// idle leaves a usable cluster alone and then takes what its nodes take.
func (t *trial) idle(ctx context.Context) error {
	if err := t.makeUsable(ctx); err != nil {
		return err
	}
	select {
	case <-time.After(t.opts.Settle):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	nodes := make([]usage, len(t.target.nodes))
	group, ctx := errgroup.WithContext(ctx)
	for i, node := range t.target.nodes {
		group.Go(func() (err error) {
			nodes[i], err = t.place.usage(ctx, node, t.opts.Idle)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	t.setUsage("", nodes[:1])
	t.setUsage("worker-", nodes[t.target.controlPlanes:])
	return nil
}

// setUsage notes the mean of what some nodes take.
func (t *trial) setUsage(prefix string, nodes []usage) {
	var sum usage
	for _, n := range nodes {
		sum.memory += n.memory
		sum.cpu += n.cpu
		sum.disk += n.disk
		sum.etcd += n.etcd
	}
	n := float64(max(len(nodes), 1))
	t.set(prefix+"memory", sum.memory/n)
	t.set(prefix+"cpu", sum.cpu/n)
	t.set(prefix+"disk", sum.disk/n)
	t.set(prefix+"disk-etcd", sum.etcd/n)
}

// usage takes what a node takes: its memory now, its CPU from now on.
func (p *place) usage(ctx context.Context, node string, window time.Duration) (usage, error) {
	var out strings.Builder
	err := p.Run(ctx, exec.Cmd{
		Args:  []string{"docker", "exec", "-i", node, "bash", "-s", fmt.Sprint(window.Seconds())},
		Env:   p.env(),
		Stdin: strings.NewReader(usageScript), Stdout: &out,
	})
	if err != nil {
		return usage{}, fmt.Errorf("usage of %s: %w", node, err)
	}
	layer, err := p.docker(ctx, "container", "inspect", "--size", "--format", "{{.SizeRw}}", node)
	if err != nil {
		return usage{}, err
	}
	return parseUsage(out.String() + layer)
}

// parseUsage reads what the script prints and the size of the writable layer:
// bytes of memory, of it page cache, two pairs of CPU time and clock in
// nanoseconds, kilobytes of /var and of etcd's data, and bytes of the layer.
func parseUsage(text string) (usage, error) {
	var memory, cached, cpuBefore, before, cpuAfter, after, data, etcd, layer float64
	if _, err := fmt.Sscan(text, &memory, &cached, &cpuBefore, &before, &cpuAfter, &after, &data, &etcd, &layer); err != nil {
		return usage{}, fmt.Errorf("usage of a node is %q: %w", text, err)
	}
	if after <= before {
		return usage{}, fmt.Errorf("usage of a node is %q: its clock did not run", text)
	}
	return usage{
		memory: memory - cached,
		cpu:    100 * (cpuAfter - cpuBefore) / (after - before),
		disk:   (data-etcd)*1024 + layer,
		etcd:   etcd * 1024,
	}, nil
}
