package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/internal/atomicfile"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/progress"
)

// creation is a creation that has begun. A process that is killed cannot remove
// what it made, so each leaves a note before it makes anything, with an ID
// that is on all that it makes, and takes the note away when it ends. The next
// creation of that name then knows what was left from what is a cluster.
type creation struct {
	id   string
	note string // path of the file
}

// begin leaves the note of a creation. The cluster must be locked.
func begin(name string) (creation, error) {
	path, err := notePath(name)
	if err != nil {
		return creation{}, err
	}
	c := creation{id: strings.ToLower(rand.Text()), note: path}
	if err := atomicfile.Write(path, []byte(c.id), 0o600); err != nil {
		return creation{}, fmt.Errorf("note the creation: %w", err)
	}
	return c, nil
}

// end takes the note away: what is there now is a cluster, or nothing, or was
// kept on purpose.
func (c creation) end() { _ = os.Remove(c.note) }

// forget takes the note of a killed creation away, if there is one: what it
// left is removed, or in use, and then it is to be kept.
func forget(name string) error {
	path, err := notePath(name)
	if err != nil {
		return err
	}
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// killed is the ID of a creation that was killed, empty when none was. The
// cluster must be locked: nobody makes it now.
func killed(name string) (string, error) {
	path, err := notePath(name)
	if err != nil {
		return "", err
	}
	id, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(id), err
}

// notePath is where the creation of a cluster is noted.
func notePath(name string) (string, error) {
	dir, err := stateDir("creations")
	return filepath.Join(dir, name), err
}

// settleTime is how long an engine may go on making what a process asked for
// that was killed.
const settleTime = 2 * time.Second

func awaitEngine(ctx context.Context) error {
	select {
	case <-time.After(settleTime):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// removeKilled removes what a killed creation left of a cluster, and nothing
// that it did not make, to the end even when ctx ends. It returns whether the
// name is free then.
func (m *Manager) removeKilled(ctx context.Context, name, id string) (bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if err := awaitEngine(ctx); err != nil {
		return false, err
	}
	nodes, err := m.provider.Nodes(ctx, name)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(nodes, func(n node.Node) bool { return n.Creation != id }) {
		return false, nil
	}
	task := progress.Start(m.reporter, "undo", "Removing what a killed creation left", "")
	return true, task.Done(m.provider.Delete(ctx, name))
}
