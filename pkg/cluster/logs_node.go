package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

// commandLimit bounds one command in a node, which may be what is broken.
const commandLimit = 5 * time.Minute

// nodeLog is a file of a node's folder that comes from a command in it.
type nodeLog struct {
	file string
	args []string
}

// journal reads a node's journal, and that of a node that stopped where it left
// it: below another machine's identity.
func journal(more ...string) []string {
	return append([]string{"journalctl", "--no-pager"}, more...)
}

const journalOfDead = "--directory=/var/log/journal"

// nodeLogs are had of nodes that run, and deadLogs of those that stopped.
var (
	nodeLogs = []nodeLog{
		{"kubernetes-version.txt", []string{"cat", nodeimage.VersionPath}},
		{"journal.log", journal()},
		{"kubelet.log", journal("--unit=kubelet.service")},
		{"containerd.log", journal("--unit=containerd.service")},
		{"images.log", []string{"crictl", "images"}},
		{"containers.log", []string{"crictl", "ps", "--all"}},
	}
	deadLogs = []nodeLog{
		{"kubernetes-version.txt", []string{"cat", nodeimage.VersionPath}},
		{"journal.log", journal(journalOfDead)},
		{"kubelet.log", journal(journalOfDead, "--unit=kubelet.service")},
		{"containerd.log", journal(journalOfDead, "--unit=containerd.service")},
	}
)

// learn finds the secrets that a node was given.
func (e *export) learn(ctx context.Context, i int, n node.Node) {
	if c, ok := e.provider.(provider.LogCollector); ok {
		inspection, err := c.Inspect(ctx, n)
		if err != nil {
			e.missing(n.Title(), err)
		}
		e.Learn(inspection.Raw)
		e.known[i].inspection = inspection
	}
	if n.Beside() {
		return
	}
	if err := e.learnCredentials(ctx, n); err != nil {
		e.missing(n.Title(), fmt.Errorf("not all credentials that it has could be read, and they may be in this export: %w", err))
	}
}

// etcdFiles prints what a control plane keeps on its disk, if it does.
var etcdFiles = []string{"sh", "-c", "cat /var/lib/etcd/member/snap/db /var/lib/etcd/member/wal/*.wal 2>/dev/null; true"}

// stored finds the Secrets of a cluster on the disks of its control planes.
func (e *export) stored(ctx context.Context) {
	e.each(func(_ int, n node.Node) {
		if n.Role != nodeimage.RoleControlPlane {
			return
		}
		if err := e.storedOn(ctx, n); err != nil {
			e.missing(n.Title(), fmt.Errorf("its Secrets could not be read, and may be in this export: %w", err))
		}
	})
}

func (e *export) storedOn(ctx context.Context, n node.Node) error {
	if n.State == node.Running {
		return e.readStored(ctx, n)
	}
	c, ok := e.provider.(provider.LogCollector)
	if !ok {
		return fmt.Errorf("it is %s", n.State)
	}
	place, release, err := c.Remains(ctx, n)
	if err != nil {
		return err
	}
	n.Runner = place
	return errors.Join(e.readStored(ctx, n), release())
}

func (e *export) readStored(ctx context.Context, n node.Node) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	r, w := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.CloseWithError(n.Run(ctx, exec.Cmd{Args: etcdFiles, Stdout: w}))
	}()
	err := kube.Stored(r, func(secret string) { e.Add(secret) }, e.Learn)
	r.CloseWithError(err)
	<-ended
	return err
}

// machine writes the folder of a node.
func (e *export) machine(ctx context.Context, i int, n node.Node) {
	lost := func(err error) { e.missing(n.Title(), err) }
	c, collects := e.provider.(provider.LogCollector)
	if collects {
		lost(e.write(path.Join(n.Name, "serial.log"), func(w io.Writer) error { return c.Console(ctx, n, 0, w) }))
	}
	if raw := e.known[i].inspection.Raw; len(raw) > 0 {
		lost(e.write(path.Join(n.Name, "inspect.json"), func(w io.Writer) error {
			_, err := w.Write(raw)
			return err
		}))
	}
	switch {
	case n.Beside(): // its console is all that it writes
	case n.State == node.Running:
		e.fromNode(ctx, n, nodeLogs)
		failed, err := e.failedUnits(ctx, n)
		lost(err)
		e.known[i].failed = failed
	case n.State == node.Stopped && collects:
		lost(fmt.Errorf("it is %s, so that nobody can say which containers and images it has", n.State))
		lost(e.fromRemains(ctx, c, n))
	default:
		lost(fmt.Errorf("it is %s: its own logs cannot be read", n.State))
	}
}

// fromRemains writes what a node that does not run has left.
func (e *export) fromRemains(ctx context.Context, c provider.LogCollector, n node.Node) error {
	place, release, err := c.Remains(ctx, n)
	if err != nil {
		return err
	}
	n.Runner = place
	e.fromNode(ctx, n, deadLogs)
	return release()
}

// fromNode writes the output of commands, and the node's log directory.
func (e *export) fromNode(ctx context.Context, n node.Node, logs []nodeLog) {
	for _, l := range logs {
		e.missing(n.Title(), e.output(ctx, n, l))
	}
	e.missing(n.Title(), e.varLog(ctx, n))
}

func (e *export) output(ctx context.Context, n node.Node, l nodeLog) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	return e.write(path.Join(n.Name, l.file), func(w io.Writer) error {
		return n.Run(ctx, exec.Cmd{Args: l.args, Stdout: w})
	})
}

// failedUnits writes the journal of each unit that failed, and returns their
// names.
func (e *export) failedUnits(ctx context.Context, n node.Node) ([]string, error) {
	out, err := exec.Output(ctx, n, "systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--no-pager")
	if err != nil {
		return nil, err
	}
	var units []string
	for line := range bytes.Lines(out) {
		fields := strings.Fields(string(line))
		if len(fields) == 0 || strings.ContainsAny(fields[0], `/\`) {
			continue
		}
		units = append(units, fields[0])
		err = errors.Join(err, e.output(ctx, n, nodeLog{unitLog(fields[0]), journal("--unit=" + fields[0])}))
	}
	return units, err
}

// unitLog is the file of a failed unit in its node's folder.
func unitLog(unit string) string { return "failed-units/" + unit + ".log" }

// varLog unpacks the node's log directory. Links are kept as links: a pod may
// have made one to any file of the node.
func (e *export) varLog(ctx context.Context, n node.Node) error {
	if err := e.place.root.MkdirAll(n.Name, 0o755); err != nil {
		return err
	}
	root, err := e.place.root.OpenRoot(n.Name)
	if err != nil {
		return err
	}
	defer root.Close()
	r, w := io.Pipe()
	unpacked := make(chan error, 1)
	go func() {
		err := untar(r, root, e.unpackFile)
		r.CloseWithError(err)
		unpacked <- err
	}()
	// a log that is written while it is read is no error: tar exits with 1
	err = n.Run(ctx, exec.Cmd{Args: []string{"tar", "--hard-dereference", "--exclude=journal", "-C", "/var/log", "-cf", "-", "."}, Stdout: w})
	w.Close()
	if failed, ok := errors.AsType[*exec.Error](err); ok && failed.Code == 1 {
		err = nil
	}
	return errors.Join(err, <-unpacked)
}

// unpackFile writes a file below root, without secrets.
func (e *export) unpackFile(r io.Reader, root *os.Root, name string) error {
	f, err := root.Create(name)
	if err != nil {
		return err
	}
	w := e.Writer(f)
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close(), f.Close())
}
