package all

import (
	"errors"
	"strings"
	"testing"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/provider/fake"
)

func TestDetect(t *testing.T) {
	good, down := fake.New(), fake.New()
	silent := errdefs.New(errdefs.ClassUnavailable, "ENGINE-UNREACHABLE", "nobody answers")
	down.FailAt(1, silent)
	open := func(p *fake.Provider) func() (provider.Provider, error) {
		return func() (provider.Provider, error) { return p, nil }
	}
	list := []candidate{{"down", open(down)}, {"good", open(good)}}

	if p, err := detect(t.Context(), "", list); p != good || err != nil {
		t.Errorf("detected %v, %v; want the one that answers", p, err)
	}
	if p, err := detect(t.Context(), "down", list); p != down || err != nil {
		t.Errorf("named: %v, %v; want it without a check", p, err)
	}
	_, err := detect(t.Context(), "buidah", list)
	e, ok := errors.AsType[*errdefs.Error](err)
	if !ok || e.Class != errdefs.ClassUsage || !strings.Contains(e.Hint, "down, good") {
		t.Errorf("unknown name: %#v, want class usage and the known names", err)
	}
	down.FailAt(2, silent)
	if _, err := detect(t.Context(), "", list[:1]); !errdefs.Is(err, errdefs.ClassUnavailable) {
		t.Errorf("nobody answers: %v, want class unavailable", err)
	}
}

func TestNames(t *testing.T) {
	for _, name := range Names() {
		p, err := Detect(t.Context(), name)
		if err != nil || p.Name() != name {
			t.Errorf("provider %q: %v, %v", name, p, err)
		}
	}
}
