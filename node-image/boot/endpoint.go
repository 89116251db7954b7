package boot

import (
	"context"
	"os"
	"strings"
)

// hostsMark ends the line of the hosts file that is petri's.
const hostsMark = "# petri: the node's own balancer"

// endpoint is Endpoint where the plan says that the node has a balancer. The
// engine writes the file anew at each start of the node.
func endpoint(_ context.Context, m *Machine) error {
	if m.Plan == nil || m.Plan.Balanced == "" {
		return nil
	}
	return Endpoint(m, m.Plan.Balanced)
}

// Endpoint lets the name of the control plane's endpoint mean this node, whose
// balancer knows which API server works. Elsewhere the name is that of the load
// balancer.
func Endpoint(m *Machine, name string) error {
	hosts, err := os.ReadFile(m.path("/etc/hosts"))
	if err != nil {
		return err
	}
	// the first line with a name counts
	out := "127.0.0.1\t" + name + "\t" + hostsMark + "\n"
	for line := range strings.Lines(string(hosts)) {
		if !strings.HasSuffix(strings.TrimSpace(line), hostsMark) {
			out += line
		}
	}
	// the engine mounts the file: it must be written in place
	return os.WriteFile(m.path("/etc/hosts"), []byte(out), 0o644)
}
