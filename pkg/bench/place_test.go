package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
)

// script answers commands: the first entry whose key a command line begins
// with. What nothing answers succeeds and prints nothing.
type script struct {
	mu      sync.Mutex
	ran     []string
	answers []answer
}

type answer struct {
	prefix, prints string
	err            error
	once           bool
}

func (s *script) Run(_ context.Context, cmd exec.Cmd) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := strings.Join(cmd.Args, " ")
	s.ran = append(s.ran, line)
	for i, a := range s.answers {
		if strings.HasPrefix(line, a.prefix) {
			if a.once {
				s.answers = append(s.answers[:i:i], s.answers[i+1:]...)
			}
			if cmd.Stdout != nil {
				_, _ = io.WriteString(cmd.Stdout, a.prints)
			}
			return a.err
		}
	}
	return nil
}

func scripted(answers ...answer) (*place, *script) {
	s := &script{answers: answers}
	return &place{Runner: s, dial: new(net.Dialer).DialContext, close: func(context.Context) error { return nil }}, s
}

func diff(t *testing.T, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestCheck(t *testing.T) {
	broken := errors.New("no such thing")
	for name, test := range map[string]struct {
		answers []answer
		class   errdefs.Class
		fails   bool
	}{
		"all there": {},
		"no engine": {[]answer{{prefix: "docker version", err: broken}}, errdefs.ClassUnavailable, true},
		"no image":  {[]answer{{prefix: "docker image inspect", err: broken}}, errdefs.ClassNotFound, true},
	} {
		p, _ := scripted(test.answers...)
		err := p.check(t.Context(), "petri/node:x")
		if (err != nil) != test.fails || test.fails && !errdefs.Is(err, test.class) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestFacts(t *testing.T) {
	p, _ := scripted(answer{prefix: "docker info", prints: "2|25274793984|Debian 12|6.18|x86_64|20.10.24|overlay2|1|cgroupfs\n"})
	p.separate = true
	host, engine, err := p.facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	diff(t, Host{Cores: 2, MemoryBytes: 25274793984, OS: "Debian 12", Kernel: "6.18", Architecture: "x86_64"}, host)
	diff(t, Engine{Version: "20.10.24", StorageDriver: "overlay2", CgroupVersion: "1", CgroupDriver: "cgroupfs", Separate: true}, engine)
	for _, text := range []string{"", "2|many|c|d|e|f|g|h|i", "1|2"} {
		p, _ := scripted(answer{prefix: "docker info", prints: text})
		if _, _, err := p.facts(t.Context()); err == nil {
			t.Errorf("%q was understood", text)
		}
	}
}

func TestHelperImage(t *testing.T) {
	const manifest = `        image: "docker.io/petri/local-path-helper:v0.0.30"`
	p, _ := scripted(answer{prefix: "docker run", prints: manifest})
	got, err := p.helperImage(t.Context(), "petri/node:x")
	if err != nil || got != "docker.io/petri/local-path-helper:v0.0.30" {
		t.Errorf("got %q, %v", got, err)
	}
	p, _ = scripted(answer{prefix: "docker run", prints: "kind: StorageClass"})
	if got, err := p.helperImage(t.Context(), "petri/node:x"); err == nil {
		t.Errorf("found %q in nothing", got)
	}
}

// What is left of a cluster are its containers, networks of its own, and the
// volumes that its nodes had, which carry no label under kind.
func TestGone(t *testing.T) {
	for name, test := range map[string]struct {
		answers []answer
		left    string
	}{
		"nothing":           {[]answer{{prefix: "docker volume ls", prints: "other\n"}}, ""},
		"a node":            {[]answer{{prefix: "docker ps", prints: "abc\n"}}, "abc"},
		"a network":         {[]answer{{prefix: "docker network ls", prints: "net1\n"}}, "net1"},
		"a volume it had":   {[]answer{{prefix: "docker volume ls", prints: "other\nmine\n"}}, "mine"},
		"no answer of ours": {[]answer{{prefix: "docker ps", err: errors.New("down")}}, "down"},
	} {
		p, s := scripted(test.answers...)
		err := p.gone(t.Context(), "c", []string{"mine"})
		if test.left == "" && err != nil || test.left != "" && (err == nil || !strings.Contains(err.Error(), test.left)) {
			t.Errorf("%s: got %v", name, err)
		}
		if s.ran[0] != "docker ps --quiet --filter label=io.x-k8s.kind.cluster=c --all" {
			t.Errorf("%s: looked by %q", name, s.ran[0])
		}
	}
}

// A client that dials by itself reaches what listens at the place.
func TestForward(t *testing.T) {
	there, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	go func() {
		for {
			conn, err := there.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, "hello")
			conn.Close()
		}
	}()
	p, _ := scripted()
	asked := make(chan string, 1)
	p.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		asked <- address
		return new(net.Dialer).DialContext(ctx, network, there.Addr().String())
	}
	address, err := p.forward(t.Context(), "10.0.0.1:6443")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); string(got) != "hello" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if address := <-asked; address != "10.0.0.1:6443" {
		t.Errorf("asked for %s", address)
	}
}

func TestObserverWaitsForTheKubeconfig(t *testing.T) {
	p, _ := scripted()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	o := &observer{place: p, kubeconfig: path}
	done := make(chan string, 1)
	go func() {
		client, err := o.connect(t.Context())
		if err != nil {
			done <- err.Error()
			return
		}
		done <- client.Server()
	}()
	for _, text := range []string{"", "apiVersion: v1\nkind: Config\n", `apiVersion: v1
kind: Config
current-context: demo
contexts: [{name: demo, context: {cluster: demo, user: admin}}]
clusters: [{name: demo, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: admin, user: {token: secret}}]
`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-done; got != "https://127.0.0.1:1" {
		t.Errorf("connected to %s", got)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("it took too long"))
	o.kubeconfig += "-never-written"
	if _, err := o.connect(ctx); err == nil || !strings.Contains(err.Error(), "wait for a kubeconfig: it took too long; last answer: open") {
		t.Errorf("got %v", err)
	}
}
