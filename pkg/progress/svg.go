package progress

import (
	"encoding/xml"
	"fmt"
	"strings"
	"time"
)

// The measures of the picture, in pixels.
const (
	pageWidth = 1200.0
	margin    = 16.0
	gap       = 5.0 // between a bar and its label
	minBar    = 2.0
	barHeight = 16.0
	rowHeight = 20.0
	lanePad   = 6.0 // above and below the rows of a lane
	headSpace = 72.0
	footSpace = 16.0
	titleSize = 16.0
	laneSize  = 12.0
	barSize   = 11.0
)

// palette is the colours of phases: dark enough for white text, light enough
// to stand out from a dark page, and told apart also by people who see red and
// green alike. Failure has a colour of its own.
var palette = []string{"#3b6fb6", "#8a6414", "#2b7a78", "#7a5aa6", "#5b6b7f", "#a0522d", "#4d7a2f", "#9b4a7c"}

// svg draws the timeline.
func (t *timeline) svg() string {
	height := headSpace + footSpace
	for _, l := range t.lanes {
		height += l.height()
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%g" height="%g" viewBox="0 0 %g %g" role="img" aria-label="%s">`+"\n",
		pageWidth, height, pageWidth, height, escape(t.title))
	b.WriteString(style())
	fmt.Fprintf(&b, `<rect class="page" width="%g" height="%g"/>`+"\n", pageWidth, height)
	fmt.Fprintf(&b, `<text class="title" x="%g" y="30">%s</text>`+"\n", margin, escape(shorten(t.title, 90)))
	fmt.Fprintf(&b, `<text class="total" x="%g" y="30" text-anchor="end">%s in all</text>`+"\n", pageWidth-margin, seconds(t.total))
	y := headSpace
	for i, l := range t.lanes {
		if i%2 == 0 {
			fmt.Fprintf(&b, `<rect class="band" y="%g" width="%g" height="%g"/>`+"\n", y, pageWidth, l.height())
		}
		y += l.height()
	}
	t.axis(&b, y)
	y = headSpace
	for _, l := range t.lanes {
		l.draw(&b, y)
		y += l.height()
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func style() string {
	var b strings.Builder
	b.WriteString(`<style>
text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #24292f; }
.page { fill: #ffffff; }
.band { fill: #f3f5f7; }
.grid { stroke: #d5dae0; stroke-width: 1; }
.tick, .total { fill: #656d76; }
`)
	fmt.Fprintf(&b, ".title { font-size: %gpx; font-weight: 600; }\n.total { font-size: %gpx; }\n", titleSize, laneSize)
	fmt.Fprintf(&b, ".lane { font-size: %gpx; font-weight: 600; }\n.tick, .label { font-size: %gpx; }\n", laneSize, barSize)
	for i, c := range palette {
		fmt.Fprintf(&b, ".c%d { fill: %s; }\n", i, c)
	}
	b.WriteString(`.failed { fill: #c62f36; }
.open { fill-opacity: 0.45; stroke: #656d76; stroke-dasharray: 3 2; }
.in { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
text { fill: #e2e6ea; }
.page { fill: #15191e; }
.band { fill: #1d232a; }
.grid { stroke: #343c46; }
.tick, .total { fill: #98a2ad; }
}
</style>
`)
	return b.String()
}

// axis draws the lines of time, down to bottom.
func (t *timeline) axis(b *strings.Builder, bottom float64) {
	if t.total <= 0 {
		return
	}
	step := tickStep(t.total)
	for at := time.Duration(0); at <= t.total; at += step {
		x := t.at(at)
		fmt.Fprintf(b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%g" y2="%g"/>`+"\n", x, x, headSpace-6, bottom)
		fmt.Fprintf(b, `<text class="tick" x="%.1f" y="%g" text-anchor="middle">%s</text>`+"\n", x, headSpace-12, tickLabel(at))
	}
}

// tickStep is the finest round step of at most a dozen ticks.
func tickStep(total time.Duration) time.Duration {
	const most = 12
	for _, step := range []time.Duration{
		100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	} {
		if total/step <= most {
			return step
		}
	}
	return max((total / most).Round(time.Hour), time.Hour)
}

// tickLabel is a time without parts that are zero: "90s" is "1m30s", and "1m".
func tickLabel(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	if d < time.Second {
		return fmt.Sprintf("%gs", d.Seconds())
	}
	return s
}

func (l *lane) height() float64 { return 2*lanePad + rowHeight*float64(max(l.rows, 1)) }

func (l *lane) draw(b *strings.Builder, y float64) {
	fmt.Fprintf(b, `<text class="lane" x="%g" y="%g">%s</text>`+"\n", margin, y+lanePad+14, escape(l.label()))
	for _, bar := range l.bars {
		bar.draw(b, y+lanePad+rowHeight*float64(bar.row)+(rowHeight-barHeight)/2)
	}
}

func (b *bar) draw(out *strings.Builder, y float64) {
	class := fmt.Sprintf("c%d", b.hue)
	switch b.status {
	case Failed:
		class = "failed"
	case Started:
		class += " open"
	}
	fmt.Fprintf(out, `<rect class="%s" x="%.1f" y="%g" width="%.1f" height="%g" rx="2"><title>%s</title></rect>`+"\n",
		class, b.x, y, b.width, barHeight, escape(b.tip()))
	class, x, anchor := "label", b.labelX, ""
	switch {
	case b.place == inside && b.status != Started:
		class = "label in"
	case b.place == before:
		x, anchor = b.x-gap, ` text-anchor="end"`
	}
	fmt.Fprintf(out, `<text class="%s" x="%.1f" y="%g"%s>%s</text>`+"\n", class, x, y+12, anchor, escape(b.label))
}

// tip is what shows when the pointer rests on a bar.
func (b *bar) tip() string {
	where := ""
	if b.node != "" {
		where = " on " + b.node
	}
	return fmt.Sprintf("%s%s: %s, from %s to %s, %s", b.phase, where, seconds(b.to-b.from), seconds(b.from), seconds(b.to), b.status)
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder does not fail
	return b.String()
}
