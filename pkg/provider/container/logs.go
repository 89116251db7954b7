package container

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/provider"
)

// Console implements provider.LogCollector.
func (p *Provider) Console(ctx context.Context, n node.Node, lines int, w io.Writer) error {
	tail := "all"
	if lines > 0 {
		tail = strconv.Itoa(lines)
	}
	stream, err := p.engine.ContainerLogs(ctx, n.Name, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: tail})
	if err != nil {
		return p.engineError(err, "read the console of node %s", n.Name)
	}
	defer stream.Close()
	// A console is a terminal, so its log is one plain stream.
	if _, err := io.Copy(w, stream); err != nil {
		return fmt.Errorf("read the console of node %s: %w", n.Name, err)
	}
	return nil
}

// Inspect implements provider.LogCollector.
func (p *Provider) Inspect(ctx context.Context, n node.Node) (provider.Inspection, error) {
	c, raw, err := p.engine.ContainerInspectWithRaw(ctx, n.Name, false)
	if err != nil {
		return provider.Inspection{}, p.engineError(err, "inspect node %s", n.Name)
	}
	i := provider.Inspection{Raw: raw}
	if c.ContainerJSONBase != nil && c.State != nil {
		i.Started, i.Finished = engineTime(c.State.StartedAt), engineTime(c.State.FinishedAt)
		i.ExitCode, i.OutOfMemory, i.Error = c.State.ExitCode, c.State.OOMKilled, c.State.Error
	}
	return i, nil
}

// engineTime is a moment as engines give it, who say that never was in the
// year 1.
func engineTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 2 {
		return time.Time{}
	}
	return t
}

// nodeFilesLimit bounds what ReadNodeFiles keeps in memory: whoever is root in
// a node may have put anything there. Archives are of whole blocks, so the one
// byte more makes what is cut off an error.
const nodeFilesLimit = 16 << 20

// ReadNodeFiles implements provider.LogCollector.
func (p *Provider) ReadNodeFiles(ctx context.Context, n node.Node, name string) (map[string][]byte, error) {
	stream, _, err := p.engine.CopyFromContainer(ctx, n.Name, name)
	if cerrdefs.IsNotFound(err) {
		return nil, errdefs.New(errdefs.ClassNotFound, "FILE-NOT-FOUND", "node %s has no file %s", n.Name, name)
	}
	if err != nil {
		return nil, p.engineError(err, "read %s of node %s", name, n.Name)
	}
	defer stream.Close()
	files, err := readTarred(io.LimitReader(stream, nodeFilesLimit+1), path.Dir(name))
	if err != nil {
		return nil, fmt.Errorf("read %s of node %s: %w", name, n.Name, err)
	}
	return files, nil
}

// readTarred are the regular files of an archive of something in dir.
func readTarred(stream io.Reader, dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for r := tar.NewReader(stream); ; {
		header, err := r.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if files[path.Join(dir, header.Name)], err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
}

// remainsLimit is how long the container that Remains makes lives, should
// nobody be left to remove it.
const remainsLimit = 15 * time.Minute

// Remains implements provider.LogCollector: a container of the node's image
// that shares the node's volumes, and has neither a network nor privileges.
func (p *Provider) Remains(ctx context.Context, n node.Node) (exec.Runner, func() error, error) {
	settled, cancel := settle(ctx)
	defer cancel()
	config := &container.Config{
		Image:      n.Image,
		Entrypoint: []string{"sleep", strconv.Itoa(int(remainsLimit / time.Second))},
		Labels:     map[string]string{labelPurpose: "remains-of-" + n.Name},
	}
	host := &container.HostConfig{NetworkMode: "none", VolumesFrom: []string{n.Name + ":ro"}, AutoRemove: true}
	made, err := p.engine.ContainerCreate(settled, config, host, nil, nil, "")
	if err != nil {
		return nil, nil, p.engineError(err, "make a container for what node %s left", n.Name)
	}
	release := func() error {
		// also when ctx has ended
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return p.removeContainer(cleanup, made.ID)
	}
	if err := p.engine.ContainerStart(settled, made.ID, container.StartOptions{}); err != nil {
		return nil, nil, errors.Join(p.engineError(err, "start a container for what node %s left", n.Name), release())
	}
	return &runner{p: p, id: made.ID, name: n.Name}, release, nil
}
