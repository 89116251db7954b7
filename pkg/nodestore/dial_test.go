package nodestore

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
)

// criServer answers what is asked first.
type criServer struct {
	runtime.UnimplementedImageServiceServer
	mountpoint string
}

func (s criServer) ImageFsInfo(context.Context, *runtime.ImageFsInfoRequest) (*runtime.ImageFsInfoResponse, error) {
	return &runtime.ImageFsInfoResponse{ImageFilesystems: []*runtime.FilesystemUsage{
		{FsId: &runtime.FilesystemIdentifier{Mountpoint: s.mountpoint}},
	}}, nil
}

func (s criServer) ListImages(context.Context, *runtime.ListImagesRequest) (*runtime.ListImagesResponse, error) {
	return &runtime.ListImagesResponse{Images: []*runtime.Image{{Id: "sha256:1", RepoTags: []string{"docker.io/library/app:1"}, Size: 7, Pinned: true}}}, nil
}

// socat is a node in which a command's streams lead to a server.
type socat struct {
	conns  chan net.Conn
	broken chan struct{} // closed: the node dies
	args   chan []string
}

func (s socat) Run(ctx context.Context, cmd exec.Cmd) error {
	s.args <- cmd.Args
	here, there := net.Pipe()
	s.conns <- there
	defer here.Close()
	done := make(chan error, 2)
	go func() { _, err := io.Copy(here, cmd.Stdin); done <- err }()
	go func() { _, err := io.Copy(cmd.Stdout, here); done <- err }()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.broken:
		return &exec.Error{Args: cmd.Args, Code: 137}
	case err := <-done:
		return err
	}
}

// Accept, Close and Addr make it a listener.
func (s socat) Accept() (net.Conn, error) {
	conn, ok := <-s.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (s socat) Close() error   { close(s.conns); return nil }
func (s socat) Addr() net.Addr { return &net.UnixAddr{} }

// newNode is a node whose containerd has a snapshotter.
func newNode(t *testing.T, mountpoint string) (node.Node, socat) {
	t.Helper()
	s := socat{conns: make(chan net.Conn, 1), broken: make(chan struct{}), args: make(chan []string, 1)}
	server := grpc.NewServer()
	runtime.RegisterImageServiceServer(server, criServer{mountpoint: mountpoint})
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go server.Serve(s)
	t.Cleanup(server.Stop)
	return node.Node{Name: "node1", Runner: s}, s
}

// One stream into the node is the connection to its containerd.
func TestDial(t *testing.T) {
	n, s := newNode(t, "/var/lib/containerd/io.containerd.snapshotter.v1.fuse-overlayfs")
	store, err := Dial(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	if args := strings.Join(<-s.args, " "); !strings.HasPrefix(args, "socat ") || !strings.HasSuffix(args, "UNIX-CONNECT:/run/containerd/containerd.sock") {
		t.Errorf("ran %q", args)
	}
	if store.snapshotter != "fuse-overlayfs" || store.Node() != "node1" {
		t.Errorf("snapshotter %q of %s", store.snapshotter, store.Node())
	}
	list, err := store.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Size != 7 || !list[0].Pinned {
		t.Errorf("%+v (%v)", list, err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

// A node that dies is told from a call that fails.
func TestNodeDies(t *testing.T) {
	n, s := newNode(t, "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs")
	store, err := Dial(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	close(s.broken)
	_, err = store.List(t.Context())
	for err == nil { // until the end has come through
		_, err = store.List(t.Context())
	}
	if e, ok := errors.AsType[*errdefs.Error](err); !ok || e.ID != "NODE-LOST" || !strings.Contains(err.Error(), "node node1") || !strings.Contains(err.Error(), "137") {
		t.Errorf("%v", err)
	}
}

func TestDialFails(t *testing.T) {
	n, _ := newNode(t, "/somewhere/else")
	if _, err := Dial(t.Context(), n); err == nil || !strings.Contains(err.Error(), "names no snapshotter") {
		t.Errorf("a CRI that does not say: %v", err)
	}
	n.Runner = missing{}
	if _, err := Dial(t.Context(), n); err == nil || !strings.Contains(err.Error(), "exit code 127") {
		t.Errorf("a node without the program: %v", err)
	}
}

type missing struct{}

func (missing) Run(_ context.Context, cmd exec.Cmd) error {
	return &exec.Error{Args: cmd.Args, Code: 127}
}

// A node that is silent for long is given up; one that answers late is not.
func TestSilentNode(t *testing.T) {
	for _, c := range []struct {
		answers time.Duration
		lost    bool
	}{{time.Second, false}, {20 * time.Second, false}, {time.Hour, true}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			ours, _ := net.Pipe()
			l := &link{end: ours, cancel: cancel, ended: make(chan struct{})}
			go l.watch(ctx, func(ctx context.Context) error {
				select {
				case <-time.After(c.answers):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			l.mu.Lock()
			lost := l.why != nil
			l.mu.Unlock()
			if lost != c.lost || (ctx.Err() != nil) != c.lost {
				t.Errorf("answers after %s: lost is %v", c.answers, lost)
			}
			close(l.ended)
			cancel()
			time.Sleep(2 * checkPeriod)
		})
	}
}
