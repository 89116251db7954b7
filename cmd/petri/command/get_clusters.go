package command

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"
)

func (a *App) getClusters() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "clusters",
		Short: "List clusters",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runGetClusters(cmd.Context(), format)
		},
	}
	outputFlag(cmd, &format)
	return cmd
}

func (a *App) runGetClusters(ctx context.Context, format string) error {
	if err := checkFormat(format); err != nil {
		return err
	}
	manager, printer, err := a.manager(ctx)
	if err != nil {
		return err
	}
	defer printer.Close()
	if a.kind && format == "" {
		return a.kindClusters(ctx, manager)
	}
	summaries, err := manager.Summaries(ctx)
	if err != nil {
		return err
	}
	t := table{columns: []string{"NAME", "NODES", "STATE", "ENDPOINT", "IMAGE"}, narrow: 3, value: summaries, empty: "There are no clusters. Make one: petri create cluster"}
	for _, s := range summaries {
		t.rows = append(t.rows, []string{s.Name, strconv.Itoa(s.Nodes), s.State, s.Endpoint, s.Image})
	}
	return a.print(format, t)
}
