package progress

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// timeline is the picture before it is drawn: bars in lanes, each with its
// place. Lengths are in pixels of the picture.
type timeline struct {
	title string
	total time.Duration
	lanes []*lane
	left  float64 // where the time axis begins
}

// lane is everything one node did, or the cluster as a whole, in as many rows
// as are needed for nothing to overlap.
type lane struct {
	name string // empty for the cluster
	bars []*bar
	rows int
}

// bar is one phase.
type bar struct {
	node, phase, title string
	from, to           time.Duration // since the beginning
	status             Status        // Done, Failed, or Started when it never ended
	hue                int
	row                int
	x, width           float64
	label              string
	labelX             float64
	labelWidth         float64
	place              place
}

// place is where a label stands.
type place int

const (
	inside place = iota
	after
	before
)

func newTimeline(events []Event, title string) *timeline {
	t := &timeline{title: clean(title)}
	bars, total := collect(events)
	t.total = total
	t.lanes = lanesOf(bars)
	for _, l := range t.lanes {
		t.left = max(t.left, textWidth(l.label(), laneSize)+2*margin)
	}
	for _, l := range t.lanes {
		t.layOut(l)
	}
	return t
}

// collect pairs the beginnings and ends of phases. Some events come from nodes
// that say only when a phase ended and how long it took.
func collect(events []Event) (bars []*bar, total time.Duration) {
	open := map[[2]string]*bar{}
	titles := map[string]string{}
	hues := map[string]int{}
	begin, end := bounds(events)
	for _, e := range events {
		key := [2]string{e.Phase, e.Node}
		if e.Status == Note || e.Time.IsZero() {
			continue
		}
		if e.Title != "" && titles[e.Phase] == "" {
			titles[e.Phase] = e.Title
		}
		family, _, _ := strings.Cut(e.Phase, "/")
		if _, ok := hues[family]; !ok {
			hues[family] = len(hues) % len(palette)
		}
		b := open[key]
		if b == nil && e.Status != Skipped && e.Status != Updated {
			b = &bar{node: e.Node, phase: e.Phase, title: e.Title, status: Started,
				from: e.Time.Add(-e.Duration).Sub(begin), to: end.Sub(begin), hue: hues[family]}
			bars = append(bars, b)
			open[key] = b
		}
		if e.ends() {
			delete(open, key)
			if b != nil {
				b.to, b.status = e.Time.Sub(begin), e.Status
			}
		}
	}
	for _, b := range bars {
		b.title = barTitle(b, titles[b.phase])
	}
	return bars, end.Sub(begin)
}

// bounds is when the first thing began and the last one ended.
func bounds(events []Event) (begin, end time.Time) {
	for _, e := range events {
		if e.Time.IsZero() {
			continue
		}
		if from := e.Time.Add(-e.Duration); begin.IsZero() || from.Before(begin) {
			begin = from
		}
		if e.Time.After(end) {
			end = e.Time
		}
	}
	return begin, end
}

// barTitle leaves out what the lane says already.
func barTitle(b *bar, ofPhase string) string {
	for _, s := range []string{b.title, ofPhase, b.phase} {
		if b.node != "" {
			s = strings.ReplaceAll(s, b.node, "")
		}
		if s = strings.Join(strings.Fields(clean(s)), " "); s != "" {
			return shorten(s, 48)
		}
	}
	return "?"
}

func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n && n > 0 {
		return string(r[:n-1]) + "…"
	}
	return s
}

// lanesOf sorts bars into lanes: the cluster first, then nodes by name, with
// numbers in their order.
func lanesOf(bars []*bar) []*lane {
	byName := map[string]*lane{}
	var lanes []*lane
	for _, b := range bars {
		l := byName[b.node]
		if l == nil {
			l = &lane{name: b.node}
			byName[b.node] = l
			lanes = append(lanes, l)
		}
		if b.status != Skipped {
			l.bars = append(l.bars, b)
		}
	}
	slices.SortFunc(lanes, func(a, b *lane) int {
		stemA, numberA := splitNumber(a.name)
		stemB, numberB := splitNumber(b.name)
		return cmp.Or(cmp.Compare(stemA, stemB), cmp.Compare(numberA, numberB), cmp.Compare(a.name, b.name))
	})
	return lanes
}

func splitNumber(name string) (string, int) {
	stem := strings.TrimRight(name, "0123456789")
	n, err := strconv.Atoi(name[len(stem):])
	if err != nil {
		n = 0
	}
	return stem, n
}

func (l *lane) label() string {
	if l.name == "" {
		return "cluster"
	}
	return shorten(clean(l.name), 28)
}

// layOut places the bars of a lane and their labels: each in the first row
// where neither overlaps what is there.
func (t *timeline) layOut(l *lane) {
	slices.SortStableFunc(l.bars, func(a, b *bar) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to))
	})
	var rows [][]*bar
	for _, b := range l.bars {
		t.place(b)
		row := 0
		for row < len(rows) && slices.ContainsFunc(rows[row], b.overlaps) {
			row++
		}
		if row == len(rows) {
			rows = append(rows, nil)
		}
		rows[row] = append(rows[row], b)
		b.row = row
	}
	l.rows = len(rows)
}

// place finds where on the axis a bar is, and puts its label inside if it
// fits, else behind it, else before it. What fits nowhere is shortened.
func (t *timeline) place(b *bar) {
	b.x = t.at(b.from)
	b.width = max(t.at(b.to)-b.x, minBar)
	in, right, left := b.width-2*gap, pageWidth-2*gap-b.x-b.width, b.x-gap-t.left
	b.setLabel()
	for n := len([]rune(b.title)); n > 1 && b.labelWidth > max(in, right, left); n-- {
		b.title = shorten(b.title, n-1)
		b.setLabel()
	}
	switch {
	case b.labelWidth <= in:
		b.place, b.labelX = inside, b.x+gap
	case b.labelWidth <= right:
		b.place, b.labelX = after, b.x+b.width+gap
	default:
		b.place, b.labelX = before, b.x-gap-b.labelWidth
	}
}

func (b *bar) setLabel() {
	b.label = b.title + " · " + seconds(b.to-b.from)
	switch b.status {
	case Failed:
		b.label = "✗ " + b.label // colour alone says nothing to some
	case Started:
		b.label = b.title + " · not finished"
	}
	b.labelWidth = textWidth(b.label, barSize)
}

// overlaps says whether two bars with their labels would touch in one row.
func (b *bar) overlaps(o *bar) bool {
	const air = 6
	fromB, toB := b.extent()
	fromO, toO := o.extent()
	return fromB < toO+air && fromO < toB+air
}

func (b *bar) extent() (from, to float64) {
	return min(b.x, b.labelX), max(b.x+b.width, b.labelX+b.labelWidth)
}

// at is where on the axis a time is.
func (t *timeline) at(d time.Duration) float64 {
	if t.total <= 0 {
		return t.left
	}
	return t.left + float64(d)/float64(t.total)*(pageWidth-margin-t.left)
}

// textWidth is how wide text will be at most, in whichever sans serif the
// viewer has: a picture cannot ask.
func textWidth(s string, size float64) float64 {
	w := 0.0
	for _, r := range s {
		switch {
		case strings.ContainsRune("iljtfrI.,:;'|!()[]/- ", r):
			w += 0.42
		case strings.ContainsRune("mwMW@%", r) || r >= 0x250:
			w += 1.0
		case r >= 'A' && r <= 'Z':
			w += 0.72
		default:
			w += 0.64
		}
	}
	return w * size
}
