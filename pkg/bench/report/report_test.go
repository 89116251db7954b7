package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/bench"
)

var update = flag.Bool("update", false, "write the golden files anew")

func samples(values ...float64) []bench.Sample {
	var out []bench.Sample
	for i, v := range values {
		out = append(out, bench.Sample{Round: i, Value: v})
	}
	return out
}

// example has every kind of thing that a report can have.
func example() *bench.Report {
	failed := append(samples(20, 24), bench.Sample{Round: 2, Error: "kind create cluster: exit code 1\nCreating\nERROR: no <room> left\n • a hint"})
	return &bench.Report{
		Started:  time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC),
		Host:     bench.Host{Cores: 2, MemoryBytes: 25_274_793_984, OS: "Debian", Kernel: "6.18", Architecture: "x86_64"},
		Engine:   bench.Engine{Version: "20.10.24", StorageDriver: "overlay2", CgroupVersion: "1", Separate: true},
		Image:    bench.Image{Reference: "petri/node:v1.36.3", Kubernetes: "v1.36.3"},
		Settings: bench.Settings{Runs: 3, Warmup: 1, Settle: 60, Idle: 60},
		Subjects: []bench.Subject{{Name: "petri", Version: "v0.1.0"}, {Name: "kind", Version: "0.33.0"}},
		Scenarios: []bench.Measured{
			{Scenario: "one-node", Title: "One node", Rows: []bench.Row{
				{Figure: bench.FloorFigure, Title: "every node is Ready", Unit: bench.Seconds, Series: []bench.Series{
					{Subject: "petri", Samples: samples(5, 4, 6), Median: 5, Min: 4, Max: 6},
					{Subject: "kind", Samples: failed, Failures: 1, Median: 22, Min: 20, Max: 24},
					{Subject: "floor", Samples: samples(2.5, 2.4, 2.6), Median: 2.5, Min: 2.4, Max: 2.6},
				}, Ratios: map[string]float64{"kind": 5.0 / 22, "floor": 2}},
				{Figure: "usable", Title: "usable", Unit: bench.Seconds, Headline: true, Series: []bench.Series{
					{Subject: "petri", Samples: samples(5, 4, 6), Median: 5, Min: 4, Max: 6},
					{Subject: "kind", Samples: failed, Failures: 1, Median: 22, Min: 20, Max: 24},
				}, Ratios: map[string]float64{"kind": 5.0 / 22, "floor": 2}},
			}},
			{Scenario: "time-to-k8s", Title: "time-to-k8s", Rows: []bench.Row{
				{Figure: "command", Title: "command", Unit: bench.Seconds, Part: true, Series: []bench.Series{{Subject: "petri", Samples: samples(6), Median: 6, Min: 6, Max: 6}}},
				{Figure: "dns", Title: "dns answering", Unit: bench.Seconds, Part: true, Series: []bench.Series{{Subject: "petri", Samples: samples(2), Median: 2, Min: 2, Max: 2}}},
				{Figure: "total", Title: "sum", Unit: bench.Seconds, Headline: true, Series: []bench.Series{{Subject: "petri", Samples: samples(8), Median: 8, Min: 8, Max: 8}}},
			}},
			{Scenario: "image-load", Title: "Load an image", Rows: []bench.Row{{Figure: "first", Title: "first", Unit: bench.Seconds, Headline: true, Series: []bench.Series{
				{Subject: "petri", NotMeasured: `unknown command "load"`},
				{Subject: "kind", Samples: []bench.Sample{{Error: "it broke"}}, Failures: 1},
			}}}},
			{Scenario: "idle", Title: "One node that does nothing", Rows: []bench.Row{
				{Figure: "memory", Title: "memory", Unit: bench.Memory, Headline: true, Series: []bench.Series{{Subject: "petri", Samples: samples(420 << 20), Median: 420 << 20, Min: 420 << 20, Max: 420 << 20}}},
				{Figure: "cpu", Title: "CPU", Unit: bench.Percent, Headline: true, Series: []bench.Series{{Subject: "petri", Samples: samples(3.14), Median: 3.14, Min: 3.14, Max: 3.14}}},
				{Figure: "disk", Title: "disk", Unit: bench.Bytes, Headline: true, Series: []bench.Series{{Subject: "petri", Samples: samples(10.1e6), Median: 10.1e6, Min: 10.1e6, Max: 10.1e6}}},
				{Figure: "calls", Title: "calls", Unit: bench.Count, Headline: true, Series: []bench.Series{{Subject: "petri", Samples: samples(6.5), Median: 6.5, Min: 6.5, Max: 6.5}}},
			}},
		},
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got)\n%s", path, d)
	}
}

func TestPage(t *testing.T) {
	golden(t, "example.md", string(Page(example(), "bench.svg", "bench.json")))
	if bare := string(Page(example(), "", "")); strings.Contains(bare, "](") {
		t.Errorf("a page without files has links:\n%s", bare)
	}
}

func TestRows(t *testing.T) {
	var b strings.Builder
	for _, row := range Rows(example()) {
		if len(row) != len(Columns) {
			t.Errorf("%q has not %d columns", row, len(Columns))
		}
		b.WriteString(strings.Join(row, "|") + "\n")
	}
	golden(t, "example.rows", b.String())
}

func TestSVG(t *testing.T) {
	picture := SVG(example())
	decoder := xml.NewDecoder(bytes.NewReader(picture))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	text := string(picture)
	for what, want := range map[string]string{
		"petri's median":              ">5.00 s</text>",
		"the ratio to kind":           "petri is 0.23 x of it · 1 failed",
		"the floor beside usable":     "floor: processes, node Ready",
		"the ratio to the floor":      "petri is 2.00 x of it",
		"the phases as parts":         "<title>dns answering: 2.00 s</title>",
		"what is not measured":        ">not measured</text>",
		"what failed":                 `<text class="failed"`,
		"a page for dark backgrounds": "prefers-color-scheme: dark",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in the picture: %q", what, want)
		}
	}
	if strings.Contains(text, "every node is Ready") {
		t.Error("a figure that is no headline is in the picture")
	}
	if dots := strings.Count(text, "<circle"); dots != 3+2+3+1+4 {
		t.Errorf("there are %d dots", dots)
	}
}

func TestSVGOfNothing(t *testing.T) {
	if !bytes.HasSuffix(SVG(&bench.Report{}), []byte("</svg>\n")) {
		t.Error("it is no picture")
	}
}
