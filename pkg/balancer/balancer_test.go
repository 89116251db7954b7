package balancer

import (
	"context"
	"errors"
	"flag"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

var update = flag.Bool("update", false, "write the golden files")

func three() []Backend {
	return []Backend{
		{"dev-control-plane", netip.MustParseAddr("10.201.0.2")},
		{"dev-control-plane2", netip.MustParseAddr("10.201.0.3")},
		{"dev-control-plane3", netip.MustParseAddr("10.201.0.4")},
	}
}

func TestConfig(t *testing.T) {
	for file, test := range map[string]struct {
		role string
		v6   bool
	}{
		"load-balancer.cfg":      {nodeimage.RoleLoadBalancer, false},
		"load-balancer-ipv6.cfg": {nodeimage.RoleLoadBalancer, true},
		"node.cfg":               {nodeimage.RoleWorker, true},
	} {
		got, err := Config(test.role, test.v6, three())
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", file)
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s differs; -update writes it (-want +got):\n%s", path, diff)
		}
	}
}

func TestConfigOfIPv6(t *testing.T) {
	got, err := Config(nodeimage.RoleWorker, false, []Backend{{"a", netip.MustParseAddr("fd00::2")}})
	if err != nil || !strings.Contains(string(got), "server a [fd00::2]:6443\n") {
		t.Errorf("%v\n%s", err, got)
	}
}

// runner records the command and what it read.
type runner struct {
	args  []string
	stdin string
	err   error
}

func (r *runner) Run(_ context.Context, cmd exec.Cmd) error {
	data, err := io.ReadAll(cmd.Stdin)
	r.args, r.stdin = cmd.Args, string(data)
	return errors.Join(err, r.err)
}

func TestUpdate(t *testing.T) {
	r := &runner{}
	n := node.Node{Runner: r, Name: "a-worker", Role: nodeimage.RoleWorker}
	if err := Update(t.Context(), n, three()); err != nil {
		t.Fatal(err)
	}
	want, err := Config(nodeimage.RoleWorker, false, three())
	if err != nil || r.stdin != string(want) {
		t.Errorf("it was told %q, %v", r.stdin, err)
	}
	if diff := cmp.Diff([]string{nodeimage.HelperPath, "balance"}, r.args); diff != "" {
		t.Errorf("command (-want +got):\n%s", diff)
	}
	r.err = errors.New("it broke")
	if err := Update(t.Context(), n, three()); !errors.Is(err, r.err) || !strings.Contains(err.Error(), "node a-worker") {
		t.Errorf("error %v", err)
	}
}
