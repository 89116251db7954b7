package balancer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

const before = "the old configuration\n"

// stage is a node whose balancer runs as process 7, unless a test says
// otherwise.
type stage struct {
	*Node
	commands []string
	signals  []string
	refused  error // by haproxy
	gone     error // of the process
}

func newStage(t *testing.T, files map[string]string) *stage {
	t.Helper()
	s := &stage{}
	s.Node = &Node{Root: t.TempDir(), Runner: s, Signal: func(pid int, signal syscall.Signal) error {
		s.signals = append(s.signals, fmt.Sprint(pid, " ", signal))
		return s.gone
	}}
	for path, content := range files {
		path = filepath.Join(s.Root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// Run stands for haproxy.
func (s *stage) Run(_ context.Context, cmd exec.Cmd) error {
	s.commands = append(s.commands, strings.ReplaceAll(strings.Join(cmd.Args, " "), s.Root, ""))
	return s.refused
}

// has checks the directory of the configuration: what is in the file, and that
// nothing else is there.
func (s *stage) has(t *testing.T, want string) {
	t.Helper()
	path := filepath.Join(s.Root, nodeimage.BalancerPath)
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("the configuration is %q, %v", got, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("beside it are %v, %v", entries, err)
	}
}

func TestChange(t *testing.T) {
	s := newStage(t, map[string]string{nodeimage.BalancerPath: before, nodeimage.BalancerPIDPath: "7\n"})
	if err := s.Change(t.Context(), strings.NewReader("the new one\n")); err != nil {
		t.Fatal(err)
	}
	s.has(t, "the new one\n")
	if diff := cmp.Diff([]string{"/usr/sbin/haproxy -c -f /var/lib/petri/haproxy.cfg.next"}, s.commands); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"7 user defined signal 2"}, s.signals); diff != "" {
		t.Errorf("signals (-want +got):\n%s", diff)
	}
}

// TestChangeOfOneThatDoesNotRun: it will read the file when it starts.
func TestChangeOfOneThatDoesNotRun(t *testing.T) {
	never := newStage(t, map[string]string{nodeimage.BalancerPath: before})
	died := newStage(t, map[string]string{nodeimage.BalancerPath: before, nodeimage.BalancerPIDPath: "7\n"})
	died.gone = syscall.ESRCH
	for name, s := range map[string]*stage{"never ran": never, "died": died} {
		if err := s.Change(t.Context(), strings.NewReader("the new one\n")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		s.has(t, "the new one\n")
	}
}

func TestChangeIsRefused(t *testing.T) {
	s := newStage(t, map[string]string{nodeimage.BalancerPath: before, nodeimage.BalancerPIDPath: "7\n"})
	s.refused = errors.New("unknown keyword")
	if err := s.Change(t.Context(), strings.NewReader("nonsense\n")); !errors.Is(err, s.refused) {
		t.Errorf("error %v", err)
	}
	broken := errors.New("torn off")
	if err := s.Change(t.Context(), iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if err := s.Change(t.Context(), strings.NewReader("\n")); err == nil {
		t.Error("nothing was taken for a configuration")
	}
	s.has(t, before)
	if len(s.signals) > 0 {
		t.Errorf("signals %q", s.signals)
	}
}

func TestChangeFails(t *testing.T) {
	garbage := newStage(t, map[string]string{nodeimage.BalancerPath: before, nodeimage.BalancerPIDPath: "seven"})
	if err := garbage.Change(t.Context(), strings.NewReader("new\n")); err == nil || !strings.Contains(err.Error(), nodeimage.BalancerPIDPath) {
		t.Errorf("error %v", err)
	}
	forbidden := newStage(t, map[string]string{nodeimage.BalancerPath: before, nodeimage.BalancerPIDPath: "7"})
	forbidden.gone = syscall.EPERM
	if err := forbidden.Change(t.Context(), strings.NewReader("new\n")); !errors.Is(err, syscall.EPERM) {
		t.Errorf("error %v", err)
	}
}

// TestUnitAndProgramAgree: a node's balancer is started by its unit, a load
// balancer's by Serve.
func TestUnitAndProgramAgree(t *testing.T) {
	unit, err := os.ReadFile("../rootfs/etc/systemd/system/petri-balancer.service")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace("ExecStart="+strings.Join(program, " ")+"\n", " -W ", " -Ws ", 1) // and tells systemd
	for _, line := range []string{want, "ConditionPathExists=" + nodeimage.BalancerPath + "\n"} {
		if !strings.Contains(string(unit), line) {
			t.Errorf("the unit lacks %q", line)
		}
	}
	if !strings.Contains(bootLine, "Multi-User System") {
		t.Errorf("the host does not take %q for booted", bootLine)
	}
}
