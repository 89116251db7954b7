package command

import (
	"context"
	"fmt"
	"strings"

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
		Use:   "logs [DIR|FILE.tar.zst]",
		Short: "Write all that is known of a cluster to a directory or a file, and print its path",
		Long: `Write the logs of all nodes, the objects and events of the cluster, its
configuration, and a page that says what is wrong (summary.html) to a directory,
or to one file whose name ends in .tar.zst. Without an argument it makes a
directory for temporary files. Nodes that have stopped and clusters that never
came up are exported too.

Keys, tokens, passwords and the values of Secrets are taken out. What cannot be
had is named, and the exit code is 1 then; the rest is there all the same.`,
		Args: oneArg,
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
	path, err := manager.ExportLogs(ctx, name, strings.Join(args, ""))
	if path == "" {
		return err
	}
	if a.kind {
		fmt.Fprintf(a.Err, "Exporting logs for cluster %q to:\n", name)
	}
	fmt.Fprintln(a.Out, path)
	return err
}
