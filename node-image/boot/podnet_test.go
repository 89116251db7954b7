package boot

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/podnet"
)

// ownAddress is an address that the machine of the test has.
func ownAddress(t *testing.T) (address string, mtu int) {
	t.Helper()
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1", lo.MTU
}

func TestPodNetwork(t *testing.T) {
	address, mtu := ownAddress(t)
	m, _ := machine(t, nil)
	m.Plan = &nodeimage.Plan{Address: address, PodRanges: []string{"10.244.0.0/24"}}
	twice(t, m, podNetwork)
	want, err := podnet.Conflist([]netip.Prefix{netip.MustParsePrefix("10.244.0.0/24")}, mtu)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, string(want), read(t, m, podnet.ConflistPath))
}

// TestPodNetworkOfAJoinedNode: the cluster has told the ranges.
func TestPodNetworkOfAJoinedNode(t *testing.T) {
	address, mtu := ownAddress(t)
	m, _ := machine(t, map[string]string{nodeimage.PlanPath: `{"address": "` + address + `"}`})
	ranges := []netip.Prefix{netip.MustParsePrefix("10.244.3.0/24")}
	if err := PodNetwork(m, ranges); err != nil {
		t.Fatal(err)
	}
	want, err := podnet.Conflist(ranges, mtu)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, string(want), read(t, m, podnet.ConflistPath))
	m, _ = machine(t, map[string]string{nodeimage.PlanPath: `{`})
	if err := PodNetwork(m, ranges); err == nil {
		t.Error("no error about a broken plan")
	}
}

// TestPodRoutes: other nodes' pods are behind the first control plane.
func TestPodRoutes(t *testing.T) {
	m, _ := machine(t, nil)
	if err := podRoutes(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	m.Plan = &nodeimage.Plan{PodSubnets: []string{"10.244.0.1/16", "fd00:10:244::/56"}, PodGateways: []string{"10.201.0.2", "fd5a::2"}}
	if err := podRoutes(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	diff(t, []string{
		"ip route replace 10.244.0.0/16 via 10.201.0.2 proto 112", "ip route replace fd00:10:244::/56 via fd5a::2 proto 112",
	}, m.Runner.(*fakeRunner).commands)
	m.Plan.PodSubnets = []string{"x"}
	if err := podRoutes(t.Context(), m); err == nil {
		t.Error("no error about a broken plan")
	}
}

func TestPodNetworkIsTheAgents(t *testing.T) {
	address, _ := ownAddress(t)
	for name, plan := range map[string]*nodeimage.Plan{
		"no plan":  nil,
		"no range": {Address: address},
	} {
		m, _ := machine(t, nil)
		m.Plan = plan
		if err := podNetwork(t.Context(), m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(m.path(podnet.ConflistPath)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: there is a configuration: %v", name, err)
		}
	}
	m, _ := machine(t, map[string]string{podnet.ConflistPath: "the agent's"})
	m.Plan = &nodeimage.Plan{Address: address, PodRanges: []string{"10.244.0.0/24"}}
	if err := podNetwork(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	diff(t, "the agent's", read(t, m, podnet.ConflistPath))
}

func TestPodNetworkErrors(t *testing.T) {
	address, _ := ownAddress(t)
	for name, plan := range map[string]nodeimage.Plan{
		"bad range":    {Address: address, PodRanges: []string{"10.244.0.0"}},
		"other's node": {Address: "192.0.2.1", PodRanges: []string{"10.244.0.0/24"}},
	} {
		m, _ := machine(t, nil)
		m.Plan = &plan
		if err := podNetwork(t.Context(), m); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAPIService(t *testing.T) {
	for name, test := range map[string]struct {
		plan *nodeimage.Plan
		want string
	}{
		"no plan":     {nil, ""},
		"not served":  {&nodeimage.Plan{}, ""},
		"IPv4":        {&nodeimage.Plan{APIService: "10.96.0.1", APIServer: "172.18.0.2"}, "ip daddr 10.96.0.1 tcp dport 443 dnat to 172.18.0.2:6443"},
		"IPv6":        {&nodeimage.Plan{APIService: "fd00::1", APIServer: "fc00::2"}, "ip6 daddr fd00::1 tcp dport 443 dnat to [fc00::2]:6443"},
		"bad service": {&nodeimage.Plan{APIService: "x", APIServer: "172.18.0.2"}, "error"},
		"bad server":  {&nodeimage.Plan{APIService: "10.96.0.1"}, "error"},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := machine(t, nil)
			m.Plan = test.plan
			err := apiService(t.Context(), m)
			loaded := strings.Join(m.Runner.(*fakeRunner).stdin, "")
			if (err != nil) != (test.want == "error") {
				t.Fatalf("error %v", err)
			}
			// before and after the translation of kube-proxy's, in both hooks
			if err == nil && strings.Count(loaded, test.want) != 2 && test.want != "" {
				t.Errorf("rules\n%s\nwant %q twice", loaded, test.want)
			}
			if test.want == "" && loaded != "" {
				t.Errorf("rules nobody asked for: %s", loaded)
			}
		})
	}
}
