package progress

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// tty shows finished phases as lines that stay, and below them one line that
// moves for each phase under way. The cursor rests below the last of these, so
// the terminal is fit for anyone else at any moment.
type tty struct {
	output
	size  func() (width, height int)
	color bool
	board board
	drawn int // moving lines on the screen
	frame int
	stop  chan struct{}
	done  chan struct{}
}

// tick is how often the moving lines move: enough to look alive, and little to
// send over a slow connection.
const tick = 80 * time.Millisecond

func newTTY(w io.Writer, size func() (int, int), color bool) *tty {
	t := &tty{output: output{w: w}, size: size, color: color, stop: make(chan struct{}), done: make(chan struct{})}
	go t.animate()
	return t
}

func (t *tty) animate() {
	defer close(t.done)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-t.stop:
			return
		case <-ticker.C:
			t.mu.Lock()
			if len(t.board.live) > 0 {
				t.frame++
				t.redraw("")
			}
			t.mu.Unlock()
		}
	}
}

// Report implements Reporter. What begins or ends shows at once, the rest with
// the next tick.
func (t *tty) Report(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.board.take(e)
	switch {
	case e.Status == Note:
		t.redraw(noteLines(e))
	case e.Node != "":
	case e.Status == Started:
		t.redraw("")
	case e.ends():
		t.redraw(t.ended(e, t.board.end(e.Phase)) + "\n")
	}
}

// Close implements Printer. Phases that never ended are left marked as such:
// they tell where an interrupt struck.
func (t *tty) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return t.err
	}
	t.closed = true
	var left strings.Builder
	for _, p := range t.board.live {
		left.WriteString(t.line(span{dim, "- "}, span{"", p.title + p.count()},
			span{dim, "  " + seconds(time.Since(p.start)) + "  not finished"}) + "\n")
	}
	t.board.live = nil
	t.redraw(left.String())
	close(t.stop)
	t.mu.Unlock()
	<-t.done
	t.mu.Lock()
	return t.err
}

// redraw replaces the moving lines by lines that stay and what moves now, in
// one write, so that nothing flickers.
func (t *tty) redraw(stay string) {
	var b strings.Builder
	if t.drawn > 0 {
		// Up to the first moving line, and clear from there.
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", t.drawn)
	}
	b.WriteString(stay)
	_, height := t.size()
	// What scrolled out of the window could not be cleared any more.
	room := max(height-1, 1)
	t.drawn = 0
	for _, p := range t.board.live[max(0, len(t.board.live)-room):] {
		b.WriteString(t.moving(p) + "\n")
		t.drawn++
	}
	t.write(b.String())
}

const frames = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

func (t *tty) moving(p *livePhase) string {
	spinner := []rune(frames)
	text := []span{
		{cyan, string(spinner[t.frame%len(spinner)]) + " "},
		{"", p.title + p.count()},
		{dim, "  " + seconds(time.Since(p.start))},
	}
	if names := p.failed(); len(names) > 0 {
		text = append(text, span{red, "  failed: " + strings.Join(names, ", ")})
	} else if p.message != "" {
		text = append(text, span{dim, "  " + p.message})
	}
	return t.line(text...)
}

func (t *tty) ended(e Event, p *livePhase) string {
	text := []span{{colors[e.Status], marks[e.Status] + " "}, {"", title(e) + p.count()}, {dim, "  " + outcome(e)}}
	if e.Status == Skipped {
		text[1].style = dim
	}
	if names := p.failed(); e.Status == Failed && len(names) > 0 {
		text = append(text, span{red, "  on " + strings.Join(names, ", ")})
	}
	return t.line(text...)
}

// The styles used, as parameters of the escape sequence.
const (
	dim   = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

var colors = map[Status]string{Done: green, Failed: red, Skipped: dim}

// span is text of one style.
type span struct{ style, text string }

// line joins spans and cuts them one column short of the window, since some
// terminals wrap a line that fills it.
func (t *tty) line(spans ...span) string {
	width, _ := t.size()
	var b strings.Builder
	left := width - 1
	for _, s := range spans {
		text, used := cut(s.text, left)
		left -= used
		if t.color && s.style != "" && text != "" {
			text = "\x1b[" + s.style + "m" + text + "\x1b[0m"
		}
		b.WriteString(text)
	}
	return b.String()
}

// cut is the start of s that fits into width columns, and the columns it takes.
func cut(s string, width int) (string, int) {
	used := 0
	for i, r := range s {
		w := columns(r)
		if used+w > width {
			return s[:i], width // nothing may follow what was cut
		}
		used += w
	}
	return s, used
}

// columns is how many columns a character takes at most. From Hangul upwards
// many take two; our own marks and spinner are known to take one.
func columns(r rune) int {
	switch {
	case r < 0x1100, r >= 0x2000 && r < 0x2900:
		return 1
	}
	return 2
}
