package logsummary

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func full() Page {
	return Page{
		Cluster: "dev", Provider: "docker 20.10.24", Petri: "v0.1.0", Made: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Findings: []Finding{
			{Kind: "node not ready", What: "node dev-worker", Why: "KubeletNotReady: no network"},
			{ID: "DISK-FULL", Kind: "doctor", What: "disk", Why: "a disk is full", Do: "docker image prune"},
			{Kind: "pod failing", What: "pod default/web, container app", Why: "CrashLoopBackOff", File: "dev-worker/pods/x/0.log", Tail: "<script>alert(1)</script>\nlast"},
		},
		Warnings: []Finding{{ID: "DISK-SLOW", Kind: "doctor", What: "disk-speed", Why: "100 ms a write"}},
		Missing:  []string{"node dev-worker2 is paused: its logs cannot be read"},
		Nodes:    []Node{{Name: "dev-control-plane", Role: "control-plane", State: "running", Version: "v1.36.3", Ready: true}, {Name: "dev-worker", Role: "worker", State: "stopped", Problem: "not registered"}},
		Files:    []string{"status.json", "dev-worker/serial.log"},
	}
}

// TestWrite holds the page against a golden file, and that it loads nothing
// and runs nothing, whatever a log says.
func TestWrite(t *testing.T) {
	var out strings.Builder
	if err := Write(&out, full()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "page.golden.html")
	if *update {
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, bad := range []string{"<script", "http://", "https://", "src=", "@import", "url("} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("the page has %q", bad)
		}
	}
}

func TestNothingWrong(t *testing.T) {
	p := full()
	p.Findings, p.Warnings, p.Missing = nil, nil, nil
	var out strings.Builder
	if err := Write(&out, p); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.Contains(text, "Nothing was found to be wrong.") || strings.Contains(text, "What is") {
		t.Errorf("the page says\n%s", text)
	}
}
