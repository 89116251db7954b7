package container

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

func registrySpec() provider.RegistrySpec {
	return provider.RegistrySpec{
		Name: "local", Image: "img", Command: []string{"registry"}, DataDir: "/data", Serving: "listening on",
		Files:   []provider.File{{Path: "/petri/registry.yml", Data: []byte("secret"), Mode: 0o600}},
		Publish: provider.Publish{Address: "127.0.0.1"},
	}
}

// servingEngine is one on which registries serve and nodes boot.
func servingEngine() *fakeEngine {
	e := newFakeEngine()
	e.console = "level=info msg=\"listening on [::]:5000\"\r\n" + e.console
	return e
}

func TestRegistry(t *testing.T) {
	e := servingEngine()
	p := fakeProvider(t, e)
	made, err := p.CreateRegistry(t.Context(), registrySpec(), progress.Discard)
	if err != nil || made.Port == 0 || made.State != "running" || len(made.Clusters) > 0 {
		t.Fatalf("made %+v, %v", made, err)
	}
	c := e.containers["petri-registry-local"]
	for port, bindings := range c.host.PortBindings {
		if port != "5000/tcp" || len(bindings) != 1 || bindings[0].HostIP != "127.0.0.1" {
			t.Errorf("published are %v at %v", port, bindings)
		}
	}
	if told := fmt.Sprint(c.config.Env, c.config.Labels, c.config.Entrypoint); strings.Contains(told, "secret") {
		t.Errorf("everybody may read %s", told)
	}
	if _, err := p.CreateRegistry(t.Context(), registrySpec(), progress.Discard); !errdefs.Is(err, errdefs.ClassExists) {
		t.Errorf("the same again: %v", err)
	}
	if err := p.ConnectRegistry(t.Context(), "local", "a"); !errdefs.Is(err, errdefs.ClassNotFound) {
		t.Errorf("connected to no cluster: %v", err)
	}
	if _, err := p.Create(t.Context(), specOf(1), progress.Discard); err != nil {
		t.Fatal(err)
	}
	if err := p.ConnectRegistry(t.Context(), "none", "a"); !errdefs.Is(err, errdefs.ClassNotFound) {
		t.Errorf("connected no registry: %v", err)
	}
	for range 2 {
		if err := p.ConnectRegistry(t.Context(), "local", "a"); err != nil {
			t.Fatal(err)
		}
	}
	on := c.network.EndpointsConfig["petri-a"]
	subnet := networkSubnets(e.networks["petri-a"])[0]
	if last := nthAddr(subnet, uint32(1)<<(32-subnet.Bits())-2); on.IPAMConfig.IPv4Address != last.String() || on.Aliases[0] != "local.registry.petri" {
		t.Errorf("it is at %+v, called %v; want the last address of %s", on.IPAMConfig, on.Aliases, subnet)
	}
	list, err := p.Registries(t.Context())
	if err != nil || len(list) != 1 || !cmp.Equal(list[0].Clusters, []string{"a"}) || list[0].Port != made.Port {
		t.Errorf("listed are %+v, %v", list, err)
	}
	if err := p.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if list, err := p.Registries(t.Context()); err != nil || len(list) != 1 || len(list[0].Clusters) > 0 {
		t.Errorf("after its cluster: %+v, %v", list, err)
	}
	for range 2 {
		if err := p.DeleteRegistry(t.Context(), "local"); err != nil {
			t.Error(err)
		}
	}
	if len(e.containers) > 0 {
		t.Errorf("left are %v", e.containers)
	}
}

// A creation that fails at any call leaves nothing, unless the engine does not
// let it.
func TestRegistryFailures(t *testing.T) {
	broken := errors.New("engine broke")
	for n := 1; ; n++ {
		e := servingEngine()
		e.fail = func(_ string, nth int) error {
			if nth == n {
				return broken
			}
			return nil
		}
		p := fakeProvider(t, e)
		_, err := p.CreateRegistry(t.Context(), registrySpec(), progress.Discard)
		if n > e.count("") {
			return
		}
		if !errors.Is(err, broken) {
			t.Errorf("call %d: %v", n, err)
		}
		started := n > 6 // only the look at what was made is left
		if len(e.containers) > 0 && !started {
			t.Errorf("call %d: left are %v", n, e.containers)
		}
	}
}

func TestRegistryErrors(t *testing.T) {
	for name, test := range map[string]struct {
		break_ func(*fakeEngine, *provider.RegistrySpec)
		want   string
	}{
		"a stranger has its name": {func(e *fakeEngine, _ *provider.RegistrySpec) {
			e.fail = func(call string, _ int) error {
				if call == "ContainerCreate" {
					return fmt.Errorf("name in use: %w", cerrdefs.ErrConflict)
				}
				return nil
			}
		}, "REGISTRY-NAME-TAKEN"},
		"a taken port": {func(e *fakeEngine, _ *provider.RegistrySpec) {
			e.fail = func(call string, _ int) error {
				if call == "ContainerStart" {
					return errors.New("port is already allocated")
				}
				return nil
			}
		}, "PORT-TAKEN"},
		"no upstream": {func(e *fakeEngine, spec *provider.RegistrySpec) {
			e.console, e.closing, spec.Upstream = "panic: connection refused\r\n", true, "https://corp"
		}, "REGISTRY-UPSTREAM"},
		"a dead program": {func(e *fakeEngine, _ *provider.RegistrySpec) {
			e.console, e.closing = "no such file\r\n", true
		}, "REGISTRY-DIED"},
	} {
		t.Run(name, func(t *testing.T) {
			e, spec := servingEngine(), registrySpec()
			test.break_(e, &spec)
			_, err := fakeProvider(t, e).CreateRegistry(t.Context(), spec, progress.Discard)
			got, ok := errors.AsType[*errdefs.Error](err)
			if !ok || got.ID != test.want || got.Hint == "" {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if len(e.containers) > 0 {
				t.Errorf("left are %v", e.containers)
			}
		})
	}
}

// Who makes a registry while another user makes one of that name leaves the
// other one alone.
func TestRegistryOfAnother(t *testing.T) {
	e := servingEngine()
	p := fakeProvider(t, e)
	if _, err := p.CreateRegistry(t.Context(), registrySpec(), progress.Discard); err != nil {
		t.Fatal(err)
	}
	const name = "petri-registry-local"
	other := e.containers[name]
	delete(e.containers, name)
	e.fail = func(call string, _ int) error {
		if call != "ContainerCreate" {
			return nil
		}
		e.containers[name] = other
		return fmt.Errorf("name in use: %w", cerrdefs.ErrConflict)
	}
	if _, err := p.CreateRegistry(t.Context(), registrySpec(), progress.Discard); err == nil {
		t.Error("there are two")
	}
	if e.containers[name] != other {
		t.Errorf("left are %v", e.containers)
	}
}

// What serves the engine's images has its socket, and no privileges.
func TestEngineSocket(t *testing.T) {
	e := newFakeEngine()
	spec := specOf(0)
	spec.Nodes = append(spec.Nodes, provider.NodeSpec{Name: "a-images", Role: nodeimage.RoleImageServer, Image: "img", Command: []string{"serve"}, Engine: true})
	if _, err := fakeProvider(t, e).Create(t.Context(), spec, progress.Discard); err != nil {
		t.Fatal(err)
	}
	with, without := e.containers["a-images"].host, e.containers["a-control-plane"].host
	if !cmp.Equal(with.Binds, []string{"/var/run/docker.sock:/var/run/docker.sock"}) || with.Privileged || len(with.CapAdd) > 0 || len(with.PortBindings) > 0 {
		t.Errorf("it has %+v", with)
	}
	if strings.Contains(fmt.Sprint(without.Binds), "docker.sock") {
		t.Errorf("nodes have %v", without.Binds)
	}
}
