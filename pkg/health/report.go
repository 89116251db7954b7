package health

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
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
	// Units are the services that it should run, by name; empty when systemd did
	// not answer.
	Units map[string]Unit
	Disks []Disk
	// Link is the state of its network interface: "up", "down", or "gone".
	Link string
	// Addresses are those that it is registered with, when they are known.
	Addresses []netip.Addr
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
	// Waits: what it needs was not there when it was to be started.
	Waits bool
	Log   string // its last lines, when it is not as it should be
}

// Disk is a file system of a node, by a directory on it.
type Disk struct {
	Path             string
	ID               string // the same for all directories on it
	Free             int64  // bytes
	FreeFiles, Files int64
}

// Component is a static pod.
type Component struct {
	Name    string
	Running bool
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
	clock, _ := strconv.ParseInt(sections["clock"], 10, 64)
	for shown := range strings.SplitSeq(sections["units"], "\n\n") {
		if name, u := parseUnit(shown, time.Unix(clock, 0)); name != "" {
			u.Log = sections["log "+name]
			r.Units[name] = u
		}
	}
	for line := range strings.Lines(sections["disks"]) {
		r.Disks = append(r.Disks, parseDisk(strings.Fields(line))...)
	}
	for text := range strings.SplitSeq(sections["address"], ",") {
		if addr, err := netip.ParseAddr(text); err == nil && !addr.IsUnspecified() {
			r.Addresses = append(r.Addresses, addr)
		}
	}
	r.Link, r.Manifests = sections["link"], sections["manifests"]
	for name, text := range sections {
		if server, ok := strings.CutPrefix(name, "server "); ok {
			r.Server, r.Reached, r.Refused = server, text == "reached", strings.Contains(text, "refused")
		}
	}
	running, known := parseContainers(sections["containers"])
	for _, name := range static {
		r.Components = append(r.Components, Component{
			Name: name, Known: known, Running: slices.Contains(running, name), Log: sections["static "+name],
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

// timestamps is how systemd writes a time.
const timestamps = "Mon 2006-01-02 15:04:05 MST"

// parseUnit is a service as systemd shows it at a time, and its name.
func parseUnit(shown string, now time.Time) (name string, u Unit) {
	for line := range strings.Lines(shown) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "Id":
			name = strings.TrimSuffix(value, ".service")
		case "ActiveState":
			u.Active = value == "active" || value == "reloading"
		case "SubState":
			u.State = value
		case "NRestarts":
			u.Restarts, _ = strconv.Atoi(value)
		case "ConditionResult":
			u.Waits = value == "no"
		case "ActiveEnterTimestamp":
			if started, err := time.Parse(timestamps, value); err == nil {
				u.Age = now.Sub(started)
			}
		}
	}
	return name, u
}

func parseDisk(fields []string) []Disk {
	if len(fields) != 6 {
		return nil
	}
	var numbers [4]int64
	for i := range numbers {
		n, err := strconv.ParseInt(fields[i+2], 10, 64)
		if err != nil {
			return nil
		}
		numbers[i] = n
	}
	return []Disk{{Path: fields[0], ID: fields[1], Free: numbers[0] * numbers[1], FreeFiles: numbers[2], Files: numbers[3]}}
}

// parseContainers are the names of the static pods' containers that run, and
// whether the container runtime answered at all.
func parseContainers(text string) (running []string, known bool) {
	var list struct {
		Containers []struct {
			Metadata struct{ Name string }
			State    string
			Labels   map[string]string
		}
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, false
	}
	for _, c := range list.Containers {
		if c.Labels["io.kubernetes.pod.namespace"] == "kube-system" && c.State == "CONTAINER_RUNNING" {
			running = append(running, c.Metadata.Name)
		}
	}
	return running, true
}
