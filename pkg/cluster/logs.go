package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/petri-cluster/petri/pkg/doctor"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/redact"
	"github.com/petri-cluster/petri/pkg/version"
)

// apiLimit bounds what is asked of the API, which may be what is broken.
const apiLimit = 2 * time.Minute

// ExportLogs writes all that is known of a cluster, without its secrets, to
// target, and returns where that is: a directory, with one folder a node, as
// kind lays them out; one file, when target ends in ".tar.zst"; or a new
// directory for temporary files, when it is empty. Nodes need not run, and the
// cluster need never have been usable. What cannot be had is named in the
// error and on the page summary.html; everything else is there all the same.
func (m *Manager) ExportLogs(ctx context.Context, name, target string) (string, error) {
	nodes, err := m.machines(ctx, name)
	if err != nil {
		return "", err
	}
	place, err := openExportPlace(name, target)
	if err != nil {
		return "", fmt.Errorf("export logs: %w", err)
	}
	e := &export{Manager: m, name: name, nodes: nodes, place: place, known: make([]nodeFacts, len(nodes))}
	e.run(ctx)
	if err := place.finish(); err != nil {
		return "", fmt.Errorf("export logs: %w", err)
	}
	return place.path, e.incomplete()
}

// export is one run of ExportLogs.
type export struct {
	*Manager
	redact.Redactor
	name  string
	nodes []node.Node
	place *exportPlace

	status      Status
	apiErr      error // why the API could not be asked; nil when it could
	examined    doctor.Report
	observation kube.Observation
	known       []nodeFacts // by the index of the node

	mu   sync.Mutex
	lost []error // what could not be had
}

// nodeFacts are what the summary says of a node.
type nodeFacts struct {
	inspection provider.Inspection
	failed     []string // units of its init system
}

// run writes everything. Secrets come first: what is written before they are
// known keeps them.
func (e *export) run(ctx context.Context) {
	e.Learn([]byte(strings.Join(os.Environ(), "\n")))
	e.each(func(i int, n node.Node) { e.learn(ctx, i, n) })
	e.api(ctx)
	e.engine(ctx)
	e.each(func(i int, n node.Node) { e.machine(ctx, i, n) })
	e.missing("timeline.txt", e.write("timeline.txt", e.timeline))
	e.missing("summary.html", e.write("summary.html", e.summary))
}

// each calls fn for all nodes at once.
func (e *export) each(fn func(i int, n node.Node)) {
	var group errgroup.Group
	for i, n := range e.nodes {
		group.Go(func() error {
			fn(i, n)
			return nil
		})
	}
	_ = group.Wait() // nobody returns an error: each is kept where it arises
}

// missing keeps why something is not in the export; a nil err keeps nothing.
func (e *export) missing(what string, err error) {
	if err == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lost = append(e.lost, fmt.Errorf("%s: %w", what, err))
}

// incomplete is the error that names what is missing; nil when nothing is.
func (e *export) incomplete() error {
	if len(e.lost) == 0 {
		return nil
	}
	return errdefs.New(errdefs.ClassFailed, "EXPORT-INCOMPLETE", "export logs: not all could be had:\n%w", errors.Join(e.lost...)).
		WithHint("the rest is in %s; summary.html there says what is wrong with the cluster", e.place.path)
}

// write makes a file of what fill writes, without secrets.
func (e *export) write(name string, fill func(io.Writer) error) error {
	f, err := e.create(name)
	if err != nil {
		return err
	}
	return errors.Join(fill(f), f.Close())
}

// create makes a file that takes secrets out of what is written to it.
func (e *export) create(name string) (io.WriteCloser, error) {
	if err := e.place.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return nil, err
	}
	f, err := e.place.root.Create(name)
	if err != nil {
		return nil, err
	}
	buffer := bufio.NewWriter(f)
	return &exportFile{WriteCloser: e.Writer(buffer), buffer: buffer, file: f}, nil
}

type exportFile struct {
	io.WriteCloser
	buffer *bufio.Writer
	file   *os.File
}

// Close writes what was kept back and closes the file.
func (f *exportFile) Close() error {
	return errors.Join(f.WriteCloser.Close(), f.buffer.Flush(), f.file.Close())
}

// engine writes what is known without the API.
func (e *export) engine(ctx context.Context) {
	info, err := e.provider.Check(ctx)
	if err == nil {
		err = e.writeJSON("provider.json", info)
	}
	e.missing("provider.json", err)
	e.missing("petri-version.txt", e.write("petri-version.txt", func(w io.Writer) error {
		_, err := fmt.Fprintln(w, version.String())
		return err
	}))
	e.examined = e.examineExisting(ctx, e.name, e.nodes)
	e.missing("doctor.json", e.writeJSON("doctor.json", e.examined))
}

func (e *export) writeJSON(name string, v any) error {
	return e.write(name, func(w io.Writer) error {
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		return out.Encode(v)
	})
}

// api writes what the API knows. Its Secrets are read first, so that their
// values are found in everything that follows; when it does not give them, they
// are read where it keeps them.
func (e *export) api(whole context.Context) {
	ctx, cancel := context.WithTimeout(whole, apiLimit)
	defer cancel()
	client, err := e.clientOf(ctx, e.name, e.nodes)
	if err != nil {
		client = nil // and not a connection that is nil
	} else {
		e.observation, err = client.Observe(ctx)
	}
	if e.apiErr = err; err != nil {
		e.missing("objects and events of the cluster", err)
		e.stored(whole)
	} else {
		open := func(resource string) (io.WriteCloser, error) { return e.create("objects/" + resource + ".yaml") }
		if err := client.Dump(ctx, open, func(secret string) { e.Add(secret) }); err != nil {
			e.missing("objects of the cluster", err)
			e.stored(whole)
		}
		e.missing("events.txt", e.write("events.txt", e.events))
	}
	e.missing("config.yaml", e.config(ctx, client))
	if e.status, err = e.statusOf(ctx, e.name, e.nodes); err == nil {
		err = e.writeJSON("status.json", e.status)
	}
	e.missing("status.json", err)
}

// config writes the configuration that the cluster was made from: the
// cluster's own copy, or that of a control plane. One that another tool made has
// none, and nothing is missing.
func (e *export) config(ctx context.Context, client API) error {
	if slices.ContainsFunc(e.nodes, func(n node.Node) bool { return n.Foreign }) {
		return nil
	}
	read := func() ([]byte, error) { return keptConfig(ctx, e.name, e.nodes) }
	if client != nil {
		read = func() ([]byte, error) { return configOf(ctx, client, e.name, e.nodes) }
	}
	data, err := read()
	if err != nil {
		return err
	}
	return e.write("config.yaml", func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// events writes the moments that the API has.
func (e *export) events(w io.Writer) error { return writeMoments(w, e.observation.Moments) }

// timeline writes all that happened, as the API and the engine tell it.
func (e *export) timeline(w io.Writer) error {
	all := slices.Clone(e.observation.Moments)
	for i, n := range e.nodes {
		what, seen := n.Title(), e.known[i].inspection
		for _, m := range []kube.Moment{
			{Time: n.Created, What: what, Text: "created"},
			{Time: seen.Started, What: what, Text: "started"},
			{Time: seen.Finished, What: what, Text: fmt.Sprintf("stopped with exit code %d", seen.ExitCode)},
		} {
			if !m.Time.IsZero() {
				all = append(all, m)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b kube.Moment) int { return a.Time.Compare(b.Time) })
	return writeMoments(w, all)
}

func writeMoments(w io.Writer, moments []kube.Moment) error {
	for _, m := range moments {
		text := strings.ReplaceAll(strings.TrimSpace(m.Text), "\n", "\n\t")
		if _, err := fmt.Fprintf(w, "%s  %s  %s\n", m.Time.UTC().Format("2006-01-02T15:04:05.000Z"), m.What, text); err != nil {
			return err
		}
	}
	return nil
}
