package command

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/kubeconfig"
)

type getKubeconfigOptions struct {
	name     string
	internal bool
	format   string
}

func (a *App) getKubeconfig() *cobra.Command {
	o := &getKubeconfigOptions{}
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print a cluster's kubeconfig",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runGetKubeconfig(cmd.Context(), o)
		},
	}
	a.nameFlag(cmd, &o.name)
	cmd.Flags().BoolVar(&o.internal, "internal", false, "with the address that nodes and their containers use")
	outputFlag(cmd, &o.format)
	return cmd
}

func (a *App) runGetKubeconfig(ctx context.Context, o *getKubeconfigOptions) error {
	if err := checkFormat(o.format); err != nil {
		return err
	}
	manager, printer, err := a.manager(ctx)
	if err != nil {
		return err
	}
	defer printer.Close()
	entry, err := manager.Kubeconfig(ctx, o.name, o.internal)
	if err != nil {
		return err
	}
	text, err := kubeconfig.Render(entry)
	if err != nil {
		return err
	}
	switch o.format {
	case "name":
		text = []byte(entry.Name + "\n")
	case "json":
		var value any
		if err := yaml.Unmarshal(text, &value); err != nil {
			return err
		}
		if text, err = json.MarshalIndent(value, "", "  "); err != nil {
			return err
		}
		text = append(text, '\n')
	}
	_, err = a.Out.Write(text)
	return err
}
