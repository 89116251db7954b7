package progress

import (
	"fmt"
	"io"
	"strings"
)

// plain prints a line when a phase begins and one when it ends, which is what
// helps in a log: the last line says where a run hangs.
type plain struct {
	output
	board board
}

func newPlain(w io.Writer) *plain { return &plain{output: output{w: w}} }

// Report implements Reporter.
func (p *plain) Report(e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.board.take(e)
	switch {
	case e.Status == Note:
		p.write(noteLines(e))
	case e.Node != "":
		if e.Status == Failed {
			first, _, _ := strings.Cut(strings.TrimSpace(e.Message), "\n")
			p.write(fmt.Sprintf(" ✗ %s: %s: %s\n", p.titleOf(e), clean(e.Node), clean(first)))
		}
	case e.Status == Started:
		p.write(fmt.Sprintf("   %s ...\n", title(e)))
	case e.ends():
		count := p.board.end(e.Phase).count()
		p.write(fmt.Sprintf(" %s %s%s (%s)\n", marks[e.Status], title(e), count, outcome(e)))
	}
}

// titleOf is the title of the phase a node is in: nodes may give none.
func (p *plain) titleOf(e Event) string {
	if live := p.board.find(e.Phase); live != nil {
		return live.title
	}
	return title(e)
}

// marks stand before the line of a phase that ended.
var marks = map[Status]string{Done: "✓", Failed: "✗", Skipped: "-"}

// outcome is how long a phase took, or why it was skipped.
func outcome(e Event) string {
	if e.Status != Skipped {
		return seconds(e.Duration)
	}
	if why := clean(e.Message); why != "" {
		return "skipped: " + why
	}
	return "skipped"
}

// Close implements Printer.
func (p *plain) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return p.err
}
