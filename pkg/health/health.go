// Package health says what is wrong with a cluster that is there, as an operator
// would find out: from what the engine, each node and the API say. It is a
// function from facts to problems, each with the ID of a catalogue, the node,
// what was seen and what mends it. It asks nodes, stands on the provider seam
// for the rest, and mends nothing.
package health

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/diagnosis"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

// Problem is one thing that is broken.
type Problem struct {
	ID        string `json:"id"` // of the catalogue
	Node      string `json:"node,omitempty"`
	Component string `json:"component,omitempty"` // "kubelet", "etcd", "coredns"
	Seen      string `json:"seen"`
	Log       string `json:"log,omitempty"` // the last lines that explain it
	Fix       string `json:"fix,omitempty"` // a command, or what to do
	Page      string `json:"page,omitempty"`
}

// Facts are what problems are found in.
type Facts struct {
	Cluster  string
	Machines []Machine
	// APIErr is why the API does not answer; the rest is empty then.
	APIErr error
	Unmet  []kube.Shortfall
	Pods   []kube.Pod
	// NoServices: nothing leads pods to Services, as the cluster was configured.
	// Those that find the API by one cannot work then, and are not judged.
	NoServices bool
}

// Machine is what is known of a node, or of what is beside nodes.
type Machine struct {
	node.Node
	// Last is how it ended, of one that is stopped.
	Last provider.Inspection
	// Report is what it says of itself, or ReportErr why it says nothing; only
	// of nodes that run.
	Report    Report
	ReportErr error
	// Known is what the API says of it; nil when it does not know it, or does
	// not answer.
	Known *kube.NodeInfo
}

// Examine finds what is wrong: what is wrong with nodes first, in their order,
// then with the cluster as a whole. Nothing means that it can be used.
func Examine(f *Facts) []Problem {
	var out []Problem
	for _, m := range f.Machines {
		out = append(out, f.machine(m)...)
	}
	out = append(out, f.api(out)...)
	for i := range out {
		out[i].Page = errdefs.Page(out[i].ID)
	}
	return out
}

// problem makes one, whose parts follow.
func problem(id, format string, args ...any) Problem {
	return Problem{ID: id, Seen: fmt.Sprintf(format, args...)}
}

func (p Problem) on(m Machine) Problem {
	p.Node = m.Name
	return p
}

func (p Problem) fix(format string, args ...any) Problem {
	p.Fix = fmt.Sprintf(format, args...)
	return p
}

// of is a problem of a program, with its last lines and what they tell.
func (p Problem) of(component, log string) Problem {
	p.Component, p.Log = component, log
	if log == "" {
		return p
	}
	err := diagnosis.Explain(&errdefs.Error{Err: errors.New(p.Seen), Log: "--- " + component + " ---\n" + log})
	if e, ok := errors.AsType[*errdefs.Error](err); ok && e.ID != "" {
		p.ID, p.Seen, p.Fix = e.ID, e.Error(), e.Hint+"; "+p.Fix
	}
	return p
}

// machine finds what is wrong with one machine.
func (f *Facts) machine(m Machine) []Problem {
	switch {
	case m.State == node.Paused:
		return []Problem{problem("NODE-PAUSED", "%s is paused", m.Title()).on(m).fix("petri unpause node %s --name %s", m.Name, f.Cluster)}
	case m.State != node.Running:
		return []Problem{f.stopped(m)}
	case m.Beside():
		return nil // the engine alone knows how it is
	case m.ReportErr != nil:
		return []Problem{problem("NODE-HANGS", "%s does not answer: %v", m.Title(), m.ReportErr).on(m).
			fix("petri restart node %s --name %s", m.Name, f.Cluster)}
	}
	return slices.Concat(f.disks(m), f.units(m), f.components(m), f.network(m))
}

// stopped says how a machine ended.
func (f *Facts) stopped(m Machine) Problem {
	p := problem("NODE-STOPPED", "%s is stopped", m.Title())
	switch {
	case m.Last.OutOfMemory:
		p = problem("OUT-OF-MEMORY", "%s is stopped: the kernel ended it because memory ran out", m.Title())
	case m.Last.Error != "":
		p.Seen += ": " + m.Last.Error
	case m.Last.ExitCode != 0:
		p.Seen += fmt.Sprintf("; its first process ended with exit code %d", m.Last.ExitCode)
	}
	return p.on(m).fix("petri start node %s --name %s", m.Name, f.Cluster)
}

// What is left on a disk that counts as full.
const (
	fullBytes = 16 << 20
	fullFiles = 64
)

// disks names each file system that is full once.
func (f *Facts) disks(m Machine) []Problem {
	var out []Problem
	var seen []string
	for _, d := range m.Report.Disks {
		if slices.Contains(seen, d.ID) {
			continue
		}
		seen = append(seen, d.ID)
		what := ""
		switch {
		case d.Free < fullBytes:
			what = fmt.Sprintf("%d KiB are free", d.Free>>10)
		case d.Files > 0 && d.FreeFiles < fullFiles:
			what = fmt.Sprintf("%d more files can be made", d.FreeFiles)
		default:
			continue
		}
		out = append(out, problem("NODE-DISK-FULL", "%s: the disk of %s is full: %s", m.Title(), d.Path, what).on(m).
			fix("see what takes it (docker system df; petri get images --name %s -o wide), and remove what is not needed", f.Cluster))
	}
	if m.Known != nil && len(out) == 0 && slices.Contains(m.Known.Conditions, "DiskPressure=True") {
		out = append(out, problem("NODE-DISK-FULL", "%s: kubelet sees too little room on a disk (DiskPressure)", m.Title()).on(m).
			fix("make room on the disk of the engine, or delete images: petri get images --name %s -o wide", f.Cluster))
	}
	return out
}

// A service that was restarted often and has not run for long goes round.
const (
	manyRestarts = 3
	shortAge     = 5 * time.Second
)

// services are the units of nodes that are examined, where they should run.
var services = []string{"containerd", "kubelet", "petri-balancer", "petri-approver"}

func (f *Facts) units(m Machine) []Problem {
	if len(m.Report.Units) == 0 {
		return f.unasked(m)
	}
	var out []Problem
	for _, name := range services {
		u, ok := m.Report.Units[name]
		// nobody has configured the kubelet of a node that the API does not know
		waits := u.Waits && !u.Active && (m.Known == nil || strings.HasPrefix(name, "petri-"))
		if !ok || waits {
			continue
		}
		what := ""
		switch {
		case u.Restarts >= manyRestarts && (!u.Active || u.Age < shortAge):
			what = fmt.Sprintf("ends again and again: it was started %d times anew", u.Restarts)
		case !u.Active:
			what = "does not run: it is " + u.State
		default:
			continue
		}
		out = append(out, problem("SERVICE-DOWN", "%s: %s %s", m.Title(), name, what).on(m).
			fix("read why, mend that, and start it: docker exec %s journalctl -u %s -n 50; docker exec %s systemctl restart %s", m.Name, name, m.Name, name).
			of(name, u.Log))
	}
	return out
}

// unasked is a node whose systemd did not answer. On a machine with much to do
// that may be so although all is well: the API knows better.
func (f *Facts) unasked(m Machine) []Problem {
	if f.APIErr == nil && (m.Known == nil || m.Known.Ready) {
		return nil
	}
	return []Problem{problem("SERVICE-DOWN", "%s: systemd does not answer, so that it is not known whether containerd and kubelet run", m.Title()).on(m).
		fix("petri restart node %s --name %s", m.Name, f.Cluster)}
}

// controlPlane are the static pods that kubeadm makes. What else there is in
// their directory is the user's.
var controlPlane = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}

// startTime is how long a kubelet may take to start its static pods.
const startTime = time.Minute

// components finds static pods that do not run. Without a container runtime
// nothing is known of them, and those of a kubelet that has just begun, or of
// which that is not known, are on their way.
func (f *Facts) components(m Machine) []Problem {
	var out []Problem
	kubelet, asked := m.Report.Units["kubelet"]
	young := !asked || kubelet.Age < startTime
	for _, c := range m.Report.Components {
		unread := linesWith(m.Report.Manifests, "/"+c.Name+".yaml")
		if c.Running || !c.Known || young && unread == "" || !slices.Contains(controlPlane, c.Name) {
			continue
		}
		log := strings.TrimSpace(c.Log + "\n" + unread)
		p := problem("COMPONENT-DOWN", "%s: %s does not run", m.Title(), c.Name).on(m).
			fix("kubelet starts it again; when it does not stay, mend what its last lines name: its manifest is /etc/kubernetes/manifests/%s.yaml in the node", c.Name)
		p.Component, p.Log = c.Name, log
		// without etcd nobody else has anything of their own to tell
		if c.Name == "etcd" || !slices.ContainsFunc(out, func(o Problem) bool { return o.Component == "etcd" }) {
			p = p.of(c.Name, log)
		}
		out = append(out, p)
	}
	return out
}

func linesWith(text, word string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			out.WriteString(line)
		}
	}
	return strings.TrimSpace(out.String())
}

// network finds a node that is cut off.
func (f *Facts) network(m Machine) []Problem {
	network := "petri-" + f.Cluster
	if m.Dialect == nodeimage.DialectKind {
		network = "kind"
	}
	at := ""
	for _, addr := range m.Report.Addresses {
		if addr.Is4() {
			at += " --ip " + addr.String()
		} else {
			at += " --ip6 " + addr.String()
		}
	}
	switch {
	case m.Report.Link == "gone":
		return []Problem{problem("NODE-NETWORK", "%s is on no network", m.Title()).on(m).
			fix("put it back at its address: docker network connect%s %s %s", at, network, m.Name)}
	case m.Report.Link == "down":
		return []Problem{problem("NODE-NETWORK", "%s: its network interface is down", m.Title()).on(m).
			fix("docker network disconnect %s %s; docker network connect%s %s %s", network, m.Name, at, network, m.Name)}
	case m.Report.Server != "" && !m.Report.Reached && !m.Report.Refused && f.serves(m.Report.Server):
		return []Problem{problem("NODE-NETWORK", "%s does not reach the API at %s", m.Title(), m.Report.Server).on(m).
			fix("look what keeps its packets: docker exec %s ip route; docker exec %s nft list ruleset", m.Name, m.Name)}
	}
	return nil
}

// serves reports whether what listens at an address runs and is on the network:
// else it is no wonder that nobody reaches it. Behind a load balancer, and at a
// name that is none of a machine, it is all control planes.
func (f *Facts) serves(server string) bool {
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return false
	}
	for _, m := range f.Machines {
		named := m.Name == host || slices.ContainsFunc(m.Addrs, func(a netip.Addr) bool { return a.String() == host })
		switch {
		case named && !m.Beside():
			return m.online()
		case named && m.State != node.Running:
			return false
		}
	}
	return !slices.ContainsFunc(f.Machines, func(m Machine) bool {
		return m.Role == nodeimage.RoleControlPlane && !m.online()
	})
}

// online reports whether a node runs, has answered, and is on the network.
func (m Machine) online() bool {
	return m.State == node.Running && m.ReportErr == nil && m.Report.Link != "gone" && m.Report.Link != "down"
}

// api finds what is wrong with the cluster as a whole, that the problems of
// its nodes do not tell already.
func (f *Facts) api(told []Problem) []Problem {
	if f.APIErr != nil {
		return []Problem{f.silent()}
	}
	var out []Problem
	for _, s := range f.Unmet {
		switch s.Condition {
		case kube.NodesReady(nil).Name:
			out = append(out, f.notReady(s, told)...)
		case kube.DNSServing().Name:
			out = append(out, problem("DNS-DOWN", "names are not resolved in the cluster: CoreDNS is not serving (%s)%s", s.Why, f.of("coredns")).
				fix("kubectl -n kube-system rollout restart deployment/coredns; when it was scaled down: kubectl -n kube-system scale deployment/coredns --replicas=1"))
			out[len(out)-1].Component = "coredns"
		default:
			about := func(p Problem) bool { return p.Node != "" && strings.Contains(s.Why, p.Node) }
			if !slices.ContainsFunc(slices.Concat(told, out), about) {
				out = append(out, problem("NOT-USABLE", "%s: not so (%s)", s.Condition, s.Why).
					fix("petri export logs --name %s", f.Cluster))
			}
		}
	}
	return append(out, f.pods(slices.Concat(told, out))...)
}

// silent is an API that does not answer.
func (f *Facts) silent() Problem {
	if e, ok := errors.AsType[*errdefs.Error](f.APIErr); ok && e.ID != "" {
		p := Problem{ID: e.ID, Seen: f.APIErr.Error(), Fix: e.Hint}
		if p.Fix == "" {
			p.Fix = "petri start cluster --name " + f.Cluster
		}
		return p
	}
	p := problem("API-UNREACHABLE", "the API does not answer: %v", f.APIErr)
	p.Component = "kube-apiserver"
	return p.fix("mend what is said of its nodes, or look: petri export logs --name %s", f.Cluster)
}

// notReady is a problem for each node that is not Ready and of which nothing
// worse is known.
func (f *Facts) notReady(s kube.Shortfall, told []Problem) []Problem {
	var out []Problem
	explained := false
	for _, m := range f.Machines {
		if m.Beside() || m.Known != nil && m.Known.Ready {
			continue
		}
		explained = true
		if slices.ContainsFunc(told, func(p Problem) bool { return p.Node == m.Name }) {
			continue
		}
		why := "is not registered"
		if m.Known != nil {
			why = "is not Ready: " + m.Known.Problem
		}
		out = append(out, problem("NODE-NOT-READY", "%s %s", m.Title(), why).on(m).
			fix("petri export logs --name %s; a restart may help: petri restart node %s --name %s", f.Cluster, m.Name, f.Cluster))
	}
	if !explained { // of a node that has no machine any more
		out = append(out, problem("NOT-USABLE", "%s: not so (%s)", s.Condition, s.Why).
			fix("petri get nodes --name %s shows the nodes that there are; kubectl delete node takes one out that is gone", f.Cluster))
	}
	return out
}
