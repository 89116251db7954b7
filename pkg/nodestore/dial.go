package nodestore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/defaults"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// Dial connects to the image store of a node. The connection ends with ctx.
func Dial(ctx context.Context, n node.Node) (*Store, error) {
	l := join(ctx, n)
	conn, err := grpc.NewClient("passthrough:///"+n.Name,
		grpc.WithContextDialer(l.dial), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithWriteBufferSize(bufferSize), grpc.WithReadBufferSize(bufferSize),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(defaults.DefaultMaxRecvMsgSize), grpc.MaxCallSendMsgSize(defaults.DefaultMaxSendMsgSize)))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("node %s: connect to containerd: %w", n.Name, err), l.close())
	}
	l.conn = conn
	c, err := client.NewWithConn(conn)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("node %s: connect to containerd: %w", n.Name, err), l.close())
	}
	health := grpc_health_v1.NewHealthClient(conn)
	go l.watch(ctx, func(ctx context.Context) error {
		_, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		return err
	})
	s := &Store{node: n.Name, link: l, Services: Services{
		Content: c.ContentStore(), Images: c.ImageService(), Leases: c.LeasesService(), Diff: c.DiffService(),
		Snapshots: func(name string) snapshots.Snapshotter { return c.SnapshotService(name) },
		CRI:       newCRI(conn),
	}}
	if s.snapshotter, err = s.CRI.Snapshotter(ctx); err != nil {
		return nil, errors.Join(s.explain(err, "connect to containerd"), l.close())
	}
	return s, nil
}

// bufferSize is what is collected of the stream before it is passed on.
const bufferSize = 256 << 10

// link is a stream to the containerd of a node: a command in the node that
// passes what it is sent to containerd's socket, and back.
type link struct {
	conn *grpc.ClientConn
	end  net.Conn // this process's end; the command has the other one

	mu     sync.Mutex
	dialed bool
	why    error // that the link was given up, by this process
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of the command, valid once ended is closed
}

// join starts the command. socat is in every node: kubeadm asks for it.
func join(ctx context.Context, n node.Node) *link {
	ctx, cancel := context.WithCancel(ctx)
	ours, theirs := net.Pipe()
	l := &link{end: ours, cancel: cancel, ended: make(chan struct{})}
	socket := strings.TrimPrefix(nodeimage.ContainerdSocket, "unix://")
	go func() {
		defer close(l.ended)
		l.err = n.Run(ctx, exec.Cmd{
			Args:  []string{"socat", "-b", fmt.Sprint(bufferSize), "-", "UNIX-CONNECT:" + socket},
			Stdin: theirs, Stdout: theirs,
		})
		theirs.Close()
	}()
	return l
}

// dial gives gRPC the stream, once: there is no second one.
func (l *link) dial(context.Context, string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dialed {
		return nil, errors.New("the connection to the node has ended")
	}
	l.dialed = true
	return l.end, nil
}

func (l *link) close() error {
	var err error
	if l.conn != nil {
		err = l.conn.Close()
	}
	l.end.Close()
	l.cancel()
	return err
}

// How often a node is asked whether it lives, and for how long it may be
// silent: one that is paused keeps its connections.
const (
	checkPeriod  = 10 * time.Second
	checkTimeout = 30 * time.Second
)

// watch gives the link up when the node does not answer.
func (l *link) watch(ctx context.Context, check func(context.Context) error) {
	tick := time.NewTicker(checkPeriod)
	defer tick.Stop()
	for {
		select {
		case <-l.ended:
			return
		case <-tick.C:
		}
		limited, cancel := context.WithTimeout(ctx, checkTimeout)
		err := check(limited)
		late := limited.Err() != nil && ctx.Err() == nil
		cancel()
		if err != nil && late {
			l.giveUp(fmt.Errorf("it has not answered for %s", checkTimeout))
			return
		}
	}
}

func (l *link) giveUp(why error) {
	l.mu.Lock()
	l.why = why
	l.mu.Unlock()
	l.end.Close()
	l.cancel()
}

// cause is why the link has ended; nil while it holds.
func (l *link) cause() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	why := l.why
	l.mu.Unlock()
	if why != nil {
		return why
	}
	select {
	case <-l.ended:
	case <-time.After(linkGrace):
		return nil
	}
	if l.err == nil {
		return errors.New("containerd ended the connection")
	}
	return l.err
}
