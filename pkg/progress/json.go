package progress

import (
	"encoding/json"
	"io"
	"strings"
	"time"
)

// jsonLines prints every event, those of nodes too, as one JSON object a line.
type jsonLines struct{ output }

func newJSON(w io.Writer) *jsonLines { return &jsonLines{output{w: w}} }

// Report implements Reporter.
func (p *jsonLines) Report(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if e.Seconds == 0 {
		e.Seconds = e.Duration.Seconds()
	}
	var line strings.Builder
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(e)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	if p.err == nil {
		p.err = err
	}
	p.write(line.String())
}

// Close implements Printer.
func (p *jsonLines) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return p.err
}
