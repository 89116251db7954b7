package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/petri-cluster/petri/pkg/cluster/clustertest"
	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// registry makes registry "local" on port 5001.
func (s *scene) registry(t *testing.T) {
	t.Helper()
	if _, err := s.CreateRegistry(t.Context(), "local", RegistryOptions{Port: 5001, Image: clustertest.Image}); err != nil {
		t.Fatal(err)
	}
}

const (
	pushHosts = "/etc/containerd/certs.d/localhost:5001/hosts.toml"
	anyHosts  = "/etc/containerd/certs.d/_default/hosts.toml"
)

// knows wants all nodes to know the registry, or none, and the rest to agree.
func (s *scene) knows(t *testing.T, when string, want bool, nodes ...string) {
	t.Helper()
	for _, n := range nodes {
		if f, ok := s.File(n, pushHosts); ok != want || (ok && f.Mode != 0o600) {
			t.Errorf("%s: %s knows it: %v, by %+v", when, n, ok, f)
		}
	}
	api := s.World.API("dev")
	if got := strings.Contains(api.Hosting(), "localhost:5001"); got != want {
		t.Errorf("%s: the cluster says %q", when, api.Hosting())
	}
	if got := strings.Contains(string(api.Kept().Config), "localRegistries"); got != want {
		t.Errorf("%s: kept is\n%s", when, api.Kept().Config)
	}
	list, err := s.Registries(t.Context())
	if err != nil || slices.Contains(list[0].Clusters, "dev") != want {
		t.Errorf("%s: listed are %+v, %v", when, list, err)
	}
}

func TestRegistryLife(t *testing.T) {
	s := newScene(t)
	s.registry(t)
	c := dev(t, 1)
	c.LocalRegistries = []string{"local"}
	if err := s.Create(t.Context(), c, s.options()); err != nil {
		t.Fatal(err)
	}
	s.knows(t, "made with it", true, "dev-control-plane", "dev-worker")
	if _, err := s.CreateNodes(t.Context(), "dev", adding(1)); err != nil {
		t.Fatal(err)
	}
	s.knows(t, "one node more", true, "dev-control-plane", "dev-worker", "dev-worker2")
	for range 2 {
		if err := s.DisconnectRegistry(t.Context(), "dev", "local"); err != nil {
			t.Fatal(err)
		}
	}
	s.knows(t, "disconnected", false, "dev-control-plane", "dev-worker", "dev-worker2")
	for range 2 {
		if err := s.ConnectRegistry(t.Context(), "dev", "local"); err != nil {
			t.Fatal(err)
		}
	}
	s.knows(t, "connected", true, "dev-control-plane", "dev-worker", "dev-worker2")
	err := s.DeleteRegistry(t.Context(), "local", false)
	if err == nil || !strings.Contains(err.Error(), "dev") {
		t.Errorf("deleted while it is used: %v", err)
	}
	if err := s.Delete(t.Context(), "dev", nil); err != nil {
		t.Fatal(err)
	}
	if left := s.Objects(); len(left) != 1 || left[0] != "registry local" {
		t.Errorf("the cluster left %q", left)
	}
	for range 2 {
		if err := s.DeleteRegistry(t.Context(), "local", false); err != nil {
			t.Error(err)
		}
	}
}

// What nodes know of a registry goes with it also when it is gone itself, or was
// made anew on another port.
func TestRegistryGone(t *testing.T) {
	s := newScene(t)
	s.registry(t)
	s.create(t, 0)
	const first, newHosts = "dev-control-plane", "/etc/containerd/certs.d/localhost:5002/hosts.toml"
	steps := []func() error{
		func() error { return s.ConnectRegistry(t.Context(), "dev", "local") },
		func() error { return s.DeleteRegistry(t.Context(), "local", true) },
		func() error {
			return second(s.CreateRegistry(t.Context(), "local", RegistryOptions{Port: 5002, Image: clustertest.Image}))
		},
		func() error { return s.ConnectRegistry(t.Context(), "dev", "local") },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	_, old := s.File(first, pushHosts)
	_, anew := s.File(first, newHosts)
	if old || !anew {
		t.Errorf("made anew: the old one is known: %v, the new one: %v", old, anew)
	}
	if err := errors.Join(s.DeleteRegistry(t.Context(), "local", true), s.DisconnectRegistry(t.Context(), "dev", "local")); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.File(first, newHosts); ok {
		t.Error("gone: it is known still")
	}
}

// A cluster that uses a cache only says nothing of registries to push to, and
// leaves alone what somebody else said.
func TestForeignHosting(t *testing.T) {
	s := newScene(t)
	s.create(t, 0)
	if err := s.World.API("dev").AnnounceRegistry(t.Context(), "host: localhost:9999\n"); err != nil {
		t.Fatal(err)
	}
	cache := RegistryOptions{Image: clustertest.Image, Upstream: "docker.io"}
	err := errors.Join(second(s.CreateRegistry(t.Context(), "hub", cache)),
		s.ConnectRegistry(t.Context(), "dev", "hub"), s.DisconnectRegistry(t.Context(), "dev", "hub"))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.World.API("dev").Hosting(); got != "host: localhost:9999\n" {
		t.Errorf("the cluster says %q", got)
	}
}

// TestRegistryFailsAtEveryCall fails each call to the engine while a registry is
// connected or disconnected; the same command again finishes it.
func TestRegistryFailsAtEveryCall(t *testing.T) {
	for name, inject := range injections {
		for _, connect := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, connect %v", name, connect), func(t *testing.T) {
				n := 1
				for registryFailsAt(t, n, inject, connect) {
					n++
				}
				if n < 4 {
					t.Errorf("it takes only %d calls", n-1)
				}
			})
		}
	}
}

// registryFailsAt fails call n of connecting or disconnecting, which may take
// fewer.
func registryFailsAt(t *testing.T, n int, inject func(*scene, int), connect bool) (failed bool) {
	s := newScene(t)
	s.registry(t)
	s.create(t, 1)
	verb := func() error { return s.ConnectRegistry(t.Context(), "dev", "local") }
	if !connect {
		if err := verb(); err != nil {
			t.Fatal(err)
		}
		verb = func() error { return s.DisconnectRegistry(t.Context(), "dev", "local") }
	}
	inject(s, len(s.Calls())+n)
	err := verb()
	if err == nil {
		return false
	}
	if !errors.Is(err, errBroken) {
		t.Fatalf("call %d: %v", n, err)
	}
	if err := verb(); err != nil {
		t.Fatalf("after call %d: %v", n, err)
	}
	s.knows(t, "in the end", connect, "dev-control-plane", "dev-worker")
	return true
}

func TestRegistryWrongUse(t *testing.T) {
	s := newScene(t)
	s.registry(t)
	s.create(t, 0)
	withUnknown := sized(t, 1, 0)
	withUnknown.Name, withUnknown.LocalRegistries = "two", []string{"none"}
	withUnknown.Nodes[0].Name = "two-control-plane"
	for want, err := range map[string]error{
		"REGISTRY-EXISTS":      second(s.CreateRegistry(t.Context(), "local", RegistryOptions{Image: clustertest.Image})),
		"REGISTRY-NAME":        second(s.CreateRegistry(t.Context(), "a/b", RegistryOptions{Image: clustertest.Image})),
		"REGISTRY-UPSTREAM":    second(s.CreateRegistry(t.Context(), "x", RegistryOptions{Image: clustertest.Image, Upstream: "https://u:hunter2@corp"})),
		"REGISTRY-CREDENTIALS": second(s.CreateRegistry(t.Context(), "x", RegistryOptions{Image: clustertest.Image, Username: "u", PasswordEnv: "X"})),
		"REGISTRY-FILE":        second(s.CreateRegistry(t.Context(), "x", RegistryOptions{Image: clustertest.Image, Upstream: "corp", Username: "u", PasswordFile: "/none"})),
		"REGISTRY-NOT-FOUND":   s.ConnectRegistry(t.Context(), "dev", "none"),
		"CLUSTER-NOT-FOUND":    s.ConnectRegistry(t.Context(), "none", "local"),
	} {
		got, ok := errors.AsType[*errdefs.Error](err)
		if !ok || got.ID != want || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	err := s.Create(t.Context(), withUnknown, s.options())
	if err == nil || !strings.Contains(err.Error(), `no registry "none"`) || len(s.Objects()) != 3 {
		t.Errorf("a cluster with an unknown registry: %v; there are %q", err, s.Objects())
	}
}

func second(_ Registry, err error) error { return err }

const password = "hunter2"

// Passwords are in nodes, for root alone, and nowhere else.
func TestRegistryPasswords(t *testing.T) {
	s := newScene(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"password": password + "\n", "ca": "PEM"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := dev(t, 1)
	c.Registries = []config.Registry{{Host: "corp", Username: "u", PasswordFile: filepath.Join(dir, "password"), CAFile: filepath.Join(dir, "ca")}}
	c.ShareEngine = true
	if err := s.Create(t.Context(), c, s.options()); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateNodes(t.Context(), "dev", adding(1)); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"dev-control-plane", "dev-worker", "dev-worker2"} {
		plan, _ := s.File(n, nodeimage.PlanPath)
		ca, _ := s.File(n, "/etc/containerd/certs.d/corp/ca.pem")
		share, _ := s.File(n, anyHosts)
		if !strings.Contains(string(plan.Data), password) || plan.Mode != 0o600 || string(ca.Data) != "PEM" ||
			!strings.Contains(string(share.Data), "http://dev-image-server:5000") {
			t.Errorf("%s has %s\n%s\n%s", n, plan.Data, ca.Data, share.Data)
		}
	}
	kept, _ := s.File("dev-control-plane", nodeimage.ConfigPath)
	if text := string(kept.Data) + string(s.World.API("dev").Kept().Config); strings.Contains(text, password) || !strings.Contains(text, "share: engine") {
		t.Errorf("kept is\n%s", text)
	}
	err := s.DeleteNodes(t.Context(), "dev", []string{"dev-image-server"}, RemoveOptions{})
	wantError(t, err, errdefs.ClassUsage, "NODE-ROLE", "dev-image-server")
	nodes, err := s.Nodes(t.Context(), "dev")
	if err != nil || len(nodes) != 3 || !slices.Contains(s.Objects(), "node dev-image-server") {
		t.Errorf("nodes are %d of %q, %v", len(nodes), s.Objects(), err)
	}
	status, err := s.Status(t.Context(), "dev")
	if err != nil || !status.Usable {
		t.Errorf("it is %+v, %v", status, err)
	}
	if err := s.Delete(t.Context(), "dev", nil); err != nil || len(s.Objects()) > 0 {
		t.Errorf("left are %q, %v", s.Objects(), err)
	}
}
