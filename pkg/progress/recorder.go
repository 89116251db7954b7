package progress

import (
	"io"
	"slices"
	"sync"
	"time"
)

// Recorder is a Reporter that keeps all events. Make one with NewRecorder.
type Recorder struct {
	mu     sync.Mutex
	events []Event
}

// NewRecorder makes an empty Recorder.
func NewRecorder() *Recorder { return &Recorder{} }

// Report implements Reporter. An event without a time gets the present one.
func (r *Recorder) Report(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// Events is a copy of what was reported so far, in the order of reporting.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// Timeline draws what was reported so far as an SVG picture: time runs to the
// right, one lane for the cluster and one for each node, a bar for each phase.
// It needs no script, font or style sheet from elsewhere. The error is that of
// writing to w.
func (r *Recorder) Timeline(w io.Writer, title string) error {
	_, err := io.WriteString(w, newTimeline(r.Events(), title).svg())
	return err
}
