package health

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
)

// ReportScript is the shell script that has a node tell how it is. It changes
// nothing, and runs on nodes of kind too.
//
//go:embed report.sh
var ReportScript string

// ReportLimit bounds one report: a node that takes longer hangs.
const ReportLimit = 8 * time.Second

var errHangs = fmt.Errorf("it did not answer within %s", ReportLimit)

// Report is what a node says of itself.
type Report struct {
	Units map[string]Unit
	Disks []Disk
	// Link is the state of its network interface: "up", "down", or "gone".
	Link string
	// Address is the one that it is registered with; empty when it is not known.
	Address string
	// Server is the API as kubelet reaches it; Reached says whether it does, and
	// Refused that there is a machine, and nobody listens.
	Server           string
	Reached, Refused bool
	// Components are those of which there are manifests in the node.
	Components []Component
	// Manifests are kubelet's last words about them.
	Manifests string
}

// Unit is a service of a node.
type Unit struct {
	Active   bool
	State    string // "failed", "auto-restart"
	Restarts int
	Age      time.Duration // since it was started
	Log      string        // its last lines, when it is not as it should be
}

// Disk is a file system of a node, by a directory on it.
type Disk struct {
	Path             string
	Free             int64 // bytes
	FreeFiles, Files int64
}

// Component is a static pod.
type Component struct {
	Name    string
	Running bool
	Begun   bool   // there is, or was, a container of it
	Known   bool   // the container runtime said so
	Log     string // its last lines
}

// Ask has a node tell how it is. A node that hangs is an error after
// ReportLimit.
func Ask(ctx context.Context, n exec.Runner) (Report, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, ReportLimit, errHangs)
	defer cancel()
	out, err := exec.Output(ctx, n, "sh", "-c", ReportScript)
	if err != nil {
		if errors.Is(context.Cause(ctx), errHangs) {
			err = errHangs
		}
		return Report{}, err
	}
	return parseReport(string(out)), nil
}

// parseReport reads what the script prints. What is missing stays zero.
func parseReport(text string) Report {
	r := Report{Units: map[string]Unit{}}
	sections, static := split(text)
	uptime, _ := strconv.ParseFloat(sections["clock"], 64)
	for _, name := range []string{"kubelet", "containerd"} {
		if shown, ok := sections["unit "+name]; ok && shown != "" {
			r.Units[name] = parseUnit(shown, uptime, sections["log "+name])
		}
	}
	for line := range strings.Lines(sections["disks"]) {
		r.Disks = append(r.Disks, parseDisk(strings.Fields(line))...)
	}
	r.Link, r.Address, r.Manifests = sections["link"], sections["address"], sections["manifests"]
	for name, text := range sections {
		if server, ok := strings.CutPrefix(name, "server "); ok {
			r.Server, r.Reached, r.Refused = server, text == "reached", strings.Contains(text, "refused")
		}
	}
	running, begun, known := parseContainers(sections["containers"])
	for _, name := range static {
		r.Components = append(r.Components, Component{
			Name: name, Known: known, Running: slices.Contains(running, name), Begun: slices.Contains(begun, name), Log: sections["static "+name],
		})
	}
	return r
}

// split is the sections by name, and the names of the static pods in order.
func split(text string) (sections map[string]string, static []string) {
	sections = map[string]string{}
	for part := range strings.SplitSeq("\n"+text, "\n== ") {
		name, rest, _ := strings.Cut(part, "\n")
		sections[name] = strings.TrimSpace(rest)
		if component, ok := strings.CutPrefix(name, "static "); ok {
			static = append(static, component)
		}
	}
	return sections, static
}

func parseUnit(shown string, uptime float64, log string) Unit {
	u := Unit{Log: log}
	for line := range strings.Lines(shown) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch number, _ := strconv.ParseFloat(value, 64); key {
		case "ActiveState":
			u.Active = value == "active"
		case "SubState":
			u.State = value
		case "NRestarts":
			u.Restarts = int(number)
		case "ActiveEnterTimestampMonotonic": // microseconds
			u.Age = time.Duration((uptime - number/1e6) * float64(time.Second))
		}
	}
	return u
}

func parseDisk(fields []string) []Disk {
	if len(fields) != 5 {
		return nil
	}
	var numbers [4]int64
	for i := range numbers {
		n, err := strconv.ParseInt(fields[i+1], 10, 64)
		if err != nil {
			return nil
		}
		numbers[i] = n
	}
	return []Disk{{Path: fields[0], Free: numbers[0] * numbers[1], FreeFiles: numbers[2], Files: numbers[3]}}
}

// parseContainers are the names of the static pods' containers that run, and of
// those that ever began, and whether the container runtime answered at all.
func parseContainers(text string) (running, begun []string, known bool) {
	var list struct {
		Containers []struct {
			Metadata struct{ Name string }
			State    string
			Labels   map[string]string
		}
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, nil, false
	}
	for _, c := range list.Containers {
		if c.Labels["io.kubernetes.pod.namespace"] != "kube-system" {
			continue
		}
		begun = append(begun, c.Metadata.Name)
		if c.State == "CONTAINER_RUNNING" {
			running = append(running, c.Metadata.Name)
		}
	}
	return running, begun, true
}
