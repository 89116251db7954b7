// Package cluster is petri as a Go library: create, delete, list, read, stop,
// start, grow and upgrade clusters, as functions with contexts. The command line is one of its users,
// test frameworks are others. It stands on a provider and on the phases of
// bootstrap, keeps no state of its own, and is not aware of terminals.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/petri-cluster/petri/pkg/bootstrap"
	"github.com/petri-cluster/petri/pkg/doctor"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/internal/lockfile"
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/kubeconfig"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/nodestore"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

// Manager does things to clusters of one provider. It is safe for concurrent
// use, also by several processes.
type Manager struct {
	provider provider.Provider
	reporter progress.Reporter
	// Dialect is whose names new clusters get, one of nodeimage.Dialect*.
	// Those that are there keep theirs.
	Dialect string
	// Network is the network that new clusters are put on, which outlives
	// them; empty: each gets its own.
	Network string
	// NodeEnv is added to the environment of new nodes, "NAME=value".
	NodeEnv []string
	// Connect replaces the way to a cluster's API; nil: the real one.
	Connect func(kubeconfig []byte, server string) (API, error)
	// OpenStore replaces the way to a node's images; nil: the real one.
	OpenStore func(ctx context.Context, n node.Node) (*nodestore.Store, error)
	// Host replaces the machine that is examined; nil: this one.
	Host *doctor.Host
}

// API is what is asked of a cluster, while it is made and later. *kube.Client
// is the real one, whose methods say what is promised.
type API interface {
	bootstrap.API
	LoadConfig(ctx context.Context) ([]byte, error)
	Nodes(ctx context.Context) (map[string]kube.NodeInfo, error)
	Cordon(ctx context.Context, node string, cordoned bool) error
	OnlyHere(ctx context.Context, node string) ([]string, error)
	Drain(ctx context.Context, node string, left func(pods int)) error
	Vacate(ctx context.Context, node string, left func(pods int)) error
	Annotate(ctx context.Context, node string, annotations map[string]string) error
	ServerVersion(ctx context.Context) (string, error)
	DeleteNode(ctx context.Context, node string) error
	ClusterConfiguration(ctx context.Context) ([]byte, error)
	Redirect(ctx context.Context, endpoint string) error
	Pods(ctx context.Context, namespace string) ([]kube.Pod, error)
	Unmet(ctx context.Context, conditions []kube.Condition) ([]kube.Shortfall, error)
	Observe(ctx context.Context) (kube.Observation, error)
	Dump(ctx context.Context, open func(resource string) (io.WriteCloser, error), secret func(value string)) error
}

// New makes a Manager. A nil reporter says nothing.
func New(p provider.Provider, r progress.Reporter) *Manager {
	if r == nil {
		r = progress.Discard
	}
	return &Manager{provider: p, reporter: r, Dialect: nodeimage.DialectPetri}
}

// List returns the names of all clusters, sorted.
func (m *Manager) List(ctx context.Context) ([]string, error) { return m.provider.Clusters(ctx) }

// Own returns the names of the clusters that petri made, sorted: what another
// tool made is not for petri to clear away unasked.
func (m *Manager) Own(ctx context.Context) ([]string, error) {
	names, err := m.List(ctx)
	if err != nil {
		return nil, err
	}
	var own []string
	for _, name := range names {
		nodes, err := m.provider.Nodes(ctx, name)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(nodes, func(n node.Node) bool { return n.Foreign }) {
			own = append(own, name)
		}
	}
	return own, nil
}

// Nodes returns the nodes of a cluster, control planes first, without what is
// beside them, in which no Kubernetes runs. A cluster that is not there is an error
// of class not found.
func (m *Manager) Nodes(ctx context.Context, name string) ([]node.Node, error) {
	all, err := m.machines(ctx, name)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, node.Node.Beside), nil
}

// machines are the nodes of a cluster and what is beside them.
func (m *Manager) machines(ctx context.Context, name string) ([]node.Node, error) {
	all, err := m.provider.Nodes(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, m.notFound(ctx, name)
	}
	return all, nil
}

func isLoadBalancer(n node.Node) bool { return n.Role == nodeimage.RoleLoadBalancer }

// entryName is the name of a cluster's entries in kubeconfig files. A cluster
// without nodes has that of new ones.
func (m *Manager) entryName(name string, nodes []node.Node) string {
	dialect := m.Dialect
	if len(nodes) > 0 {
		dialect = nodes[0].Dialect
	}
	return kubeconfig.EntryName(dialect, name)
}

// notFound names the clusters that are there.
func (m *Manager) notFound(ctx context.Context, name string) error {
	err := errdefs.New(errdefs.ClassNotFound, "CLUSTER-NOT-FOUND", "there is no cluster %q", name)
	names, listErr := m.provider.Clusters(ctx)
	if listErr != nil || len(names) == 0 {
		return err.WithHint("make one: petri create cluster --name %s", name)
	}
	return err.WithHint("these are there: %v", names)
}

// runningControlPlanes are those among nodes that run, at least one.
func runningControlPlanes(name string, nodes []node.Node) ([]node.Node, error) {
	running := slices.DeleteFunc(slices.Clone(nodes), func(n node.Node) bool {
		return n.Role != nodeimage.RoleControlPlane || n.State != node.Running
	})
	if len(running) == 0 {
		return nil, errdefs.New(errdefs.ClassUnavailable, "CONTROL-PLANE-DOWN", "no control plane of cluster %q is running", name)
	}
	return running, nil
}

// admin is the administrator's kubeconfig, and the node that it was read from.
func admin(ctx context.Context, name string, nodes []node.Node) (from node.Node, kubeconfig []byte, err error) {
	return fromControlPlane(ctx, name, nodes, nodeimage.AdminConfPath)
}

// fromControlPlane is a file that all control planes have, and the node that it
// was read from: the first that has it. One that is still joining has none, and
// one that hangs is not waited for while there are others.
func fromControlPlane(ctx context.Context, name string, nodes []node.Node, path string) (from node.Node, data []byte, err error) {
	running, err := runningControlPlanes(name, nodes)
	if err != nil {
		return node.Node{}, nil, err
	}
	last := len(running) - 1
	for _, from = range running[:last] {
		limited, cancel := context.WithTimeoutCause(ctx, fileLimit, errFile)
		data, err = from.ReadFile(limited, path)
		hangs := errors.Is(context.Cause(limited), errFile)
		cancel()
		if e, ok := errors.AsType[*exec.Error](err); err == nil || !hangs && (!ok || e.Code != missing) {
			return from, data, err
		}
	}
	data, err = running[last].ReadFile(ctx, path)
	return running[last], data, err
}

// fileLimit is how long a control plane may take to send a file when there are
// others that have it.
const fileLimit = 3 * time.Second

var errFile = fmt.Errorf("it did not send a file within %s", fileLimit)

// missing is the exit code of cat when there is no such file.
const missing = 1

// client connects to a cluster's API from the host.
func (m *Manager) client(ctx context.Context, name string) (API, error) {
	nodes, err := m.Nodes(ctx, name)
	if err != nil {
		return nil, err
	}
	return m.clientOf(ctx, name, nodes)
}

// clientOf connects to the API of a cluster whose nodes are known.
func (m *Manager) clientOf(ctx context.Context, name string, nodes []node.Node) (API, error) {
	_, kubeconfig, err := admin(ctx, name, nodes)
	if err != nil {
		return nil, err
	}
	endpoint, err := m.provider.Endpoint(ctx, name)
	if err != nil {
		return nil, err
	}
	return m.connect(kubeconfig, "https://"+endpoint)
}

func (m *Manager) connect(kubeconfig []byte, server string) (API, error) {
	if m.Connect != nil {
		return m.Connect(kubeconfig, server)
	}
	return kube.Connect(kubeconfig, server)
}

// lock keeps other petri processes of this user from changing the same
// cluster at the same time. Who holds it is in the error.
func lock(name string) (release func(), err error) {
	path, err := lockPath(name, ".lock")
	if err != nil {
		return nil, err
	}
	return lockfile.TryAcquire(path)
}

// lockDeletion waits until no other petri process of this user deletes the same
// cluster, and keeps others waiting.
func lockDeletion(ctx context.Context, name string) (release func(), err error) {
	path, err := lockPath(name, ".delete")
	if err != nil {
		return nil, err
	}
	return lockfile.Acquire(ctx, path)
}

func lockPath(name, suffix string) (string, error) {
	if name == "" || name != filepath.Base(name) {
		// it becomes the name of a file, which is removed afterwards
		return "", errdefs.New(errdefs.ClassUsage, "CLUSTER-NAME", "%q is not the name of a cluster", name)
	}
	dir, err := stateDir("locks")
	return filepath.Join(dir, name+suffix), err
}

// stateDir is a directory of what petri processes of this user tell each
// other. It is made if needed.
func stateDir(kind string) (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	dir = filepath.Join(dir, "petri", kind)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the directory for %s: %w", kind, err)
	}
	return dir, nil
}
