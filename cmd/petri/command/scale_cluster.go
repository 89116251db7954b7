package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/petri-cluster/petri/pkg/cluster"
)

type scaleOptions struct {
	name                   string
	controlPlanes, workers int
	add                    cluster.AddOptions
	remove                 cluster.RemoveOptions
}

func (a *App) scaleCluster() *cobra.Command {
	o := &scaleOptions{}
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Make a cluster have a number of nodes",
		Long: `Make a cluster have a number of workers, of control planes, or of both: new ones
are added as create node does, and those that do not run, and then those with the
highest numbers, are removed as delete node does. A cluster that has that number
already is left alone.`,
		Example: `  petri scale cluster --workers 3
  petri scale cluster --control-planes 3`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			size := o.size(cmd.Flags().Changed)
			if size == (cluster.Size{}) {
				return usagef("say how many: --workers N, --control-planes N")
			}
			return a.runScaleCluster(cmd.Context(), o, size)
		},
	}
	a.nameFlag(cmd, &o.name)
	cmd.Flags().IntVar(&o.controlPlanes, "control-planes", 0, "number of control planes that the cluster is to have")
	cmd.Flags().IntVar(&o.workers, "workers", 0, "number of workers that the cluster is to have")
	addFlags(cmd, &o.add)
	removeFlags(cmd, &o.remove)
	return cmd
}

// size is what was said of it.
func (o *scaleOptions) size(said func(flag string) bool) cluster.Size {
	var size cluster.Size
	if said("control-planes") {
		size.ControlPlanes = &o.controlPlanes
	}
	if said("workers") {
		size.Workers = &o.workers
	}
	return size
}

func (a *App) runScaleCluster(ctx context.Context, o *scaleOptions, size cluster.Size) error {
	manager, printer, err := a.manager(ctx)
	if err != nil {
		return err
	}
	defer printer.Close()
	return manager.Scale(ctx, o.name, size, o.add, o.remove)
}
