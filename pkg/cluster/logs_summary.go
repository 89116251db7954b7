package cluster

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/diagnosis"
	"github.com/petri-cluster/petri/pkg/doctor"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/logsummary"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/version"
)

// summary writes the page that the export opens with. It is made of files that
// were written before, so that no secret comes into it.
func (e *export) summary(w io.Writer) error {
	p := logsummary.Page{
		Cluster: e.name, Provider: e.provider.Name(), Petri: version.String(), Made: time.Now(),
		Findings: slices.Concat(e.machineFindings(), e.apiFindings(), e.troubleFindings(), e.unitFindings()),
		Warnings: e.doctorFindings(doctor.Warning),
	}
	// what would keep the cluster from being made need not harm one that is there
	if fatal := e.doctorFindings(doctor.Fatal); len(p.Findings) > 0 {
		p.Findings = slices.Concat(fatal, p.Findings)
	} else {
		p.Warnings = slices.Concat(fatal, p.Warnings)
	}
	for _, list := range [][]logsummary.Finding{p.Findings, p.Warnings} {
		for i, f := range list { // as HTML has them, secrets look different
			f.Why, f.Do = e.String(f.Why), e.String(f.Do)
			list[i] = f
		}
	}
	for _, err := range e.lost {
		p.Missing = append(p.Missing, e.String(err.Error()))
	}
	for _, n := range e.status.Nodes {
		p.Nodes = append(p.Nodes, logsummary.Node{Name: n.Name, Role: n.Role, State: n.State, Version: n.Version, Ready: n.Ready, Problem: n.Problem})
	}
	files, err := e.files()
	p.Files = files
	return errors.Join(err, logsummary.Write(w, p))
}

// files are the files of the export, sorted.
func (e *export) files() ([]string, error) {
	var out []string
	err := fs.WalkDir(e.place.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && name != "summary.html" {
			out = append(out, name)
		}
		return err
	})
	return out, err
}

// machineFindings are the nodes that do not run.
func (e *export) machineFindings() []logsummary.Finding {
	var out []logsummary.Finding
	for i, n := range e.nodes {
		if n.State == node.Running {
			continue
		}
		seen := e.known[i].inspection
		f := logsummary.Finding{Kind: "node not running", What: n.Title(), Why: "it is " + string(n.State)}
		if n.State == node.Stopped {
			f.Why += fmt.Sprintf("; its first process ended with exit code %d", seen.ExitCode)
			if seen.Error != "" {
				f.Why += ": " + seen.Error
			}
		}
		if seen.OutOfMemory {
			f.Kind, f.Why = "out of memory", f.Why+", because it took more memory than it may"
		}
		out = append(out, e.explained(f, path.Join(n.Name, "serial.log")))
	}
	return out
}

// doctorFindings are what doctor found of a severity.
func (e *export) doctorFindings(s doctor.Severity) []logsummary.Finding {
	var out []logsummary.Finding
	for _, f := range e.examined.Of(s) {
		why := f.Seen
		if f.Why != "" {
			why += ": " + f.Why
		}
		out = append(out, logsummary.Finding{ID: f.ID, Kind: "doctor", What: f.Check, Why: why, Do: f.Fix})
	}
	return out
}

// apiFindings are what keeps the cluster from being usable as a whole. When the
// API does not answer, what the kubelet and the control plane said explains it.
func (e *export) apiFindings() []logsummary.Finding {
	var out []logsummary.Finding
	if e.apiErr != nil {
		what := logsummary.Finding{Kind: "API not answering", What: "cluster " + e.name, Why: e.apiErr.Error()}
		out = append(out, what)
		for _, n := range e.nodes {
			if n.Role == nodeimage.RoleControlPlane {
				out = append(out, e.controlPlaneFindings(n)...)
			}
		}
		return out
	}
	for _, p := range e.status.Problems {
		down := func(n node.Node) bool { return n.Name == p.Node && n.State != node.Running }
		if slices.ContainsFunc(e.nodes, down) {
			continue // told of the machine
		}
		out = append(out, logsummary.Finding{ID: p.ID, Kind: "not usable", What: cmp.Or(p.Component, "cluster "+e.name), Why: p.Seen, Do: p.Fix, Tail: e.String(p.Log)})
	}
	return out
}

// controlPlaneFindings are the last words of those that make an API.
func (e *export) controlPlaneFindings(n node.Node) []logsummary.Finding {
	var out []logsummary.Finding
	for _, name := range []string{"kube-apiserver", "etcd"} {
		folders, err := fs.Glob(e.place.root.FS(), path.Join(n.Name, "pods", "kube-system_"+name+"-*", name))
		if err != nil || len(folders) == 0 {
			out = append(out, logsummary.Finding{Kind: "control plane", What: name + " on " + n.Title(), Why: "it has written no log: it was never started, or its node cannot be read"})
			continue
		}
		f := logsummary.Finding{Kind: "control plane", What: name + " on " + n.Title(), Why: "what it said last"}
		out = append(out, e.explained(f, e.newestLog(folders[len(folders)-1])))
	}
	kubelet := logsummary.Finding{Kind: "control plane", What: "kubelet on " + n.Title(), Why: "what it said last"}
	return append(out, e.explained(kubelet, path.Join(n.Name, "kubelet.log")))
}

// troubleFindings are what the API says is wrong.
func (e *export) troubleFindings() []logsummary.Finding {
	var out []logsummary.Finding
	for _, t := range e.observation.Troubles {
		f := logsummary.Finding{Kind: string(t.Kind), What: t.What, Why: t.Why}
		log := ""
		if t.Log != "" && t.Node != "" {
			log = e.newestLog(path.Join(t.Node, t.Log))
		}
		out = append(out, e.explained(f, log))
	}
	return out
}

// unitFindings are the units that failed.
func (e *export) unitFindings() []logsummary.Finding {
	var out []logsummary.Finding
	for i, n := range e.nodes {
		for _, unit := range e.known[i].failed {
			f := logsummary.Finding{Kind: "unit failed", What: unit + " on " + n.Title(), Why: "systemd lists it as failed"}
			out = append(out, e.explained(f, path.Join(n.Name, unitLog(unit))))
		}
	}
	return out
}

// newestLog is the log of the latest run of a container: they are numbered.
func (e *export) newestLog(folder string) string {
	newest, file := -1, ""
	names, err := fs.Glob(e.place.root.FS(), path.Join(folder, "*.log"))
	if err != nil {
		return ""
	}
	for _, name := range names {
		if run, err := strconv.Atoi(strings.TrimSuffix(path.Base(name), ".log")); err == nil && run > newest {
			newest, file = run, name
		}
	}
	return file
}

// What a finding shows of a log.
const (
	tailLines = 20
	tailBytes = 16 << 10
)

// diagnosed is a finding with what it and a log tell, if anything is known
// about that.
func diagnosed(f logsummary.Finding, file string, log []byte) logsummary.Finding {
	who := strings.TrimSuffix(path.Base(file), ".log")
	if _, err := strconv.Atoi(who); err == nil { // a run of the container that the folder is named after
		who = path.Base(path.Dir(file))
	}
	err := diagnosis.Explain(&errdefs.Error{Err: errors.New(f.Why), Log: "--- " + who + " ---\n" + string(log)})
	if known, ok := errors.AsType[*errdefs.Error](err); ok && known.ID != "" {
		f.ID, f.Why, f.Do = known.ID, known.Error(), known.Hint
	}
	return f
}

// explained is a finding with the last lines of a file, if there is any, and
// with what they tell.
func (e *export) explained(f logsummary.Finding, file string) logsummary.Finding {
	data, err := e.tail(file)
	f = diagnosed(f, file, data)
	if err != nil {
		return f
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	f.Tail = strings.ToValidUTF8(string(bytes.Join(lines[max(0, len(lines)-tailLines):], []byte("\n"))), "?")
	if f.Tail != "" {
		f.File = file
	}
	return f
}

// tail is the end of a file.
func (e *export) tail(file string) ([]byte, error) {
	log, err := e.place.root.Open(file)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if _, err := log.Seek(-tailBytes, io.SeekEnd); err != nil {
		_, _ = log.Seek(0, io.SeekStart) // it is shorter
	}
	return io.ReadAll(log)
}
