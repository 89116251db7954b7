package report

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/petri-cluster/petri/pkg/bench"
)

// Page is the report as a page of the documentation, with a table for each
// scenario. It shows the picture and leads to the JSON by these names, which
// are relative to the page; an empty one is left out.
func Page(r *bench.Report, picture, data string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "---\ntitle: Run of %s\nweight: 20\ndescription: What petri bench measured, with all scenarios, failures included.\n---\n\n", r.Started.Format("2006-01-02"))
	about(&b, r)
	if picture != "" {
		fmt.Fprintf(&b, "\n![Bars of the medians, with a dot for each sample](%s)\n", picture)
	}
	if data != "" {
		fmt.Fprintf(&b, "\n[All samples](%s)\n", data)
	}
	for _, m := range r.Scenarios {
		fmt.Fprintf(&b, "\n## %s\n\n`%s`\n\n", m.Title, m.Scenario)
		b.WriteString("| figure | subject | median | min | max | samples | petri to it |\n|---|---|---|---|---|---|---|\n")
		for _, row := range m.Rows {
			title := row.Title
			if row.Headline {
				title = "**" + title + "**"
			}
			for i, s := range compared(m, row) {
				if i > 0 {
					title = ""
				}
				cells := cellsOf(row, s)
				fmt.Fprintf(&b, "| %s | %s | %s |\n", title, s.Subject, strings.Join(cells[:5], " | "))
			}
		}
	}
	if notes := Notes(r); len(notes) > 0 {
		b.WriteString("\n## Not measured, and failed\n\n")
		for _, n := range notes {
			fmt.Fprintf(&b, "- %s\n", n)
		}
	}
	return b.Bytes()
}

// about says where and how the figures were taken.
func about(b *bytes.Buffer, r *bench.Report) {
	fmt.Fprintf(b, "| | |\n|---|---|\n")
	row := func(name, format string, args ...any) {
		fmt.Fprintf(b, "| %s | %s |\n", name, fmt.Sprintf(format, args...))
	}
	row("date", "%s", r.Started.Format("2006-01-02"))
	for _, s := range r.Subjects {
		row(s.Name, "%s", s.Version)
	}
	row("node image", "`%s`, Kubernetes %s", r.Image.Reference, r.Image.Kubernetes)
	row("machine", "%d cores, %s of memory, %s, kernel %s, %s", r.Host.Cores, bytesText(float64(r.Host.MemoryBytes)), r.Host.OS, r.Host.Kernel, r.Host.Architecture)
	row("engine", "Docker %s, %s, cgroup v%s%s", r.Engine.Version, r.Engine.StorageDriver, r.Engine.CgroupVersion, separate(r.Engine))
	row("samples", "%d, after %d of warm-up; idle after %g s, over %g s", r.Settings.Runs, r.Settings.Warmup, r.Settings.Settle, r.Settings.Idle)
}

func separate(e bench.Engine) string {
	if e.Separate {
		return "; an engine of the bench's own, for all"
	}
	return ""
}
