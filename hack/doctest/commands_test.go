package doctest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/petri-cluster/petri/cmd/petri/command"
	"github.com/petri-cluster/petri/pkg/provider"
)

// TestCommands holds every command line of petri in the pages to the commands
// and flags that there are. None is run.
func TestCommands(t *testing.T) {
	count := 0
	for _, p := range pages(t) {
		lines := shellLines(p)
		for _, m := range span.FindAllStringSubmatch(p.text, -1) {
			lines = append(lines, strings.Join(strings.Fields(m[1]), " "))
		}
		for _, line := range lines {
			args, ok := arguments(line)
			if !ok {
				continue
			}
			count++
			if err := understood(args); err != nil {
				t.Errorf("%s: %s: %v", p.path, line, err)
			}
		}
	}
	if count < 40 {
		t.Errorf("only %d commands were found", count)
	}
}

// shellLines are the commands in the blocks that are for a shell.
func shellLines(p page) []string {
	var out []string
	for _, b := range p.blocks {
		if b.language == "sh" {
			out = append(out, strings.Split(strings.ReplaceAll(b.text, "\\\n", " "), "\n")...)
		}
	}
	return out
}

// arguments are those of a command line of petri, up to what is the shell's.
func arguments(line string) ([]string, bool) {
	fields := strings.Fields(line)
	if len(fields) < 2 || (fields[0] != "petri" && fields[0] != "bin/petri") {
		return nil, false
	}
	var args []string
	for _, f := range fields[1:] {
		if strings.ContainsAny(f[:1], "#<>|&;") {
			break
		}
		args = append(args, f)
	}
	return args, true
}

// understood says whether the command line is one of petri's.
func understood(args []string) error {
	app := &command.App{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard,
		Detect: func(context.Context, string) (provider.Provider, error) {
			return nil, errors.New("no command is run here")
		}}
	cmd, rest, err := app.Root().Find(args)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if left := cmd.Flags().Args(); cmd.HasSubCommands() && len(left) > 0 {
		return fmt.Errorf("%s has no command %q", cmd.CommandPath(), left[0])
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

func TestWrongCommandsAreNotUnderstood(t *testing.T) {
	for _, line := range []string{
		"petri creat cluster",
		"petri create clusters",
		"petri create cluster --workerz 2",
		"petri status dev",
	} {
		args, ok := arguments(line)
		if !ok || understood(args) == nil {
			t.Errorf("%q is taken for a command", line)
		}
	}
}
