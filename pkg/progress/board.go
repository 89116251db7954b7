package progress

import (
	"fmt"
	"slices"
	"time"
)

// board is what is going on now: the phases of the cluster that have begun and
// not ended, in the order in which they began, each with its nodes.
type board struct{ live []*livePhase }

type livePhase struct {
	id      string
	title   string
	message string
	start   time.Time
	nodes   map[string]Status
}

// take puts an event on the board. What nodes report counts only for a phase
// of that name which the cluster is in.
func (b *board) take(e Event) {
	p := b.find(e.Phase)
	if e.Node != "" {
		if p != nil && e.Status != Updated && e.Status != Note {
			p.nodes[e.Node] = e.Status
		}
		return
	}
	switch e.Status {
	case Started:
		b.end(e.Phase)
		b.live = append(b.live, &livePhase{id: e.Phase, title: title(e), start: e.Time, nodes: map[string]Status{}})
	case Updated:
		if p != nil {
			p.message = clean(e.Message)
		}
	}
}

func (b *board) find(id string) *livePhase {
	for _, p := range b.live {
		if p.id == id {
			return p
		}
	}
	return nil
}

// end takes a phase off the board and returns it, nil when it was not there.
func (b *board) end(id string) *livePhase {
	p := b.find(id)
	b.live = slices.DeleteFunc(b.live, func(q *livePhase) bool { return q == p })
	return p
}

// count is " (2/3)" for a phase on several nodes of which two are done.
func (p *livePhase) count() string {
	if p == nil || len(p.nodes) < 2 {
		return ""
	}
	ready := 0
	for _, s := range p.nodes {
		if s == Done || s == Skipped {
			ready++
		}
	}
	return fmt.Sprintf(" (%d/%d)", ready, len(p.nodes))
}

// failed names the nodes on which the phase failed, sorted.
func (p *livePhase) failed() []string {
	var names []string
	if p != nil {
		for name, s := range p.nodes {
			if s == Failed {
				names = append(names, clean(name))
			}
		}
	}
	slices.Sort(names)
	return names
}

// title is what a person reads for the event's phase.
func title(e Event) string {
	if e.Title != "" {
		return clean(e.Title)
	}
	return clean(e.Phase)
}

// ends says whether the event ends the phase it belongs to.
func (e Event) ends() bool { return e.Status == Done || e.Status == Failed || e.Status == Skipped }
