package bootstrap

import (
	"bytes"
	"slices"
	"strings"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// sectionWriter reads kubeadm's output, whose lines begin with the phase in
// brackets ("[certs] Generating ..."), and sends an event when it changes.
type sectionWriter struct {
	events  *Events
	line    bytes.Buffer
	section string
}

// Write implements io.Writer; it never fails.
func (s *sectionWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		text, after, found := bytes.Cut(rest, []byte("\n"))
		s.line.Write(text)
		if found {
			s.enter(sectionOf(s.line.String()))
			s.line.Reset()
		}
		rest = after
	}
	return len(p), nil
}

// sectionOf is the phase that a line of kubeadm's begins with, "" when it
// begins with none.
func sectionOf(line string) string {
	rest, ok := strings.CutPrefix(line, "[")
	if !ok {
		return ""
	}
	name, _, ok := strings.Cut(rest, "] ")
	if !ok || strings.ContainsAny(name, " \t") {
		return ""
	}
	return name
}

// kubeadmPrefix begins the IDs of kubeadm's own phases in events.
const kubeadmPrefix = "kubeadm/"

// notices are what kubeadm puts in brackets and is no phase.
var notices = []string{"init", "join", "patches"}

// enter begins a section; lines without one, and kubeadm's notices, belong to
// the section before.
func (s *sectionWriter) enter(section string) {
	if section == "" || section == s.section || slices.Contains(notices, section) {
		return
	}
	s.close()
	s.section = section
	s.events.Send(nodeimage.NodeEvent{Kind: nodeimage.PhaseStarted, Phase: kubeadmPrefix + section})
}

func (s *sectionWriter) close() {
	if s.section != "" {
		s.events.Send(nodeimage.NodeEvent{Kind: nodeimage.PhaseDone, Phase: kubeadmPrefix + s.section})
	}
	s.section = ""
}
