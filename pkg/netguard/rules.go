//go:build linux

package netguard

import (
	"context"
	"fmt"
	"net/netip"

	"sigs.k8s.io/knftables"
)

const (
	table       = "petri-guard"
	refuseChain = "refuse"
)

// guardPriority is after every destination translation (dstnat, and IPVS just
// behind it), so that only what nobody translated is seen, and before the
// filter chains of kube-proxy, which drop what is sent to a Service address
// that nobody has: a refusal that comes second is none.
const guardPriority = knftables.FilterPriority + "-10"

// refuseServices makes the guard's rules those for services, in one nft
// transaction.
func refuseServices(ctx context.Context, services []netip.Prefix) error {
	if len(services) == 0 {
		return nil
	}
	nft, err := newNFT()
	if err != nil {
		return fmt.Errorf("refuse packets for services: %w", err)
	}
	if err := nft.Run(ctx, guardTransaction(nft, services)); err != nil {
		return fmt.Errorf("refuse packets for services: %w", err)
	}
	return nil
}

// clearRules removes the guard's table.
func clearRules(ctx context.Context) error {
	nft, err := newNFT()
	if err != nil {
		return fmt.Errorf("delete table %s: %w", table, err)
	}
	tx := nft.NewTransaction()
	replaceTable(tx)
	tx.Delete(&knftables.Table{})
	if err := nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("delete table %s: %w", table, err)
	}
	return nil
}

func newNFT() (knftables.Interface, error) {
	// comments would cost another run of nft, to find out if it knows them
	return knftables.New(knftables.InetFamily, table, knftables.NoObjectCommentEmulation)
}

// replaceTable leaves the table there and empty, whatever was there before.
func replaceTable(tx *knftables.Transaction) {
	tx.Add(&knftables.Table{}) // deleting needs one
	tx.Delete(&knftables.Table{})
	tx.Add(&knftables.Table{})
}

// guardTransaction replaces the guard's table by one that refuses what is
// still addressed to a Service after translation: what the node itself sends
// in the output hook, what pods send in the forward hook. Packets that stay on
// the node, as with IPVS or a DNS cache that listens on a Service address,
// have arrived and pass.
func guardTransaction(nft knftables.Interface, services []netip.Prefix) *knftables.Transaction {
	tx := nft.NewTransaction()
	replaceTable(tx)
	tx.Add(&knftables.Chain{Name: refuseChain})
	tx.Add(&knftables.Rule{Chain: refuseChain, Rule: "meta l4proto tcp reject with tcp reset"})
	tx.Add(&knftables.Rule{Chain: refuseChain, Rule: "reject with icmpx type port-unreachable"})
	for _, hook := range []knftables.BaseChainHook{knftables.OutputHook, knftables.ForwardHook} {
		tx.Add(&knftables.Chain{
			Name:     string(hook),
			Type:     new(knftables.FilterType),
			Hook:     new(hook),
			Priority: new(guardPriority),
		})
		for _, p := range masked(services) {
			tx.Add(&knftables.Rule{
				Chain: string(hook),
				Rule:  knftables.Concat(`oifname != "lo"`, daddr(p), p.String(), "jump", refuseChain),
			})
		}
	}
	return tx
}

func daddr(p netip.Prefix) string {
	if p.Addr().Is4() {
		return "ip daddr"
	}
	return "ip6 daddr"
}
