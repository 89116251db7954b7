package bootstrap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// fakeNode is a runner that stands for kubeadm and the journal of a node.
type fakeNode struct {
	api     *posts // the API server's, that is asked by an initNode
	root    string
	kubeadm func(context.Context, exec.Cmd) error
	// onKubeadm is called with the phases that a command runs
	onKubeadm func(context.Context, exec.Cmd, []string) error
	systemctl func(command string)
	journal   string
	etcdctl   error
	promotes  []error // what etcdctl says when a member is to vote, in turn
	members   string  // that etcdctl lists
	ctr       func(args []string) error
	kubelet   *net.TCPListener // port on which one serves

	mu       sync.Mutex
	commands []string
}

func (f *fakeNode) Run(ctx context.Context, cmd exec.Cmd) error {
	f.mu.Lock()
	f.commands = append(f.commands, strings.Join(cmd.Args, " "))
	f.mu.Unlock()
	switch cmd.Args[0] {
	case "kubeadm":
		return f.kubeadm(ctx, cmd)
	case "systemctl":
		if f.systemctl != nil {
			f.systemctl(strings.Join(cmd.Args[1:], " "))
		}
		return nil
	case "crictl":
		if cmd.Stdout != nil {
			fmt.Fprintln(cmd.Stdout, "c1\nc2")
		}
		return nil
	case "etcdctl":
		if cmd.Stdout != nil {
			fmt.Fprintln(cmd.Stdout, f.members)
		}
		if slices.Contains(cmd.Args, "promote") && len(f.promotes) > 0 {
			err := f.promotes[0]
			f.promotes = f.promotes[1:]
			return err
		}
		return f.etcdctl
	case "ctr":
		return f.ctr(cmd.Args[2:])
	case "journalctl":
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if f.journal == "" {
			return &exec.Error{Args: cmd.Args, Code: 1}
		}
		fmt.Fprintln(cmd.Stdout, f.journal)
		return nil
	}
	return fmt.Errorf("unexpected command %q", cmd.Args)
}

// put writes a file of the node.
func (f *fakeNode) put(path, content string) {
	path = filepath.Join(f.root, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		panic(err) // in a goroutine that is not the test's
	}
}

// newNode is a node with a plan and kubeadm.conf, whose output goes to out.
func newNode(t *testing.T, plan nodeimage.Plan, conf string) (*Node, *fakeNode, *bytes.Buffer) {
	t.Helper()
	root, err := os.MkdirTemp("", "node") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	f := &fakeNode{root: root, kubelet: serveKubelet(t)}
	data, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	f.put(nodeimage.PlanPath, string(data))
	f.put(nodeimage.KubeadmConfigPath, conf)
	var out bytes.Buffer
	serveRuntime(t, f.root)
	return &Node{Root: f.root, Runner: f, Events: NewEvents(&out)}, f, &out
}

// serveRuntime lets a socket stand for a container runtime that serves.
func serveRuntime(t *testing.T, root string) {
	t.Helper()
	path := filepath.Join(root, strings.TrimPrefix(nodeimage.ContainerdSocket, "unix://"))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

// serveKubelet lets a port stand for a kubelet that serves.
func serveKubelet(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// configureKubelet writes the kubelet's configuration, as kubeadm does.
func (f *fakeNode) configureKubelet() {
	f.put(kubeletConfigPath, fmt.Sprintf("healthzPort: %d\n", f.kubelet.Addr().(*net.TCPAddr).Port))
}

// run are the commands that were run of a program.
func (f *fakeNode) run(program string) []string {
	var out []string
	for _, c := range f.commands {
		if strings.HasPrefix(c, program+" ") {
			out = append(out, c)
		}
	}
	return out
}

// events reads what a node wrote. Times are checked and left out.
func events(t *testing.T, out *bytes.Buffer) []nodeimage.NodeEvent {
	t.Helper()
	var list []nodeimage.NodeEvent
	var last int64
	for line := range strings.Lines(out.String()) {
		var e nodeimage.NodeEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("line %q is no event: %v", line, err)
		}
		if e.Time == 0 || e.Time < last {
			t.Errorf("event %s has time %d, after %d", e.Kind, e.Time, last)
		}
		last, e.Time = e.Time, 0
		list = append(list, e)
	}
	return list
}

func diff(t *testing.T, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestInitIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, fake, out := newNode(t, nodeimage.Plan{}, "")
		fake.journal = "kubelet: started"
		cause := errors.New("the user went away")
		ctx, cancel := context.WithCancelCause(t.Context())
		fake.kubeadm = func(ctx context.Context, cmd exec.Cmd) error {
			fmt.Fprintln(cmd.Stdout, "[certs] Using certificateDir folder")
			cancel(cause)
			<-ctx.Done()
			return context.Cause(ctx)
		}
		if err := node.Init(ctx); !errors.Is(err, cause) {
			t.Errorf("got %v, want the cause", err)
		}
		list := events(t, out)
		// the logs are collected although the context has ended
		diff(t, nodeimage.NodeEvent{Kind: nodeimage.NodeFailed, Error: cause.Error(), Log: "--- kubelet ---\nkubelet: started"}, list[len(list)-1])
	})
}

func TestWithoutAPlan(t *testing.T) {
	for name, run := range map[string]func(*Node, context.Context) error{
		"init": (*Node).Init,
		"join": func(n *Node, ctx context.Context) error { return n.Join(ctx, strings.NewReader("{}")) },
	} {
		for plan, content := range map[string]string{"missing": "", "broken": "{"} {
			node, fake, out := newNode(t, nodeimage.Plan{}, "")
			if err := os.Remove(node.path(nodeimage.PlanPath)); err != nil {
				t.Fatal(err)
			}
			if content != "" {
				fake.put(nodeimage.PlanPath, content)
			}
			err := run(node, t.Context())
			if err == nil || !strings.Contains(err.Error(), "plan.json") {
				t.Errorf("%s, plan %s: got %v", name, plan, err)
			}
			if list := events(t, out); len(list) != 1 || list[0].Kind != nodeimage.NodeFailed {
				t.Errorf("%s, plan %s: events %+v", name, plan, list)
			}
		}
	}
}
