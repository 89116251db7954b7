package bench

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/progress"
)

func valid() Options {
	return Options{Runs: 5, Warmup: 1, Settle: time.Second, Idle: time.Second, Timeout: time.Second, Reporter: progress.Discard}
}

func TestOptionsAreChecked(t *testing.T) {
	if err := valid().Check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Options){
		`no scenario "one-mode"`: func(o *Options) { o.Scenarios = []string{"one-node", "one-mode"} },
		`no peer "k3d"`:          func(o *Options) { o.Peers = []Peer{{"k3d", "/k3d"}} },
		"kind is given twice":    func(o *Options) { o.Peers = []Peer{{"kind", "/a"}, {"kind", "/b"}} },
		"0 runs":                 func(o *Options) { o.Runs = 0 },
		"-1 rounds of warm-up":   func(o *Options) { o.Warmup = -1 },
		"must be positive":       func(o *Options) { o.Idle = 0 },
	} {
		o := valid()
		change(&o)
		if err := o.Check(); !errdefs.Is(err, errdefs.ClassUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// fake is an entrant that notes its turn and gives what it is told to.
func fake(name string, turns *[]string, take func(turn int) (map[string]float64, error)) entrant {
	n := 0
	return entrant{name, func(context.Context) (map[string]float64, error) {
		*turns = append(*turns, name)
		n++
		return take(n)
	}}
}

var simple = Scenario{Name: "simple", Figures: []Figure{{Name: "time", Unit: Seconds}, {Name: figureNodes, Unit: Seconds}}}

func TestRoundsAlternateAndCountWhatTheyShould(t *testing.T) {
	var turns []string
	entrants := []entrant{
		fake(Petri, &turns, func(turn int) (map[string]float64, error) {
			return map[string]float64{"time": float64(turn), figureNodes: 1}, nil
		}),
		fake("kind", &turns, func(turn int) (map[string]float64, error) {
			if turn == 2 {
				return nil, errors.New("/here/kind create: exit code 1 in /tmp/petri-bench-123/kind.yaml")
			}
			return map[string]float64{"time": 10 * float64(turn), figureNodes: 1}, nil
		}),
		fake(Floor, &turns, func(int) (map[string]float64, error) { return map[string]float64{figureNodes: 0.5}, nil }),
	}
	b := &bench{opts: valid(), launchers: []launcher{petriAt("/here/petri"), kindAt("/here/kind")}}
	b.opts.Runs = 3
	m := newMeasured(simple, entrants)
	if err := b.rounds(t.Context(), simple, entrants, &m); err != nil {
		t.Fatal(err)
	}
	diff(t, "floor kind petri petri kind floor floor kind petri petri kind floor", strings.Join(turns, " "))
	times := m.Rows[0]
	if len(times.Series) != 2 {
		t.Fatalf("the floor is in a row that it has no figure of: %+v", times)
	}
	diff(t, []Sample{{0, 0, 2, ""}, {1, 2, 3, ""}, {2, 0, 4, ""}}, times.Series[0].Samples)
	diff(t, []Sample{{0, 1, 0, "kind create: exit code 1 in kind.yaml"}, {1, 1, 30, ""}, {2, 1, 40, ""}}, times.Series[1].Samples)
	if n := len(m.Rows[1].Series[2].Samples); n != 3 {
		t.Errorf("the floor has %d samples", n)
	}
}

// One that cannot do it says so once, and is not asked again.
func TestRoundsLeaveOutWhoCannot(t *testing.T) {
	var turns []string
	entrants := []entrant{
		fake(Petri, &turns, func(int) (map[string]float64, error) { return nil, &notMeasured{"no command"} }),
		fake("kind", &turns, func(int) (map[string]float64, error) { return map[string]float64{"time": 1}, nil }),
	}
	b := &bench{opts: valid()}
	b.opts.Runs = 2
	m := newMeasured(simple, entrants)
	if err := b.rounds(t.Context(), simple, entrants, &m); err != nil {
		t.Fatal(err)
	}
	diff(t, "kind petri kind kind", strings.Join(turns, " "))
	diff(t, Series{Subject: Petri, NotMeasured: "no command"}, m.Rows[0].Series[0])
	if got := m.Rows[1].Series[1].Samples[0].Error; got != "it has no such value" {
		t.Errorf("a value that is missing has error %q", got)
	}
}

func TestRoundsEnd(t *testing.T) {
	var turns []string
	left := errors.New("it is still there")
	entrants := []entrant{fake(Petri, &turns, func(int) (map[string]float64, error) {
		return nil, errors.Join(errors.New("it failed"), &leftover{left})
	})}
	b := &bench{opts: valid()}
	m := newMeasured(simple, entrants)
	if err := b.rounds(t.Context(), simple, entrants, &m); err == nil || !strings.Contains(err.Error(), left.Error()) || len(turns) != 1 {
		t.Errorf("after a cluster that stays: %v, %d turns", err, len(turns))
	}
	cause := errors.New("the user changed their mind")
	ctx, cancel := context.WithCancelCause(t.Context())
	entrants[0].take = func(context.Context) (map[string]float64, error) { cancel(cause); return nil, cause }
	m = newMeasured(simple, entrants)
	if err := b.rounds(ctx, simple, entrants, &m); !errors.Is(err, cause) {
		t.Errorf("after an interruption: %v", err)
	}
}

func TestScenariosAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Scenarios() {
		if seen[s.Name] || s.Title == "" || s.take == nil {
			t.Errorf("scenario %q is not complete, or is there twice", s.Name)
		}
		seen[s.Name] = true
		figures, headlines := map[string]bool{}, 0
		for _, f := range s.Figures {
			if figures[f.Name] || f.Title == "" || f.Unit == "" {
				t.Errorf("%s: figure %q is not complete, or is there twice", s.Name, f.Name)
			}
			figures[f.Name] = true
			if f.Headline {
				headlines++
			}
			if f.floor != "" && !figures[f.floor] {
				t.Errorf("%s: figure %q is compared with %q, which is not before it", s.Name, f.Name, f.floor)
			}
		}
		if headlines == 0 {
			t.Errorf("%s: a picture would show nothing of it", s.Name)
		}
	}
	if !seen[floorScenario] {
		t.Errorf("the floor is for scenario %q, and there is none", floorScenario)
	}
	// published figures are found by these names
	diff(t, "one-node time-to-k8s one-plus-two three-plus-three ephemeral join stop-start image-load image-load-one-plus-two idle idle-one-plus-two engine-calls node-image", strings.Join(Names(), " "))
}

func TestChooseKeepsTheOrder(t *testing.T) {
	got, err := choose([]string{"idle", "one-node"})
	if err != nil || len(got) != 2 || got[0].Name != "one-node" || got[1].Name != "idle" {
		t.Errorf("got %+v, %v", got, err)
	}
}
