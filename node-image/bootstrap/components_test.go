package bootstrap

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// ran writes the log of a component's n-th run.
func ran(t *testing.T, n *Node, component string, run int, lines ...string) {
	t.Helper()
	dir := filepath.Join(n.path(podLogsDir), "kube-system_"+component+"-dev-control-plane_1a2b", component)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&text, "2026-11-21T16:42:46.002703Z stderr F %s\n", line)
	}
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.log", run)), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

const (
	unknownFlag = "Error: unknown flag: --no-such-flag"
	noPolicy    = `E1121 16:43:15.3 7861 run.go:72] "command failed" err="loading audit policy file: open /no/such: no such file or directory"`
	noEtcd      = `E1121 16:43:40.5 7885 run.go:72] "command failed" err="error creating storage factory: context deadline exceeded"`
	started     = "I1121 16:43:40.5 7885 serving.go:405] Serving securely on [::]:6443"
)

func TestWatchComponents(t *testing.T) {
	for name, test := range map[string]struct {
		plant    func(*testing.T, *Node)
		hopeless string
	}{
		"nothing has run": {func(*testing.T, *Node) {}, ""},
		"all is well":     {func(t *testing.T, n *Node) { ran(t, n, "kube-apiserver", 0, started) }, ""},
		"a flag that is not there": {func(t *testing.T, n *Node) {
			ran(t, n, "kube-apiserver", 0, unknownFlag)
			ran(t, n, "kube-apiserver", 1)
		}, "kube-apiserver"},
		"it gave up once":            {func(t *testing.T, n *Node) { ran(t, n, "kube-apiserver", 0, noPolicy) }, ""},
		"it gave up, and will again": {func(t *testing.T, n *Node) { ran(t, n, "kube-apiserver", 0, noPolicy); ran(t, n, "kube-apiserver", 1) }, "kube-apiserver"},
		"it waits for another":       {func(t *testing.T, n *Node) { ran(t, n, "kube-apiserver", 3, noEtcd); ran(t, n, "kube-apiserver", 4) }, ""},
		"usage after the reason": {func(t *testing.T, n *Node) {
			ran(t, n, "etcd", 0, append([]string{"flag provided but not defined: -no-such-flag"}, make([]string, 100)...)...)
			ran(t, n, "etcd", 1)
		}, "etcd"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &Node{Root: t.TempDir()}
				test.plant(t, n)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				err := n.watchComponents(ctx)
				switch {
				case test.hopeless == "" && err != nil:
					t.Errorf("it gave up: %v", err)
				case test.hopeless != "" && (err == nil || err.Error() != test.hopeless+" does not start"):
					t.Errorf("got %v, want %s not to start", err, test.hopeless)
				}
			})
		})
	}
}

func TestComponentLogs(t *testing.T) {
	n := &Node{Root: t.TempDir()}
	if logs := n.componentLogs(); logs != "" {
		t.Errorf("of nothing: %q", logs)
	}
	ran(t, n, "kube-scheduler", 0, started)
	ran(t, n, "kube-apiserver", 0, started, unknownFlag)
	ran(t, n, "etcd", 0, "one", "two")
	ran(t, n, "etcd", 1, "three")
	want := "--- etcd ---\none\ntwo\n--- kube-apiserver ---\n" + started + "\n" + unknownFlag
	if got := n.componentLogs(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
