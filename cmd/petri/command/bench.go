package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/petri-cluster/petri/pkg/bench"
	"github.com/petri-cluster/petri/pkg/bench/report"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
)

type benchOptions struct {
	bench.Options
	peers           []string
	floor           bool
	format          string
	json, svg, page string
}

func (a *App) bench() *cobra.Command {
	o := &benchOptions{}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure petri, and other launchers beside it",
		Long: `Measure petri, and other launchers beside it: how long it takes until a cluster
can be used, what it takes while idle, and how long until it is gone. All are
measured in one run, on the same node image and engine, in alternating order.
A clock starts with a command and stops when an outside observer has seen the
state. Samples that fail are shown, and make the exit code 1 when petri's do.

Scenarios: ` + strings.Join(bench.Names(), ", ") + `.

A peer needs an engine that allows --privileged. Where it does not, root gets an
engine of the bench's own, on which then everyone is measured.`,
		Example: `  petri bench
  petri bench --peer kind=/usr/local/bin/kind --json bench.json --svg bench.svg
  petri bench --scenario one-node,idle --runs 1 --warmup 0 --settle 10s --idle 20s`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runBench(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.Scenarios, "scenario", nil, "what to measure, separated by commas (default: everything)")
	f.StringArrayVar(&o.peers, "peer", nil, "another launcher to measure, as NAME=PATH; may be given several times; names: kind")
	f.StringVar(&o.Petri, "petri", "", "the petri to measure (default: this one)")
	f.StringVar(&o.Image, "image", "", "node image for all (default "+defaultImage()+")")
	f.IntVar(&o.Runs, "runs", 5, "how many samples to take of each")
	f.IntVar(&o.Warmup, "warmup", 1, "rounds before, which are not counted")
	f.BoolVar(&o.floor, "floor", true, "in scenario one-node, also measure the bare processes of a control plane")
	f.DurationVar(&o.Settle, "settle", time.Minute, "how long a cluster is left alone before its idle figures are taken")
	f.DurationVar(&o.Idle, "idle", time.Minute, "over how long idle CPU is taken")
	f.DurationVar(&o.Timeout, "timeout", 5*time.Minute, "after how long a sample has failed")
	f.StringVar(&o.json, "json", "", "write everything that was measured to this file")
	f.StringVar(&o.svg, "svg", "", "write a picture to this file")
	f.StringVar(&o.page, "page", "", "write a page with all tables in Markdown to this file; it shows the picture and leads to the JSON when they are beside it")
	outputFlag(cmd, &o.format)
	return cmd
}

func (a *App) runBench(ctx context.Context, o *benchOptions) error {
	if err := o.complete(); err != nil {
		return err
	}
	printer, err := a.printer()
	if err != nil {
		return err
	}
	o.Reporter = printer
	r, err := bench.Run(ctx, o.Options)
	printer.Close()
	if r == nil {
		return err
	}
	// what was measured before an error is shown all the same
	err = errors.Join(err, o.writeFiles(r), a.print(o.format, table{columns: report.Columns, narrow: 7, rows: report.Rows(r), value: r}))
	for _, note := range report.Notes(r) {
		fmt.Fprintln(a.Err, note)
	}
	if err != nil {
		return err
	}
	if n := r.Failures(bench.Petri); n > 0 {
		return errdefs.New(errdefs.ClassFailed, "BENCH-FAILURES", "%d samples of petri's failed", n).
			WithHint("the lines above say why; create a cluster by hand to see more")
	}
	return nil
}

// complete checks everything that can be before something is started.
func (o *benchOptions) complete() (err error) {
	if err := checkFormat(o.format); err != nil {
		return err
	}
	for _, p := range o.peers {
		name, path, ok := strings.Cut(p, "=")
		if !ok || name == "" || path == "" {
			return usagef("--peer %q is not NAME=PATH", p).WithHint("for example --peer kind=/usr/local/bin/kind")
		}
		if path, err = exec.Look(path); err != nil {
			return usagef("--peer %s: %w", p, err)
		}
		o.Peers = append(o.Peers, bench.Peer{Name: name, Path: path})
	}
	if o.Petri == "" {
		if o.Petri, err = os.Executable(); err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
	} else if o.Petri, err = exec.Look(o.Petri); err != nil {
		return usagef("--petri: %w", err)
	}
	if o.Image == "" {
		o.Image = defaultImage()
	}
	o.NoFloor = !o.floor
	if err := o.Options.Check(); err != nil {
		return err
	}
	return o.probeFiles()
}

// benchFile is a file that a flag names, and what is written there.
type benchFile struct {
	path   string
	render func(*bench.Report) ([]byte, error)
}

func (o *benchOptions) files() []benchFile {
	all := []benchFile{
		{o.json, reportJSON},
		{o.svg, func(r *bench.Report) ([]byte, error) { return report.SVG(r), nil }},
		{o.page, func(r *bench.Report) ([]byte, error) { return report.Page(r, o.beside(o.svg), o.beside(o.json)), nil }},
	}
	return slices.DeleteFunc(all, func(f benchFile) bool { return f.path == "" })
}

// beside is how the page names another file: "" when there is none, or none in
// its directory or below.
func (o *benchOptions) beside(path string) string {
	name, err := filepath.Rel(filepath.Dir(o.page), path)
	if path == "" || err != nil || !filepath.IsLocal(name) {
		return ""
	}
	return filepath.ToSlash(name)
}

// probeFiles looks for the directories: an hour of measuring must not end in
// one that is not there.
func (o *benchOptions) probeFiles() error {
	for _, f := range o.files() {
		dir := filepath.Dir(f.path)
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return usagef("write %s: there is no directory %s", f.path, dir)
		}
	}
	return nil
}

func (o *benchOptions) writeFiles(r *bench.Report) error {
	for _, f := range o.files() {
		data, err := f.render(r)
		if err != nil {
			return err
		}
		if err := os.WriteFile(f.path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func reportJSON(r *bench.Report) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetIndent("", "  ")
	err := enc.Encode(r)
	return out.Bytes(), err
}
