//go:build linux

package main

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/knftables"
)

func TestInsideIsDisjoint(t *testing.T) {
	all := map[string]member{
		"a": memberOf(node("a", "172.18.0.2", "10.244.0.0/24")),
		"b": memberOf(node("b", "10.244.77.1", "10.244.1.0/24")), // an address within the pods' range
		"c": memberOf(node("c", "fc00::3", "fd00:10:244:2::/64")),
	}
	var got []string
	for _, p := range inside([]netip.Prefix{subnet("10.244.0.0/16"), subnet("fd00:10:244::/56")}, all) {
		got = append(got, p.String())
	}
	want := []string{"10.244.0.0/16", "172.18.0.2/32", "fc00::3/128", "fd00:10:244::/56"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inside (-want +got):\n%s", diff)
	}
}

func TestMasqTransaction(t *testing.T) {
	inside := []netip.Prefix{subnet("10.244.0.0/16"), subnet("172.18.0.2/32"), subnet("fd00:10:244::/56")}
	nft := knftables.NewFake(knftables.InetFamily, masqTable)
	// the second run must leave nothing of the first
	for _, pods := range [][]netip.Prefix{
		{subnet("10.244.9.0/24")},
		{subnet("10.244.0.0/24"), subnet("fd00:10:244::/64")},
	} {
		if err := nft.Run(t.Context(), masqTransaction(nft, pods, inside)); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "masquerade.nft", []byte(nft.Dump()))
}

func TestMasqTransactionWithoutPods(t *testing.T) {
	nft := knftables.NewFake(knftables.InetFamily, masqTable)
	if err := nft.Run(t.Context(), masqTransaction(nft, nil, nil)); err != nil {
		t.Fatal(err)
	}
	rules, err := nft.ListRules(t.Context(), "postrouting")
	if err != nil || len(rules) != 0 {
		t.Errorf("rules %v, error %v; want none before the node has pods", rules, err)
	}
}
