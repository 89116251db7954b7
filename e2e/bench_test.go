//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petri-cluster/petri/pkg/bench"
)

// The bench takes one sample of everything that it can of petri, kind and the
// floor, and writes what it measured. How long it took is not judged here.
func TestBench(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("an engine for kind is started by root only")
	}
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	t.Cleanup(func() { // the bench does so too, unless it is killed
		for _, name := range []string{"petri-bench", "petri-bench-floor"} {
			run(cleanupContext(t), file("kubeconfig"), "", petriBinary(), "delete", "cluster", "--name", name)
		}
	})
	scenarios := []string{"one-node", "time-to-k8s", "image-load", "idle", "engine-calls"}
	r := run(t.Context(), file("kubeconfig"), "", append([]string{
		petriBinary(), "bench", "--runs", "1", "--warmup", "0", "--settle", "2s", "--idle", "3s",
		"--peer", "kind=" + installKind(t), "--scenario", strings.Join(scenarios, ","),
		"--json", file("bench.json"), "--svg", file("bench.svg"), "--page", file("index.md"),
	}, withImage(nil)...)...)
	t.Log(r.stdout, r.stderr)
	if r.code != 0 {
		samples, _ := os.ReadFile(file("bench.json")) // with the whole of what failed commands printed
		t.Fatalf("exit code %d\n%s", r.code, samples)
	}
	data, err := os.ReadFile(file("bench.json"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(dir)) || bytes.Contains(data, []byte(petriBinary())) {
		t.Error("the report names a path of this machine")
	}
	var report bench.Report
	if err := json.Unmarshal(data, &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Scenarios) != len(scenarios) || report.Schema != bench.Schema || report.Image.Kubernetes == "" {
		t.Errorf("%d of %d scenarios; schema %q, Kubernetes %q", len(report.Scenarios), len(scenarios), report.Schema, report.Image.Kubernetes)
	}
	for i, m := range report.Scenarios {
		if m.Scenario != scenarios[i] {
			t.Errorf("scenario %d is %s, want %s", i, m.Scenario, scenarios[i])
		}
		for _, row := range m.Rows {
			checkRow(t, m.Scenario, row)
		}
	}
	checkFloor(t, report.Scenarios[0])
	checkPicture(t, file("bench.svg"))
	page, err := os.ReadFile(file("index.md"))
	if err != nil || !bytes.Contains(page, []byte("](bench.svg)")) || !bytes.Contains(page, []byte("](bench.json)")) {
		t.Errorf("the page does not show the picture and the data (%v)\n%s", err, page)
	}
}

// checkRow wants a sample of everyone, and petri compared with everyone.
func checkRow(t *testing.T, scenario string, row bench.Row) {
	t.Helper()
	for _, s := range row.Series {
		if s.Subject == bench.Petri && s.NotMeasured != "" {
			t.Errorf("%s/%s: petri was not measured: %s", scenario, row.Figure, s.NotMeasured)
			continue
		}
		if s.Failures > 0 || len(s.Samples) != 1 || s.Median < 0 || s.Median != s.Samples[0].Value {
			t.Errorf("%s/%s: %s has %+v", scenario, row.Figure, s.Subject, s)
		}
		own, _ := row.SeriesOf(bench.Petri)
		if ratio, ok := row.Ratios[s.Subject]; s.Subject != bench.Petri && own.Median > 0 && s.Median > 0 && (!ok || ratio != own.Median/s.Median) {
			t.Errorf("%s/%s: the ratio to %s is %v", scenario, row.Figure, s.Subject, ratio)
		}
	}
	if _, ok := row.SeriesOf("kind"); !ok {
		t.Errorf("%s/%s: there is nothing of kind", scenario, row.Figure)
	}
}

// checkFloor wants usable compared with the floor's end.
func checkFloor(t *testing.T, m bench.Measured) {
	t.Helper()
	compared := false
	for _, row := range m.Rows {
		if s, ok := row.SeriesOf(bench.Floor); ok && s.Median <= 0 {
			t.Errorf("%s: the floor is %+v", row.Figure, s)
		}
		compared = compared || row.Figure == "usable" && row.Ratios[bench.Floor] > 0
	}
	if !compared {
		t.Error("usable is not compared with the floor")
	}
}

func checkPicture(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	decoder := xml.NewDecoder(bytes.NewReader(data))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the picture: %v", err)
		}
	}
	if !bytes.Contains(data, []byte("<circle")) {
		t.Error("the picture has no sample in it")
	}
}
