package command

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// outputFlag adds --output with the formats that every "get" understands.
func outputFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVarP(format, "output", "o", "", "format: "+strings.Join(formats, ", ")+" (default: a table)")
}

var formats = []string{"json", "yaml", "wide", "name"}

// table is a result in every format: rows for people, value for machines.
// Columns after the first Narrow ones are shown by "wide" only.
type table struct {
	columns []string
	narrow  int
	rows    [][]string // the first column is the name
	value   any
	empty   string // what to say on stderr when there are no rows
}

func checkFormat(format string) error {
	if format != "" && !slices.Contains(formats, format) {
		return usagef("--output %q is not a format", format).WithHint("choose one of %s", strings.Join(formats, ", "))
	}
	return nil
}

// print writes the result to standard output.
func (a *App) print(format string, t table) error {
	switch format {
	case "json":
		enc := json.NewEncoder(a.Out)
		enc.SetIndent("", "  ")
		return enc.Encode(t.value)
	case "yaml":
		data, err := yaml.Marshal(t.value)
		if err != nil {
			return err
		}
		_, err = a.Out.Write(data)
		return err
	case "name":
		for _, row := range t.rows {
			fmt.Fprintln(a.Out, row[0])
		}
		return nil
	}
	if len(t.rows) == 0 && t.empty != "" {
		fmt.Fprintln(a.Err, t.empty)
		return nil
	}
	columns := len(t.columns)
	if format != "wide" && t.narrow > 0 {
		columns = t.narrow
	}
	return writeTable(a.Out, t.columns[:columns], t.rows)
}

func writeTable(w io.Writer, columns []string, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(tw, strings.Join(columns, "\t"))
	for _, row := range rows {
		fmt.Fprintln(tw, strings.Join(row[:len(columns)], "\t"))
	}
	return tw.Flush()
}
