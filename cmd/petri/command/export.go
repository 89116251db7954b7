package command

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

type exportKubeconfigOptions struct {
	name, kubeconfig string
	internal         bool
}

func (a *App) exportKubeconfig() *cobra.Command {
	o := &exportKubeconfigOptions{}
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Put a cluster into a kubeconfig file and make it the current context",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runExportKubeconfig(cmd.Context(), o)
		},
	}
	a.nameFlag(cmd, &o.name)
	cmd.Flags().StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file to write (default $KUBECONFIG or ~/.kube/config)")
	cmd.Flags().BoolVar(&o.internal, "internal", false, "with the address that nodes and their containers use")
	return cmd
}

func (a *App) runExportKubeconfig(ctx context.Context, o *exportKubeconfigOptions) error {
	target, err := kubeconfigTarget(o.kubeconfig)
	if err != nil {
		return err
	}
	manager, printer, err := a.manager(ctx)
	if err != nil {
		return err
	}
	defer printer.Close()
	return manager.ExportKubeconfig(ctx, o.name, target, o.internal)
}

func (a *App) exportLogs() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "logs [DIR]",
		Short: "Write the logs of all nodes below a directory, and print its path",
		Args:  oneArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runExportLogs(cmd.Context(), name, args)
		},
	}
	a.nameFlag(cmd, &name)
	return cmd
}

func (a *App) runExportLogs(ctx context.Context, name string, args []string) error {
	manager, printer, err := a.manager(ctx)
	if err != nil {
		return err
	}
	defer printer.Close()
	if _, err := manager.Nodes(ctx, name); err != nil {
		return err // before a directory is made for nothing
	}
	var dir string
	if len(args) > 0 {
		dir = args[0]
	} else if dir, err = os.MkdirTemp("", "petri-logs-"+name+"-"); err != nil {
		return err
	}
	if a.kind {
		fmt.Fprintf(a.Err, "Exporting logs for cluster %q to:\n", name)
	}
	err = manager.ExportLogs(ctx, name, dir)
	fmt.Fprintln(a.Out, dir)
	return err
}
