package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/petri-cluster/petri/pkg/bench/engine"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
)

// place is an engine and the way to what its containers publish. Everyone in
// a run is measured at the same place.
type place struct {
	exec.Runner
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	host     string // as $DOCKER_HOST has it; empty: as the environment says
	separate bool   // an engine of the bench's own
	close    func(context.Context) error
}

// choosePlace takes the machine's own engine, or starts another when there are
// peers beside petri and it refuses the privileges that they ask for.
func choosePlace(ctx context.Context, image string, launchers []launcher) (*place, error) {
	own := &place{Runner: exec.Host{}, dial: new(net.Dialer).DialContext, close: func(context.Context) error { return nil }}
	if err := own.check(ctx, image); err != nil {
		return nil, err
	}
	if len(launchers) == 1 || own.privileged(ctx, image) {
		return own, nil
	}
	needed := []string{image}
	for _, l := range launchers {
		more, err := own.images(ctx, l.balancer)
		if err != nil {
			return nil, err
		}
		needed = append(needed, more...)
	}
	e, err := engine.Start(ctx, engine.Options{Images: needed})
	if err != nil {
		return nil, err
	}
	return &place{Runner: e, dial: e.Dial, host: e.Host(), separate: true, close: e.Close}, nil
}

// check sees that there is an engine with the image.
func (p *place) check(ctx context.Context, image string) error {
	if _, err := p.docker(ctx, "version", "--format", "{{.Server.Version}}"); err != nil {
		return errdefs.New(errdefs.ClassUnavailable, "BENCH-DOCKER", "ask the engine by the docker command: %w", err).
			WithHint("the bench looks at nodes from outside, and needs Docker's command line beside its engine")
	}
	if _, err := p.docker(ctx, "image", "inspect", "--format", "{{.Id}}", image); err != nil {
		return errdefs.New(errdefs.ClassNotFound, "BENCH-IMAGE", "the engine has no node image %s: %w", image, err).
			WithHint("build it: petri build node-image")
	}
	return nil
}

// privileged reports whether the engine starts containers with --privileged.
func (p *place) privileged(ctx context.Context, image string) bool {
	_, err := p.docker(ctx, "run", "--rm", "--privileged", "--network", "none", "--entrypoint", "/bin/true", image)
	return err == nil
}

// images are the references of a repository's images; none of no repository.
func (p *place) images(ctx context.Context, repository string) ([]string, error) {
	if repository == "" {
		return nil, nil
	}
	out, err := p.docker(ctx, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository)
	return strings.Fields(out), err
}

// env is what every command at this place gets.
func (p *place) env() []string {
	if p.host == "" {
		return nil
	}
	return []string{"DOCKER_HOST=" + p.host}
}

// docker asks the engine by its command line, and returns the trimmed output.
func (p *place) docker(ctx context.Context, args ...string) (string, error) {
	var out strings.Builder
	err := p.Run(ctx, exec.Cmd{Args: append([]string{"docker"}, args...), Env: p.env(), Stdout: &out})
	return strings.TrimSpace(out.String()), err
}

// address is where the engine listens, as $DOCKER_HOST has it.
func (p *place) address(ctx context.Context) (string, error) {
	if p.host != "" {
		return p.host, nil
	}
	return p.docker(ctx, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
}

// forward listens on this machine and passes connections on to an address of
// the place, until ctx ends. A client that can only dial by itself reaches the
// place through it.
func (p *place) forward(ctx context.Context, address string) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("forward to %s: %w", address, err)
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			go p.pass(ctx, conn, address)
		}
	}()
	return listener.Addr().String(), nil
}

// pass copies both ways until either side ends.
func (p *place) pass(ctx context.Context, conn net.Conn, address string) {
	defer conn.Close()
	there, err := p.dial(ctx, "tcp", address)
	if err != nil {
		return // the client sees its connection closed, and tries again
	}
	defer there.Close()
	stop := context.AfterFunc(ctx, func() { _, _ = conn.Close(), there.Close() })
	defer stop()
	ended := make(chan error, 2)
	go func() { _, err := io.Copy(there, conn); ended <- err }()
	go func() { _, err := io.Copy(conn, there); ended <- err }()
	<-ended
}

// facts describes the machine and the engine.
func (p *place) facts(ctx context.Context) (Host, Engine, error) {
	const format = "{{.NCPU}}|{{.MemTotal}}|{{.OperatingSystem}}|{{.KernelVersion}}|{{.Architecture}}|{{.ServerVersion}}|{{.Driver}}|{{.CgroupVersion}}|{{.CgroupDriver}}"
	out, err := p.docker(ctx, "info", "--format", format)
	if err != nil {
		return Host{}, Engine{}, err
	}
	f := strings.Split(out, "|")
	if len(f) != strings.Count(format, "|")+1 {
		return Host{}, Engine{}, errors.New("docker info: not understood: " + out)
	}
	h := Host{OS: f[2], Kernel: f[3], Architecture: f[4]}
	if _, err := fmt.Sscan(f[0]+" "+f[1], &h.Cores, &h.MemoryBytes); err != nil {
		return Host{}, Engine{}, fmt.Errorf("docker info: %w", err)
	}
	return h, Engine{Version: f[5], StorageDriver: f[6], CgroupVersion: f[7], CgroupDriver: f[8], Separate: p.separate}, nil
}

// nodeImage describes the image that all nodes are made of.
func (p *place) nodeImage(ctx context.Context, ref string) (Image, error) {
	id, err := p.docker(ctx, "image", "inspect", "--format", "{{.Id}}", ref)
	if err != nil {
		return Image{}, err
	}
	version, err := p.docker(ctx, "run", "--rm", "--network", "none", "--entrypoint", "/bin/cat", ref, "/kind/version")
	if err != nil {
		return Image{}, fmt.Errorf("%s is not a node image: %w", ref, err)
	}
	return Image{Reference: ref, ID: id, Kubernetes: version}, nil
}
