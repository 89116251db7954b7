package container

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

func (e *fakeEngine) byName(name string) (*fakeContainer, error) {
	if c, ok := e.containers[name]; ok {
		return c, nil
	}
	return e.byID(name)
}

func (e *fakeEngine) ContainerStop(ctx context.Context, name string, options container.StopOptions) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.call(ctx, "ContainerStop"); err != nil {
		return err
	}
	c, err := e.byName(name)
	if err == nil {
		c.running, c.stopped = false, *options.Timeout
	}
	return err
}

func (e *fakeEngine) ContainerUnpause(ctx context.Context, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.call(ctx, "ContainerUnpause"); err != nil {
		return err
	}
	return errors.New("Container " + name + " is not paused")
}

func (e *fakeEngine) ContainerPause(ctx context.Context, _ string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.call(ctx, "ContainerPause")
}

func madeOn(t *testing.T, e *fakeEngine) (*Provider, []node.Node) {
	t.Helper()
	p := fakeProvider(t, e)
	nodes, err := p.Create(t.Context(), specOf(1), progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return p, nodes
}

// A node comes back with the engine unless it was stopped, and has time to
// shut down whoever stops it.
func TestNodesSurvive(t *testing.T) {
	e := newFakeEngine()
	madeOn(t, e)
	c := e.containers["a-worker1"]
	if got := c.host.RestartPolicy; got.Name != container.RestartPolicyUnlessStopped {
		t.Errorf("restart policy %+v", got)
	}
	if got := c.config.StopTimeout; got == nil || *got != nodeimage.ShutdownSeconds {
		t.Errorf("time to stop %v", got)
	}
}

// A command on a node that was started again waits for that boot.
func TestStartBoots(t *testing.T) {
	e := newFakeEngine()
	p, nodes := madeOn(t, e)
	if err := exec.Run(t.Context(), nodes[1], "true"); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(t.Context(), nodes[1], 42*time.Second); err != nil {
		t.Fatal(err)
	}
	if got := e.containers["a-worker1"].stopped; got != 42 {
		t.Errorf("it has %d seconds to stop", got)
	}
	e.console = "panic: no root\n"
	e.closing = true
	n, err := p.Start(t.Context(), nodes[1], progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	err = exec.Run(t.Context(), n, "true")
	if failed, ok := errors.AsType[*errdefs.Error](err); !ok || failed.ID != "NODE-DIED" || !strings.Contains(failed.Log, "no root") {
		t.Errorf("a command on a node that died at its second boot: %v", err)
	}
}

func TestStartOnATakenPort(t *testing.T) {
	e := newFakeEngine()
	p, nodes := madeOn(t, e)
	if err := p.Stop(t.Context(), nodes[0], time.Second); err != nil {
		t.Fatal(err)
	}
	e.fail = func(call string, _ int) error {
		if call == "ContainerStart" {
			return errors.New("Bind for 127.0.0.1:4000 failed: port is already allocated")
		}
		return nil
	}
	_, err := p.Start(t.Context(), nodes[0], progress.Discard)
	if failed, ok := errors.AsType[*errdefs.Error](err); !ok || failed.ID != "PORT-TAKEN" {
		t.Errorf("error %v", err)
	}
}

// New nodes take addresses that are free, and know the others.
func TestAdd(t *testing.T) {
	e := newFakeEngine()
	p, nodes := madeOn(t, e)
	placed := map[string]provider.Placement{}
	spec := specOf(0)
	spec.Nodes[0] = provider.NodeSpec{Name: "a-worker2", Role: nodeimage.RoleWorker, Image: "img"}
	spec.Files = func(pl provider.Placement) ([]provider.File, error) {
		placed[pl.Node.Name] = pl
		return nil, nil
	}
	added, err := p.Add(t.Context(), spec, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var taken []netip.Addr
	for _, n := range nodes {
		taken = append(taken, n.Addr(false))
	}
	pl := placed["a-worker2"]
	if slices.Contains(taken, pl.Addrs.Of(false)) || !slices.Equal(added[0].Addrs, pl.Addrs) || len(pl.Nodes) != 3 || pl.Gateway == pl.Addrs.Of(false) {
		t.Errorf("placed at %+v beside %v", pl, taken)
	}
	if _, published := e.containers["a-worker2"].config.Labels[nodeimage.LabelPort]; published || len(added[0].Ports) > 0 {
		t.Errorf("a worker publishes the API: %v", added[0].Ports)
	}
	endpoint, err := p.Endpoint(t.Context(), "a")
	if err != nil || pl.Endpoint.String() != endpoint {
		t.Errorf("the endpoint is %s (%v), and the node was told %s", endpoint, err, pl.Endpoint)
	}
}

// TestPause: an engine that cannot freeze a node at once is asked again, but not for
// ever, and not when it says something else.
func TestPause(t *testing.T) {
	for name, test := range map[string]struct {
		says  string
		until int // the call that succeeds
		calls int
		ok    bool
	}{
		"at once":       {"", 1, 1, true},
		"paused":        {"Container a is already paused", 9, 1, true},
		"a busy node":   {"OCI runtime pause failed: unable to freeze: unknown", 3, 3, true},
		"never":         {"OCI runtime pause failed: unable to freeze: unknown", 99, pauseAttempts, false},
		"another error": {"no such container", 3, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := newFakeEngine()
			p, nodes := madeOn(t, e)
			calls := 0
			e.fail = func(string, int) error {
				if calls++; calls < test.until {
					return errors.New(test.says)
				}
				return nil
			}
			err := p.Pause(t.Context(), nodes[0])
			if (err == nil) != test.ok || calls != test.calls {
				t.Errorf("%v after %d calls, want %d", err, calls, test.calls)
			}
		})
	}
}
