package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sync/errgroup"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/version"
)

// nodeLogs are the files of a node's folder that come from commands in it.
var nodeLogs = []struct {
	file string
	args []string
}{
	{"kubernetes-version.txt", []string{"cat", nodeimage.VersionPath}},
	{"journal.log", []string{"journalctl", "--no-pager"}},
	{"kubelet.log", []string{"journalctl", "--no-pager", "--unit=kubelet.service"}},
	{"containerd.log", []string{"journalctl", "--no-pager", "--unit=containerd.service"}},
	{"images.log", []string{"crictl", "images"}},
	{"containers.log", []string{"crictl", "ps", "--all"}},
}

// ExportLogs writes the logs of all nodes of a cluster below dir, one folder
// a node, as kind lays them out, and returns an error that joins what could
// not be had; everything else is there all the same.
func (m *Manager) ExportLogs(ctx context.Context, name, dir string) error {
	nodes, err := m.machines(ctx, name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make log directory: %w", err)
	}
	if err := m.exportFacts(ctx, name, nodes, dir); err != nil {
		return err
	}
	errs := make([]error, len(nodes))
	var group errgroup.Group
	for i, n := range nodes {
		group.Go(func() error {
			errs[i] = m.exportNode(ctx, n, filepath.Join(dir, n.Name))
			return nil
		})
	}
	return errors.Join(append(errs, group.Wait())...)
}

// exportFacts writes what is known of the cluster as a whole.
func (m *Manager) exportFacts(ctx context.Context, name string, nodes []node.Node, dir string) error {
	info, err := m.provider.Check(ctx)
	if err != nil {
		return err
	}
	status, err := m.Status(ctx, name)
	if err != nil {
		return err
	}
	facts := map[string]any{"provider.json": info, "status.json": status, "doctor.json": m.examineExisting(ctx, name, nodes)}
	for file, v := range facts {
		data, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), append(data, '\n'), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "petri-version.txt"), []byte(version.String()+"\n"), 0o644)
}

func (m *Manager) exportNode(ctx context.Context, n node.Node, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var errs []error
	if c, ok := m.provider.(provider.LogCollector); ok {
		console, err := c.Console(ctx, n, 0)
		errs = append(errs, err, os.WriteFile(filepath.Join(dir, "serial.log"), console, 0o644))
		inspect, err := c.Inspect(ctx, n)
		errs = append(errs, err, os.WriteFile(filepath.Join(dir, "inspect.json"), withoutPasswords(inspect), 0o644))
	}
	if isBeside(n) {
		return errors.Join(errs...) // its console is all that it writes
	}
	if n.State != node.Running {
		return errors.Join(append(errs, fmt.Errorf("node %s is %s: its own logs cannot be read", n.Name, n.State))...)
	}
	for _, l := range nodeLogs {
		errs = append(errs, writeOutput(ctx, n, filepath.Join(dir, l.file), l.args))
	}
	return errors.Join(append(errs, exportVarLog(ctx, n, dir))...)
}

func writeOutput(ctx context.Context, n node.Node, path string, args []string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	err = n.Run(ctx, exec.Cmd{Args: args, Stdout: f})
	if err != nil {
		err = fmt.Errorf("node %s: %w", n.Name, err)
	}
	return errors.Join(err, f.Close())
}

// userInfo is the user and password of a URL, as proxies' addresses have them.
var userInfo = regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://)[^/@\s"]+@`)

// withoutPasswords takes users and passwords out of the URLs in a text.
func withoutPasswords(text []byte) []byte {
	return userInfo.ReplaceAll(text, []byte("${1}REDACTED@"))
}

// exportVarLog unpacks the node's log directory. Links are kept as links: a
// pod may have made one to any file of the node.
func exportVarLog(ctx context.Context, n node.Node, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	r, w := io.Pipe()
	unpacked := make(chan error, 1)
	go func() {
		err := untar(r, root)
		r.CloseWithError(err)
		unpacked <- err
	}()
	// a log that is written while it is read is no error: tar exits with 1
	err = n.Run(ctx, exec.Cmd{Args: []string{"tar", "--hard-dereference", "--exclude=journal", "-C", "/var/log", "-cf", "-", "."}, Stdout: w})
	w.Close()
	if e, ok := errors.AsType[*exec.Error](err); ok && e.Code == 1 {
		err = nil
	}
	return errors.Join(err, <-unpacked)
}
