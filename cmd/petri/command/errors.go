package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// jsonError is an error as programs read it: one line on standard error, the
// last one.
type jsonError struct {
	Error struct {
		ID       string `json:"id,omitempty"`
		ExitCode int    `json:"exitCode"`
		Message  string `json:"message"`
		Hint     string `json:"hint,omitempty"`
		Log      string `json:"log,omitempty"`
		Page     string `json:"page,omitempty"`
	} `json:"error"`
}

// wantsJSON reports whether a command was asked for JSON. One whose flags made
// no sense did not get to know: then the words tell.
func wantsJSON(ran *cobra.Command, args []string) bool {
	if ran != nil {
		if f := ran.Flags().Lookup("output"); f != nil && f.Changed {
			return f.Value.String() == "json"
		}
	}
	i := slices.Index(args, "-o")
	return slices.Contains(args, "--output=json") || slices.Contains(args, "-ojson") || i >= 0 && i+1 < len(args) && args[i+1] == "json"
}

// interrupted says that a signal ended the command, and what went wrong beside.
func (a *App) interrupted(err error, exit int) {
	if a.jsonErrors {
		a.failJSON(err, &errdefs.Error{}, exit)
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			if !errors.Is(e, context.Canceled) {
				a.printError(e, "")
			}
		}
	}
	fmt.Fprintln(a.Err, "petri: interrupted")
}

// Fail prints err, its log and its hint, and returns the exit code.
func (a *App) Fail(err error) int {
	if err == nil {
		return 0
	}
	exit := errdefs.ExitCode(err)
	if a.kind {
		exit = 1
	}
	e, ok := errors.AsType[*errdefs.Error](err)
	if !ok {
		e = &errdefs.Error{}
	}
	if a.jsonErrors && !a.kind {
		a.failJSON(err, e, exit)
		return exit
	}
	if e.Log != "" {
		fmt.Fprintf(a.Err, "\n%s\n\n", strings.TrimSpace(e.Log))
	}
	a.printError(err, e.ID)
	if e.Hint != "" {
		fmt.Fprintln(a.Err, "hint:", e.Hint)
	}
	return exit
}

func (a *App) failJSON(err error, e *errdefs.Error, exit int) {
	var out jsonError
	out.Error.ID, out.Error.ExitCode, out.Error.Message = e.ID, exit, err.Error()
	out.Error.Hint, out.Error.Log, out.Error.Page = e.Hint, strings.TrimSpace(e.Log), errdefs.Page(e.ID)
	enc := json.NewEncoder(a.Err)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(out) // nobody is left to be told
}

func (a *App) printError(err error, id string) {
	if a.kind {
		fmt.Fprintf(a.Err, "ERROR: %v\n", err)
		return
	}
	if id != "" {
		fmt.Fprintf(a.Err, "petri: error %s: %v\n", id, err)
		return
	}
	fmt.Fprintf(a.Err, "petri: error: %v\n", err)
}
