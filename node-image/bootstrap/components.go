package bootstrap

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/diagnosis"
)

// components are the static pods of a control plane, those first that others
// need.
var components = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}

// podLogsDir is where the kubelet keeps what containers write: a file for each
// time that one was started, in the order of their names.
const podLogsDir = "/var/log/pods"

// runs are the logs of a component, one for each time that it was started.
func (n *Node) runs(component string) []string {
	pattern := filepath.Join(n.path(podLogsDir), "kube-system_"+component+"-*", component, "*.log")
	files, _ := filepath.Glob(pattern) // the pattern is well formed
	return files
}

// crashInterval is how often components are looked at, and componentLines how
// much of their logs tells why one ended.
const (
	crashInterval  = 500 * time.Millisecond
	componentLines = 8
)

// watchComponents fails when a component ends in a way that no repetition
// mends, such as a flag that it does not know: kubeadm would wait for it for
// minutes. It returns nil when ctx ends. Logs are read when a component is
// started again, which the kubelet does at once for the first time: reading them
// all the while would take the cores from those who write them.
func (n *Node) watchComponents(ctx context.Context) error {
	tick := time.NewTicker(crashInterval)
	defer tick.Stop()
	read := map[string]string{}
	for {
		for _, component := range components {
			runs := n.runs(component)
			if len(runs) < 2 || runs[len(runs)-1] == read[component] {
				continue
			}
			read[component] = runs[len(runs)-1]
			if hopeless(logTail(runs[0])) {
				return fmt.Errorf("%s does not start", component)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// passing is what a component ends with while another one that it needs is not
// there yet.
var passing = regexp.MustCompile(`context deadline exceeded|connection refused|[Tt]imeout|timed out`)

// hopeless reports whether the end of a component's log tells that it will end
// so each time.
func hopeless(log string) bool {
	switch diagnosis.ID(log) {
	case "COMPONENT-FLAG":
		return true
	case "COMPONENT-FAILED":
		return !passing.MatchString(log)
	}
	return false
}

// componentLogs are the last lines of components that were started more than
// once, or whose lines tell of a known failure.
func (n *Node) componentLogs() string {
	var b strings.Builder
	for _, component := range components {
		runs := n.runs(component)
		if len(runs) == 0 {
			continue
		}
		if tail := logTail(runs[0]); tail != "" && (len(runs) > 1 || diagnosis.ID(tail) != "") {
			fmt.Fprintf(&b, "--- %s ---\n%s\n", component, tail)
		}
	}
	return strings.TrimSpace(b.String())
}

// searchedLines is how far back a line that explains a failure is looked for:
// some programs print how they are to be used after it.
const searchedLines = 200

// logTail reads the end of a container's log, without the time and stream that
// stand before each line, and with the line that explains it.
func logTail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	var lines []string
	for line := range strings.Lines(lastLines(string(data), searchedLines)) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 4)
		lines = append(lines, fields[len(fields)-1])
	}
	tail := lines[max(0, len(lines)-componentLines):]
	if diagnosis.ID(strings.Join(tail, "\n")) == "" {
		before := lines[:len(lines)-len(tail)]
		if i := slices.IndexFunc(before, func(line string) bool { return diagnosis.ID(line) != "" }); i >= 0 {
			tail = append([]string{before[i], "..."}, tail...)
		}
	}
	return strings.Join(tail, "\n")
}
