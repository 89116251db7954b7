package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/petri-cluster/petri/pkg/config"
)

func (a *App) configMigrate() *cobra.Command {
	return &cobra.Command{
		Use:   "migrate FILE",
		Short: "Print a configuration in petri's own format",
		Long: `Print a configuration, kind's or petri's own, in petri's own format with every
default filled in. The result makes the same cluster. What has no effect in kind
is left out, and said on standard error. FILE may be - for standard input.`,
		Example: `  petri config migrate kind.yaml > cluster.yaml
  petri config migrate - < kind.yaml`,
		Args: oneFile,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.runConfigMigrate(args[0])
		},
	}
}

// runConfigMigrate leaves paths as they are and images open: the file is to be
// used elsewhere and later too.
func (a *App) runConfigMigrate(path string) error {
	data, filename, _, err := a.readConfig(path)
	if err != nil {
		return err
	}
	c, err := config.Load(data, filename, config.Options{DefaultName: a.defaultName(), Note: a.note})
	if err != nil {
		return err
	}
	out, err := config.Encode(c)
	if err != nil {
		return err
	}
	_, err = a.Out.Write(out)
	return err
}

func (a *App) configValidate() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE",
		Short: "Say everything that is wrong with a configuration",
		Long: `Read a configuration, kind's or petri's own, as "petri create cluster" would, and
say everything that is wrong with it. Nothing is made and no engine is asked.
The exit code is 0 or 2. FILE may be - for standard input.`,
		Example: `  petri config validate cluster.yaml
  petri config validate - < kind.yaml`,
		Args: oneFile,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.runConfigValidate(args[0])
		},
	}
}

func (a *App) runConfigValidate(path string) error {
	data, filename, dir, err := a.readConfig(path)
	if err != nil {
		return err
	}
	c, err := config.Load(data, filename, config.Options{DefaultName: a.defaultName(), DefaultImage: imageFor, Dir: dir, Note: a.note})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Out, "%s is valid: %s\n", filename, describe(c))
	return err
}

// note says what a configuration has that does something else than it says.
func (a *App) note(line string) { fmt.Fprintln(a.Err, "note:", line) }

// oneFile wants the name of one file.
func oneFile(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("%s takes the name of one file, or - for standard input", cmd.CommandPath())
	}
	return nil
}
