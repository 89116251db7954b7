// Package engine starts a second Docker engine for comparisons, on machines
// whose own engine refuses --privileged and so cannot run kind. It lives in a
// network namespace of its own: two engines that share one take away each
// other's firewall rules. Its OCI runtime asks for what the machine can give
// and runs containers with that. petri itself never needs it.
package engine

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
)

// Options say what the engine starts with.
type Options struct {
	// Dir is where a directory for the engine is made; it must be on a disk
	// that the machine's own engine could use. Empty is /var/tmp.
	Dir string
	// Images are copied from the machine's own engine.
	Images []string
}

// Engine is a running engine. It must be closed.
type Engine struct {
	dir   string
	net   *namespace
	stop  context.CancelFunc
	ended chan error
}

//go:embed runtime.sh
var wrapper []byte

// startTimeout is how long the engine may take until it answers.
const startTimeout = 30 * time.Second

// Start starts an engine and waits until it answers and holds the images. It
// needs root, dockerd and the docker command; what is missing is a failure of
// class unavailable. ctx bounds the start, not the engine's life.
func Start(ctx context.Context, o Options) (_ *Engine, err error) {
	if os.Geteuid() != 0 {
		return nil, unavailable(errors.New("only root can start one"))
	}
	if _, err := exec.Look("dockerd"); err != nil {
		return nil, unavailable(err)
	}
	e, err := prepare(ctx, o)
	if err != nil {
		return nil, unavailable(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(unavailable(err), e.Close(ctx))
		}
	}()
	if err := e.start(ctx); err != nil {
		return nil, err
	}
	for _, ref := range o.Images {
		if err := e.copyImage(ctx, ref); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func unavailable(err error) error {
	return errdefs.New(errdefs.ClassUnavailable, "BENCH-ENGINE", "start an engine of its own for the comparison: %w", err).
		WithHint("Run as root, with Docker's dockerd installed; or compare on a machine whose engine allows --privileged.")
}

// prepare makes the engine's directory and its network.
func prepare(ctx context.Context, o Options) (*Engine, error) {
	parent := o.Dir
	if parent == "" {
		parent = "/var/tmp" // not on tmpfs: overlays need a real disk
	}
	dir, err := os.MkdirTemp(parent, "petri-engine-")
	if err != nil {
		return nil, err
	}
	ns, err := newNamespace()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a network namespace: %w", err), os.RemoveAll(dir))
	}
	ended := make(chan error)
	close(ended) // nothing runs yet
	return &Engine{dir: dir, net: ns, stop: func() {}, ended: ended}, nil
}

func (e *Engine) path(name string) string { return filepath.Join(e.dir, name) }

func (e *Engine) start(ctx context.Context) error {
	driver, err := exec.Output(ctx, exec.Host{}, "docker", "info", "--format", "{{.Driver}}")
	if err != nil {
		return err
	}
	if err := os.WriteFile(e.path("runtime"), wrapper, 0o755); err != nil {
		return err
	}
	// not the settings of the machine's own engine
	if err := os.WriteFile(e.path("daemon.json"), []byte("{}\n"), 0o644); err != nil {
		return err
	}
	log, err := os.Create(e.path("log"))
	if err != nil {
		return err
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.stop, e.ended = stop, make(chan error, 1)
	go func() {
		defer log.Close()
		e.ended <- e.Run(life, exec.Cmd{Args: []string{
			"setsid", "dockerd", "--host", e.Host(), "--config-file", e.path("daemon.json"),
			"--data-root", e.path("data"), "--exec-root", e.path("exec"), "--pidfile", e.path("pid"),
			"--storage-driver", strings.TrimSpace(string(driver)), "--bridge", "none",
			// the machine's own resolver cannot be reached from here: questions that
			// time out there, and not ones refused at once, hold up the end of a container
			"--dns", "127.0.0.1",
			"--add-runtime", "petri-bench=" + e.path("runtime"), "--default-runtime", "petri-bench",
		}, Stdout: log, Stderr: log})
		close(e.ended)
	}()
	return e.waitAnswer(ctx)
}

func (e *Engine) waitAnswer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("unix", e.path("docker.sock")); err == nil {
			_ = c.Close()
			return exec.Run(ctx, exec.Host{}, "docker", "--host", e.Host(), "version")
		}
		select {
		case err := <-e.ended:
			return fmt.Errorf("dockerd ended: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("dockerd does not answer: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func (e *Engine) copyImage(ctx context.Context, ref string) error {
	r, w := io.Pipe()
	go func() {
		w.CloseWithError(exec.Host{}.Run(ctx, exec.Cmd{Args: []string{"docker", "save", ref}, Stdout: w}))
	}()
	err := exec.Host{}.Run(ctx, exec.Cmd{Args: []string{"docker", "--host", e.Host(), "load"}, Stdin: r})
	_ = r.CloseWithError(err) // ends the other side, should load end early
	if err != nil {
		return fmt.Errorf("copy image %s: %w", ref, err)
	}
	return nil
}

// Restart shuts the engine down in order, as a machine does that is rebooted,
// and starts it again with the containers and images that it had.
func (e *Engine) Restart(ctx context.Context) error {
	text, err := os.ReadFile(e.path("pid"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	daemon, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	if err := daemon.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop dockerd: %w", err)
	}
	select {
	case <-e.ended: // what a stopped dockerd returns says nothing
	case <-ctx.Done():
		return fmt.Errorf("stop dockerd: %w", context.Cause(ctx))
	}
	e.stop()
	return e.start(ctx)
}

// Host is the engine's address, as $DOCKER_HOST takes it.
func (e *Engine) Host() string { return "unix://" + e.path("docker.sock") }

// Run implements exec.Runner: it runs a program of this machine in the
// engine's network, where the ports are that its containers publish.
func (e *Engine) Run(ctx context.Context, cmd exec.Cmd) (err error) {
	if doErr := e.net.do(func() { err = exec.Host{}.Run(ctx, cmd) }); doErr != nil {
		return doErr
	}
	return err
}

// Dial connects to an address in the engine's network.
func (e *Engine) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	var d net.Dialer
	if doErr := e.net.do(func() { conn, err = d.DialContext(ctx, network, address) }); doErr != nil {
		return nil, doErr
	}
	return conn, err
}

// closeTimeout bounds the removal of containers and of the engine.
const closeTimeout = 60 * time.Second

// Close removes the engine with all its containers and images. It works also
// when ctx has ended, and may be called once.
func (e *Engine) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	err := e.removeContainers(ctx)
	e.stop()
	<-e.ended // what a stopped dockerd returns says nothing
	return errors.Join(err, e.net.close(), e.removeDir(ctx))
}

// removeContainers leaves nothing for dockerd to wait for when it is stopped.
func (e *Engine) removeContainers(ctx context.Context) error {
	if _, err := os.Stat(e.path("docker.sock")); err != nil {
		return nil
	}
	out, err := exec.Output(ctx, exec.Host{}, "docker", "--host", e.Host(), "ps", "--all", "--quiet")
	if ids := strings.Fields(string(bytes.TrimSpace(out))); err == nil && len(ids) > 0 {
		return exec.Run(ctx, exec.Host{}, append([]string{"docker", "--host", e.Host(), "rm", "--force", "--volumes"}, ids...)...)
	}
	return err
}

// removeDir tries again while mounts of containers go away.
func (e *Engine) removeDir(ctx context.Context) error {
	for {
		err := os.RemoveAll(e.dir)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}
