// Package exec says what a command is, who can run one, and how it failed.
// The host runs commands, and so does every node: code that needs to run
// something asks for a Runner and does not care where it runs. It is the only
// package that imports os/exec, and it is not a place for shell helpers.
package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Cmd is a command as a value. Args[0] is looked up in PATH where the command
// runs. Nil streams are empty input and discarded output.
type Cmd struct {
	Args   []string
	Env    []string // added to the environment of the place, "NAME=value"
	Dir    string   // empty: the place's default directory
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// Succeeded says, once all output was written, that the output itself told
	// of the command's success. Then a Runner need not ask for the exit code,
	// which costs a call where an engine runs the command. Nil: it never does.
	Succeeded func() bool
}

// Runner is a place to run commands. Run returns nil when the command exited
// with 0, an *Error when it exited with anything else or could not start, and
// the context's cause when ctx ended first. It is safe for concurrent use.
type Runner interface {
	Run(ctx context.Context, cmd Cmd) error
}

// Error is a command that failed: what was run, its exit code (-1 when it
// never started or was killed), and the last part of its standard error.
type Error struct {
	Args   []string
	Code   int
	Stderr []byte
	Err    error
}

// Error names the command and its exit code, then the last lines it wrote.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ", strings.Join(e.Args, " "))
	if e.Err != nil && e.Code < 0 {
		b.WriteString(e.Err.Error())
	} else {
		fmt.Fprintf(&b, "exit code %d", e.Code)
	}
	if out := bytes.TrimSpace(e.Stderr); len(out) > 0 {
		fmt.Fprintf(&b, "\n%s", out)
	}
	return b.String()
}

// Unwrap gives the cause when the command could not be started.
func (e *Error) Unwrap() error { return e.Err }

// Output runs args and returns what they wrote to standard output.
func Output(ctx context.Context, r Runner, args ...string) ([]byte, error) {
	var out bytes.Buffer
	err := r.Run(ctx, Cmd{Args: args, Stdout: &out})
	return out.Bytes(), err
}

// Run runs args and discards what they print.
func Run(ctx context.Context, r Runner, args ...string) error {
	return r.Run(ctx, Cmd{Args: args})
}

// tailSize bounds what an Error keeps of standard error.
const tailSize = 8 << 10

// Tail is a writer that keeps the last few kilobytes written to it. It is safe
// for concurrent use: a command's two streams may share one.
type Tail struct {
	mu  sync.Mutex
	buf []byte
}

// Write implements io.Writer; it never fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = slices.Delete(t.buf, 0, over)
	}
	return len(p), nil
}

// Bytes is a copy of what was kept.
func (t *Tail) Bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.buf)
}

// Host runs commands on this machine.
type Host struct{}

// killDelay is how long a command may take to end after its context did.
const killDelay = 5 * time.Second

// Run implements Runner. When ctx ends the command gets SIGTERM, and SIGKILL
// some seconds later.
func (Host) Run(ctx context.Context, cmd Cmd) error {
	if len(cmd.Args) == 0 {
		return &Error{Code: -1, Err: errors.New("no command")}
	}
	var tail Tail
	c := osexec.CommandContext(ctx, cmd.Args[0], cmd.Args[1:]...)
	c.Env = append(os.Environ(), cmd.Env...)
	c.Dir = cmd.Dir
	c.Stdin = cmd.Stdin
	c.Stdout = cmd.Stdout
	c.Stderr = &tail
	if cmd.Stderr != nil {
		c.Stderr = io.MultiWriter(cmd.Stderr, &tail)
	}
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = killDelay
	err := c.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), context.Cause(ctx))
	}
	if exit, ok := errors.AsType[*osexec.ExitError](err); ok {
		return &Error{Args: cmd.Args, Code: exit.ExitCode(), Stderr: tail.Bytes(), Err: err}
	}
	return &Error{Args: cmd.Args, Code: -1, Stderr: tail.Bytes(), Err: err}
}

// Look reports where name is found in this machine's PATH, or an error.
func Look(name string) (string, error) { return osexec.LookPath(name) }
