package fake

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/provider/providertest"
)

const image = "petri.test/node:v1"

func newFake() *Provider {
	p := New()
	p.AddImage(image, Image{})
	return p
}

func twoNodes() provider.Spec {
	return provider.Spec{
		Cluster: "a",
		API:     provider.Publish{Address: "127.0.0.1"},
		Nodes: []provider.NodeSpec{
			{Name: "a-control-plane", Role: nodeimage.RoleControlPlane, Image: image},
			{Name: "a-worker", Role: nodeimage.RoleWorker, Image: image},
		},
	}
}

func TestSuite(t *testing.T) {
	providertest.Run(t, func(*testing.T) providertest.Subject {
		return providertest.Subject{Provider: newFake(), Image: image}
	})
}

// TestFailAt fails each call of a creation in turn: what is left is what the
// calls before had made, and Delete removes it.
func TestFailAt(t *testing.T) {
	broken := errors.New("engine broke")
	left := []int{0, 0, 1, 2, 2, 2, 3, 3}
	for i, want := range left {
		p := newFake()
		p.FailAt(i+1, broken)
		if _, err := p.Create(t.Context(), twoNodes(), progress.Discard); !errors.Is(err, broken) {
			t.Fatalf("call %d: %v, want it to fail", i+1, err)
		}
		if got := len(p.Objects()); got != want {
			t.Errorf("call %d: left %q, want %d objects", i+1, p.Objects(), want)
		}
		if err := p.Delete(t.Context(), "a"); err != nil || len(p.Objects()) > 0 {
			t.Errorf("call %d: delete: %v, left %q", i+1, err, p.Objects())
		}
	}
	p := newFake()
	p.FailAt(len(left)+1, broken)
	if _, err := p.Create(t.Context(), twoNodes(), progress.Discard); err != nil {
		t.Errorf("no call left to fail: %v", err)
	}
}

func TestLoseAt(t *testing.T) {
	p, broken := newFake(), errors.New("connection lost")
	p.LoseAt(2, broken)
	_, err := p.Create(t.Context(), twoNodes(), progress.Discard)
	if diff := cmp.Diff([]string{"network petri-a"}, p.Objects()); !errors.Is(err, broken) || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestHandle(t *testing.T) {
	p := newFake()
	p.Handle(Print("default"))
	p.Handle(Print("short"), "petri-node")
	p.Handle(Events(
		nodeimage.NodeEvent{Kind: nodeimage.PhaseStarted, Phase: "certs"},
		nodeimage.NodeEvent{Kind: nodeimage.NodeFailed, Error: "no disk"},
	), "petri-node", "init")
	p.Handle(func(_ context.Context, n node.Node, cmd exec.Cmd) error { return Exit(cmd, 4, n.Name) }, "whoami")
	nodes, err := p.Create(t.Context(), twoNodes(), progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		out, err := exec.Output(t.Context(), nodes[0], args...)
		return string(out), err
	}
	if out, err := run("kubectl", "get"); out != "default" || err != nil {
		t.Errorf("default handler: %q, %v", out, err)
	}
	if out, err := run("petri-node", "join"); out != "short" || err != nil {
		t.Errorf("prefix: %q, %v", out, err)
	}
	out, err := run("petri-node", "init", "-v")
	if strings.Count(out, "\n") != 2 || !strings.Contains(out, `"phase":"certs"`) || err == nil {
		t.Errorf("events: %q, %v; want two lines and a failure", out, err)
	}
	_, err = run("whoami")
	if e, ok := errors.AsType[*exec.Error](err); !ok || e.Code != 4 || string(e.Stderr) != "a-control-plane\n" {
		t.Errorf("exit: %v", err)
	}
	if out, err := run("hostname"); out != "a-control-plane\n" || err != nil {
		t.Errorf("built-in behind a default handler: %q, %v", out, err)
	}
	want := []Command{{"a-control-plane", []string{"kubectl", "get"}}, {"a-control-plane", []string{"petri-node", "join"}}}
	if diff := cmp.Diff(want, p.Commands()[:2]); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
}

func TestStopped(t *testing.T) {
	p := newFake()
	nodes, err := p.Create(t.Context(), twoNodes(), progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	p.SetState("a-worker", node.Stopped)
	if err := exec.Run(t.Context(), nodes[1], "true"); err == nil {
		t.Error("command in a stopped node: no error")
	}
}

func TestImages(t *testing.T) {
	p := New()
	if err := p.LoadImage(t.Context(), bytes.NewReader(providertest.Archive(t, image))); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Image(t.Context(), image); err != nil {
		t.Errorf("loaded image: %v", err)
	}
	const other = "petri.test/other:v1"
	p.AddRemoteImage(other, Image{Files: map[string][]byte{"/kind/version": []byte("v1.36.3\n")}})
	if _, err := p.Image(t.Context(), other); err == nil {
		t.Error("image is there before it was pulled")
	}
	if err := p.PullImage(t.Context(), other, progress.Start(nil, "pull", "Pull", "")); err != nil {
		t.Fatal(err)
	}
	data, err := p.ReadImageFile(t.Context(), other, "/kind/version")
	if err != nil || string(data) != "v1.36.3\n" {
		t.Errorf("file of the image: %q, %v", data, err)
	}
	if calls := p.Calls(); !slices.Contains(calls, "pull image "+other) {
		t.Errorf("calls lack the pull: %q", calls)
	}
}
