package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/petri-cluster/petri/pkg/exec"
)

// runner runs commands in one node. A command costs three calls, or two when
// its output tells of its success.
type runner struct {
	p    *Provider
	id   string
	name string
	mode string
	boot *boot // nil: the node is not known to be booting
	// bootFirst: no command starts while the node boots
	bootFirst bool
}

// hijacked is a connection that the engine turned into a stream.
type hijacked struct{ types.HijackedResponse }

func (h hijacked) Read(b []byte) (int, error) { return h.Reader.Read(b) }

func (h hijacked) Close() error { return h.Conn.Close() }

// Run implements exec.Runner. When ctx ends, the connection is closed; the
// engine cannot end the command itself, which may live until it next writes.
// A command starts while its node still boots, and returns after the boot;
// when that fails, so does the command, with the boot's error.
func (r *runner) Run(ctx context.Context, cmd exec.Cmd) error {
	if len(cmd.Args) == 0 {
		return &exec.Error{Code: -1, Err: errors.New("no command")}
	}
	err := r.runBooting(ctx, cmd)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), context.Cause(ctx))
	}
	return err
}

// runBooting runs a command beside the boot, and ends it when the boot fails.
// What came of the command counts only once the node has booted.
func (r *runner) runBooting(ctx context.Context, cmd exec.Cmd) error {
	if r.boot == nil {
		return r.run(ctx, cmd)
	}
	if r.bootFirst {
		if err := r.boot.wait(ctx); err != nil {
			return err
		}
		return r.run(ctx, cmd)
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	defer r.boot.onFailure(cancel)()
	err := r.run(running, cmd)
	if failed := r.boot.wait(ctx); failed != nil {
		return failed
	}
	return err
}

func (r *runner) run(ctx context.Context, cmd exec.Cmd) error {
	created, err := r.p.engine.ContainerExecCreate(ctx, r.id, container.ExecOptions{
		Cmd: cmd.Args, Env: cmd.Env, WorkingDir: cmd.Dir,
		AttachStdin: cmd.Stdin != nil, AttachStdout: true, AttachStderr: true,
		Privileged: r.mode == modePrivileged,
	})
	if err != nil {
		return r.notStarted(cmd, err)
	}
	conn, err := r.p.engine.ContainerExecAttach(ctx, created.ID, container.ExecAttachOptions{})
	if err != nil {
		return r.notStarted(cmd, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, conn.Close)()
	tail, err := r.transfer(conn, cmd)
	if err != nil {
		return fmt.Errorf("%s: talk to node %s: %w", strings.Join(cmd.Args, " "), r.name, err)
	}
	if cmd.Succeeded != nil && cmd.Succeeded() {
		return nil
	}
	code, err := r.exitCode(ctx, created.ID)
	if err != nil {
		return err
	}
	if code != 0 {
		return &exec.Error{Args: cmd.Args, Code: code, Stderr: tail.Bytes()}
	}
	return nil
}

func (r *runner) notStarted(cmd exec.Cmd, err error) error {
	return &exec.Error{Args: cmd.Args, Code: -1, Err: r.p.engineError(err, "start a command on node %s", r.name)}
}

// transfer moves the streams of a command until its output ends.
func (r *runner) transfer(conn types.HijackedResponse, cmd exec.Cmd) (*exec.Tail, error) {
	var tail exec.Tail
	stdout, stderr := io.Discard, io.Writer(&tail)
	if cmd.Stdout != nil {
		stdout = cmd.Stdout
	}
	if cmd.Stderr != nil {
		stderr = io.MultiWriter(cmd.Stderr, &tail)
	}
	sent := make(chan error, 1)
	if cmd.Stdin != nil {
		go func() { sent <- send(conn, cmd.Stdin) }()
	}
	_, err := stdcopy.StdCopy(stdout, stderr, conn.Reader)
	// Input that was cut short must not pass for all of it. A command may also
	// end without reading its input, which nobody waits for then.
	select {
	case sendErr := <-sent:
		err = errors.Join(sendErr, err)
	default:
	}
	return &tail, err
}

// send copies a command's input and then ends it. It fails when the input
// cannot be read; a command that does not want it is no error.
func send(conn types.HijackedResponse, stdin io.Reader) error {
	in := &inputReader{r: stdin}
	io.Copy(conn.Conn, in)
	conn.CloseWrite()
	if in.err != nil {
		return fmt.Errorf("read its input: %w", in.err)
	}
	return nil
}

// inputReader remembers why reading failed, which io.Copy mixes with why
// writing did.
type inputReader struct {
	r   io.Reader
	err error
}

func (i *inputReader) Read(b []byte) (int, error) {
	n, err := i.r.Read(b)
	if err != nil && err != io.EOF {
		i.err = err
	}
	return n, err
}

// exitCode asks how a command ended. Output ends before the command does when
// it closes its own, and the engine has nothing to wait on but to ask again.
func (r *runner) exitCode(ctx context.Context, execID string) (int, error) {
	for delay := 5 * time.Millisecond; ; delay = min(2*delay, time.Second) {
		state, err := r.p.engine.ContainerExecInspect(ctx, execID)
		if err != nil {
			return 0, r.p.engineError(err, "ask node %s how a command ended", r.name)
		}
		if !state.Running {
			return state.ExitCode, nil
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}
