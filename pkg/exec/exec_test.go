package exec_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
)

func TestHostPassesStreamsEnvironmentAndDirectory(t *testing.T) {
	dir := t.TempDir()
	var stdout, stderr bytes.Buffer
	err := exec.Host{}.Run(t.Context(), exec.Cmd{
		Args:   []string{"sh", "-c", `cat; echo "$WORD"; pwd; echo complaint >&2`},
		Env:    []string{"WORD=from the environment"},
		Dir:    dir,
		Stdin:  strings.NewReader("from stdin\n"),
		Stdout: &stdout,
		Stderr: &stderr,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := stdout.String(), "from stdin\nfrom the environment\n"+dir+"\n"; got != want {
		t.Errorf("stdout %q, want %q", got, want)
	}
	if got := stderr.String(); got != "complaint\n" {
		t.Errorf("stderr %q", got)
	}
}

func TestHostKeepsTheEnvironmentOfTheProcess(t *testing.T) {
	t.Setenv("PETRI_TEST_WORD", "inherited")
	out, err := exec.Output(t.Context(), exec.Host{}, "sh", "-c", `echo "$PETRI_TEST_WORD"`)
	if err != nil || string(out) != "inherited\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestHostWithoutStreams(t *testing.T) {
	// nobody writes to its input: it must be empty, not the test's own
	if err := exec.Run(t.Context(), exec.Host{}, "sh", "-c", "cat; echo discarded; echo discarded >&2"); err != nil {
		t.Fatal(err)
	}
}

func TestHostReportsExitCodeAndStderr(t *testing.T) {
	err := exec.Run(t.Context(), exec.Host{}, "sh", "-c", "echo why >&2; exit 3")
	e, ok := errors.AsType[*exec.Error](err)
	if !ok {
		t.Fatalf("got %v, want an *exec.Error", err)
	}
	if e.Code != 3 || string(e.Stderr) != "why\n" || e.Args[0] != "sh" {
		t.Errorf("got %+v", e)
	}
	if got, want := err.Error(), "sh -c echo why >&2; exit 3: exit code 3\nwhy"; got != want {
		t.Errorf("message %q, want %q", got, want)
	}
}

func TestHostReportsWhatCannotStart(t *testing.T) {
	err := exec.Run(t.Context(), exec.Host{}, t.TempDir()+"/no-such-program", "arg")
	e, ok := errors.AsType[*exec.Error](err)
	if !ok || e.Code != -1 {
		t.Fatalf("got %v, want an *exec.Error with code -1", err)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v does not wrap its cause", err)
	}
	if !strings.Contains(err.Error(), "no-such-program arg: ") {
		t.Errorf("%v does not name the command", err)
	}
	if err := (exec.Host{}).Run(t.Context(), exec.Cmd{}); err == nil || !strings.Contains(err.Error(), "no command") {
		t.Errorf("no arguments: got %v", err)
	}
}

func TestHostEndsWithTheContextsCause(t *testing.T) {
	cause := errors.New("the user changed their mind")
	ctx, cancel := context.WithCancelCause(t.Context())
	started := make(chan struct{})
	go func() {
		<-started
		cancel(cause)
	}()
	// the trap shows that the end is asked for and not forced
	var out signalling
	out.first = func() { close(started) }
	begin := time.Now()
	err := exec.Host{}.Run(ctx, exec.Cmd{
		Args:   []string{"sh", "-c", `trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.02; done`},
		Stdout: &out,
	})
	if !errors.Is(err, cause) {
		t.Errorf("got %v, want the cause", err)
	}
	if !strings.Contains(out.buf.String(), "asked") {
		t.Errorf("the command wrote %q: it did not get SIGTERM", out.buf.String())
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("took %s: the command was killed after a delay", took)
	}
}

// signalling calls first at the first write.
type signalling struct {
	buf   bytes.Buffer
	once  sync.Once
	first func()
}

func (s *signalling) Write(p []byte) (int, error) {
	s.once.Do(s.first)
	return s.buf.Write(p)
}

func TestTailKeepsTheEnd(t *testing.T) {
	var tail exec.Tail
	const line = "line %06d\n" // 12 bytes
	for i := range 2000 {
		if n, err := fmt.Fprintf(&tail, line, i); n != 12 || err != nil {
			t.Fatalf("write gave %d, %v", n, err)
		}
	}
	got := string(tail.Bytes())
	if len(got) != 8<<10 {
		t.Errorf("kept %d bytes, want %d", len(got), 8<<10)
	}
	if !strings.HasSuffix(got, "line 001998\nline 001999\n") {
		t.Errorf("the end is %q", got[len(got)-24:])
	}

	big := strings.Repeat("x", 20<<10) + "end"
	if n, err := tail.Write([]byte(big)); n != len(big) || err != nil {
		t.Errorf("a large write gave %d, %v", n, err)
	}
	if got := string(tail.Bytes()); len(got) != 8<<10 || !strings.HasSuffix(got, "xend") {
		t.Errorf("after a large write %d bytes are kept", len(got))
	}
}

func TestTailIsSharedByTwoStreams(t *testing.T) {
	var tail exec.Tail
	err := exec.Host{}.Run(t.Context(), exec.Cmd{
		Args:   []string{"sh", "-c", "for i in 1 2 3 4 5 6 7 8; do echo out; echo err >&2; done"},
		Stdout: &tail, Stderr: &tail,
	})
	if err != nil {
		t.Fatal(err)
	}
	got := string(tail.Bytes())
	if o, e := strings.Count(got, "out\n"), strings.Count(got, "err\n"); o != 8 || e != 8 {
		t.Errorf("kept %d lines of stdout and %d of stderr, want 8 of each: %q", o, e, got)
	}
}

func TestLook(t *testing.T) {
	if path, err := exec.Look("sh"); err != nil || !strings.HasSuffix(path, "/sh") {
		t.Errorf("Look(sh) = %q, %v", path, err)
	}
	if path, err := exec.Look("no-such-program-of-petri"); err == nil {
		t.Errorf("found %q", path)
	}
}
