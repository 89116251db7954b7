// Package container makes nodes out of containers, through the Engine API of
// Docker and of what speaks it. It stands on the engine's client library, and
// is the only package that imports it: command lines are never run. What
// differs between engines is a dialect in a file of its own. All state is in
// the engine, as labels; the package knows nothing of Kubernetes.
package container

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/petri-cluster/petri/pkg/diagnosis"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

// Options adjust a Provider. The zero value is right for a command line.
type Options struct {
	// Version of petri, put on what is made. Empty: no such label.
	Version string
	// CacheDir keeps what was learned about an engine; it may be lost at any
	// time. Empty: petri's folder in the user's cache directory.
	CacheDir string
	// BootTimeout is how long a node may take from start to booted. 0: 30 s.
	BootTimeout time.Duration
	// Getenv looks up proxy and engine settings. Nil: os.Getenv.
	Getenv func(string) string
}

// Provider is an engine that runs nodes as containers. It implements
// provider.Provider and every ability that package provider knows.
type Provider struct {
	engine  engine
	dialect dialect
	opts    Options

	mu         sync.Mutex
	info       *system.Info
	privileges string            // how nodes may run, once that is known
	booting    map[string]*boot  // by container ID: nodes this process started
	endpoints  map[string]string // by cluster: of those that this process made
}

var (
	_ provider.Provider     = (*Provider)(nil)
	_ provider.ImageSource  = (*Provider)(nil)
	_ provider.ImageFiles   = (*Provider)(nil)
	_ provider.LogCollector = (*Provider)(nil)
	_ provider.Power        = (*Provider)(nil)
	_ provider.Growth       = (*Provider)(nil)
	_ provider.Surveyor     = (*Provider)(nil)
	_ provider.Registries   = (*Provider)(nil)
)

// New connects to the Docker engine that DOCKER_HOST, DOCKER_CONTEXT or the
// current context of Docker's configuration names, else to the local one. It
// fails with class usage when these settings make no sense; whether anybody
// answers is only known to Check.
func New(opts Options) (*Provider, error) {
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	cli, err := dialDocker(opts.Getenv)
	if err != nil {
		return nil, err
	}
	return newProvider(cli, docker(), opts), nil
}

func newProvider(e engine, d dialect, opts Options) *Provider {
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	if opts.BootTimeout == 0 {
		opts.BootTimeout = 30 * time.Second
	}
	return &Provider{engine: e, dialect: d, opts: opts, booting: make(map[string]*boot), endpoints: make(map[string]string)}
}

// Name implements provider.Provider.
func (p *Provider) Name() string { return p.dialect.name }

// engine is the part of the Engine API that is used, so that tests can count
// and fail its calls.
type engine interface {
	ClientVersion() string
	DaemonHost() string
	Info(ctx context.Context) (system.Info, error)

	ContainerAttach(ctx context.Context, container string, options container.AttachOptions) (types.HijackedResponse, error)
	ContainerCommit(ctx context.Context, container string, options container.CommitOptions) (container.CommitResponse, error)
	ContainerCreate(ctx context.Context, config *container.Config, hostConfig *container.HostConfig, networkingConfig *network.NetworkingConfig, platform *ocispec.Platform, containerName string) (container.CreateResponse, error)
	ContainerExecAttach(ctx context.Context, execID string, options container.ExecAttachOptions) (types.HijackedResponse, error)
	ContainerExecCreate(ctx context.Context, container string, options container.ExecOptions) (container.ExecCreateResponse, error)
	ContainerExecInspect(ctx context.Context, execID string) (container.ExecInspect, error)
	ContainerInspectWithRaw(ctx context.Context, container string, getSize bool) (container.InspectResponse, []byte, error)
	ContainerList(ctx context.Context, options container.ListOptions) ([]container.Summary, error)
	ContainerLogs(ctx context.Context, container string, options container.LogsOptions) (io.ReadCloser, error)
	ContainerPause(ctx context.Context, container string) error
	ContainerRemove(ctx context.Context, container string, options container.RemoveOptions) error
	ContainerStart(ctx context.Context, container string, options container.StartOptions) error
	ContainerStop(ctx context.Context, container string, options container.StopOptions) error
	ContainerUnpause(ctx context.Context, container string) error
	ContainerWait(ctx context.Context, container string, condition container.WaitCondition) (<-chan container.WaitResponse, <-chan error)
	CopyFromContainer(ctx context.Context, container, srcPath string) (io.ReadCloser, container.PathStat, error)
	CopyToContainer(ctx context.Context, container, path string, content io.Reader, options container.CopyToContainerOptions) error

	ImageInspect(ctx context.Context, image string, options ...client.ImageInspectOption) (image.InspectResponse, error)
	ImageLoad(ctx context.Context, input io.Reader, options ...client.ImageLoadOption) (image.LoadResponse, error)
	ImagePull(ctx context.Context, ref string, options image.PullOptions) (io.ReadCloser, error)
	ImageSave(ctx context.Context, images []string, options ...client.ImageSaveOption) (io.ReadCloser, error)

	NetworkConnect(ctx context.Context, network, container string, config *network.EndpointSettings) error
	NetworkCreate(ctx context.Context, name string, options network.CreateOptions) (network.CreateResponse, error)
	NetworkDisconnect(ctx context.Context, network, container string, force bool) error
	NetworkInspect(ctx context.Context, network string, options network.InspectOptions) (network.Inspect, error)
	NetworkList(ctx context.Context, options network.ListOptions) ([]network.Summary, error)
	NetworkRemove(ctx context.Context, network string) error

	VolumeList(ctx context.Context, options volume.ListOptions) (volume.ListResponse, error)
	VolumeRemove(ctx context.Context, volumeID string, force bool) error
}

var _ engine = (*client.Client)(nil)

// Labels that only this package reads, beside the contract's in nodeimage.
const (
	// labelAddress is the host address the API is published on. A stopped
	// container has no published ports to read it from.
	labelAddress = "dev.petri.api-address"
	// labelShared marks a network that petri made under a name it was given.
	// Other clusters may be on it, so deleting one cluster leaves it.
	labelShared = "dev.petri.shared-network"
	// labelPurpose marks a container that is no node and is soon gone.
	labelPurpose = "dev.petri.purpose"
)

// clusterFilter selects what carries petri's label of the cluster, or of any
// cluster when it is empty.
func clusterFilter(cluster string) filters.Args {
	return labelFilter(nodeimage.LabelCluster, cluster)
}

func labelFilter(label, value string) filters.Args {
	if value != "" {
		label += "=" + value
	}
	return filters.NewArgs(filters.Arg("label", label))
}

// engineError says what was being done when the engine answered with err, and
// gives the classes that hold whatever was being done.
func (p *Provider) engineError(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	if client.IsErrConnectionFailed(err) {
		return errdefs.New(errdefs.ClassUnavailable, "ENGINE-UNREACHABLE", "%s: %w", what, err).
			WithHint("%s", p.dialect.unreachableHint(err))
	}
	return diagnosis.Explain(fmt.Errorf("%s: %w", what, err))
}

// local reports whether the engine runs on this host, so that what this
// process sees of files and routes is what the engine sees. Off Linux it runs
// in a virtual machine even when its socket is here.
func (p *Provider) local() bool {
	return runtime.GOOS == "linux" && strings.HasPrefix(p.engine.DaemonHost(), "unix://")
}

// statusText is the part of an engine's message that errors are told apart by,
// where the API has no code for it.
func statusText(err error) string { return strings.ToLower(err.Error()) }
