package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/mattn/go-isatty"
	"golang.org/x/term"
)

// The rules of what a person sees while petri works:
//
//   - Progress goes to standard error. Standard output is for results, so a
//     pipe never sees a spinner.
//   - On a terminal a running phase is one line that moves; a finished one is
//     one line that stays. Elsewhere lines are only ever added.
//   - A phase is what concerns the whole cluster. What single nodes do is
//     counted in the line of its phase, and told apart only when it fails.
//   - An error is printed once, by the command line. Here a failed phase is
//     marked, and a failed node named.
//   - Colour only on a terminal, only as a second sign beside a mark, and not
//     at all with NO_COLOR set or TERM=dumb. A dumb terminal gets plain lines.
//   - Text from elsewhere is stripped of control characters, so that nothing a
//     node says can drive the terminal.
//   - Whatever happens, the terminal is left at the start of an empty line,
//     with its cursor and colours as they were.

// Mode is a way to show progress.
type Mode int

// The modes.
const (
	Auto  Mode = iota // TTY on a terminal that can do it, else Plain
	TTY               // a display that moves
	Plain             // lines, for logs
	JSON              // one event per line, for programs
	None              // nothing
)

var modeNames = map[string]Mode{"auto": Auto, "tty": TTY, "plain": Plain, "json": JSON, "none": None}

// ParseMode is the Mode called name: auto, tty, plain, json or none.
func ParseMode(name string) (Mode, error) {
	if m, ok := modeNames[name]; ok {
		return m, nil
	}
	return Auto, fmt.Errorf("%q is none of auto, tty, plain, json, none", name)
}

// Printer is a Reporter that shows events to somebody. Close ends the display
// and returns the first error of writing, if any; it may be called again.
// Events after Close are dropped.
type Printer interface {
	Reporter
	Close() error
}

// NewPrinter makes a printer that writes to w. A terminal is an *os.File that
// says so. A Printer may run a goroutine until it is closed.
func NewPrinter(w io.Writer, mode Mode) Printer {
	f, _ := w.(*os.File)
	terminal := f != nil && (isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd()))
	dumb := os.Getenv("TERM") == "dumb"
	if mode == Auto {
		mode = Plain
		if terminal && !dumb {
			mode = TTY
		}
	}
	switch mode {
	case TTY:
		return newTTY(w, sizeOf(f), !dumb && os.Getenv("NO_COLOR") == "")
	case JSON:
		return newJSON(w)
	case None:
		return none{}
	default:
		return newPlain(w)
	}
}

// sizeOf asks for the size of f's terminal each time, since windows change.
func sizeOf(f *os.File) func() (width, height int) {
	return func() (int, int) {
		if f != nil {
			if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
				return w, h
			}
		}
		return 80, 24
	}
}

type none struct{}

func (none) Report(Event) {}
func (none) Close() error { return nil }

// output is a writer for several goroutines that remembers its first error and
// is silent after it.
type output struct {
	mu     sync.Mutex
	w      io.Writer
	err    error
	closed bool
}

// write must be called with the lock held.
func (o *output) write(s string) {
	if o.err == nil && s != "" {
		_, o.err = io.WriteString(o.w, s)
	}
}

// seconds is a duration as people read it: "3.4s", "1m04s".
func seconds(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", max(d, 0).Truncate(100*time.Millisecond).Seconds())
	}
	d = d.Round(time.Second)
	return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
}

// clean is s on one line and without control characters.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}

// noteLines is the text of a note: it may have several lines, and those may be
// indented.
func noteLines(e Event) string {
	text := e.Message
	if text == "" {
		text = e.Title
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
		if line = clean(line); line != "" {
			line = indent + line
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}
