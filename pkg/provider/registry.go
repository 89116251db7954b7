package provider

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/petri-cluster/petri/pkg/progress"
)

// Registries is the ability to run registries beside clusters, which outlive
// them. All container providers have it.
type Registries interface {
	// CreateRegistry makes a registry, and returns when it serves. It fails
	// with class exists when there is one of that name, and then leaves it
	// alone; on any other error nothing of it is left.
	CreateRegistry(ctx context.Context, spec RegistrySpec, r progress.Reporter) (Registry, error)
	// Registries lists all registries, sorted by name.
	Registries(ctx context.Context) ([]Registry, error)
	// ConnectRegistry puts a registry on the network of a cluster, where it is
	// called RegistryHost(name), and starts it when it is stopped. One that is
	// there is left alone.
	ConnectRegistry(ctx context.Context, name, cluster string) error
	// DisconnectRegistry takes a registry off the network of a cluster, unless
	// other clusters are on that network too. One that is not there is no error.
	DisconnectRegistry(ctx context.Context, name, cluster string) error
	// DeleteRegistry removes a registry and what is stored in it, whatever is
	// left of it. One that is not there is no error.
	DeleteRegistry(ctx context.Context, name string) error
}

// RegistryPort is the port of a registry on the networks it is on.
const RegistryPort = 5000

// RegistryDomain ends the names of registries on the networks of clusters: no
// proxy of a node's is asked for what is in it.
const RegistryDomain = "registry.petri"

// RegistryHost is the name of a registry on the networks of clusters.
func RegistryHost(name string) string { return name + "." + RegistryDomain }

// RegistryEndpoint is the URL of a registry on the networks of clusters.
func RegistryEndpoint(name string) string {
	return "http://" + net.JoinHostPort(RegistryHost(name), strconv.Itoa(RegistryPort))
}

// RegistrySpec is a registry that is wanted.
type RegistrySpec struct {
	Name    string
	Image   string
	Command []string // runs the registry, which listens on RegistryPort
	Files   []File   // in place before it starts
	Env     []string
	// DataDir is where it keeps what is stored in it: on a volume.
	DataDir string
	// Serving is the regular expression of the line on its console that says
	// that it serves.
	Serving string
	// Publish is where the host reaches it. Port 0: the provider picks a free
	// one and keeps it.
	Publish Publish
	// Upstream is the URL of the registry that it caches; empty: of none.
	Upstream string
	Labels   map[string]string
}

// Registry is a registry as the engine knows it.
type Registry struct {
	Name      string
	Container string // its name on the engine
	Address   string // of the host, "127.0.0.1"
	Port      uint16 // of the host
	Upstream  string
	Image     string
	State     string // "running" or "stopped"
	Created   time.Time
	// Clusters are those that have a network with it, sorted.
	Clusters []string
}
