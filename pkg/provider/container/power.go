package container

import (
	"context"
	"slices"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/progress"
)

// Stop implements provider.Power. The image says by which signal its init
// system is told to shut down.
func (p *Provider) Stop(ctx context.Context, n node.Node, limit time.Duration) error {
	if err := p.Unpause(ctx, n); err != nil {
		return err
	}
	seconds := int(limit.Round(time.Second) / time.Second)
	err := p.engine.ContainerStop(ctx, n.Name, container.StopOptions{Timeout: &seconds})
	if err != nil && p.dialect.dying(err) {
		if err := p.thaw(ctx, n.Name); err != nil {
			return err
		}
		err = p.engine.ContainerStop(ctx, n.Name, container.StopOptions{Timeout: &seconds})
	}
	return p.engineError(err, "stop node %s", n.Name)
}

// Start implements provider.Power. It reports the phase "boot", which ends
// after it has returned.
func (p *Provider) Start(ctx context.Context, n node.Node, r progress.Reporter) (node.Node, error) {
	c, err := p.containerOf(ctx, n.Cluster, n.Name)
	if err != nil {
		return node.Node{}, err
	}
	if c.State == container.StatePaused {
		err := p.Unpause(ctx, n)
		c.State = container.StateRunning
		return p.nodeOf(c), err
	}
	if c.State == container.StateRunning {
		return p.nodeOf(c), nil
	}
	console, err := p.engine.ContainerAttach(ctx, c.ID, container.AttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return node.Node{}, p.engineError(err, "watch the console of node %s", n.Name)
	}
	if err := p.engine.ContainerStart(ctx, c.ID, container.StartOptions{}); err != nil {
		console.Close()
		return node.Node{}, p.startError(err)
	}
	p.watch(c.ID, n.Name, hijacked{console}, r)
	c.State = container.StateRunning
	return p.nodeOf(c), nil
}

// containerOf is the container of one node, as the engine lists it.
func (p *Provider) containerOf(ctx context.Context, cluster, name string) (container.Summary, error) {
	found, err := p.containers(ctx, cluster)
	if err != nil {
		return container.Summary{}, err
	}
	i := slices.IndexFunc(found, func(c container.Summary) bool { return containerName(c) == name })
	if i < 0 {
		return container.Summary{}, errdefs.New(errdefs.ClassNotFound, "NODE-NOT-FOUND", "cluster %s has no node %s", cluster, name).
			WithHint("see what there is: petri get nodes --name %s", cluster)
	}
	return found[i], nil
}

// pauseAttempts is how often an engine is asked to pause a node that it cannot
// freeze: each time it has looked for a while.
const pauseAttempts = 5

// Pause implements provider.Power.
func (p *Provider) Pause(ctx context.Context, n node.Node) error {
	err := p.engine.ContainerPause(ctx, n.Name)
	for again := 1; again < pauseAttempts && err != nil && p.dialect.running(err); again++ {
		err = p.engine.ContainerPause(ctx, n.Name)
	}
	if err == nil || p.dialect.paused(err) {
		return nil
	}
	return p.engineError(err, "pause node %s", n.Name)
}

// Unpause implements provider.Power.
func (p *Provider) Unpause(ctx context.Context, n node.Node) error {
	err := p.engine.ContainerUnpause(ctx, n.Name)
	if err == nil || p.dialect.notPaused(err) {
		return nil
	}
	return p.engineError(err, "unpause node %s", n.Name)
}

// Started implements provider.Power.
func (p *Provider) Started(ctx context.Context, n node.Node) (time.Time, error) {
	inspected, _, err := p.engine.ContainerInspectWithRaw(ctx, n.Name, false)
	if err != nil {
		return time.Time{}, p.engineError(err, "inspect node %s", n.Name)
	}
	if inspected.ContainerJSONBase == nil || inspected.State == nil || !inspected.State.Running {
		return time.Time{}, nil
	}
	started, err := time.Parse(time.RFC3339Nano, inspected.State.StartedAt)
	return started, p.engineError(err, "read when node %s was started", n.Name)
}
