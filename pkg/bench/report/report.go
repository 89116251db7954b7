// Package report shows what the bench measured, for people: as the rows of a
// table, as a page of the documentation and as a picture. It computes nothing
// that is not in the report already.
package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/petri-cluster/petri/pkg/bench"
)

// Columns are the headings of Rows.
var Columns = []string{"FIGURE", "SUBJECT", "MEDIAN", "MIN", "MAX", "SAMPLES", "PETRI TO IT", "ALL SAMPLES"}

// Rows are the figures as a table: one for each figure and subject.
func Rows(r *bench.Report) [][]string {
	var out [][]string
	for _, m := range r.Scenarios {
		for _, row := range m.Rows {
			for _, s := range compared(m, row) {
				cells := []string{m.Scenario + "/" + row.Figure, s.Subject}
				out = append(out, append(cells, cellsOf(row, s)...))
			}
		}
	}
	return out
}

// compared are the series of a row, and the floor's of another one if petri's is
// compared with it.
func compared(m bench.Measured, row bench.Row) []bench.Series {
	out := slices.Clone(row.Series)
	if _, compared := row.Ratios[bench.Floor]; !compared {
		return out
	}
	if _, own := row.SeriesOf(bench.Floor); own {
		return out
	}
	for _, other := range m.Rows {
		if s, ok := other.SeriesOf(bench.Floor); ok && s.Median > 0 && other.Figure == bench.FloorFigure {
			out = append(out, s)
		}
	}
	return out
}

// cellsOf are the numbers of a series as text.
func cellsOf(row bench.Row, s bench.Series) []string {
	if s.NotMeasured != "" {
		return []string{"not measured", "-", "-", "-", "-", "-"}
	}
	values := s.Values()
	cells := []string{"failed", "-", "-"}
	if len(values) > 0 {
		cells = []string{Value(s.Median, row.Unit), Value(s.Min, row.Unit), Value(s.Max, row.Unit)}
	}
	var all []string
	for _, sample := range s.Samples {
		if sample.Error != "" {
			all = append(all, "failed")
		} else {
			all = append(all, Value(sample.Value, row.Unit))
		}
	}
	return append(cells, fmt.Sprintf("%d of %d", len(values), len(s.Samples)), ratio(row, s.Subject), strings.Join(all, ", "))
}

// ratio is petri's median against that of another subject.
func ratio(row bench.Row, subject string) string {
	if value, ok := row.Ratios[subject]; ok {
		return fmt.Sprintf("%.2f x", value)
	}
	return "-"
}

// Value is a number with its unit, for people.
func Value(v float64, u bench.Unit) string {
	switch u {
	case bench.Seconds:
		if v < 0.1 {
			return fmt.Sprintf("%.0f ms", 1000*v)
		}
		return fmt.Sprintf("%.2f s", v)
	case bench.Bytes:
		return bytesText(v)
	case bench.Memory:
		return fmt.Sprintf("%.0f MiB", v/(1<<20))
	case bench.Percent:
		return fmt.Sprintf("%.1f %%", v)
	}
	return fmt.Sprintf("%g", v)
}

// bytesText counts as engines do for images and disks, in powers of 1000.
func bytesText(v float64) string {
	if v >= 1e9 {
		return fmt.Sprintf("%.2f GB", v/1e9)
	}
	return fmt.Sprintf("%.1f MB", v/1e6)
}

// Notes say what the numbers alone do not: which samples failed, what was not
// measured, and why. Each is one line.
func Notes(r *bench.Report) []string {
	var out []string
	add := func(format string, args ...any) {
		if line := fmt.Sprintf(format, args...); !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	for _, m := range r.Scenarios {
		for _, row := range m.Rows {
			for _, s := range row.Series {
				if s.NotMeasured != "" {
					add("%s: %s is not measured: %s", m.Scenario, s.Subject, s.NotMeasured)
				}
				for _, sample := range s.Samples {
					if sample.Error != "" {
						add("%s: run %d of %s failed: %s", m.Scenario, sample.Round+1, s.Subject, reason(sample.Error))
					}
				}
			}
		}
	}
	return out
}

// reason is one line of an error: the last that says that it is one, after the
// first, which says what was done.
func reason(text string) string {
	first, rest, _ := strings.Cut(text, "\n")
	last := ""
	for line := range strings.Lines(rest) {
		if strings.Contains(strings.ToLower(line), "error") {
			last = ": " + strings.TrimSpace(line)
		}
	}
	return first + last
}
