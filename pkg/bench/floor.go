package bench

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// floorScenario is the one that the floor takes part in.
const floorScenario = "one-node"

// FloorFigure is the last figure of the floor, a node that is Ready: what a
// usable cluster is compared with.
const FloorFigure = "nodes-ready"

// floorFigures are those that the floor has: it ends with a node that is Ready.
var floorFigures = []string{figureAPI, figureNodes}

// floorScript prepares, cleans, starts and stops the processes in the node.
//
//go:embed floor.sh
var floorScript string

// floor is the least that any launcher must wait for: the processes of one
// control plane, started bare and together in a node that is there already,
// with certificates and configuration ready.
type floor struct {
	*trial
	node       string
	kubeconfig []byte // of a user whom an API with an empty store lets in
	server     string
}

// newFloor makes a cluster, and takes away all of it but what the processes
// need. It is removed by close, also when newFloor fails.
func (b *bench) newFloor(ctx context.Context) (_ *floor, err error) {
	t, err := b.newTrial(b.launchers[0], Scenario{controlPlanes: 1}, clusterName+"-floor")
	if err != nil {
		return nil, err
	}
	f := &floor{trial: t, node: t.target.nodes[0]}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close(ctx))
		}
	}()
	if err := t.makeUsable(ctx); err != nil {
		return nil, err
	}
	written, err := os.ReadFile(t.target.kubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := kube.Connect(written, "")
	if err != nil {
		return nil, err
	}
	f.server = client.Server()
	if f.kubeconfig, err = f.superAdmin(ctx); err != nil {
		return nil, err
	}
	return f, f.script(ctx, "prepare")
}

// superAdmin has kubeadm write the credentials of one who needs no role, which
// petri does not leave in a node, and returns them.
func (f *floor) superAdmin(ctx context.Context) ([]byte, error) {
	_, err := f.place.docker(ctx, "exec", f.node, "kubeadm", "init", "phase", "kubeconfig", "super-admin", "--config", nodeimage.KubeadmConfigPath)
	if err != nil {
		return nil, err
	}
	conf, err := f.place.docker(ctx, "exec", f.node, "cat", nodeimage.SuperAdminConfPath)
	return []byte(conf), err
}

// close removes the floor's node.
func (f *floor) close(ctx context.Context) error {
	return errors.Join(f.undo(ctx, nil), f.trial.close())
}

// script runs a part of the script in the node.
func (f *floor) script(ctx context.Context, part string) error {
	err := f.place.Run(ctx, exec.Cmd{
		Args: []string{"docker", "exec", "-i", f.node, "bash", "-s", part},
		Env:  f.place.env(), Stdin: strings.NewReader(floorScript),
	})
	if err != nil {
		return fmt.Errorf("%s the bare processes: %w", part, err)
	}
	return nil
}

// sample starts the processes on an empty store and watches until the node,
// which registers itself anew, is Ready.
func (f *floor) sample(ctx context.Context) (_ map[string]float64, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, f.opts.Timeout, fmt.Errorf("it took longer than %s", f.opts.Timeout))
	defer cancel()
	if err := f.script(ctx, "clean"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.script(context.WithoutCancel(ctx), "stop")) }()
	client, err := f.place.connect(ctx, f.kubeconfig, f.server)
	if err != nil {
		return nil, err
	}
	values := map[string]float64{}
	start := time.Now()
	if err := f.script(ctx, "start"); err != nil {
		return nil, err
	}
	if err := answers(ctx, client); err != nil {
		return nil, err
	}
	values[figureAPI] = time.Since(start).Seconds()
	err = client.Wait(ctx, []kube.Condition{kube.NodesReady([]string{f.node})}, nil)
	values[figureNodes] = time.Since(start).Seconds()
	return values, err
}
