package fake

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

// Command is a command that was run in a node.
type Command struct {
	Node string
	Args []string
}

// Handler answers a command in a node. The streams of cmd are never nil. It
// returns what exec.Runner promises: nil, or Exit's error.
type Handler func(ctx context.Context, n node.Node, cmd exec.Cmd) error

type script struct {
	argv    []string
	handler Handler
}

// Handle answers the commands that begin with argv. The longest beginning
// wins, then the one told last; no argv at all answers what nothing else does.
// What nothing answers is one of the few commands that every fake node has
// (cat, cp, echo, false, grep, hostname, install, ls, printenv, rm, stat, true), or fails
// with exit code 127.
func (p *Provider) Handle(h Handler, argv ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.scripts = append(p.scripts, script{argv: argv, handler: h})
}

// Print answers with output and success.
func Print(output string) Handler {
	return func(_ context.Context, _ node.Node, cmd exec.Cmd) error {
		_, err := io.WriteString(cmd.Stdout, output)
		return err
	}
}

// Fail answers with a message on standard error and an exit code.
func Fail(code int, message string) Handler {
	return func(_ context.Context, _ node.Node, cmd exec.Cmd) error { return Exit(cmd, code, message) }
}

// Events answers as the node helper does: with events as JSON lines, which
// succeed unless the last one is NodeFailed.
func Events(events ...nodeimage.NodeEvent) Handler {
	return func(_ context.Context, _ node.Node, cmd exec.Cmd) error {
		out := json.NewEncoder(cmd.Stdout)
		for _, e := range events {
			if err := out.Encode(e); err != nil {
				return err
			}
		}
		if n := len(events); n > 0 && events[n-1].Kind == nodeimage.NodeFailed {
			return Exit(cmd, 1, events[n-1].Error)
		}
		return nil
	}
}

// Exit ends a command with a message on standard error and an exit code.
func Exit(cmd exec.Cmd, code int, message string) error {
	if message != "" {
		message += "\n"
	}
	io.WriteString(cmd.Stderr, message)
	return &exec.Error{Args: cmd.Args, Code: code, Stderr: []byte(message)}
}

// Commands are the commands that were run, in the order in which they began.
func (p *Provider) Commands() []Command {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.commands)
}

// File is a file in a node, and whether it is there.
func (p *Provider) File(nodeName, path string) (provider.File, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m, ok := p.machines[nodeName]
	if !ok {
		return provider.File{}, false
	}
	f, ok := m.files[path]
	return f, ok
}

// PutFile puts a file into a node, in the place of one that is there.
func (p *Provider) PutFile(nodeName, path string, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m, ok := p.machines[nodeName]; ok {
		m.files[path] = provider.File{Path: path, Data: data, Mode: 0o644}
	}
}

// Runs reports whether a node is there and runs.
func (p *Provider) Runs(nodeName string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	m, ok := p.machines[nodeName]
	return ok && m.node.State == node.Running
}

// runner runs commands in one node.
type runner struct {
	p       *Provider
	name    string
	remains bool // the node need not run
}

// Run implements exec.Runner.
func (r *runner) Run(ctx context.Context, cmd exec.Cmd) error {
	if len(cmd.Args) == 0 {
		return &exec.Error{Code: -1, Err: errors.New("no command")}
	}
	n, handler, f, err := r.begin(ctx, cmd)
	if err != nil {
		return err
	}
	if cmd.Stdin == nil {
		cmd.Stdin = strings.NewReader("")
	}
	cmd.Stdin = untilDone(ctx, cmd.Stdin)
	if cmd.Stdout == nil {
		cmd.Stdout = io.Discard
	}
	if cmd.Stderr == nil {
		cmd.Stderr = io.Discard
	}
	err = handler(ctx, n, cmd)
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), context.Cause(ctx))
	}
	return cmp.Or(err, f.err)
}

// untilDone is an input that ends with its context, also while nothing
// arrives.
func untilDone(ctx context.Context, r io.Reader) io.Reader {
	type result struct {
		data []byte
		err  error
	}
	return readerFunc(func(b []byte) (int, error) {
		read := make(chan result, 1)
		go func() {
			data := make([]byte, len(b)) // b is the caller's again once ctx ended
			n, err := r.Read(data)
			read <- result{data[:n], err}
		}()
		select {
		case got := <-read:
			return copy(b, got.data), got.err
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// begin records the command and finds who answers it.
func (r *runner) begin(ctx context.Context, cmd exec.Cmd) (node.Node, Handler, failure, error) {
	p := r.p
	p.mu.Lock()
	defer p.mu.Unlock()
	f, err := p.count(ctx, "exec "+r.name+" "+cmd.Args[0])
	if err != nil {
		return node.Node{}, nil, f, err
	}
	m, ok := p.machines[r.name]
	if !ok || m.node.State != node.Running && !r.remains {
		return node.Node{}, nil, f, &exec.Error{Args: cmd.Args, Code: -1, Err: fmt.Errorf("node %s is not running", r.name)}
	}
	p.commands = append(p.commands, Command{Node: r.name, Args: slices.Clone(cmd.Args)})
	return m.handle(p), p.answer(m, cmd.Args), f, nil
}

func (p *Provider) answer(m *machine, args []string) Handler {
	var best *script
	for i, s := range p.scripts {
		if len(s.argv) > len(args) || !slices.Equal(s.argv, args[:len(s.argv)]) {
			continue
		}
		if len(s.argv) == 0 && builtins()[args[0]] != nil {
			continue
		}
		if best == nil || len(s.argv) >= len(best.argv) {
			best = &p.scripts[i]
		}
	}
	if best != nil {
		return best.handler
	}
	if b, ok := builtins()[args[0]]; ok {
		return func(ctx context.Context, _ node.Node, cmd exec.Cmd) error { return b(ctx, p, m, cmd) }
	}
	return Fail(127, args[0]+": command not found")
}

type builtin func(ctx context.Context, p *Provider, m *machine, cmd exec.Cmd) error

func builtins() map[string]builtin {
	return map[string]builtin{
		"cat": cat, "cp": cp, "grep": grep, "install": install, "ls": ls, "rm": rm, "printenv": printenv, "stat": stat,
		"true":  func(context.Context, *Provider, *machine, exec.Cmd) error { return nil },
		"false": func(_ context.Context, _ *Provider, _ *machine, cmd exec.Cmd) error { return Exit(cmd, 1, "") },
		"echo": func(_ context.Context, _ *Provider, _ *machine, cmd exec.Cmd) error {
			_, err := fmt.Fprintln(cmd.Stdout, strings.Join(cmd.Args[1:], " "))
			return err
		},
		"hostname": func(_ context.Context, _ *Provider, m *machine, cmd exec.Cmd) error {
			_, err := fmt.Fprintln(cmd.Stdout, m.node.Name)
			return err
		},
	}
}

func cat(_ context.Context, p *Provider, m *machine, cmd exec.Cmd) error {
	if len(cmd.Args) == 1 {
		_, err := io.Copy(cmd.Stdout, cmd.Stdin)
		return err
	}
	for _, name := range cmd.Args[1:] {
		f, ok := p.File(m.node.Name, name)
		if !ok {
			return Exit(cmd, 1, "cat: "+name+": No such file or directory")
		}
		if _, err := cmd.Stdout.Write(f.Data); err != nil {
			return err
		}
	}
	return nil
}

func cp(_ context.Context, p *Provider, m *machine, cmd exec.Cmd) error {
	if len(cmd.Args) != 3 {
		return Exit(cmd, 1, "cp: expected a source and a destination")
	}
	from, to := cmd.Args[1], cmd.Args[2]
	file := provider.File{Path: to, Mode: 0o644}
	if from == "/dev/stdin" {
		var err error
		if file.Data, err = io.ReadAll(cmd.Stdin); err != nil {
			return fmt.Errorf("cp: %w", err)
		}
	} else {
		source, ok := p.File(m.node.Name, from)
		if !ok {
			return Exit(cmd, 1, "cp: "+from+": No such file or directory")
		}
		file.Data, file.Mode = source.Data, source.Mode
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	m.files[to] = file
	return nil
}

// install knows the one form "install -D -m MODE /dev/stdin PATH".
func install(_ context.Context, p *Provider, m *machine, cmd exec.Cmd) error {
	if len(cmd.Args) != 6 || cmd.Args[4] != "/dev/stdin" {
		return Exit(cmd, 1, "install: only -D -m MODE /dev/stdin PATH is known")
	}
	mode, err := strconv.ParseUint(cmd.Args[3], 8, 32)
	if err != nil {
		return Exit(cmd, 1, "install: "+err.Error())
	}
	data, err := io.ReadAll(cmd.Stdin)
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	m.files[cmd.Args[5]] = provider.File{Path: cmd.Args[5], Data: data, Mode: uint32(mode)}
	return nil
}

// grep knows the one form "grep -rlsF TEXT DIR".
func grep(_ context.Context, p *Provider, m *machine, cmd exec.Cmd) error {
	if len(cmd.Args) != 4 || cmd.Args[1] != "-rlsF" {
		return Exit(cmd, 2, "grep: only -rlsF TEXT DIR is known")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	found := false
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		if strings.HasPrefix(name, cmd.Args[3]+"/") && strings.Contains(string(m.files[name].Data), cmd.Args[2]) {
			found = true
			fmt.Fprintln(cmd.Stdout, name)
		}
	}
	if !found {
		return Exit(cmd, 1, "")
	}
	return nil
}

// rm knows the one form "rm -rf PATH".
func rm(_ context.Context, p *Provider, m *machine, cmd exec.Cmd) error {
	if len(cmd.Args) != 3 || cmd.Args[1] != "-rf" {
		return Exit(cmd, 1, "rm: only -rf PATH is known")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(m.files, func(name string, _ provider.File) bool {
		return name == cmd.Args[2] || strings.HasPrefix(name, cmd.Args[2]+"/")
	})
	return nil
}

func ls(_ context.Context, p *Provider, m *machine, cmd exec.Cmd) error {
	for _, dir := range cmd.Args[1:] {
		names := p.entries(m, dir)
		if names == nil {
			return Exit(cmd, 2, "ls: "+dir+": No such file or directory")
		}
		fmt.Fprintln(cmd.Stdout, strings.Join(names, "\n"))
	}
	return nil
}

// entries are the names in a directory. Directories are there as long as
// there is a file in them.
func (p *Provider) entries(m *machine, dir string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	prefix := strings.TrimSuffix(path.Clean(dir), "/") + "/"
	var names []string
	for name := range m.files {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			first, _, _ := strings.Cut(rest, "/")
			names = append(names, first)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func printenv(_ context.Context, _ *Provider, m *machine, cmd exec.Cmd) error {
	if len(cmd.Args) != 2 {
		return Exit(cmd, 2, "printenv: expected one name")
	}
	for _, entry := range slices.Backward(slices.Concat(m.env, cmd.Env)) {
		if name, value, _ := strings.Cut(entry, "="); name == cmd.Args[1] {
			_, err := fmt.Fprintln(cmd.Stdout, value)
			return err
		}
	}
	return Exit(cmd, 1, "")
}

// stat knows the one form "stat -c %a PATH".
func stat(_ context.Context, p *Provider, m *machine, cmd exec.Cmd) error {
	if len(cmd.Args) != 4 || cmd.Args[1] != "-c" || cmd.Args[2] != "%a" {
		return Exit(cmd, 1, "stat: only -c %a PATH is known")
	}
	f, ok := p.File(m.node.Name, cmd.Args[3])
	if !ok && p.entries(m, cmd.Args[3]) == nil {
		return Exit(cmd, 1, "stat: "+cmd.Args[3]+": No such file or directory")
	}
	_, err := fmt.Fprintf(cmd.Stdout, "%o\n", cmp.Or(f.Mode, 0o755))
	return err
}
