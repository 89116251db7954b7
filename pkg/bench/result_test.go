package bench

import (
	"testing"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{5, 1}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		before := append([]float64(nil), test.values...)
		if got := median(test.values); got != test.want {
			t.Errorf("median of %v is %v, want %v", test.values, got, test.want)
		}
		diff(t, before, test.values) // samples keep their order
	}
}

func TestSummary(t *testing.T) {
	s := Series{Samples: []Sample{{Value: 3}, {Error: "it failed", Value: 0}, {Value: 1}, {Value: 2}}}
	s.summarise()
	if s.Median != 2 || s.Min != 1 || s.Max != 3 || s.Failures != 1 {
		t.Errorf("got %+v", s)
	}
	none := Series{Samples: []Sample{{Error: "it failed"}}}
	none.summarise()
	if none.Median != 0 || none.Failures != 1 {
		t.Errorf("got %+v", none)
	}
}

func TestRatios(t *testing.T) {
	m := Measured{Rows: []Row{
		{Figure: figureNodes, Series: []Series{{Subject: Petri, Median: 4}, {Subject: "kind", Median: 8}, {Subject: Floor, Median: 2}}},
		{Figure: figureUsable, Series: []Series{{Subject: Petri, Median: 5}, {Subject: "kind", Median: 10}}},
		{Figure: figureDelete, Series: []Series{{Subject: Petri, Median: 1}, {Subject: "kind"}}},
		{Figure: "stop", Series: []Series{{Subject: Petri, NotMeasured: "no command"}, {Subject: "kind", Median: 3}}},
	}}
	m.compare([]Figure{{Name: figureNodes}, {Name: figureUsable, floor: figureNodes}, {Name: figureDelete}, {Name: "stop"}})
	diff(t, map[string]float64{"kind": 0.5, Floor: 2}, m.Rows[0].Ratios)
	diff(t, map[string]float64{"kind": 0.5, Floor: 2.5}, m.Rows[1].Ratios)
	if m.Rows[2].Ratios != nil || m.Rows[3].Ratios != nil {
		t.Errorf("there are ratios to nothing: %v, %v", m.Rows[2].Ratios, m.Rows[3].Ratios)
	}
}

func TestFailuresAreCountedOnce(t *testing.T) {
	failed := Series{Subject: Petri, Failures: 2}
	r := Report{Scenarios: []Measured{
		{Rows: []Row{{Series: []Series{failed}}, {Series: []Series{failed, {Subject: "kind", Failures: 7}}}}},
		{Rows: []Row{{Series: []Series{{Subject: Petri, Failures: 1}}}}},
	}}
	if got := r.Failures(Petri); got != 3 {
		t.Errorf("got %d, want 3", got)
	}
}
