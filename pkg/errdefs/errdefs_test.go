package errdefs_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

func TestExitCode(t *testing.T) {
	notFound := errdefs.New(errdefs.ClassNotFound, "X", "no such thing")
	tests := map[string]struct {
		err  error
		want int
	}{
		"nil":                           {nil, 0},
		"without a class":               {errors.New("x"), 1},
		"failed":                        {errdefs.New(errdefs.ClassFailed, "", "x"), 1},
		"usage":                         {errdefs.New(errdefs.ClassUsage, "", "x"), 2},
		"not found":                     {notFound, 3},
		"exists":                        {errdefs.New(errdefs.ClassExists, "", "x"), 3},
		"unavailable":                   {errdefs.New(errdefs.ClassUnavailable, "", "x"), 4},
		"timeout":                       {errdefs.New(errdefs.ClassTimeout, "", "x"), 5},
		"wrapped":                       {fmt.Errorf("create: %w", notFound), 3},
		"the outermost counts":          {errdefs.New(errdefs.ClassUsage, "", "x: %w", notFound), 2},
		"cancelled":                     {fmt.Errorf("wait: %w", context.Canceled), 130},
		"cancelled, whatever the class": {errdefs.New(errdefs.ClassTimeout, "", "x: %w", context.Canceled), 130},
		"a deadline is no cancellation": {context.DeadlineExceeded, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := errdefs.ExitCode(test.err); got != test.want {
				t.Errorf("ExitCode(%v) = %d, want %d", test.err, got, test.want)
			}
		})
	}
}

func TestIs(t *testing.T) {
	notFound := errdefs.New(errdefs.ClassNotFound, "X", "no such thing")
	tests := map[string]struct {
		err  error
		want bool
	}{
		"nil":                   {nil, false},
		"without a class":       {errors.New("x"), false},
		"itself":                {notFound, true},
		"another class":         {errdefs.New(errdefs.ClassExists, "", "x"), false},
		"wrapped":               {fmt.Errorf("a: %w", notFound), true},
		"below another class":   {errdefs.New(errdefs.ClassFailed, "", "a: %w", notFound), true},
		"joined, not the first": {errors.Join(errdefs.New(errdefs.ClassUsage, "", "x"), notFound), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := errdefs.Is(test.err, errdefs.ClassNotFound); got != test.want {
				t.Errorf("Is(%v) = %v, want %v", test.err, got, test.want)
			}
		})
	}
}

func TestErrorCarriesWhatAPersonNeeds(t *testing.T) {
	cause := &fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}
	err := error(errdefs.New(errdefs.ClassNotFound, "NO-FILE", "read configuration: %w", cause).
		WithHint("make %s first", "x").WithLog("line\n"))
	wrapped := fmt.Errorf("create cluster: %w", err)

	if got, want := wrapped.Error(), "create cluster: read configuration: open x: file does not exist"; got != want {
		t.Errorf("message %q, want %q: hint and log are no part of it", got, want)
	}
	e, ok := errors.AsType[*errdefs.Error](wrapped)
	if !ok || e.ID != "NO-FILE" || e.Hint != "make x first" || e.Log != "line\n" {
		t.Errorf("got %+v, want the ID, hint and log it was made with", e)
	}
	if !errors.Is(wrapped, fs.ErrNotExist) {
		t.Error("the cause is not found below the class")
	}
}
