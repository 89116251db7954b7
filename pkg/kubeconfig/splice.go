package kubeconfig

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// inText makes the change in text and leaves every other byte alone. It says
// false when the layout is not the usual one: a block mapping of block lists.
// It need not be right about exotic layouts, since apply checks the result,
// but it must not fall over them.
func (c change) inText(text string) (string, bool) {
	doc, err := parse([]byte(text))
	if err != nil || doc.root == nil || doc.root.Style&yaml.FlowStyle != 0 {
		return "", false
	}
	b := &block{lines: strings.SplitAfter(source(text).ended(), "\n"), root: doc.root, eol: eol(text)}
	b.lines = b.lines[:len(b.lines)-1] // what follows the last line end is empty
	if c.key == currentContext {
		return b.setScalar(c.key, c.name)
	}
	return b.setItem(c)
}

// source is the text of a file.
type source string

// ended is the text with its last line ended.
func (s source) ended() string {
	if s == "" || strings.HasSuffix(string(s), "\n") {
		return string(s)
	}
	return string(s) + eol(string(s))
}

// eol is the line end that text uses, judged by its first line.
func eol(text string) string {
	if i := strings.IndexByte(text, '\n'); i > 0 && text[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// block is the lines of a block mapping, with the nodes that say where in the
// lines each key and value is.
type block struct {
	lines []string // with their ends
	root  *yaml.Node
	eol   string
}

func (b *block) setScalar(key, val string) (string, bool) {
	i := b.find(key)
	if i < 0 {
		return b.insert(b.end(len(b.root.Content)), b.indent()+key+": "+scalar(val)+"\n")
	}
	if !b.setInline(i, " "+scalar(val)) {
		return "", false
	}
	return strings.Join(b.lines, ""), true
}

func (b *block) setItem(c change) (string, bool) {
	i := b.find(c.key)
	if i < 0 {
		return b.insert(b.end(len(b.root.Content)), b.indent()+c.key+":\n"+indented(c.item, b.indent()))
	}
	list := b.root.Content[i+1]
	if len(list.Content) == 0 {
		if !b.setInline(i, "") {
			return "", false
		}
		return b.insert(b.root.Content[i].Line, indented(c.item, b.indent()))
	}
	if list.Style&yaml.FlowStyle != 0 {
		return "", false
	}
	spans, ok := b.spans(list, b.end(i+2))
	if !ok {
		return "", false
	}
	return b.replaceItems(c, i, spans)
}

// span is a range of lines, the end excluded.
type span struct{ from, to int }

// replaceItems does to the lines what replaced does to the nodes.
func (b *block) replaceItems(c change, key int, spans []span) (string, bool) {
	list := b.root.Content[key+1]
	item := indented(c.item, strings.Repeat(" ", list.Column-1))
	var out strings.Builder
	at, left := 0, len(spans)
	for i, s := range spans {
		if itemName(list.Content[i]) != c.name {
			continue
		}
		out.WriteString(strings.Join(b.lines[at:s.from], ""))
		out.WriteString(b.ends(item))
		if item == "" {
			left--
		}
		at, item = s.to, ""
	}
	switch last := spans[len(spans)-1].to; {
	case item != "":
		return b.insert(last, item)
	case left == 0:
		// The lines of the list are gone: its key needs a value.
		rest := &block{lines: append([]string(nil), b.lines...), root: b.root, eol: b.eol}
		if !rest.setInline(key, " []") {
			return "", false
		}
		line := b.root.Content[key].Line - 1
		head := strings.Join(b.lines[:line+1], "")
		kept, ok := strings.CutPrefix(out.String(), head)
		if !ok {
			return "", false
		}
		return strings.Join(rest.lines[:line+1], "") + kept + strings.Join(b.lines[at:], ""), true
	}
	return out.String() + strings.Join(b.lines[at:], ""), true
}

// spans finds the lines of each item of a block list that ends before line
// end. Comments and blank lines between two items belong to neither, unless
// they are indented deeper than the dash.
func (b *block) spans(list *yaml.Node, end int) ([]span, bool) {
	indent := strings.Repeat(" ", list.Column-1)
	starts := make([]int, 0, len(list.Content)+1)
	low := list.Line - 1
	for _, item := range list.Content {
		line := item.Line - 1
		if line >= end {
			return nil, false
		}
		for line >= low && !isDash(b.lines[line], indent) {
			line--
		}
		if line < low {
			return nil, false
		}
		starts = append(starts, line)
		low = line + 1
	}
	starts = append(starts, end)
	spans := make([]span, len(list.Content))
	for i := range spans {
		to := starts[i+1]
		for to > starts[i]+1 && isFiller(b.lines[to-1], len(indent)) {
			to--
		}
		spans[i] = span{starts[i], to}
	}
	return spans, true
}

func isDash(line, indent string) bool {
	rest, ok := strings.CutPrefix(line, indent+"-")
	return ok && (rest == "" || strings.ContainsAny(rest[:1], " \t\r\n"))
}

// isFiller says whether a line is blank, or a comment indented no deeper than
// a dash at indent.
func isFiller(line string, indent int) bool {
	text := strings.TrimLeft(line, " \t")
	return strings.TrimSpace(text) == "" || text[0] == '#' && len(line)-len(text) <= indent
}

// find is the index of a key among the nodes of the mapping, or -1.
func (b *block) find(key string) int {
	for i := 0; i+1 < len(b.root.Content); i += 2 {
		if b.root.Content[i].Value == key {
			return i
		}
	}
	return -1
}

func (b *block) indent() string { return strings.Repeat(" ", b.root.Column-1) }

// end is the line before which everything above the key at index next stands,
// where an index past the last key means the end of the document.
func (b *block) end(next int) int {
	if next < len(b.root.Content) {
		return min(b.root.Content[next].Line-1, len(b.lines))
	}
	from := 0
	if n := len(b.root.Content); n > 0 {
		from = min(b.root.Content[n-2].Line, len(b.lines))
	}
	for i := from; i < len(b.lines); i++ {
		if strings.HasPrefix(b.lines[i], "...") || strings.HasPrefix(b.lines[i], "---") {
			return i
		}
	}
	return len(b.lines)
}

// setInline replaces what stands behind the colon of the key at index i, but
// for a comment.
func (b *block) setInline(i int, val string) bool {
	key, old := b.root.Content[i], b.root.Content[i+1]
	at, from := key.Line-1, key.Column-1
	if at >= len(b.lines) || from >= len(b.lines[at]) {
		return false
	}
	line := b.lines[at]
	colon := strings.IndexByte(line[from:], ':')
	if colon < 0 {
		return false
	}
	from += colon + 1
	body := strings.TrimRight(line[from:], "\r\n")
	end := line[from+len(body):]
	b.lines[at] = line[:from] + val + comment(body, old, key) + end
	return true
}

// comment is the comment at the end of what stands behind a colon, with the
// space before it. The parser knows it from a "#" within a string, but hangs
// it on different nodes.
func comment(body string, val, key *yaml.Node) string {
	at := -1
	for _, c := range []string{val.LineComment, key.LineComment} {
		if c != "" {
			at = max(at, strings.LastIndex(body, c))
		}
	}
	if strings.HasPrefix(strings.TrimSpace(body), "#") {
		at = strings.IndexByte(body, '#')
	}
	if at < 0 {
		return ""
	}
	return body[len(strings.TrimRight(body[:at], " \t")):]
}

func (b *block) insert(line int, text string) (string, bool) {
	if line > len(b.lines) {
		return "", false
	}
	return strings.Join(b.lines[:line], "") + b.ends(text) + strings.Join(b.lines[line:], ""), true
}

func (b *block) ends(text string) string { return strings.ReplaceAll(text, "\n", b.eol) }

// indented is text with every line moved right.
func indented(text, by string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(by + line)
	}
	return out.String()
}
