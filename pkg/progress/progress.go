// Package progress carries what a long operation has to say while it runs:
// which phase began or ended, on which node, after how long. Operations report
// events; printers turn them into a terminal display, plain lines, JSON lines
// or a timeline. Progress is not logging: debug output goes to log/slog.
package progress

import "time"

// Status says what happened to a phase.
type Status string

// The statuses of an event.
const (
	Started Status = "started"
	Updated Status = "updated" // Message says what is going on
	Done    Status = "done"
	Failed  Status = "failed"
	Skipped Status = "skipped"
	Note    Status = "note" // a line for the user that belongs to no phase
)

// Event is one thing that happened. Phase is a stable identifier ("init"),
// Title what a person reads ("Starting the control plane"). Node is empty for
// what concerns the whole cluster. Duration is set on Done and Failed.
type Event struct {
	Time     time.Time     `json:"time"`
	Phase    string        `json:"phase,omitempty"`
	Title    string        `json:"title,omitempty"`
	Node     string        `json:"node,omitempty"`
	Status   Status        `json:"status"`
	Message  string        `json:"message,omitempty"`
	Duration time.Duration `json:"-"`
	Seconds  float64       `json:"seconds,omitempty"` // Duration for machines
}

// Reporter receives events. Report must not block for long and is safe for
// concurrent use.
type Reporter interface {
	Report(Event)
}

// Discard is a Reporter that says nothing.
var Discard Reporter = discard{}

type discard struct{}

func (discard) Report(Event) {}

// Multi reports each event to every reporter in order.
func Multi(rs ...Reporter) Reporter { return multi(rs) }

type multi []Reporter

func (m multi) Report(e Event) {
	for _, r := range m {
		r.Report(e)
	}
}

// Task is a phase under way. End it with Done or Skip, exactly once.
type Task struct {
	r     Reporter
	event Event
}

// Start reports that a phase began, and returns the Task that ends it. A nil
// Reporter is Discard.
func Start(r Reporter, phase, title, node string) *Task {
	if r == nil {
		r = Discard
	}
	e := Event{Time: time.Now(), Phase: phase, Title: title, Node: node, Status: Started}
	r.Report(e)
	return &Task{r: r, event: e}
}

// Update says what the phase is doing now.
func (t *Task) Update(message string) {
	e := t.event
	e.Time, e.Status, e.Message = time.Now(), Updated, message
	t.r.Report(e)
}

// Skip ends the phase as skipped, and says why.
func (t *Task) Skip(why string) {
	e := t.event
	e.Time, e.Status, e.Message = time.Now(), Skipped, why
	t.r.Report(e)
}

// Done ends the phase: well when err is nil, else as failed. It returns err.
func (t *Task) Done(err error) error {
	e := t.event
	e.Time, e.Status = time.Now(), Done
	e.Duration = e.Time.Sub(t.event.Time)
	e.Seconds = e.Duration.Seconds()
	if err != nil {
		e.Status, e.Message = Failed, err.Error()
	}
	t.r.Report(e)
	return err
}
