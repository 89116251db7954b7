// Package redact takes secrets out of text that leaves the machine: those that
// it was told, wherever and however they are written, and whatever has the form
// of a secret, known or not. Text streams through it line by line, so that the
// size of a log does not matter. It stands on the standard library and finds
// nothing by itself: who exports a cluster says what the cluster's secrets are.
package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Mark stands where a secret was.
const Mark = "REDACTED"

// Shorter values than shortest are words and numbers of every log. Longer ones
// than piece are told apart in pieces, so that no more than that need be kept
// together while text streams by.
const (
	shortest = 6
	piece    = 512
)

// Redactor knows secrets. The zero Redactor knows forms only. It is safe for
// concurrent use; what is told to it counts for text that is written later.
type Redactor struct {
	mu       sync.RWMutex
	secrets  map[string]bool
	replacer *strings.Replacer // of secrets; nil when it must be made anew
}

// Add makes values secrets: as they are, in base64, and as they look in JSON,
// in TOML, in HTML and in URLs. Lines of a value are secrets by themselves.
func (r *Redactor) Add(values ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.secrets == nil {
		r.secrets = map[string]bool{}
	}
	for _, value := range values {
		r.add(base64.StdEncoding.EncodeToString([]byte(value)))
		for line := range strings.Lines(value) {
			line = strings.TrimSpace(line)
			if len(line) < shortest || strings.HasPrefix(line, "-----") {
				continue
			}
			r.add(line)
			r.add(strings.TrimRight(base64.RawStdEncoding.EncodeToString([]byte(line)), "="))
			r.add(url.QueryEscape(line))
			r.add(url.PathEscape(line))
			r.add(inJSON(line))
			r.add(inTOML(line))
			r.add(inJSON(inTOML(line))) // a configuration within another
			r.add(html.EscapeString(line))
		}
	}
	r.replacer = nil
}

// add makes one spelling a secret.
func (r *Redactor) add(spelling string) {
	for part := range slices.Chunk([]byte(spelling), piece) {
		if len(part) >= shortest {
			r.secrets[string(part)] = true
		}
	}
}

// inJSON is a string as JSON has it, without its quotes.
func inJSON(s string) string {
	data, err := json.Marshal(s)
	if err != nil {
		return s
	}
	return string(data[1 : len(data)-1])
}

// inTOML is a string as TOML and YAML have it between double quotes.
func inTOML(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\t", `\t`).Replace(s)
}

// Learn makes secrets of the passwords, keys and tokens that a text gives by
// name, as configuration files and environments do.
func (r *Redactor) Learn(text []byte) {
	for _, form := range named {
		for _, match := range form.FindAllSubmatch(text, -1) {
			if value := string(match[form.SubexpIndex("secret")]); value != Mark {
				r.Add(value)
				if plain, err := url.PathUnescape(value); err == nil && plain != value {
					r.Add(plain)
				}
			}
		}
	}
}

// Bytes is text without secrets.
func (r *Redactor) Bytes(text []byte) []byte {
	var out bytes.Buffer
	w := r.Writer(&out)
	_, _ = w.Write(text) // a buffer takes everything
	_ = w.Close()
	return out.Bytes()
}

// String is text without secrets.
func (r *Redactor) String(text string) string { return string(r.Bytes([]byte(text))) }

// without is a line without secrets, but for private keys that do not end in it.
func (r *Redactor) without(line string) string { return withoutForms(r.known(line)) }

// known is text without the secrets that the Redactor was told.
func (r *Redactor) known(text string) string {
	r.mu.RLock()
	replacer := r.replacer
	r.mu.RUnlock()
	if replacer == nil {
		replacer = r.prepare()
	}
	return replacer.Replace(text)
}

// prepare makes the replacer. Where one secret begins with another, the longer
// one counts.
func (r *Redactor) prepare() *strings.Replacer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.replacer != nil {
		return r.replacer
	}
	spellings := make([]string, 0, len(r.secrets))
	for s := range r.secrets {
		spellings = append(spellings, s)
	}
	slices.SortFunc(spellings, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(spellings))
	for _, s := range spellings {
		pairs = append(pairs, s, Mark)
	}
	r.replacer = strings.NewReplacer(pairs...)
	return r.replacer
}
