package progress

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// script plays a creation with all that can happen: notes, overlapping phases,
// nodes that join one by one, a skipped phase, a node and a phase that fail,
// and text that tries to drive the terminal. It takes four seconds and a bit.
func script(r Reporter) {
	r.Report(Event{Time: time.Now(), Status: Note, Message: "Creating cluster \"dev\":\n\n  three nodes\n"})
	image := Start(r, "image", "Checking the node image", "")
	time.Sleep(30 * time.Millisecond)
	_ = image.Done(nil)
	r.Report(Event{Phase: "mirror", Title: "Filling the mirror", Status: Skipped, Message: "none configured"})
	init := Start(r, "init", "Starting the control plane", "")
	api := Start(r, "api", "Waiting for the API", "")
	node := Start(r, "init", "", "dev-control-plane")
	time.Sleep(time.Second)
	init.Update("certificates \x1b[31m\a\nand keys")
	_ = api.Done(nil)
	time.Sleep(100 * time.Millisecond)
	_ = node.Done(nil)
	_ = init.Done(nil)
	join := Start(r, "join", "Joining workers", "")
	var workers []*Task
	for i := range 3 {
		workers = append(workers, Start(r, "join", "", fmt.Sprintf("dev-worker%d", i+1)))
	}
	boot := Start(r, "boot", "Booting dev-worker1", "dev-worker1")
	time.Sleep(time.Second)
	_ = boot.Done(nil)
	_ = workers[0].Done(nil)
	time.Sleep(time.Second)
	_ = workers[2].Done(errors.New("kubelet is not healthy\nsecond line"))
	time.Sleep(time.Second)
	_ = workers[1].Done(nil)
	_ = join.Done(errors.New("join: a node failed"))
}

func size(width, height int) func() (int, int) {
	return func() (int, int) { return width, height }
}

// played runs the script in a bubble of its own and returns what was written.
func played(t *testing.T, printer func(w *bytes.Buffer) Printer) string {
	t.Helper()
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		p := printer(&out)
		script(p)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		p.Report(Event{Status: Note, Message: "too late"})
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return out.String()
}

func TestPrinters(t *testing.T) {
	for name, printer := range map[string]func(w *bytes.Buffer) Printer{
		"plain":      func(w *bytes.Buffer) Printer { return newPlain(w) },
		"json":       func(w *bytes.Buffer) Printer { return newJSON(w) },
		"tty":        func(w *bytes.Buffer) Printer { return newTTY(w, size(80, 24), true) },
		"tty-narrow": func(w *bytes.Buffer) Printer { return newTTY(w, size(24, 3), false) },
	} {
		t.Run(name, func(t *testing.T) {
			out := played(t, printer)
			if strings.Contains(out, "too late") {
				t.Error("prints after Close")
			}
			// Escapes are made visible, so that the file can be read.
			golden(t, name+".golden", strings.ReplaceAll(out, "\x1b", "␛"))
		})
	}
}

// TestTTYScreen plays the byte stream on a small terminal and looks at what is
// left on it, which is what a person keeps.
func TestTTYScreen(t *testing.T) {
	for _, width := range []int{80, 24} {
		out := played(t, func(w *bytes.Buffer) Printer { return newTTY(w, size(width, 24), false) })
		golden(t, fmt.Sprintf("screen-%d.golden", width), screen(t, out, width))
	}
}

// screen is a terminal that knows what the printer uses: text, line feeds,
// cursor up, and clearing to the end.
func screen(t *testing.T, out string, width int) string {
	t.Helper()
	lines := []string{""}
	row := 0
	for out != "" {
		var n int
		if _, err := fmt.Sscanf(out, "\x1b[%dA\x1b[J", &n); err == nil {
			row -= n
			if row < 0 {
				t.Fatalf("moved above what was printed")
			}
			lines = append(lines[:row], "")
			out = out[len(fmt.Sprintf("\x1b[%dA\x1b[J", n)):]
			continue
		}
		line, rest, ended := strings.Cut(out, "\n")
		if strings.ContainsRune(line, '\x1b') || strings.ContainsRune(line, '\a') {
			t.Fatalf("unknown escape in %q", line)
		}
		if n := len([]rune(line)); n >= width && !strings.HasPrefix(line, "Creating") {
			t.Errorf("line of %d columns on a terminal of %d: %q", n, width, line)
		}
		lines[row] += line
		if out = rest; ended {
			row++
			lines = append(lines, "")
		}
	}
	if last := lines[row]; last != "" {
		t.Errorf("left the cursor behind %q", last)
	}
	return strings.Join(lines, "\n")
}

func TestTTYThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out counter
		p := newTTY(&out, size(80, 24), false)
		task := Start(p, "a", "A", "")
		for range 1000 {
			task.Update("again")
			time.Sleep(time.Millisecond)
		}
		if limit := int(time.Second/tick) + 2; out.writes > limit {
			t.Errorf("%d writes in a second, want at most %d", out.writes, limit)
		}
		_ = p.Close()
	})
}

func TestTTYInterrupted(t *testing.T) {
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		p := newTTY(&out, size(80, 24), false)
		Start(p, "a", "First", "")
		Start(p, "b", "Second", "")
		time.Sleep(1500 * time.Millisecond)
		_ = p.Close()
	})
	got := screen(t, out.String(), 80)
	want := "- First  1.5s  not finished\n- Second  1.5s  not finished\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestJSONIsJSON(t *testing.T) {
	out := played(t, func(w *bytes.Buffer) Printer { return newJSON(w) })
	for line := range strings.Lines(out) {
		var e Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if e.Time.IsZero() || e.Status == "" {
			t.Errorf("without time or status: %q", line)
		}
	}
}

func TestWriteError(t *testing.T) {
	for _, mode := range []Mode{TTY, Plain, JSON} {
		p := NewPrinter(broken{}, mode)
		_ = Start(p, "a", "A", "").Done(nil)
		if err := p.Close(); !errors.Is(err, errBroken) {
			t.Errorf("mode %d: got %v", mode, err)
		}
	}
}

func TestModes(t *testing.T) {
	for name, want := range map[string]string{
		"auto": "*progress.plain", "tty": "*progress.tty", "plain": "*progress.plain",
		"json": "*progress.jsonLines", "none": "progress.none",
	} {
		mode, err := ParseMode(name)
		if err != nil {
			t.Fatal(err)
		}
		p := NewPrinter(&bytes.Buffer{}, mode) // no terminal
		if got := fmt.Sprintf("%T", p); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
		p.Report(Event{Status: Note})
		_ = p.Close()
	}
	if _, err := ParseMode("loud"); err == nil {
		t.Error("want an error for an unknown mode")
	}
}

func TestNoColor(t *testing.T) {
	for env, want := range map[string]bool{"NO_COLOR=": true, "NO_COLOR=1": false, "TERM=dumb": false} {
		t.Run(env, func(t *testing.T) {
			t.Setenv("NO_COLOR", "")
			t.Setenv("TERM", "xterm")
			name, value, _ := strings.Cut(env, "=")
			t.Setenv(name, value)
			var out bytes.Buffer
			p := NewPrinter(&out, TTY)
			_ = Start(p, "a", "A", "").Done(nil)
			_ = p.Close()
			if got := strings.Contains(out.String(), "\x1b[32m"); got != want {
				t.Errorf("colour: got %v, want %v", got, want)
			}
		})
	}
}

// TestConcurrent is for the race detector.
func TestConcurrent(t *testing.T) {
	r := NewRecorder()
	for _, mode := range []Mode{TTY, Plain, JSON} {
		p := NewPrinter(&bytes.Buffer{}, mode)
		both := Multi(p, r)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for range 20 {
					task := Start(both, fmt.Sprint(i%4), "T", []string{"", "n"}[i/4])
					task.Update("u")
					_ = task.Done(nil)
				}
			})
		}
		wg.Wait()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if got, want := len(r.Events()), 3*8*20*3; got != want {
		t.Errorf("recorded %d events, want %d", got, want)
	}
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-1: "0.0s", 0: "0.0s", 3449 * time.Millisecond: "3.4s", 59990 * time.Millisecond: "59.9s",
		time.Minute: "1m00s", 64 * time.Second: "1m04s", 3725 * time.Second: "62m05s",
	} {
		if got := seconds(d); got != want {
			t.Errorf("%s: got %s, want %s", d, got, want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, tc := range []struct {
		in    string
		width int
		want  string
		used  int
	}{
		{"abc", 5, "abc", 3}, {"abc", 3, "abc", 3}, {"abc", 2, "ab", 2}, {"abc", -1, "", -1},
		{"日本語", 5, "日本", 5}, {"✓ é", 3, "✓ é", 3},
	} {
		if got, used := cut(tc.in, tc.width); got != tc.want || used != tc.used {
			t.Errorf("%q to %d: got %q, %d, want %q, %d", tc.in, tc.width, got, used, tc.want, tc.used)
		}
	}
}

type counter struct{ writes int }

func (c *counter) Write(p []byte) (int, error) {
	c.writes++
	return len(p), nil
}

var errBroken = errors.New("broken pipe")

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
