package bootstrap

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/progress"
)

// journal records in which order phases begin and end, and what is reported.
type journal struct {
	mu     sync.Mutex
	lines  []string
	events []progress.Event
}

func (j *journal) write(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) Report(e progress.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
}

// status is the last thing that was reported of a phase.
func (j *journal) status(phase string) progress.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	var last progress.Event
	for _, e := range j.events {
		if e.Phase == phase {
			last = e
		}
	}
	return last
}

// phase is a Phase that takes some seconds of the bubble's clock, or ends with
// the context's cause, or with err when its time is over.
func (j *journal) phase(id string, seconds int, err error, after ...string) Phase {
	return Phase{ID: id, Title: "Title of " + id, After: after, Run: func(ctx context.Context, _ *Env, _ *progress.Task) error {
		j.write("begin " + id)
		select {
		case <-time.After(time.Duration(seconds) * time.Second):
			j.write("end " + id)
			return err
		case <-ctx.Done():
			j.write("cancel " + id)
			return context.Cause(ctx)
		}
	}}
}

func (j *journal) index(t *testing.T, line string) int {
	t.Helper()
	i := slices.Index(j.lines, line)
	if i < 0 {
		t.Errorf("%q did not happen: %q", line, j.lines)
	}
	return i
}

func TestRunStartsPhasesAsSoonAsTheyCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		env := &Env{Reporter: j}
		begin := time.Now()
		err := Run(t.Context(), env, []Phase{
			j.phase("a", 1, nil),
			j.phase("b", 5, nil, "a"),
			j.phase("c", 2, nil, "a"), // beside b
			j.phase("d", 1, nil, "c"), // before b is done
			j.phase("e", 1, nil, "b", "d"),
		})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 7*time.Second {
			t.Errorf("took %s, want the longest way: 1+5+1 s", took)
		}
		for _, order := range [][2]string{{"end a", "begin b"}, {"end a", "begin c"}, {"end c", "begin d"}, {"end d", "end b"}, {"end b", "begin e"}, {"end d", "begin e"}} {
			if j.index(t, order[0]) > j.index(t, order[1]) {
				t.Errorf("%q came after %q: %q", order[0], order[1], j.lines)
			}
		}
		if e := j.status("b"); e.Status != progress.Done || e.Duration != 5*time.Second || e.Title != "Title of b" {
			t.Errorf("reported %+v", e)
		}
		if !regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`).MatchString(env.token) {
			t.Errorf("token %q has another form than kubeadm's", env.token)
		}
	})
}

// A phase that needs a part of another one begins in the midst of it.
func TestRunWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		env := &Env{Reporter: j}
		init := j.phase("init", 1, nil)
		init.When = controlPlaneStarted
		time.AfterFunc(2*time.Second, func() { env.started.set(node.Node{Name: "a"}) })
		if err := Run(t.Context(), env, []Phase{j.phase("provision", 5, nil), init}); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"begin provision", "begin init", "end init", "end provision"}, j.lines); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		j.lines = nil
		if err := Run(t.Context(), &Env{Reporter: j}, []Phase{j.phase("provision", 2, errOther), init}); err == nil {
			t.Error("it needs nothing")
		}
		if slices.Contains(j.lines, "begin init") {
			t.Errorf("began without what it needs: %q", j.lines)
		}
	})
}

func TestRunEndsWithTheFirstError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		cause := errors.New("no space left")
		begin := time.Now()
		err := Run(t.Context(), &Env{Reporter: j}, []Phase{
			j.phase("quick", 1, nil),
			j.phase("bad", 2, cause),
			j.phase("long", 60, nil),
			j.phase("never", 1, nil, "long"),
			{ID: "rude", Run: func(ctx context.Context, _ *Env, _ *progress.Task) error {
				<-ctx.Done()
				return errors.New("something closed under me") // a consequence that hides its cause
			}},
		})
		if !errors.Is(err, cause) || err.Error() != "bad: no space left" {
			t.Errorf("got %v, want the first error with its phase", err)
		}
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("ended after %s, want at once", took)
		}
		j.index(t, "end quick")
		j.index(t, "cancel long")
		if slices.Contains(j.lines, "begin never") {
			t.Error("a phase began whose need was not met")
		}
		if e := j.status("bad"); e.Status != progress.Failed || e.Message != cause.Error() {
			t.Errorf("reported %+v", e)
		}
	})
}

func TestRunIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		cause := errors.New("interrupted")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(3*time.Second, func() { cancel(cause) })
		err := Run(ctx, &Env{Reporter: j}, []Phase{
			j.phase("a", 60, nil),
			j.phase("b", 1, nil, "a"),
		})
		if !errors.Is(err, cause) {
			t.Errorf("got %v, want the cause", err)
		}
		if d := cmp.Diff([]string{"begin a", "cancel a"}, j.lines); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})
}

func TestRunSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		skipped := j.phase("join", 1, nil)
		skipped.Skip = func(*Env) string { return "no workers" }
		kept := j.phase("ready", 1, nil, "join")
		kept.Skip = func(*Env) string { return "" }
		if err := Run(t.Context(), &Env{Reporter: j}, []Phase{skipped, kept}); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"begin ready", "end ready"}, j.lines); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		if e := j.status("join"); e.Status != progress.Skipped || e.Message != "no workers" || e.Time.IsZero() {
			t.Errorf("reported %+v", e)
		}
	})
}

func TestRunWithoutAReporter(t *testing.T) {
	p := Phase{ID: "a", Skip: func(*Env) string { return "not asked for" }}
	if err := Run(t.Context(), &Env{}, []Phase{p}); err != nil {
		t.Error(err)
	}
}

func TestRunRefusesAnOrderThatNeverEnds(t *testing.T) {
	j := &journal{}
	for name, test := range map[string]struct {
		phases []Phase
		want   string
	}{
		"unknown": {[]Phase{j.phase("a", 0, nil, "gone")}, "phase a needs gone"},
		"circle":  {[]Phase{j.phase("a", 0, nil, "b"), j.phase("b", 0, nil, "a")}, "phase a needs b"},
		"itself":  {[]Phase{j.phase("a", 0, nil, "a")}, "phase a needs a"},
		"twice":   {[]Phase{j.phase("a", 0, nil), j.phase("a", 0, nil)}, "two phases a"},
	} {
		if err := Run(t.Context(), &Env{Reporter: j}, test.phases); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	if len(j.lines) > 0 {
		t.Errorf("phases were run: %q", j.lines)
	}
}

func TestPhasesAreInOrder(t *testing.T) {
	phases := Phases()
	if err := checkOrder(phases); err != nil {
		t.Error(err)
	}
	for _, p := range phases {
		if p.Title == "" || p.Run == nil {
			t.Errorf("phase %s has no title or does nothing", p.ID)
		}
	}
}

func TestFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f future[string]
		got := make(chan string, 3)
		for range 3 {
			go func() {
				v, err := f.get(t.Context())
				if err != nil {
					t.Error(err)
				}
				got <- v
			}()
		}
		synctest.Wait() // all are waiting
		f.set("first")
		f.set("second")
		for range 3 {
			if v := <-got; v != "first" {
				t.Errorf("got %q, want what was set first", v)
			}
		}
		var never future[string]
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("init failed")
		cancel(cause)
		if _, err := never.get(ctx); !errors.Is(err, cause) {
			t.Errorf("got %v, want the cause", err)
		}
	})
}
