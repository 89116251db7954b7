package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// clusterName is that of every cluster that is measured. It is always the
// same, so that what a killed bench leaves is found.
const clusterName = "petri-bench"

// undoTimeout bounds the removal of a cluster whose sample has failed. The
// context may have ended: that may be why it failed.
const undoTimeout = 90 * time.Second

// trial is one sample of one launcher: a cluster that is made, looked at and
// deleted, and the values that come out.
type trial struct {
	*bench
	launcher
	target   target
	observer *observer
	app      appShape

	mu     sync.Mutex
	values map[string]float64
}

// newTrial makes nothing yet but a directory, which close removes.
func (b *bench) newTrial(l launcher, s Scenario, cluster string) (*trial, error) {
	dir, err := os.MkdirTemp("", "petri-bench-")
	if err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	t := &trial{
		bench: b, launcher: l, app: s.app, values: map[string]float64{},
		observer: &observer{place: b.place, kubeconfig: kubeconfig},
		target:   target{program: l.program, name: cluster, image: b.opts.Image, dir: dir, ephemeral: s.ephemeral, kubeconfig: kubeconfig},
	}
	t.shape(s.controlPlanes, s.workers)
	return t, nil
}

func (t *trial) close() error { return os.RemoveAll(t.target.dir) }

// shape says what cluster is made next.
func (t *trial) shape(controlPlanes, workers int) {
	t.target.controlPlanes, t.target.workers = controlPlanes, workers
	t.target.nodes = nodeNames(t.target.name, controlPlanes, workers)
}

// sample takes one sample of a launcher, and leaves nothing behind.
func (b *bench) sample(ctx context.Context, l launcher, s Scenario) (_ map[string]float64, err error) {
	t, err := b.newTrial(l, s, clusterName)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	if err := t.lacks(ctx); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, b.opts.Timeout, fmt.Errorf("it took longer than %s", b.opts.Timeout))
	defer cancel()
	err = s.take(t, limited)
	if err == nil && !s.alone {
		err = t.delete(limited)
	}
	if err != nil {
		return nil, t.undo(ctx, err)
	}
	return t.values, nil
}

// lacks says that the engine has no image that the launcher would pull: what a
// registry takes is not measured.
func (t *trial) lacks(ctx context.Context) error {
	if t.balancer == "" || t.target.controlPlanes < 2 {
		return nil
	}
	have, err := t.place.images(ctx, t.balancer)
	if err == nil && len(have) == 0 {
		err = &notMeasured{fmt.Sprintf("%s puts %s in front of several control planes, and the engine has no such image", t.name, t.balancer)}
	}
	return err
}

// undo removes what a failed sample left, without a clock.
func (t *trial) undo(ctx context.Context, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	err := again(ctx, func() error {
		if err := t.run(ctx, t.remove(t.target)); err != nil {
			return err
		}
		return t.place.gone(ctx, t.target.name, nil)
	})
	if err != nil {
		return errors.Join(cause, &leftover{fmt.Errorf("remove cluster %s: %w", t.target.name, err)})
	}
	return cause
}

// leftover is a cluster that could not be removed: no other can be made, and
// the bench ends.
type leftover struct{ error }

// run runs a command of the launcher where the engine is. What it prints is
// only shown when it fails.
func (t *trial) run(ctx context.Context, args []string) error {
	env := append(t.place.env(), "KUBECONFIG="+t.target.kubeconfig, "PETRI_CLUSTER_NAME=", "XDG_CACHE_HOME="+t.cache)
	return t.refused(t.place.Run(ctx, exec.Cmd{Args: args, Env: env}))
}

// mark notes the time since start under the name of a figure.
func (t *trial) mark(start time.Time, figure string) {
	t.set(figure, time.Since(start).Seconds())
}

func (t *trial) set(figure string, value float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.values[figure] = value
}

// makeUsable makes the cluster while the observer watches it, and returns when
// the command has returned and the cluster can be used.
func (t *trial) makeUsable(ctx context.Context) error {
	args, err := t.create(t.target)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	group.Go(func() error {
		err := t.run(ctx, args)
		t.mark(start, figureCommand)
		return err
	})
	group.Go(func() error {
		return t.observer.usable(ctx, t.target.nodes, func(figure string) { t.mark(start, figure) })
	})
	return group.Wait()
}

// delete deletes the cluster, and returns when nothing of it is left. The time
// is that of the command, unless something was still there when it returned.
func (t *trial) delete(ctx context.Context) error {
	volumes, err := t.place.volumes(ctx, t.target.name)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := t.run(ctx, t.remove(t.target)); err != nil {
		return err
	}
	for {
		t.mark(start, figureDelete)
		err := t.place.gone(ctx, t.target.name, volumes)
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

// containers are the IDs of a cluster's nodes, whoever made it.
func (p *place) containers(ctx context.Context, cluster string, more ...string) ([]string, error) {
	args := []string{"ps", "--quiet", "--filter", "label=" + nodeimage.LabelKindCluster + "=" + cluster}
	out, err := p.docker(ctx, append(args, more...)...)
	return strings.Fields(out), err
}

// volumes are the names of those that a cluster's nodes use.
func (p *place) volumes(ctx context.Context, cluster string) ([]string, error) {
	ids, err := p.containers(ctx, cluster, "--all")
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	out, err := p.docker(ctx, append([]string{"container", "inspect", "--format",
		`{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}} {{end}}{{end}}`}, ids...)...)
	return strings.Fields(out), err
}

// gone returns nil when there is no node of the cluster, no network of its own
// and none of these volumes.
func (p *place) gone(ctx context.Context, cluster string, volumes []string) error {
	left, err := p.containers(ctx, cluster, "--all")
	if err != nil {
		return err
	}
	names, err := p.docker(ctx, "volume", "ls", "--quiet")
	if err != nil {
		return err
	}
	for v := range strings.FieldsSeq(names) {
		if slices.Contains(volumes, v) {
			left = append(left, v)
		}
	}
	networks, err := p.docker(ctx, "network", "ls", "--quiet", "--filter", "label="+nodeimage.LabelCluster+"="+cluster)
	if err != nil {
		return err
	}
	if left = append(left, strings.Fields(networks)...); len(left) > 0 {
		return errdefs.New(errdefs.ClassExists, "BENCH-LEFTOVER", "there is something of a cluster %q already: %s", cluster, strings.Join(left, ", ")).
			WithHint("a bench that was killed leaves it: petri delete cluster --name %s", cluster)
	}
	return nil
}
