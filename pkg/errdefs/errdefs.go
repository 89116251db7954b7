// Package errdefs holds the few classes of error that callers branch on, and
// what a person needs beside the message: a stable ID, a hint and the log
// lines that explain. Errors are wrapped with %w on the way up and printed
// once, by the command line. It is not a stack-trace library.
package errdefs

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Class is what a caller can do about an error; it decides the exit code.
type Class int

// The classes, with the exit code each gives.
const (
	ClassFailed      Class = iota // 1: something went wrong
	ClassUsage                    // 2: the flags, arguments or configuration are wrong
	ClassNotFound                 // 3: what was named is not there
	ClassExists                   // 3: what was to be made is there already
	ClassUnavailable              // 4: the engine cannot be reached or cannot do it
	ClassTimeout                  // 5: a wait ran out
)

// ExitCode is the process exit code of the class.
func (c Class) ExitCode() int {
	return [...]int{1, 2, 3, 3, 4, 5}[c]
}

// Error is an error with what a person needs. The zero Class is ClassFailed.
type Error struct {
	ID    string // stable, upper case with dashes: "CLUSTER-EXISTS"; empty when there is none
	Class Class
	Err   error  // what was being done and what went wrong
	Hint  string // what to do next: one or two sentences, or a command
	Log   string // the last lines of the log that explains it
}

// Error is the message alone; Hint and Log are printed by the command line.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// New makes an error of a class with an ID and a message in fmt's form, where
// %w wraps a cause.
func New(class Class, id, format string, args ...any) *Error {
	return &Error{ID: id, Class: class, Err: fmt.Errorf(format, args...)}
}

// WithHint adds a hint and returns e.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// WithLog adds log lines and returns e.
func (e *Error) WithLog(log string) *Error {
	e.Log = log
	return e
}

// Is reports whether err, or anything it wraps, is of the class.
func Is(err error, class Class) bool {
	return errors.Is(err, ofClass(class))
}

// ofClass is what errors.Is looks for when it looks for a class.
type ofClass Class

func (ofClass) Error() string { return "an error of a class" }

// Is makes errors.Is find e by its class.
func (e *Error) Is(target error) bool {
	class, ok := target.(ofClass)
	return ok && e.Class == Class(class)
}

// ExitCode is the exit code for err: 0 for nil, 130 when it was cancelled,
// else that of the outermost class in it, else 1.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		return 130
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class.ExitCode()
	}
	return 1
}

// pages is where the catalogue of errors is to be read.
const pages = "https://github.com/petri-cluster/petri/blob/main/site/content/docs/errors/"

// Page is the address of the page that explains an ID; empty without one.
func Page(id string) string {
	if id == "" {
		return ""
	}
	return pages + strings.ToLower(id) + ".md"
}
