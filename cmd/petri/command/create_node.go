package command

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/petri-cluster/petri/pkg/cluster"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

func (a *App) createNode() *cobra.Command {
	var name string
	o := cluster.AddOptions{}
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Add nodes to a cluster and wait until they are Ready",
		Long: `Add nodes to a cluster and wait until they are Ready; their names are printed.
They are made from the configuration that the cluster keeps: like its first
node of the role, but for ports of the host. If anything fails, or you interrupt
it, the new nodes are removed again.

A second control plane changes how all nodes find the API: every node must run
then. An odd number of control planes is best.`,
		Example: `  petri create node
  petri create node --count 3 --labels tier=front,disk=fast
  petri create node --role control-plane --count 2`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runCreateNode(cmd.Context(), name, o)
		},
	}
	a.nameFlag(cmd, &name)
	f := cmd.Flags()
	f.StringVar(&o.Role, "role", nodeimage.RoleWorker, "what they do: worker or control-plane")
	f.IntVar(&o.Count, "count", 1, "number of nodes")
	addFlags(cmd, &o)
	return cmd
}

// addFlags are those of every command that adds nodes.
func addFlags(cmd *cobra.Command, o *cluster.AddOptions) {
	f := cmd.Flags()
	f.StringVar(&o.Image, "image", "", "node image (default that of the first node of the role, or of the control plane)")
	f.StringToStringVar(&o.Labels, "labels", nil, "Kubernetes labels, beside those of the first node of the role")
	f.DurationVar(&o.Wait, "wait", 3*time.Minute, "how long new nodes may take to become Ready; 0 does not wait")
}

func (a *App) runCreateNode(ctx context.Context, name string, o cluster.AddOptions) error {
	manager, printer, err := a.manager(ctx)
	if err != nil {
		return err
	}
	defer printer.Close()
	names, err := manager.CreateNodes(ctx, name, o)
	if err != nil {
		return err
	}
	for _, n := range names {
		fmt.Fprintln(a.Out, n)
	}
	return nil
}
