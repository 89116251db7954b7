package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// problem is one thing that is wrong, and where.
type problem struct {
	line, column int    // from 1; 0 for what a flag or a default says
	path         string // "networking.podSubnet"
	text         string
}

// problems collects everything that is wrong, so that it is fixed at once.
type problems struct {
	file string
	list []problem
	// notes are what is said of a file that can be used
	notes []problem
	at    map[string]position // of every value that was read, by path
	// flags are those that decided a value, by its path
	flags map[string]string
	// unread are values that could not be read: nothing else is said of them
	unread map[string]bool
}

func newProblems(file string) *problems {
	return &problems{file: file, at: map[string]position{}, flags: map[string]string{}, unread: map[string]bool{}}
}

type position struct{ line, column int }

// add notes a problem with the value at path.
func (p *problems) add(path, format string, args ...any) {
	if flag, ok := p.flags[path]; ok {
		p.addAt(position{}, flag, format, args...)
		return
	}
	p.addAt(p.place(path), path, format, args...)
}

// place is where the value at path stands, or the nearest one around it.
func (p *problems) place(path string) position {
	at := p.at[path]
	for parent := path; at.line == 0 && parent != ""; at = p.at[parent] {
		parent = parent[:max(0, strings.LastIndexAny(parent, ".["))]
	}
	return at
}

// note says something of the value at path that is no problem.
func (p *problems) note(path, format string, args ...any) {
	p.noteAt(p.place(path), path, format, args...)
}

func (p *problems) noteAt(at position, path, format string, args ...any) {
	one := problem{line: at.line, column: at.column, path: path, text: fmt.Sprintf(format, args...)}
	if !slices.Contains(p.notes, one) {
		p.notes = append(p.notes, one)
	}
}

// tell gives all notes, by line.
func (p *problems) tell(to func(string)) {
	slices.SortStableFunc(p.notes, byPlace)
	for _, one := range p.notes {
		to(p.format(one))
	}
}

// refuse notes that the value at path could not be read.
func (p *problems) refuse(path, format string, args ...any) {
	p.add(path, format, args...)
	p.unread[path] = true
}

func (p *problems) addAt(at position, path, format string, args ...any) {
	one := problem{line: at.line, column: at.column, path: path, text: fmt.Sprintf(format, args...)}
	// what stands in one place may be used in many
	if !p.unread[path] && !slices.Contains(p.list, one) {
		p.list = append(p.list, one)
	}
}

// err is all problems as one error, by line; nil when there are none.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	slices.SortStableFunc(p.list, byPlace)
	var b strings.Builder
	for _, one := range p.list {
		b.WriteString("\n  " + p.format(one))
	}
	noun := "problems"
	if len(p.list) == 1 {
		noun = "problem"
	}
	return errdefs.New(errdefs.ClassUsage, "CONFIG-INVALID", "the configuration has %d %s:%s", len(p.list), noun, b.String())
}

func byPlace(a, b problem) int {
	return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
}

// format is a problem or a note as people read it, its place first.
func (p *problems) format(one problem) string {
	text := one.text
	if one.path != "" {
		text = one.path + ": " + text
	}
	if one.line > 0 {
		text = fmt.Sprintf("%s:%d:%d: %s", p.file, one.line, one.column, text)
	}
	return text
}

// nearest is the known name that differs least from name; "" when none is
// close.
func nearest(name string, known []string) string {
	best, least := "", 1+max(2, len(name)/3)
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of edits that make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
