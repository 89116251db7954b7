// Package bench measures launchers of clusters, petri and its peers, in one
// run: the same node image, the same engine, in alternating order. A clock
// starts with a command and stops when an outside observer, which watches the
// API with a client of its own, has seen the state. What is measured is data
// (Scenarios), what comes out is data (Report); package report shows it.
// It judges nothing: what a good figure is, is for its readers.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/progress"
)

// Options say what is measured, and how often.
type Options struct {
	Petri     string   // path of the petri to measure
	Peers     []Peer   // compared with it
	Image     string   // node image for all
	Scenarios []string // names; empty: all
	Runs      int      // samples that are counted
	Warmup    int      // rounds before them that are not
	NoFloor   bool     // leaves the floor out of scenario one-node
	// Settle is how long a usable cluster is left alone before idle figures
	// are taken, and Idle over how long its CPU is.
	Settle, Idle time.Duration
	Timeout      time.Duration // of one sample
	Reporter     progress.Reporter
}

// Peer is another launcher.
type Peer struct {
	Name string // "kind"
	Path string // of its program
}

// Check returns what is wrong with the options, of class usage. It starts
// nothing.
func (o Options) Check() error {
	if _, err := choose(o.Scenarios); err != nil {
		return err
	}
	for i, p := range o.Peers {
		if _, ok := peers[p.Name]; !ok {
			return usagef("there is no peer %q", p.Name).WithHint("petri can be compared with kind: --peer kind=PATH")
		}
		if slices.ContainsFunc(o.Peers[:i], func(q Peer) bool { return q.Name == p.Name }) {
			return usagef("peer %s is given twice", p.Name)
		}
	}
	switch {
	case o.Runs < 1:
		return usagef("%d runs are asked for, and 1 is the least", o.Runs)
	case o.Warmup < 0:
		return usagef("there cannot be %d rounds of warm-up", o.Warmup)
	case o.Settle < 0 || o.Idle <= 0 || o.Timeout <= 0:
		return usagef("durations must be positive")
	}
	return nil
}

func usagef(format string, args ...any) *errdefs.Error {
	return errdefs.New(errdefs.ClassUsage, "BENCH-USAGE", format, args...)
}

// bench is one run.
type bench struct {
	opts      Options
	place     *place
	launchers []launcher // petri first
	helper    string     // an image in every node that has a shell
	cache     string     // directory for what launchers keep from run to run
}

// entrant is a subject in a scenario.
type entrant struct {
	name string
	take func(ctx context.Context) (map[string]float64, error)
}

// Run takes all samples. A sample that failed is in the report; an error is
// what keeps the bench from going on, and the report has what was measured
// until then; it is nil before anything was. No cluster is left behind.
func Run(ctx context.Context, o Options) (_ *Report, err error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	scenarios, err := choose(o.Scenarios)
	if err != nil {
		return nil, err
	}
	b := &bench{opts: o, launchers: []launcher{petriAt(o.Petri)}}
	for _, p := range o.Peers {
		b.launchers = append(b.launchers, peers[p.Name](p.Path))
	}
	report := &Report{Schema: Schema, Started: time.Now().UTC().Truncate(time.Second), Settings: Settings{
		Runs: o.Runs, Warmup: o.Warmup, Settle: o.Settle.Seconds(), Idle: o.Idle.Seconds(), Timeout: o.Timeout.Seconds(),
	}}
	start := time.Now()
	task := progress.Start(o.Reporter, "prepare", "Preparing", "")
	if err := task.Done(b.prepare(ctx, report)); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close(ctx)) }()
	for _, s := range scenarios {
		measured, err := b.measure(ctx, s)
		report.Scenarios = append(report.Scenarios, measured)
		report.Seconds = time.Since(start).Seconds()
		if err != nil {
			return report, err
		}
	}
	return report, nil
}

// prepare asks everyone who they are and finds the engine.
func (b *bench) prepare(ctx context.Context, report *Report) (err error) {
	for _, l := range b.launchers {
		s, err := l.subject(ctx, exec.Host{})
		if err != nil {
			return err
		}
		report.Subjects = append(report.Subjects, s)
	}
	if b.place, err = choosePlace(ctx, b.opts.Image, b.launchers); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close(ctx))
		}
	}()
	// not the user's: two engines of one machine may have the same ID, by which
	// caches know them
	if b.cache, err = os.MkdirTemp("", "petri-bench-"); err != nil {
		return err
	}
	for _, cluster := range []string{clusterName, clusterName + "-floor"} {
		if err := b.place.gone(ctx, cluster, nil); err != nil {
			return err
		}
	}
	if report.Host, report.Engine, err = b.place.facts(ctx); err != nil {
		return err
	}
	if report.Image, err = b.place.nodeImage(ctx, b.opts.Image); err != nil {
		return err
	}
	b.helper, err = b.place.helperImage(ctx, b.opts.Image)
	return err
}

func (b *bench) close(ctx context.Context) error {
	return errors.Join(b.place.close(ctx), os.RemoveAll(b.cache))
}

// measure takes all samples of a scenario.
func (b *bench) measure(ctx context.Context, s Scenario) (Measured, error) {
	entrants, done, err := b.entrants(ctx, s)
	if err != nil {
		return Measured{}, err
	}
	m := newMeasured(s, entrants)
	err = errors.Join(b.rounds(ctx, s, entrants, &m), done(ctx))
	for i := range m.Rows {
		for j := range m.Rows[i].Series {
			m.Rows[i].Series[j].summarise()
		}
	}
	m.compare(s.Figures)
	return m, err
}

// entrants are the subjects of a scenario, and what undoes their preparation.
func (b *bench) entrants(ctx context.Context, s Scenario) (_ []entrant, done func(context.Context) error, err error) {
	launchers := b.launchers
	if s.alone {
		launchers = launchers[:1]
	}
	var out []entrant
	for _, l := range launchers {
		out = append(out, entrant{l.name, func(ctx context.Context) (map[string]float64, error) { return b.sample(ctx, l, s) }})
	}
	done = func(context.Context) error { return nil }
	if s.Name != floorScenario || b.opts.NoFloor {
		return out, done, nil
	}
	task := progress.Start(b.opts.Reporter, Floor, "Laying bare one control plane", "")
	f, err := b.newFloor(ctx)
	if err := task.Done(err); err != nil {
		return nil, nil, err
	}
	return append(out, entrant{Floor, f.sample}), f.close, nil
}

// rounds takes samples in alternating order: what is first in a round is last
// in the next one.
func (b *bench) rounds(ctx context.Context, s Scenario, entrants []entrant, m *Measured) error {
	runs, warmup := b.opts.Runs, b.opts.Warmup
	if s.single {
		runs = 1
	}
	if s.unwarmed {
		warmup = 0
	}
	for round := -warmup; round < runs; round++ {
		order := slices.Clone(entrants)
		if round%2 != 0 {
			slices.Reverse(order)
		}
		for position, e := range order {
			if m.cannot(e.name) {
				continue
			}
			values, err := b.one(ctx, s, e, round)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if l, ok := errors.AsType[*leftover](err); ok {
				return l
			}
			m.add(e.name, Sample{Round: round, Position: position}, values, b.public(err))
		}
	}
	return nil
}

// one takes one sample and says so.
func (b *bench) one(ctx context.Context, s Scenario, e entrant, round int) (map[string]float64, error) {
	title := fmt.Sprintf("%s: %s, run %d of %d", s.Name, e.name, round+1, b.opts.Runs)
	if round < 0 {
		title = fmt.Sprintf("%s: %s, warm-up", s.Name, e.name)
	}
	task := progress.Start(b.opts.Reporter, s.Name, title, "")
	values, err := e.take(ctx)
	if n, ok := errors.AsType[*notMeasured](err); ok {
		task.Skip(n.why)
		return nil, err
	}
	return values, task.Done(err)
}

// ownDir is a directory that only this run has.
var ownDir = regexp.MustCompile(`[^\s"=]*/petri-(bench|engine)-\d+/`)

// public leaves out of an error what is of this machine alone: reports are
// published.
func (b *bench) public(err error) error {
	if err == nil {
		return nil
	}
	if n, ok := errors.AsType[*notMeasured](err); ok {
		return n
	}
	text := ownDir.ReplaceAllString(err.Error(), "")
	for _, l := range b.launchers {
		text = strings.ReplaceAll(text, l.program, l.name)
	}
	return errors.New(text)
}

// newMeasured is the empty rows of a scenario.
func newMeasured(s Scenario, entrants []entrant) Measured {
	m := Measured{Scenario: s.Name, Title: s.Title}
	for _, f := range s.Figures {
		row := Row{Figure: f.Name, Title: f.Title, Unit: f.Unit, Headline: f.Headline, Part: f.Part}
		for _, e := range entrants {
			if e.name != Floor || slices.Contains(floorFigures, f.Name) {
				row.Series = append(row.Series, Series{Subject: e.name})
			}
		}
		m.Rows = append(m.Rows, row)
	}
	return m
}

// cannot reports whether a subject has said that it cannot do the scenario.
func (m *Measured) cannot(subject string) bool {
	return slices.ContainsFunc(m.Rows, func(r Row) bool {
		s, _ := r.SeriesOf(subject)
		return s.NotMeasured != ""
	})
}

// add puts a sample, or why there is none, into the rows of its subject. Those
// of a warm-up are not counted; that a subject cannot do it is.
func (m *Measured) add(subject string, sample Sample, values map[string]float64, err error) {
	n, refused := errors.AsType[*notMeasured](err)
	for i := range m.Rows {
		row := &m.Rows[i]
		j := slices.IndexFunc(row.Series, func(s Series) bool { return s.Subject == subject })
		if j < 0 {
			continue
		}
		series := &row.Series[j]
		value, ok := values[row.Figure]
		switch {
		case refused:
			series.NotMeasured, series.Samples = n.why, nil
			continue
		case sample.Round < 0:
			continue
		case err != nil:
			sample.Error = err.Error()
		case !ok:
			sample.Error = "it has no such value"
		}
		sample.Value = value
		series.Samples = append(series.Samples, sample)
	}
}
