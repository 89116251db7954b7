package command

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/petri-cluster/petri/pkg/cluster"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// The verbs in this file act on a cluster or on some of its nodes: stop,
// start, restart, pause and unpause.

type powerOptions struct {
	name          string
	nodes         []string
	timeout, wait time.Duration
	force         bool
}

// power is one of the verbs, with what it acts on.
type power struct {
	verb, short, long string
	stops, starts     bool
	do                func(ctx context.Context, m *cluster.Manager, o *powerOptions) error
}

func powers() []power {
	return []power{
		{
			verb: "stop", short: "Shut down %s", stops: true,
			long: `Pods get their termination, etcd closes its files, and what still runs after
--timeout is ended. Disks, addresses and the API's port stay as they are, and a
restart of the engine does not start what was stopped. What is stopped already
is no error.`,
			do: func(ctx context.Context, m *cluster.Manager, o *powerOptions) error {
				return m.Stop(ctx, o.name, o.stop())
			},
		},
		{
			verb: "start", short: "Start %s", starts: true,
			long: `It returns when what was started can be used (--wait). Pods and volumes are as
they were, and the kubeconfig is still right. What was
paused goes on. What runs already is no error.`,
			do: func(ctx context.Context, m *cluster.Manager, o *powerOptions) error {
				return m.Start(ctx, o.name, o.start())
			},
		},
		{
			verb: "restart", short: "Restart %s", stops: true, starts: true,
			long: `As stop and then start.`,
			do: func(ctx context.Context, m *cluster.Manager, o *powerOptions) error {
				return m.Restart(ctx, o.name, o.stop(), o.start())
			},
		},
		{
			verb: "pause", short: "Freeze %s",
			long: `No CPU time is taken, and memory is kept: everything stops where it is, at once. A restart of the engine ends a pause:
the nodes boot then.`,
			do: func(ctx context.Context, m *cluster.Manager, o *powerOptions) error {
				return m.Pause(ctx, o.name, o.nodes)
			},
		},
		{
			verb: "unpause", short: "Unpause %s",
			long: `Everything goes on where it was. After a long pause nodes are missed until they report again.`,
			do: func(ctx context.Context, m *cluster.Manager, o *powerOptions) error {
				return m.Unpause(ctx, o.name, o.nodes)
			},
		},
	}
}

func (o *powerOptions) stop() cluster.StopOptions {
	return cluster.StopOptions{Nodes: o.nodes, Timeout: o.timeout, Force: o.force}
}

func (o *powerOptions) start() cluster.StartOptions {
	return cluster.StartOptions{Nodes: o.nodes, Wait: o.wait}
}

// powerCommands are the verbs, each with the nouns cluster and node.
func (a *App) powerCommands() []*cobra.Command {
	var out []*cobra.Command
	for _, p := range powers() {
		ofCluster, ofNodes := a.powerCommand(p, "the cluster"), a.powerCommand(p, "nodes")
		out = append(out, a.group(p.verb, fmt.Sprintf(p.short, "a cluster, or nodes"), ofCluster, ofNodes))
	}
	return out
}

func (a *App) powerCommand(p power, what string) *cobra.Command {
	o := &powerOptions{}
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: fmt.Sprintf(p.short, what),
		Long:  fmt.Sprintf(p.short, what) + ".\n\n" + p.long,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.nodes = args
			return a.runPower(cmd.Context(), p, o)
		},
	}
	if what == "nodes" {
		cmd.Use, cmd.Args = "node NAME...", someArgs
	}
	a.nameFlag(cmd, &o.name)
	f := cmd.Flags()
	if p.stops {
		f.DurationVar(&o.timeout, "timeout", nodeimage.ShutdownSeconds*time.Second, "how long each node may take to shut down")
		f.BoolVar(&o.force, "force", false, "also when the cluster is ephemeral, whose data is lost")
	}
	if p.starts {
		f.DurationVar(&o.wait, "wait", 3*time.Minute, "how long it may take to become usable; 0 does not wait")
	}
	return cmd
}

func (a *App) runPower(ctx context.Context, p power, o *powerOptions) error {
	manager, printer, err := a.manager(ctx)
	if err != nil {
		return err
	}
	defer printer.Close()
	return p.do(ctx, manager, o)
}
