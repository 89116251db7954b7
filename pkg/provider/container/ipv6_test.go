package container

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/network"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

// refuseIPv6 is an engine that makes networks of IPv4 only.
func refuseIPv6(e *fakeEngine) {
	e.refuse = func(options network.CreateOptions) error {
		if *options.EnableIPv6 {
			return errors.New("Unable to setup IPv6: ip6tables is missing")
		}
		return nil
	}
}

func TestNetworkOfBothFamilies(t *testing.T) {
	e := newFakeEngine()
	p := fakeProvider(t, e)
	spec := clusterOf("a", 1)
	spec.IPv6 = true
	nodes, err := p.Create(t.Context(), spec, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	made := e.networks["petri-a"]
	if !made.EnableIPv6 || len(made.IPAM.Config) != 2 {
		t.Fatalf("network %+v", made)
	}
	for _, n := range nodes {
		endpoint := e.containers[n.Name].network.EndpointsConfig["petri-a"].IPAMConfig
		for i, addr := range []string{endpoint.IPv4Address, endpoint.IPv6Address} {
			if !netip.MustParsePrefix(made.IPAM.Config[i].Subnet).Contains(netip.MustParseAddr(addr)) || n.Addrs[i].String() != addr {
				t.Errorf("%s is at %v; the engine was told %s of %v", n.Name, n.Addrs, addr, made.IPAM.Config[i])
			}
		}
		if got := e.containers[n.Name].host.Sysctls["net.ipv6.conf.all.disable_ipv6"]; got != "0" {
			t.Errorf("IPv6 of %s is switched off: %q", n.Name, got)
		}
	}
}

func TestNetworkOfIPv4(t *testing.T) {
	e := newFakeEngine()
	refuseIPv6(e)
	nodes, err := fakeProvider(t, e).Create(t.Context(), specOf(0), progress.Discard)
	if err != nil || len(nodes[0].Addrs) != 1 || e.networks["petri-a"].EnableIPv6 {
		t.Errorf("%v: %v in %+v", err, nodes, e.networks["petri-a"])
	}
}

// An engine without IPv6 is found out before anything is there.
func TestEngineWithoutIPv6(t *testing.T) {
	for _, name := range []string{"", "kind"} {
		e := newFakeEngine()
		refuseIPv6(e)
		spec := specOf(0)
		spec.IPv6, spec.Network = true, name
		_, err := fakeProvider(t, e).Create(t.Context(), spec, progress.Discard)
		failed, ok := errors.AsType[*errdefs.Error](err)
		if !ok || failed.ID != "NO-IPV6" || !strings.Contains(err.Error(), "networking.ipFamily") || !strings.Contains(failed.Hint, "ipv4") {
			t.Errorf("on network %q: %v", name, err)
		}
		if len(e.containers) > 0 || len(e.networks) != 1 { // the engine's own
			t.Errorf("on network %q there are %v and %v", name, e.containers, e.networks)
		}
	}
}

// A network that clusters share has IPv6 for those that come later, where the
// engine can.
func TestSharedNetworkHasIPv6(t *testing.T) {
	for refused, addresses := range map[bool]int{false: 2, true: 1} {
		e := newFakeEngine()
		if refused {
			refuseIPv6(e)
		}
		spec := specOf(0)
		spec.Network = "kind"
		nodes, err := fakeProvider(t, e).Create(t.Context(), spec, progress.Discard)
		if err != nil || len(nodes[0].Addrs) != addresses || e.networks["kind"].EnableIPv6 == refused {
			t.Errorf("%v: %v in %+v", err, nodes, e.networks["kind"])
		}
	}
}

func TestAdoptedNetworkOfBothFamilies(t *testing.T) {
	e := newFakeEngine()
	ranges := []network.IPAMConfig{{Subnet: "fc00:f853:ccd:e793::/64"}, {Subnet: "172.18.0.0/16", Gateway: "172.18.0.1"}}
	e.networks["kind"] = network.Summary{ID: "kind-id", Name: "kind", EnableIPv6: true, IPAM: network.IPAM{Config: ranges}}
	spec := clusterOf("a", 1)
	spec.Network, spec.IPv6 = "kind", true
	nodes, err := fakeProvider(t, e).Create(t.Context(), spec, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"[172.18.128.0 fc00:f853:ccd:e793::8000]", "[172.18.128.1 fc00:f853:ccd:e793::8001]"} {
		if got := fmt.Sprint(nodes[i].Addrs); got != want {
			t.Errorf("%s is at %s, want %s", nodes[i].Name, got, want)
		}
	}
}

func TestAdoptedNetworkWithoutIPv6(t *testing.T) {
	e := newFakeEngine()
	// a range of IPv6 that is not used is none
	ranges := []network.IPAMConfig{{Subnet: "172.18.0.0/16"}, {Subnet: "fc00::/64"}}
	e.networks["kind"] = network.Summary{ID: "kind-id", Name: "kind", IPAM: network.IPAM{Config: ranges}}
	spec := specOf(0)
	spec.Network, spec.IPv6 = "kind", true
	_, err := fakeProvider(t, e).Create(t.Context(), spec, progress.Discard)
	failed, ok := errors.AsType[*errdefs.Error](err)
	if !ok || failed.ID != "NETWORK-UNFIT" || !strings.Contains(failed.Hint, "docker network rm kind") || len(e.containers) > 0 {
		t.Errorf("got %v; there are %v", err, e.containers)
	}
}

// Addresses of both families that the engine gives are told.
func TestAddressesOfBothFamiliesGiven(t *testing.T) {
	e := newFakeEngine()
	p := fakeProvider(t, e)
	ranges := []network.IPAMConfig{{Subnet: "172.18.0.0/16"}, {Subnet: "fc00::/64"}}
	e.networks["kind"] = network.Summary{ID: "kind-id", Name: "kind", EnableIPv6: true, IPAM: network.IPAM{Config: ranges}}
	e.fail = func(call string, _ int) error {
		for _, c := range e.containers {
			if endpoint := c.network.EndpointsConfig["kind"]; call == "ContainerStart" && endpoint.IPAMConfig != nil {
				return errors.New("user specified IP address is supported only when connecting to networks with user configured subnets")
			} else if endpoint.IPAMConfig == nil {
				endpoint.IPAddress, endpoint.GlobalIPv6Address = "172.18.0.9", "fc00::9"
			}
		}
		return nil
	}
	spec := specOf(0)
	spec.Network, spec.IPv6 = "kind", true
	spec.Files = func(at provider.Placement) ([]provider.File, error) {
		return []provider.File{{Path: "/petri/addresses", Data: fmt.Append(nil, at.Addrs)}}, nil
	}
	nodes, err := p.Create(t.Context(), spec, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if files := string(e.containers[nodes[0].Name].files); !strings.Contains(files, "[172.18.0.9 fc00::9]") || len(nodes[0].Addrs) != 2 {
		t.Errorf("at %v; its files are %q", nodes[0].Addrs, files)
	}
}
