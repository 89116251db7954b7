// Package doctor looks for what would make a cluster fail, or be slow, before
// there is one: at the engine, at this machine where the engine runs on it,
// and at what a configuration asks of both. Checks are a table of small
// functions from facts to findings. It stands on the provider seam and reads
// the host through a Host, so that tests can give another machine's. It
// changes nothing, and mends nothing: each finding says what would.
package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/provider"
)

// Severity is what a finding means for a creation.
type Severity string

// The severities, from best to worst.
const (
	OK      Severity = "ok"
	Skipped Severity = "skipped" // could not be looked at, and Seen says why
	Note    Severity = "note"    // good to know
	Warning Severity = "warning" // may fail, or be slow
	Fatal   Severity = "fatal"   // will fail
)

// Finding is what a check found.
type Finding struct {
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	ID       string   `json:"id,omitempty"` // of the catalogue; none when all is well
	Seen     string   `json:"seen"`
	Why      string   `json:"why,omitempty"` // it matters
	Fix      string   `json:"fix,omitempty"` // a command, or what to do
	Page     string   `json:"page,omitempty"`

	class errdefs.Class
}

// Facts are what checks look at.
type Facts struct {
	Host Host
	// Cluster is what is to be made. Named says that its name was given, so
	// that another cluster of that name is in the way.
	Cluster *config.Cluster
	Named   bool
	// Engine is who the engine says it is, or why it does not.
	Engine    provider.Info
	EngineErr error
	// Survey is what else is on the engine; nil when it was not asked.
	Survey *provider.Survey
	// Images are the node images by name.
	Images map[string]Image
	// KubeconfigErr is why the kubeconfig cannot be written.
	KubeconfigErr error
	// Kubectl is what "kubectl version" says of itself; empty: there is none.
	Kubectl string
}

// Image is what the engine has of a node image.
type Image struct {
	provider.Image
	Err error
}

// check is one thing that is looked at.
type check struct {
	name  string
	needs need
	run   func(*Facts) []Finding
}

// need is what a check cannot do without.
type need int

const (
	nothing     need = iota
	anEngine         // that answers
	localEngine      // that runs on this machine's kernel
	aSurvey          // of the engine: creation makes none, it refuses what is in the way by itself
)

func checks() []check {
	return []check{
		{"engine", nothing, checkEngine},
		{"privileges", anEngine, checkPrivileges},
		{"storage-driver", anEngine, checkStorageDriver},
		{"cgroups", anEngine, checkCgroups},
		{"kernel", anEngine, checkKernel},
		{"kernel-features", localEngine, checkKernelFeatures},
		{"cpu", anEngine, checkCPU},
		{"memory", anEngine, checkMemory},
		{"disk", localEngine, checkDisk},
		{"disk-speed", localEngine, checkDiskSpeed},
		{"inotify", localEngine, checkInotify},
		{"files", localEngine, checkFiles},
		{"processes", localEngine, checkProcesses},
		{"clock", anEngine, checkClock},
		{"ports", localEngine, checkPorts},
		{"routes", localEngine, checkRoutes},
		{"name-servers", localEngine, checkNameServers},
		{"proxies", nothing, checkProxies},
		{"networks", aSurvey, checkNetworks},
		{"published-ports", aSurvey, checkPublished},
		{"node-image", aSurvey, checkImages},
		{"names", aSurvey, checkNames},
		{"leftovers", aSurvey, checkLeftovers},
		{"kubeconfig", aSurvey, checkKubeconfig},
		{"kubectl", aSurvey, checkKubectl},
	}
}

// Report is what all checks found, in their order.
type Report struct {
	// Works says that nothing was found that would make a creation fail.
	Works    bool      `json:"works"`
	Findings []Finding `json:"findings"`
}

// Examine runs the checks on facts. Without a survey it is what creation runs:
// what costs no call to the engine and next to no time.
func Examine(f *Facts) Report {
	r := Report{Works: true}
	for _, c := range checks() {
		if c.needs == aSurvey && f.Survey == nil && f.EngineErr == nil {
			continue
		}
		var found []Finding
		if why := f.unmet(c.needs); why != "" {
			found = skipped(why)
		} else {
			found = c.run(f)
		}
		for _, finding := range found {
			finding.Check = c.name
			if finding.ID != "" {
				finding.Page = errdefs.Page(finding.ID)
			}
			r.Works = r.Works && finding.Severity != Fatal
			r.Findings = append(r.Findings, finding)
		}
	}
	return r
}

// unmet is why what a check needs is not there; empty when it is.
func (f *Facts) unmet(n need) string {
	switch {
	case n == nothing:
		return ""
	case f.EngineErr != nil:
		return "the engine does not answer"
	case n == localEngine && !f.Engine.Local:
		return "the engine runs on another machine's kernel"
	}
	return ""
}

// Of are the findings of a severity.
func (r Report) Of(s Severity) []Finding {
	var out []Finding
	for _, f := range r.Findings {
		if f.Severity == s {
			out = append(out, f)
		}
	}
	return out
}

// Err is nil when a creation would not fail, else an error with the ID, class
// and fix of the first thing that makes it, and all of them in its message.
func (r Report) Err() error {
	fatal := r.Of(Fatal)
	if len(fatal) == 0 {
		return nil
	}
	var seen, fixes []string
	for _, f := range fatal {
		seen = append(seen, f.Seen)
		if f.Fix != "" && !slices.Contains(fixes, f.Fix) {
			fixes = append(fixes, f.Fix)
		}
	}
	return &errdefs.Error{
		ID: fatal[0].ID, Class: fatal[0].class,
		Err: errors.New(strings.Join(seen, "; ")), Hint: strings.Join(fixes, "; "),
	}
}

// fine is what a check says that found nothing wrong.
func fine(format string, args ...any) []Finding {
	return []Finding{{Severity: OK, Seen: fmt.Sprintf(format, args...)}}
}

// skipped is what a check says that could not look.
func skipped(why string) []Finding { return []Finding{{Severity: Skipped, Seen: why}} }

// note, warning and fatal make findings with an ID, whose Why and Fix follow.
func note(id, format string, args ...any) Finding {
	return Finding{Severity: Note, ID: id, Seen: fmt.Sprintf(format, args...)}
}

func warning(id, format string, args ...any) Finding {
	return Finding{Severity: Warning, ID: id, Seen: fmt.Sprintf(format, args...)}
}

func fatal(class errdefs.Class, id, format string, args ...any) Finding {
	return Finding{Severity: Fatal, ID: id, Seen: fmt.Sprintf(format, args...), class: class}
}

func (f Finding) because(why string) Finding {
	f.Why = why
	return f
}

func (f Finding) fix(format string, args ...any) Finding {
	f.Fix = fmt.Sprintf(format, args...)
	return f
}

// failed is a finding that an error makes.
func failed(err error) Finding {
	f := Finding{Severity: Fatal, Seen: err.Error(), class: errdefs.ClassFailed}
	if e, ok := errors.AsType[*errdefs.Error](err); ok {
		f.ID, f.class, f.Fix = e.ID, e.Class, e.Hint
	}
	return f
}

// or gives what was found, or that all is well.
func or(found []Finding, format string, args ...any) []Finding {
	if len(found) > 0 {
		return found
	}
	return fine(format, args...)
}
