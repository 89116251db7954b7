package container

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/api/types/volume"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// fakeEngine is an Engine API in memory that counts its calls and fails those
// it is told to. Methods that no unit test needs are those of the nil engine.
type fakeEngine struct {
	engine
	info    system.Info
	console string // what a node writes when it starts; "" leaves it silent
	closing bool   // it dies then

	mu         sync.Mutex
	calls      []string
	fail       func(call string, nth int) error // nth of all calls, from 1
	refuse     func(network.CreateOptions) error
	containers map[string]*fakeContainer  // by name
	networks   map[string]network.Summary // by name
	execs      map[string]string          // exec ID to command
	// making is a container that the engine is making: no listing shows it, but
	// its volume is there. It is there when the volume was to be removed twice.
	making  *fakeContainer
	refused int
	// unlinking is how long the removal of a container's files takes.
	unlinking time.Duration
}

type fakeContainer struct {
	id, name string
	config   *container.Config
	host     *container.HostConfig
	network  *network.NetworkingConfig
	running  bool
	left     bool             // it is on its network no more
	ports    []container.Port // that a listing shows
	stopped  int              // seconds that it had to stop
	files    []byte
	console  net.Conn
}

func newFakeEngine() *fakeEngine {
	bridge := network.Summary{ID: "bridge-id", Name: "bridge", Options: map[string]string{optionMTU: "1450"}}
	return &fakeEngine{
		info: system.Info{
			ID: "ENGINE:1", ServerVersion: "20.10.24", OSType: "linux", Architecture: "x86_64", CgroupVersion: "2",
		},
		console:    "booting\r\n\x1b[0;32m  OK  \x1b[0m] Reached target multi-user.target - Multi-User System.\r\n",
		containers: make(map[string]*fakeContainer),
		networks:   map[string]network.Summary{"bridge": bridge},
		execs:      make(map[string]string),
	}
}

// fakeProvider is a provider on a fake engine, with no cache and no proxies.
func fakeProvider(t *testing.T, e *fakeEngine) *Provider {
	return newProvider(e, docker(), Options{
		Version: "v0", CacheDir: t.TempDir(), Getenv: func(string) string { return "" },
	})
}

func (e *fakeEngine) call(ctx context.Context, name string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e.calls = append(e.calls, name)
	if e.fail == nil {
		return nil
	}
	return e.fail(name, len(e.calls))
}

func (e *fakeEngine) ClientVersion() string { return "1.41" }

func (e *fakeEngine) DaemonHost() string { return "unix:///var/run/docker.sock" }

func (e *fakeEngine) Info(ctx context.Context) (system.Info, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.info, e.call(ctx, "Info")
}

func matches(args filters.Args, labels map[string]string) bool {
	return args.MatchKVList("label", labels)
}

func (e *fakeEngine) ContainerList(ctx context.Context, options container.ListOptions) ([]container.Summary, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var found []container.Summary
	for _, name := range slices.Sorted(maps.Keys(e.containers)) {
		c := e.containers[name]
		if !matches(options.Filters, c.config.Labels) {
			continue
		}
		found = append(found, container.Summary{
			ID: c.id, Names: []string{"/" + name}, Image: c.config.Image, Labels: c.config.Labels, Ports: c.ports,
			State:           map[bool]container.ContainerState{true: container.StateRunning, false: container.StateExited}[c.running],
			NetworkSettings: &container.NetworkSettingsSummary{Networks: c.network.EndpointsConfig},
		})
	}
	return found, e.call(ctx, "ContainerList")
}

func (e *fakeEngine) NetworkList(ctx context.Context, options network.ListOptions) ([]network.Summary, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var found []network.Summary
	for _, name := range slices.Sorted(maps.Keys(e.networks)) {
		if n := e.networks[name]; matches(options.Filters, n.Labels) {
			found = append(found, n)
		}
	}
	return found, e.call(ctx, "NetworkList")
}

func (e *fakeEngine) NetworkCreate(ctx context.Context, name string, options network.CreateOptions) (network.CreateResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.call(ctx, "NetworkCreate"); err != nil {
		return network.CreateResponse{}, err
	}
	if e.refuse != nil {
		if err := e.refuse(options); err != nil {
			return network.CreateResponse{}, err
		}
	}
	e.networks[name] = network.Summary{
		ID: name + "-id", Name: name, Labels: options.Labels, Options: options.Options, IPAM: *options.IPAM,
		EnableIPv6: options.EnableIPv6 != nil && *options.EnableIPv6,
	}
	return network.CreateResponse{ID: name + "-id"}, nil
}

func (e *fakeEngine) NetworkRemove(ctx context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.call(ctx, "NetworkRemove"); err != nil {
		return err
	}
	name := strings.TrimSuffix(id, "-id")
	for _, c := range e.containers {
		if _, on := c.network.EndpointsConfig[name]; on && !c.left {
			return errors.New("network " + name + " has active endpoints")
		}
	}
	delete(e.networks, name)
	return nil
}

func (e *fakeEngine) NetworkInspect(ctx context.Context, id string, _ network.InspectOptions) (network.Inspect, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.networks[strings.TrimSuffix(id, "-id")]
	n.Containers = map[string]network.EndpointResource{"x": {Name: "stranger"}}
	return n, e.call(ctx, "NetworkInspect")
}

func (e *fakeEngine) VolumeRemove(ctx context.Context, id string, _ bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refused++; e.refused == 2 {
		e.containers[e.making.name] = e.making
		e.making = nil
	}
	return errors.Join(e.call(ctx, "VolumeRemove"), fmt.Errorf("remove %s: volume is in use: %w", id, cerrdefs.ErrConflict))
}

func (e *fakeEngine) VolumeList(ctx context.Context, _ volume.ListOptions) (volume.ListResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var found volume.ListResponse
	if e.making != nil {
		found.Volumes = []*volume.Volume{{Name: "made-first"}}
	}
	return found, e.call(ctx, "VolumeList")
}

func (e *fakeEngine) ContainerCreate(ctx context.Context, config *container.Config, host *container.HostConfig,
	networking *network.NetworkingConfig, _ *ocispec.Platform, name string,
) (container.CreateResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.call(ctx, "ContainerCreate"); err != nil {
		return container.CreateResponse{}, err
	}
	if _, ok := e.containers[name]; ok {
		return container.CreateResponse{}, fmt.Errorf("name in use: %w", cerrdefs.ErrConflict)
	}
	if networking == nil {
		networking = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{"bridge": {}}}
	}
	c := &fakeContainer{id: fmt.Sprintf("%s-%d", name, len(e.calls)), name: name, config: config, host: host, network: networking}
	e.containers[name] = c
	return container.CreateResponse{ID: c.id}, nil
}

func (e *fakeEngine) NetworkConnect(ctx context.Context, id, container string, endpoint *network.EndpointSettings) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.call(ctx, "NetworkConnect"); err != nil {
		return err
	}
	c, err := e.byID(container)
	if err == nil {
		c.network.EndpointsConfig[strings.TrimSuffix(id, "-id")] = endpoint
	}
	return err
}

func (e *fakeEngine) NetworkDisconnect(ctx context.Context, id, container string, _ bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.call(ctx, "NetworkDisconnect"); err != nil {
		return err
	}
	c, err := e.byID(container)
	if err == nil {
		delete(c.network.EndpointsConfig, strings.TrimSuffix(id, "-id"))
	}
	return err
}

func (e *fakeEngine) byID(id string) (*fakeContainer, error) {
	for _, c := range e.containers {
		if c.id == id {
			return c, nil
		}
	}
	return nil, fmt.Errorf("no container %s: %w", id, cerrdefs.ErrNotFound)
}

func (e *fakeEngine) CopyToContainer(ctx context.Context, id, _ string, content io.Reader, _ container.CopyToContainerOptions) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.call(ctx, "CopyToContainer"); err != nil {
		return err
	}
	c, err := e.byID(id)
	if err == nil {
		c.files, err = io.ReadAll(content)
	}
	return err
}

func (e *fakeEngine) ContainerAttach(ctx context.Context, id string, _ container.AttachOptions) (types.HijackedResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.call(ctx, "ContainerAttach"); err != nil {
		return types.HijackedResponse{}, err
	}
	c, err := e.byID(id)
	if err != nil {
		return types.HijackedResponse{}, err
	}
	ours, theirs := net.Pipe()
	c.console = theirs
	return types.HijackedResponse{Conn: ours, Reader: bufio.NewReader(ours)}, nil
}

func (e *fakeEngine) ContainerStart(ctx context.Context, id string, _ container.StartOptions) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.call(ctx, "ContainerStart"); err != nil {
		return err
	}
	c, err := e.byID(id)
	if err != nil {
		return err
	}
	c.running = true
	go func(console net.Conn, text string, closing bool) {
		io.WriteString(console, text)
		if closing {
			console.Close()
		}
	}(c.console, e.console, e.closing)
	return nil
}

func (e *fakeEngine) ContainerRemove(ctx context.Context, id string, options container.RemoveOptions) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.call(ctx, "ContainerRemove"); err != nil {
		return err
	}
	c, err := e.byID(id)
	if err != nil {
		return err
	}
	if !options.Force || !options.RemoveVolumes {
		return errors.New("running, or with volumes")
	}
	if c.console != nil {
		c.console.Close()
	}
	c.left = true
	if e.unlinking > 0 {
		e.mu.Unlock()
		time.Sleep(e.unlinking)
		e.mu.Lock()
	}
	delete(e.containers, c.name)
	return nil
}

func (e *fakeEngine) ContainerExecCreate(ctx context.Context, _ string, options container.ExecOptions) (container.ExecCreateResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	id := fmt.Sprint("exec", len(e.calls))
	e.execs[id] = options.Cmd[0]
	return container.ExecCreateResponse{ID: id}, e.call(ctx, "ContainerExecCreate")
}

// ContainerExecAttach answers every command with "out" on standard output and
// "err" on standard error.
func (e *fakeEngine) ContainerExecAttach(ctx context.Context, _ string, _ container.ExecAttachOptions) (types.HijackedResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ours, theirs := net.Pipe()
	if err := e.call(ctx, "ContainerExecAttach"); err != nil {
		return types.HijackedResponse{}, err
	}
	go func() {
		theirs.Write(frame(1, "out"))
		theirs.Write(frame(2, "err"))
		theirs.Close()
	}()
	return types.HijackedResponse{Conn: ours, Reader: bufio.NewReader(ours)}, nil
}

// frame is a piece of a stream as engines multiplex it.
func frame(stream byte, data string) []byte {
	var b bytes.Buffer
	b.Write([]byte{stream, 0, 0, 0})
	binary.Write(&b, binary.BigEndian, uint32(len(data)))
	b.WriteString(data)
	return b.Bytes()
}

func (e *fakeEngine) ContainerExecInspect(ctx context.Context, id string) (container.ExecInspect, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	codes := map[string]int{"false": 1}
	return container.ExecInspect{ExitCode: codes[e.execs[id]]}, e.call(ctx, "ContainerExecInspect")
}

func (e *fakeEngine) count(name string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, c := range e.calls {
		if c == name || name == "" {
			n++
		}
	}
	return n
}
