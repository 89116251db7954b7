package container

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/system"
	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

// stranger is a container on the engine that petri did not make.
func stranger(e *fakeEngine, name string, ports ...container.Port) {
	e.containers[name] = &fakeContainer{
		id: name, name: name, running: true, ports: ports,
		config: &container.Config{}, host: &container.HostConfig{}, network: &network.NetworkingConfig{},
	}
}

// TestTakenIsRefusedFirst wants what is in the way to be named before anything
// is made, and what is not in the way to be left alone.
func TestTakenIsRefusedFirst(t *testing.T) {
	at := func(address string, port uint16) container.Port {
		return container.Port{IP: address, PublicPort: port, PrivatePort: 80, Type: "tcp"}
	}
	for name, test := range map[string]struct {
		plant func(*fakeEngine, *provider.Spec)
		id    string // "" when it is not in the way
		says  string
	}{
		"a node's name": {func(e *fakeEngine, s *provider.Spec) { stranger(e, s.Nodes[0].Name) }, "NODE-NAME-TAKEN", "a container a-control-plane is there"},
		"another name":  {func(e *fakeEngine, _ *provider.Spec) { stranger(e, "b-control-plane") }, "", ""},
		"the API's port": {func(e *fakeEngine, s *provider.Spec) {
			s.API.Port = 6000
			stranger(e, "web", at("0.0.0.0", 6000))
		}, "PORT-TAKEN", "port 127.0.0.1:6000 of the host is published by container web"},
		"a node's port": {func(e *fakeEngine, s *provider.Spec) {
			s.Nodes[0].Ports = []node.Port{{ContainerPort: 80, HostPort: 8080}}
			stranger(e, "web", at("127.0.0.1", 8080))
		}, "PORT-TAKEN", "container web"},
		"on another address": {func(e *fakeEngine, s *provider.Spec) {
			s.API.Port = 6000
			stranger(e, "web", at("127.0.0.2", 6000))
		}, "", ""},
		"of another protocol": {func(e *fakeEngine, s *provider.Spec) {
			s.Nodes[0].Ports = []node.Port{{ContainerPort: 53, HostPort: 53, Protocol: "udp"}}
			stranger(e, "web", at("127.0.0.1", 53))
		}, "", ""},
		"a port left to petri": {func(e *fakeEngine, s *provider.Spec) { stranger(e, "web", at("0.0.0.0", 6000)) }, "", ""},
		"the subnet": {func(e *fakeEngine, s *provider.Spec) {
			s.Subnets = []netip.Prefix{netip.MustParsePrefix("10.9.8.0/24")}
			e.networks["vpn"] = network.Summary{Name: "vpn", IPAM: network.IPAM{Config: []network.IPAMConfig{{Subnet: "10.9.0.0/16"}}}}
		}, "SUBNET-TAKEN", "network vpn, 10.9.0.0/16"},
		"another subnet": {func(e *fakeEngine, s *provider.Spec) {
			s.Subnets = []netip.Prefix{netip.MustParsePrefix("10.9.8.0/24")}
			e.networks["vpn"] = network.Summary{Name: "vpn", IPAM: network.IPAM{Config: []network.IPAMConfig{{Subnet: "10.10.0.0/16"}}}}
		}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e, spec := newFakeEngine(), specOf(0)
			test.plant(e, &spec)
			_, err := fakeProvider(t, e).Create(t.Context(), spec, progress.Discard)
			if test.id == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if failed, ok := errors.AsType[*errdefs.Error](err); !ok || failed.ID != test.id || !strings.Contains(err.Error(), test.says) || failed.Hint == "" {
				t.Errorf("got %v, want %s with %q and a hint", err, test.id, test.says)
			}
			if slices.Contains(e.calls, "NetworkCreate") || slices.Contains(e.calls, "ContainerCreate") {
				t.Errorf("something was made: %q", e.calls)
			}
		})
	}
}

func TestSurvey(t *testing.T) {
	e := newFakeEngine()
	p := fakeProvider(t, e)
	if _, err := p.Create(t.Context(), specOf(0), progress.Discard); err != nil {
		t.Fatal(err)
	}
	stranger(e, "web", container.Port{IP: "0.0.0.0", PublicPort: 80, PrivatePort: 8080, Type: "tcp"}, container.Port{PrivatePort: 1, Type: "tcp"})
	stranger(e, "forgotten")
	e.containers["forgotten"].config.Labels = map[string]string{labelPurpose: "read-image-file"}
	e.containers["forgotten"].running = false
	survey, err := p.Survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []provider.Container{
		{Name: "a-control-plane", Cluster: "a", Role: nodeimage.RoleControlPlane, State: node.Running},
		{Name: "forgotten", State: node.Stopped, Passing: true},
		{Name: "web", State: node.Running, Ports: []node.Port{{ContainerPort: 8080, HostPort: 80, ListenAddress: "0.0.0.0", Protocol: "tcp"}}},
	}
	if diff := cmp.Diff(want, survey.Containers); diff != "" {
		t.Errorf("containers (-want +got):\n%s", diff)
	}
	if len(survey.Networks) != 2 || survey.Networks[1].Cluster != "a" || len(survey.Networks[1].Subnets) != 1 {
		t.Errorf("networks: %+v", survey.Networks)
	}
}

// TestLackingControllers reads what an engine says of its kernel.
func TestLackingControllers(t *testing.T) {
	all := system.Info{CgroupVersion: "2", CPUCfsQuota: true, CPUSet: true, MemoryLimit: true, PidsLimit: true}
	without := all
	without.MemoryLimit = false
	for name, test := range map[string]struct {
		info system.Info
		want []string
	}{
		"all":               {all, nil},
		"no memory":         {without, []string{"memory"}},
		"says nothing":      {system.Info{}, nil},
		"none of them, old": {system.Info{CgroupVersion: "1"}, []string{"cpu", "cpuset", "memory", "pids"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, lackingControllers(test.info)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
