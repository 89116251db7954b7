// Package diagnosis recognises failures by what engines, kubeadm, kubelet,
// containerd and the parts of a control plane print, and turns them into the
// errors of the catalogue that say what to do. It is a table of patterns, held
// against real logs in testdata. It only reads: an error that nothing is known
// about, or that says enough already, comes back as it was.
package diagnosis

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// Known is a failure that is recognised.
type Known struct {
	ID    string
	Class errdefs.Class
	// Pattern is looked for in logs. Its named groups are for What and Hint.
	Pattern *regexp.Regexp
	What    string // "the disk is full"
	Hint    string
}

// vague are the IDs of errors that only say that something failed; their logs
// say why.
var vague = []string{
	"", "KUBEADM-FAILED", "NOT-USABLE", "NODE-DIED", "NODE-BOOT-TIMEOUT", "API-UNREACHABLE", "ADDONS-NOT-APPLIED",
}

// Explain gives err the ID, the class and the hint of what its log and its
// message tell, if anything is known about that.
func Explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	e, ok := errors.AsType[*errdefs.Error](err)
	if !ok {
		e = &errdefs.Error{}
	}
	if !slices.Contains(vague, e.ID) {
		return err
	}
	for _, text := range []string{e.Log, err.Error()} {
		if known, what, hint := find(text); known != nil {
			return &errdefs.Error{ID: known.ID, Class: known.Class, Err: fmt.Errorf("%s: %w", what, err), Hint: hint, Log: e.Log}
		}
	}
	return err
}

// find looks for all that is known in a text, in the order of the table.
func find(text string) (known *Known, what, hint string) {
	for _, k := range All() {
		match := k.Pattern.FindStringSubmatchIndex(text)
		if match == nil {
			continue
		}
		expand := func(template string) string {
			template = strings.ReplaceAll(template, "$who", who(text[:match[0]]))
			return string(k.Pattern.ExpandString(nil, template, text, match))
		}
		return &k, expand(k.What), expand(k.Hint)
	}
	return nil, "", ""
}

// heading begins the part of a log that one program wrote: "--- etcd ---".
var heading = regexp.MustCompile(`(?m)^--- ([a-z0-9.-]+)\b.* ---$`)

// who wrote the text that follows.
func who(before string) string {
	all := heading.FindAllStringSubmatch(before, -1)
	if len(all) == 0 {
		return "a program"
	}
	return all[len(all)-1][1]
}

// ID is that of what a text tells; empty when nothing is known about it.
func ID(text string) string {
	known, _, _ := find(text)
	if known == nil {
		return ""
	}
	return known.ID
}
