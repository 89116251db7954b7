package bench

import (
	"slices"
	"time"
)

// Schema names the form of a Report as JSON. It changes when a reader of an
// older one would be misled.
const Schema = "petri.dev/bench/v1"

// Report is the outcome of one run of the bench, and what is written as JSON.
// Times are in seconds, sizes in bytes.
type Report struct {
	Schema    string     `json:"schema"`
	Started   time.Time  `json:"started"`
	Seconds   float64    `json:"seconds"` // how long the whole run took
	Host      Host       `json:"host"`
	Engine    Engine     `json:"engine"`
	Image     Image      `json:"image"`
	Settings  Settings   `json:"settings"`
	Subjects  []Subject  `json:"subjects"` // petri first
	Scenarios []Measured `json:"scenarios"`
}

// Host is the machine that everything ran on.
type Host struct {
	Cores        int    `json:"cores"`
	MemoryBytes  int64  `json:"memoryBytes"`
	OS           string `json:"os"`
	Kernel       string `json:"kernel"`
	Architecture string `json:"architecture"`
}

// Engine is the engine that all nodes ran on.
type Engine struct {
	Version       string `json:"version"`
	StorageDriver string `json:"storageDriver"`
	CgroupVersion string `json:"cgroupVersion"`
	CgroupDriver  string `json:"cgroupDriver"`
	// Separate is an engine that the bench started for the comparison, as the
	// machine's own refuses the privileges that a peer asks for.
	Separate bool `json:"separate"`
}

// Image is the node image, the same for all.
type Image struct {
	Reference  string `json:"reference"`
	ID         string `json:"id"`
	Kubernetes string `json:"kubernetes"` // "v1.36.3"
}

// Settings are those that the figures depend on.
type Settings struct {
	Runs    int     `json:"runs"`
	Warmup  int     `json:"warmup"`  // rounds before, which are not counted
	Settle  float64 `json:"settle"`  // seconds from usable to the idle figures
	Idle    float64 `json:"idle"`    // seconds over which idle CPU is taken
	Timeout float64 `json:"timeout"` // seconds after which a sample has failed
}

// Subject is one of those that are compared.
type Subject struct {
	Name    string `json:"name"`    // "petri", "kind", "floor"
	Version string `json:"version"` // as its own version command says
}

// Measured is what came out of a scenario.
type Measured struct {
	Scenario string `json:"scenario"`
	Title    string `json:"title"`
	Rows     []Row  `json:"rows"`
}

// Row is one figure of a scenario, for everyone who has it.
type Row struct {
	Figure   string   `json:"figure"`
	Title    string   `json:"title"`
	Unit     Unit     `json:"unit"`
	Headline bool     `json:"headline,omitzero"` // what the scenario is about
	Part     bool     `json:"part,omitzero"`     // adds up to the headline
	Series   []Series `json:"series"`
	// Ratios hold petri's median divided by that of each other subject. One to
	// the floor is to the floor's own end, a node that is Ready.
	Ratios map[string]float64 `json:"ratios,omitzero"`
}

// Unit is what a figure is counted in.
type Unit string

// The units of figures. Less is better in all of them.
const (
	Seconds Unit = "s"
	Bytes   Unit = "B"
	Memory  Unit = "B of memory"
	Percent Unit = "% of a core"
	Count   Unit = "calls"
)

// Series is every sample of a figure of one subject.
type Series struct {
	Subject string   `json:"subject"`
	Samples []Sample `json:"samples"`
	// Failures counts samples that have an error instead of a value.
	Failures int `json:"failures"`
	// Median, Min and Max are over the samples that have a value; all are 0
	// when none has.
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	// NotMeasured says why there is no sample, when the subject cannot do what
	// the scenario asks for.
	NotMeasured string `json:"notMeasured,omitempty"`
}

// Sample is one measurement, in the order they were taken.
type Sample struct {
	Round    int     `json:"round"`    // from 0
	Position int     `json:"position"` // place in the order of the round, from 0
	Value    float64 `json:"value"`
	Error    string  `json:"error,omitempty"` // why there is no value
}

// Values are those of the samples that did not fail, in order.
func (s Series) Values() []float64 {
	var out []float64
	for _, sample := range s.Samples {
		if sample.Error == "" {
			out = append(out, sample.Value)
		}
	}
	return out
}

// summarise fills in what follows from the samples.
func (s *Series) summarise() {
	values := s.Values()
	s.Failures = len(s.Samples) - len(values)
	if len(values) > 0 {
		s.Median, s.Min, s.Max = median(values), slices.Min(values), slices.Max(values)
	}
}

// median is the middle of values, or the mean of the two in the middle.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// SeriesOf is the series of a subject; false when the row has none of it.
func (r Row) SeriesOf(subject string) (Series, bool) {
	i := slices.IndexFunc(r.Series, func(s Series) bool { return s.Subject == subject })
	if i < 0 {
		return Series{}, false
	}
	return r.Series[i], true
}

// Failures counts the failed samples of a subject. A sample that failed has
// failed in every row of its scenario, and counts once.
func (r Report) Failures(subject string) int {
	n := 0
	for _, m := range r.Scenarios {
		most := 0
		for _, row := range m.Rows {
			s, _ := row.SeriesOf(subject)
			most = max(most, s.Failures)
		}
		n += most
	}
	return n
}

// compare fills in the ratios of all rows.
func (m *Measured) compare(figures []Figure) {
	for i := range m.Rows {
		row := &m.Rows[i]
		own, _ := row.SeriesOf(Petri)
		for _, other := range m.others(*row, figures[i]) {
			if own.Median > 0 && other.Median > 0 {
				if row.Ratios == nil {
					row.Ratios = map[string]float64{}
				}
				row.Ratios[other.Subject] = own.Median / other.Median
			}
		}
	}
}

// others are the series that petri's is compared with: the other ones of the
// row, and the floor's of the row that the figure names.
func (m *Measured) others(row Row, f Figure) []Series {
	var out []Series
	for _, s := range row.Series {
		if s.Subject != Petri {
			out = append(out, s)
		}
	}
	if f.floor != "" {
		i := slices.IndexFunc(m.Rows, func(r Row) bool { return r.Figure == f.floor })
		if s, ok := m.Rows[i].SeriesOf(Floor); ok {
			out = append(out, s)
		}
	}
	return out
}
