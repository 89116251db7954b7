package command

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/config"
)

type getConfigOptions struct {
	name     string
	defaults bool
	file     string
	format   string
}

func (a *App) getConfig() *cobra.Command {
	o := &getConfigOptions{}
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the configuration that a cluster was made from, or the defaults",
		Example: `  petri get config --name dev
  petri get config --defaults
  petri get config --defaults --config cluster.yaml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runGetConfig(cmd.Context(), o)
		},
	}
	a.nameFlag(cmd, &o.name)
	cmd.Flags().BoolVar(&o.defaults, "defaults", false, "print the fully defaulted form of --config, or of nothing; no cluster is asked")
	cmd.Flags().StringVar(&o.file, "config", "", "with --defaults: configuration file, - for standard input")
	outputFlag(cmd, &o.format)
	return cmd
}

func (a *App) runGetConfig(ctx context.Context, o *getConfigOptions) error {
	if err := checkFormat(o.format); err != nil {
		return err
	}
	if o.file != "" && !o.defaults {
		return usagef("--config needs --defaults")
	}
	data, err := a.configText(ctx, o)
	if err != nil {
		return err
	}
	return a.printConfig(o.format, data)
}

func (a *App) configText(ctx context.Context, o *getConfigOptions) ([]byte, error) {
	if o.defaults {
		text, filename, dir, err := a.readConfig(o.file)
		if err != nil {
			return nil, err
		}
		c, err := config.Load(text, filename, config.Options{DefaultImage: imageFor, Dir: dir})
		if err != nil {
			return nil, err
		}
		return config.Encode(c)
	}
	manager, printer, err := a.manager(ctx)
	if err != nil {
		return nil, err
	}
	defer printer.Close()
	return manager.Config(ctx, o.name)
}

func (a *App) printConfig(format string, data []byte) error {
	switch format {
	case "json", "name":
		var value map[string]any
		if err := yaml.Unmarshal(data, &value); err != nil {
			return err
		}
		if format == "name" {
			_, err := fmt.Fprintln(a.Out, value["name"])
			return err
		}
		enc := json.NewEncoder(a.Out)
		enc.SetIndent("", "  ")
		return enc.Encode(value)
	}
	_, err := a.Out.Write(data)
	return err
}
