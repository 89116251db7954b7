package command

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/petri-cluster/petri/pkg/cluster"
)

func (a *App) deleteNode() *cobra.Command {
	var name string
	o := cluster.RemoveOptions{}
	cmd := &cobra.Command{
		Use:   "node NAME...",
		Short: "Remove nodes from a cluster",
		Long: `Remove nodes from a cluster: their pods are evicted, etcd forgets the control
planes among them, and container, volumes and Node object go. A node that does
not run is removed as well, and one that is not there is no error. Refused is
what would lose data (volumes that are on the node only, pods that nobody makes
again), and pods that do not end in time; --force does it all the same.

Any control plane can be removed, also the first one, but for the last, and
but for those without which etcd would lose its majority. The kubeconfig stays
right.`,
		Args: someArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runDeleteNode(cmd.Context(), name, args, o)
		},
	}
	a.nameFlag(cmd, &name)
	removeFlags(cmd, &o)
	return cmd
}

// removeFlags are those of every command that deletes nodes.
func removeFlags(cmd *cobra.Command, o *cluster.RemoveOptions) {
	f := cmd.Flags()
	f.DurationVar(&o.DrainTimeout, "drain-timeout", time.Minute, "how long the pods of a node may take to end")
	f.BoolVar(&o.Force, "force", false, "delete also what is on a node only, and pods that did not end in time")
}

func (a *App) runDeleteNode(ctx context.Context, name string, nodes []string, o cluster.RemoveOptions) error {
	manager, printer, err := a.manager(ctx)
	if err != nil {
		return err
	}
	defer printer.Close()
	return manager.DeleteNodes(ctx, name, nodes, o)
}
