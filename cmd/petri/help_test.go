package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/petri-cluster/petri/cmd/petri/command"
)

// TestHelp asks every command for help: it needs no engine, is a result and
// so goes to standard output, and names every flag.
func TestHelp(t *testing.T) {
	count := 0
	var ask func(c *cobra.Command)
	ask = func(c *cobra.Command) {
		count++
		path := strings.Fields(c.CommandPath())
		var out, err bytes.Buffer
		app := &command.App{In: strings.NewReader(""), Out: &out, Err: &err}
		code := app.Fail(app.Execute(t.Context(), append(path[1:], "--help")))
		if code != 0 || err.Len() > 0 || !strings.Contains(out.String(), "Usage:") {
			t.Errorf("%s --help: exit code %d, standard error %q, output\n%s", c.CommandPath(), code, &err, &out)
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || (!f.Hidden && !strings.Contains(out.String(), "--"+f.Name)) {
				t.Errorf("%s: flag --%s is not explained", c.CommandPath(), f.Name)
			}
		})
		if strings.HasSuffix(c.Short, ".") || c.Short == "" {
			t.Errorf("%s: the short text is %q, and should be a line without a dot at its end", c.CommandPath(), c.Short)
		}
		for _, sub := range c.Commands() {
			ask(sub)
		}
	}
	ask((&command.App{}).Root())
	if count < 18 {
		t.Errorf("only %d commands were asked", count)
	}
}
