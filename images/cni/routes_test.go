//go:build linux

package main

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDesiredRoutes(t *testing.T) {
	all := map[string]member{
		"a": memberOf(node("a", "172.18.0.2", "10.244.0.0/24")),
		"b": memberOf(node("b", "172.18.0.3", "10.244.1.0/24", "fd00:1::/64")), // no address of the second family
		"c": memberOf(node("c", "fc00::4", "10.244.2.0/24", "fd00:2::/64")),
		"d": memberOf(node("d", "172.18.0.5")), // no range yet
	}
	var got []string
	for _, r := range desiredRoutes("a", all) {
		got = append(got, r.to.String()+" via "+r.via.String())
	}
	want := []string{"10.244.1.0/24 via 172.18.0.3", "fd00:2::/64 via fc00::4"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

func TestRouteChanges(t *testing.T) {
	r := func(to, via string) route { return route{subnet(to), netip.MustParseAddr(via)} }
	have := []route{r("10.244.1.0/24", "172.18.0.3"), r("10.244.2.0/24", "172.18.0.4"), r("10.244.3.0/24", "172.18.0.5")}
	want := []route{r("10.244.1.0/24", "172.18.0.3"), r("10.244.2.0/24", "172.18.0.9"), r("10.244.4.0/24", "172.18.0.6")}
	add, remove := routeChanges(have, want)
	text := func(routes []route) (out []string) {
		for _, r := range routes {
			out = append(out, r.to.String()+" via "+r.via.String())
		}
		return out
	}
	if diff := cmp.Diff([]string{"10.244.2.0/24 via 172.18.0.9", "10.244.4.0/24 via 172.18.0.6"}, text(add)); diff != "" {
		t.Errorf("added (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"10.244.3.0/24 via 172.18.0.5"}, text(remove)); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
}
