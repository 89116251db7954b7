package command

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/petri-cluster/petri/pkg/kubeconfig"
)

type deleteClusterOptions struct {
	names      []string
	all        bool
	several    bool // names are arguments
	kubeconfig string
}

func (a *App) deleteCluster() *cobra.Command {
	o := &deleteClusterOptions{names: []string{""}}
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Remove a cluster: containers, volumes, network and kubeconfig entries",
		Long:  "Remove a cluster: containers, volumes, network and kubeconfig entries. One that is not there is no error.",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runDeleteClusters(cmd.Context(), o)
		},
	}
	a.nameFlag(cmd, &o.names[0])
	cmd.Flags().StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file to clean (default $KUBECONFIG or ~/.kube/config)")
	return cmd
}

func (a *App) deleteClusters() *cobra.Command {
	o := &deleteClusterOptions{several: true}
	cmd := &cobra.Command{
		Use:   "clusters [NAME...]",
		Short: "Remove several clusters, or all",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.names = args
			if a.kind && o.all {
				o.names = nil // kind's --all makes names no matter
			} else if o.all == (len(args) > 0) {
				return usagef("give names, or --all, and not both")
			}
			return a.runDeleteClusters(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVarP(&o.all, "all", "A", false, "remove every cluster that petri made")
	cmd.Flags().StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file to clean (default $KUBECONFIG or ~/.kube/config)")
	return cmd
}

// runDeleteClusters removes every named cluster, also when one fails.
func (a *App) runDeleteClusters(ctx context.Context, o *deleteClusterOptions) error {
	manager, printer, err := a.manager(ctx)
	if err != nil {
		return err
	}
	defer printer.Close()
	names := o.names
	if o.all {
		all := manager.Own
		if a.kind {
			all = manager.List
		}
		if names, err = all(ctx); err != nil {
			return err
		}
	}
	home, _ := os.UserHomeDir() // without a home there is no file to clean
	_, files := kubeconfig.Paths(o.kubeconfig, os.Getenv("KUBECONFIG"), home)
	var errs []error
	deleted := []string{}
	for _, name := range names {
		if err := manager.Delete(ctx, name, files); err != nil {
			errs = append(errs, fmt.Errorf("delete cluster %s: %w", name, err))
			continue
		}
		deleted = append(deleted, name)
	}
	if a.kind && o.several {
		fmt.Fprintf(a.Err, "Deleted clusters: %q\n", deleted)
	}
	return errors.Join(errs...)
}
