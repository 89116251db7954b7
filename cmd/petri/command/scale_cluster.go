package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/petri-cluster/petri/pkg/cluster"
)

type scaleOptions struct {
	name    string
	workers int
	add     cluster.AddOptions
	remove  cluster.RemoveOptions
}

func (a *App) scaleCluster() *cobra.Command {
	o := &scaleOptions{}
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Make a cluster have a number of workers",
		Long: `Make a cluster have a number of workers: new ones are added as create node does,
and those with the highest numbers are removed as delete node does. A cluster
that has that number already is left alone.`,
		Example: `  petri scale cluster --workers 3`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("workers") {
				return usagef("say how many: --workers N")
			}
			return a.runScaleCluster(cmd.Context(), o)
		},
	}
	a.nameFlag(cmd, &o.name)
	cmd.Flags().IntVar(&o.workers, "workers", 0, "number of workers that the cluster is to have")
	addFlags(cmd, &o.add)
	removeFlags(cmd, &o.remove)
	return cmd
}

func (a *App) runScaleCluster(ctx context.Context, o *scaleOptions) error {
	manager, printer, err := a.manager(ctx)
	if err != nil {
		return err
	}
	defer printer.Close()
	return manager.Scale(ctx, o.name, o.workers, o.add, o.remove)
}
