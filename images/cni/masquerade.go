//go:build linux

package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"sigs.k8s.io/knftables"
)

// masqTable is the agent's own table; nobody else's is touched.
const masqTable = "petri-masq"

// family is an address family, as nft spells it.
type family struct {
	suffix  string // of the names of sets
	keyType string
	proto   string
	is4     bool
}

var families = [...]family{
	{"v4", "ipv4_addr", "ip", true},
	{"v6", "ipv6_addr", "ip6", false},
}

func (f family) of(prefixes []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(prefixes), func(p netip.Prefix) bool { return p.Addr().Is4() != f.is4 })
}

// syncMasquerade gives what this node's pods send out of the cluster the
// address of the node, in one nft transaction.
func (a *agent) syncMasquerade(ctx context.Context, all map[string]member) error {
	pods := all[a.settings.node].pods
	tx := masqTransaction(a.nft, pods, inside(a.settings.pods, all))
	if err := a.nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("masquerade pods %v: %w", pods, err)
	}
	return nil
}

// inside is where pods are known by their own addresses: other pods, and the
// nodes, which all have routes back. Prefixes in others are left out, because
// a set of intervals must not overlap.
func inside(subnets []netip.Prefix, all map[string]member) []netip.Prefix {
	out := slices.Clone(subnets)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, a := range all[name].addrs {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
		out = append(out, all[name].pods...)
	}
	slices.SortFunc(out, netip.Prefix.Compare) // wide ones before those within
	var disjoint []netip.Prefix
	for _, p := range out {
		if n := len(disjoint); n == 0 || !disjoint[n-1].Overlaps(p) {
			disjoint = append(disjoint, p)
		}
	}
	return disjoint
}

// masqTransaction replaces the table. Only packets from this node's pods are
// looked at: what the node itself or a Service's client sends is left alone.
func masqTransaction(nft knftables.Interface, pods, inside []netip.Prefix) *knftables.Transaction {
	tx := nft.NewTransaction()
	tx.Add(&knftables.Table{}) // deleting needs one
	tx.Delete(&knftables.Table{})
	tx.Add(&knftables.Table{})
	tx.Add(&knftables.Chain{
		Name:     "postrouting",
		Type:     new(knftables.NATType),
		Hook:     new(knftables.PostroutingHook),
		Priority: new(knftables.SNATPriority),
	})
	for _, f := range families {
		own := f.of(pods)
		if len(own) == 0 {
			continue
		}
		addSet(tx, f, "pods-", own)
		addSet(tx, f, "inside-", f.of(inside))
		tx.Add(&knftables.Rule{
			Chain: "postrouting",
			// at random, because two connections of one protocol to one
			// address may otherwise be given the same port at the same moment
			Rule: knftables.Concat(f.proto, "saddr", "@", "pods-"+f.suffix,
				f.proto, "daddr != @inside-"+f.suffix, "masquerade fully-random"),
		})
	}
	return tx
}

func addSet(tx *knftables.Transaction, f family, name string, prefixes []netip.Prefix) {
	tx.Add(&knftables.Set{Name: name + f.suffix, Type: f.keyType, Flags: []knftables.SetFlag{knftables.IntervalFlag}})
	for _, p := range prefixes {
		tx.Add(&knftables.Element{Set: name + f.suffix, Key: []string{p.String()}})
	}
}
