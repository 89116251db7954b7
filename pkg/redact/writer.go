package redact

import (
	"bytes"
	"io"
)

// Lines longer than longest are looked at in parts of that size, which overlap
// by what a secret may take, so that none is cut in two unseen.
const (
	longest = 1 << 20
	overlap = 64 << 10
	// keyLines is how many lines a private key may have: text after an end that
	// never comes is not lost.
	keyLines = 200
)

// writer redacts what is written to it.
type writer struct {
	r     *Redactor
	w     io.Writer
	rest  []byte // of a line that has not ended
	inKey int    // lines of a private key that are still to come at most
}

// Writer redacts what is written to it and writes that to w. The last line may
// be kept back until Close, which does not close w.
func (r *Redactor) Writer(w io.Writer) io.WriteCloser { return &writer{r: r, w: w} }

func (w *writer) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n') + 1
		if end == 0 {
			w.rest = append(w.rest, rest...)
			return len(b), w.part()
		}
		line := append(w.rest, rest[:end]...)
		w.rest, rest = line[:0], rest[end:]
		if err := w.line(string(line)); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// part writes most of a line that is very long, once it is known that nothing
// in that part goes on in what is kept.
func (w *writer) part() error {
	if len(w.rest) < longest {
		return nil
	}
	line := string(w.rest)
	if cut := w.r.cut(line); cut > 0 {
		w.rest = append(w.rest[:0], line[cut:]...)
		_, err := io.WriteString(w.w, w.r.without(line[:cut]))
		return err
	}
	text := w.redacted(line)
	keep := min(overlap, len(text))
	if _, err := io.WriteString(w.w, text[:len(text)-keep]); err != nil {
		return err
	}
	w.rest = append(w.rest[:0], text[len(text)-keep:]...)
	return nil
}

// cut is where a part of a line can end so that no secret is cut in two; 0
// where that is not found.
func (r *Redactor) cut(line string) int {
	want := r.without(line)
	for cut := len(line) - overlap; cut > 0 && cut > len(line)-2*overlap; cut -= 2 * piece {
		head := r.without(line[:cut])
		if head+r.without(line[cut:]) == want && !beginKey.MatchString(head) {
			return cut
		}
	}
	return 0
}

// line writes a line that has ended.
func (w *writer) line(line string) error {
	if w.inKey > 0 {
		w.inKey--
		end := endKey.FindStringIndex(line)
		if end == nil {
			return nil
		}
		w.inKey, line = 0, line[end[1]:]
	}
	_, err := io.WriteString(w.w, w.redacted(line))
	return err
}

// redacted is a line, or part of one, without secrets. A private key that
// begins in it and does not end takes the following lines with it.
func (w *writer) redacted(line string) string {
	line = w.r.without(line)
	if begin := beginKey.FindStringIndex(line); begin != nil {
		w.inKey = keyLines
		line = line[:begin[0]] + Mark
	}
	return line
}

// Close writes what was kept back.
func (w *writer) Close() error {
	rest := string(w.rest)
	w.rest = nil
	if rest == "" {
		return nil
	}
	return w.line(rest)
}
