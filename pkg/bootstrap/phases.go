// Package bootstrap turns a configuration into a usable cluster, phase by
// phase. The phases are data: each says which others it needs, and all that
// can run do run at once. It stands on the provider seam and on kubeadm in
// the nodes, knows nothing of Docker, and undoes nothing: everything it
// changes is in nodes, which the caller deletes when it fails.
package bootstrap

import (
	"context"
	"crypto/rand"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/registry"
)

// Env is what phases share: the input, and what each phase found for others.
type Env struct {
	Config   *config.Cluster
	Provider provider.Provider
	Reporter progress.Reporter
	// Network is the network that the nodes are put on; empty: their own.
	Network string
	// NodeEnv is added to the environment of all nodes, "NAME=value".
	NodeEnv []string
	// Labels are put on everything that the provider makes.
	Labels map[string]string
	// Balanced: the cluster has, or had, several control planes, and its nodes
	// have balancers. A new one is so by its configuration.
	Balanced bool
	// Wait bounds the waiting for a usable cluster; 0: do not wait.
	Wait time.Duration
	// NodeHelper is the program for nodes whose image brings none, by
	// architecture; nil: the one that was built into petri.
	NodeHelper func(arch string) ([]byte, error)
	// Preflight looks at the engine and the machine before anything is made,
	// and fails when a cluster could not be; nil: nobody looks.
	Preflight func(provider.Info) error
	// Connect makes the client of the new cluster's API.
	Connect func(kubeconfig []byte, server string) (API, error)

	versions map[string]string // Kubernetes version of each node image
	// foreign are the images that are not petri's, and nodeHelper the program
	// that their nodes are given.
	foreign    []string
	nodeHelper []byte
	cgroupV1   bool
	token      string        // bootstrap token, a secret
	adding     []config.Node // nodes that are added to a cluster; nil: it is made
	member     node.Node     // a control plane of the cluster that they are added to
	joined     func(context.Context) error
	nodes      map[string]node.Node
	cni        []byte // manifest of the user's own CNI
	secrets    RegistrySecrets
	registries registry.Setup
	endpoint   string // "https://host:port" of the API on the host
	kube       API

	started   future[node.Node] // the first control plane
	discovery future[string]
	admin     future[[]byte]
	superuser future[[]byte]
	manifests manifests
}

// API is what phases ask of a cluster. *kube.Client is the real one, whose
// methods say what is promised.
type API interface {
	WaitServing(ctx context.Context) error
	Apply(ctx context.Context, manifest []byte) error
	Wait(ctx context.Context, conditions []kube.Condition, met func(name string)) error
	DeleteToken(ctx context.Context, id string) error
	SaveConfig(ctx context.Context, config []byte) error
	AnnounceRegistry(ctx context.Context, hosting string) error
}

// Phase is one part of making a cluster. ID is the word in events, flags and
// documents; it never changes.
type Phase struct {
	ID    string
	Title string
	After []string // IDs of the phases that must be done first
	// When returns when there is also something else that it needs; nil: nothing.
	When func(context.Context, *Env) error
	Skip func(*Env) string
	Run  func(context.Context, *Env, *progress.Task) error
}

// Phases is making a cluster, in the order in which a person would tell it.
func Phases() []Phase {
	return []Phase{
		{ID: "image", Title: "Checking the node image", Run: checkImages},
		{ID: "cni", Title: "Reading the CNI manifest", Skip: ownCNI, Run: readCNI},
		{ID: "registries", Title: "Looking up registries", Skip: noRegistries, Run: findRegistries},
		{ID: "provision", Title: "Starting nodes", After: []string{"image", "cni", "registries"}, Run: provision},
		{ID: "init", Title: "Starting the control plane", When: controlPlaneStarted, Run: initControlPlane},
		{ID: "api", Title: "Waiting for the API", After: []string{"provision"}, Run: waitAPI},
		{ID: "addons", Title: "Installing network and storage", After: []string{"api"}, Run: installAddons},
		{ID: "join", Title: "Joining nodes", After: []string{"api"}, Skip: oneNode, Run: joinNodes},
		{ID: "ready", Title: "Waiting until the cluster is usable", After: []string{"init", "addons", "join"}, Skip: noWait, Run: waitUsable},
		{ID: "finish", Title: "Keeping the configuration", After: []string{"init", "join", "ready"}, Run: finish},
	}
}

func oneNode(env *Env) string {
	if len(env.Config.Nodes) == 1 {
		return "one node"
	}
	return ""
}

func noWait(env *Env) string {
	if env.Wait == 0 {
		return "not asked to wait"
	}
	return ""
}

// Admin is the cluster's administrator kubeconfig, as kubeadm wrote it. It is
// there once Run has returned without error.
func (e *Env) Admin(ctx context.Context) ([]byte, error) { return e.admin.get(ctx) }

// tokenID is the part of the bootstrap token that is no secret.
func (e *Env) tokenID() string {
	id, _, _ := strings.Cut(e.token, ".")
	return id
}

// future is a value that one phase finds and others wait for.
type future[T any] struct {
	once  sync.Once
	ready chan struct{}
	init  sync.Once
	value T
}

func (f *future[T]) channel() chan struct{} {
	f.init.Do(func() { f.ready = make(chan struct{}) })
	return f.ready
}

func (f *future[T]) set(value T) {
	f.once.Do(func() {
		f.value = value
		close(f.channel())
	})
}

func (f *future[T]) known() bool {
	select {
	case <-f.channel():
		return true
	default:
		return false
	}
}

func (f *future[T]) get(ctx context.Context) (T, error) {
	select {
	case <-f.channel():
		return f.value, nil
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// manifests are the default manifests that the node image carries, by path.
type manifests struct {
	mu    sync.Mutex
	files map[string]string
}

func (m *manifests) put(path, content string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files == nil {
		m.files = map[string]string{}
	}
	m.files[path] = content
}

func (m *manifests) get(path string) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	content, ok := m.files[path]
	return content, ok
}

// newToken makes a random bootstrap token: "[a-z0-9]{6}.[a-z0-9]{16}".
func newToken() (string, error) {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	var text [22]byte
	for i := range text {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			return "", fmt.Errorf("make bootstrap token: %w", err)
		}
		text[i] = alphabet[n.Int64()]
	}
	return string(text[:6]) + "." + string(text[6:]), nil
}
