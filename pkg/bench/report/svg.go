package report

import (
	"bytes"
	"encoding/xml"
	"fmt"

	"github.com/petri-cluster/petri/pkg/bench"
)

// The measures of the picture, in pixels.
const (
	width     = 1000.0
	margin    = 16.0
	names     = 250.0 // where bars begin
	values    = 210.0 // kept free behind the longest bar
	barHeight = 16.0
	barPitch  = 21.0
	headSpace = 64.0
	titleRoom = 34.0 // above the figures of a scenario
	figureGap = 12.0
	dot       = 2.5
)

// SVG draws the headline figures: one bar for each subject up to the median,
// with a dot for each sample. Figures that add up to one are segments of its
// bars. Bars of a scenario have one scale where their unit is the same.
func SVG(r *bench.Report) []byte {
	p := &picture{y: headSpace}
	for _, m := range r.Scenarios {
		p.scenario(m)
	}
	height := p.y + margin
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%g" height="%g" viewBox="0 0 %g %g" role="img" aria-label="petri bench">`+"\n", width, height, width, height)
	out.WriteString(style)
	fmt.Fprintf(&out, `<rect class="page" width="%g" height="%g"/>`+"\n", width, height)
	fmt.Fprintf(&out, `<text class="title" x="%g" y="28">petri bench</text>`+"\n", margin)
	fmt.Fprintf(&out, `<text class="soft" x="%g" y="46">%s</text>`+"\n", margin, escape(subtitle(r)))
	out.Write(p.body.Bytes())
	out.WriteString("</svg>\n")
	return out.Bytes()
}

func subtitle(r *bench.Report) string {
	return fmt.Sprintf("%s · Kubernetes %s · %d cores · Docker %s · bars are medians, dots are samples, less is better",
		r.Started.Format("2006-01-02"), r.Image.Kubernetes, r.Host.Cores, r.Engine.Version)
}

const style = `<style>
text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 12px; fill: #24292f; }
.page { fill: #ffffff; }
.title { font-size: 16px; font-weight: 600; }
.head { font-size: 13px; font-weight: 600; }
.soft { fill: #656d76; }
.line { stroke: #d5dae0; }
.petri { fill: #3b6fb6; }
.peer { fill: #8a6414; }
.floor { fill: #5b6b7f; }
.failed { fill: #c62f36; }
.s1 { fill-opacity: 0.9; }
.s2 { fill-opacity: 0.8; }
.s3 { fill-opacity: 0.7; }
.in { fill: #ffffff; font-size: 11px; }
.dot { fill: #24292f; stroke: #ffffff; stroke-width: 0.75; }
@media (prefers-color-scheme: dark) {
text { fill: #e2e6ea; }
.page { fill: #15191e; }
.soft { fill: #98a2ad; }
.line { stroke: #343c46; }
.petri { fill: #6b9be0; }
.peer { fill: #c99a3c; }
.floor { fill: #8b9bb0; }
.failed { fill: #e8686e; }
.in { fill: #15191e; }
.dot { fill: #e2e6ea; stroke: #15191e; }
}
</style>
`

// picture is drawn from the top down.
type picture struct {
	body bytes.Buffer
	y    float64
}

// scenario draws the headline figures of one scenario.
func (p *picture) scenario(m bench.Measured) {
	fmt.Fprintf(&p.body, `<line class="line" x1="%g" x2="%g" y1="%g" y2="%g"/>`+"\n", margin, width-margin, p.y, p.y)
	fmt.Fprintf(&p.body, `<text class="head" x="%g" y="%g">%s</text>`+"\n", margin, p.y+20, escape(m.Title))
	fmt.Fprintf(&p.body, `<text class="soft" x="%g" y="%g" text-anchor="end">%s</text>`+"\n", width-margin, p.y+20, escape(m.Scenario))
	p.y += titleRoom
	for _, row := range m.Rows {
		if row.Headline {
			p.row(m, row)
		}
	}
}

// row draws the bars of one figure.
func (p *picture) row(m bench.Measured, row bench.Row) {
	for i, s := range compared(m, row) {
		if i == 0 {
			fmt.Fprintf(&p.body, `<text x="%g" y="%g">%s</text>`+"\n", margin, p.y+12, escape(row.Title))
			p.y += barPitch - 2
		}
		p.bar(m, row, s)
		p.y += barPitch
	}
	p.y += figureGap
}

// bar draws one bar with its subject, its dots and its numbers.
func (p *picture) bar(m bench.Measured, row bench.Row, s bench.Series) {
	name := s.Subject
	if name == bench.Floor {
		name = "floor: processes, node Ready"
	}
	fmt.Fprintf(&p.body, `<text class="soft" x="%g" y="%g" text-anchor="end">%s</text>`+"\n", names-8, p.y+12, escape(name))
	if len(s.Values()) == 0 {
		word, class := "failed", "failed"
		if s.NotMeasured != "" {
			word, class = "not measured", "soft"
		}
		fmt.Fprintf(&p.body, `<text class="%s" x="%g" y="%g">%s</text>`+"\n", class, names, p.y+12, word)
		return
	}
	scale := (width - names - values) / most(m, row.Unit)
	class := classOf(s.Subject)
	if !p.segments(m, row, s, scale, class) {
		fmt.Fprintf(&p.body, `<rect class="%s" x="%g" y="%g" width="%.1f" height="%g" rx="2"/>`+"\n", class, names, p.y, s.Median*scale, barHeight)
	}
	for _, v := range s.Values() {
		fmt.Fprintf(&p.body, `<circle class="dot" cx="%.1f" cy="%g" r="%g"/>`+"\n", names+v*scale, p.y+barHeight/2, dot)
	}
	fmt.Fprintf(&p.body, `<text x="%.1f" y="%g">%s</text>`+"\n", names+s.Max*scale+8, p.y+12, escape(numbers(row, s)))
}

// segments draws the parts of a sum, and reports whether there are any. A part
// is a median of its own: together they can differ a little from the sum's.
func (p *picture) segments(m bench.Measured, row bench.Row, s bench.Series, scale float64, class string) bool {
	x, n := names, 0
	for _, part := range m.Rows {
		own, ok := part.SeriesOf(s.Subject)
		if !part.Part || !ok {
			continue
		}
		w := own.Median * scale
		fmt.Fprintf(&p.body, `<rect class="%s s%d" x="%.1f" y="%g" width="%.1f" height="%g"><title>%s: %s</title></rect>`+"\n",
			class, n%4, x, p.y, w, barHeight, escape(part.Title), Value(own.Median, part.Unit))
		if label := part.Title; textWidth(label) < w-8 {
			fmt.Fprintf(&p.body, `<text class="in" x="%.1f" y="%g">%s</text>`+"\n", x+5, p.y+12, escape(label))
		}
		x += w
		n++
	}
	return n > 0
}

// numbers are what stands behind a bar.
func numbers(row bench.Row, s bench.Series) string {
	text := Value(s.Median, row.Unit)
	if ratio, ok := row.Ratios[s.Subject]; ok {
		text += fmt.Sprintf(" · petri is %.2f x of it", ratio)
	}
	if s.Failures > 0 {
		text += fmt.Sprintf(" · %d failed", s.Failures)
	}
	return text
}

// textWidth is how wide a label in a bar is at most: a picture cannot ask.
func textWidth(s string) float64 { return 7 * float64(len(s)) }

func classOf(subject string) string {
	switch subject {
	case bench.Petri, bench.Floor:
		return subject
	}
	return "peer"
}

// most is the largest sample of the headline figures with this unit.
func most(m bench.Measured, u bench.Unit) float64 {
	out := 0.0
	for _, row := range m.Rows {
		if !row.Headline || row.Unit != u {
			continue
		}
		for _, s := range compared(m, row) {
			out = max(out, s.Max)
		}
	}
	return max(out, 1e-9) // all samples may be 0
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a Buffer does not fail
	return b.String()
}
