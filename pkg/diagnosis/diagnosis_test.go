package diagnosis

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// TestLogs holds the table against logs: what is recognised, and as what.
func TestLogs(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txtar"))
	if err != nil || len(files) < 30 {
		t.Fatalf("%d logs, %v", len(files), err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil || len(archive.Files) != 2 {
				t.Fatalf("%v, %v", archive, err)
			}
			log, want := string(archive.Files[0].Data), strings.TrimSpace(string(archive.Files[1].Data))
			cause := errdefs.New(errdefs.ClassFailed, "KUBEADM-FAILED", "node dev: kubeadm init: exit code 1").WithLog(log)
			e, ok := errors.AsType[*errdefs.Error](Explain(fmt.Errorf("init: %w", cause)))
			if want == "" {
				if !ok || e != cause {
					t.Errorf("taken for %v", e)
				}
				return
			}
			seen[e.ID] = true
			if got := e.ID + ": " + e.Error(); got != want+": init: node dev: kubeadm init: exit code 1" {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if e.Hint == "" || e.Log != log || !errors.Is(e, cause) {
				t.Errorf("hint %q, log %q", e.Hint, e.Log)
			}
		})
	}
	for _, k := range All() {
		if !seen[k.ID] {
			t.Errorf("no log shows %s", k.ID)
		}
	}
}

// TestExplain leaves alone what says enough, and finds what only a message
// says.
func TestExplain(t *testing.T) {
	full := errors.New("write /x: no space left on device")
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"nothing":            {nil, ""},
		"unknown":            {errors.New("it broke"), ""},
		"without an ID":      {fmt.Errorf("create container: %w", full), "DISK-FULL"},
		"vague":              {errdefs.New(errdefs.ClassTimeout, "NOT-USABLE", "waited: %w", full), "DISK-FULL"},
		"said already":       {errdefs.New(errdefs.ClassUsage, "KUBECONFIG-UNUSABLE", "probe: %w", full), ""},
		"interrupted":        {fmt.Errorf("%w: %w", context.Canceled, full), ""},
		"vague, and no more": {errdefs.New(errdefs.ClassTimeout, "NOT-USABLE", "waited"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := Explain(test.err)
			if test.want == "" {
				if got != test.err {
					t.Errorf("got %v", got)
				}
				return
			}
			if e, ok := errors.AsType[*errdefs.Error](got); !ok || e.ID != test.want || !errors.Is(got, full) {
				t.Errorf("got %v, want %s", got, test.want)
			}
		})
	}
}
