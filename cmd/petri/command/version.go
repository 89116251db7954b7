package command

import (
	"runtime"

	"github.com/spf13/cobra"

	"github.com/petri-cluster/petri/pkg/version"
)

func (a *App) versionCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print petri's version",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.runVersion(format)
		},
	}
	outputFlag(cmd, &format)
	return cmd
}

func (a *App) runVersion(format string) error {
	if err := checkFormat(format); err != nil {
		return err
	}
	if a.kind && format == "" {
		return a.kindVersion()
	}
	v := map[string]string{
		"version": version.String(), "go": runtime.Version(),
		"platform": runtime.GOOS + "/" + runtime.GOARCH, "nodeImage": defaultImage(),
	}
	return a.print(format, table{
		columns: []string{"VERSION", "GO", "PLATFORM", "NODE IMAGE"},
		rows:    [][]string{{v["version"], v["go"], v["platform"], v["nodeImage"]}},
		value:   v,
	})
}
