//go:build linux

// Package netguard makes a node refuse at once what is addressed to the
// cluster's own ranges and has nowhere to go. Without it such packets follow
// the default route out of the cluster, to a VPN or an office network, and
// their sender waits for an answer instead of trying again. It stands on
// netlink for routes and on the nft program for rules, needs no Kubernetes
// API, and so works from the first moment of a node: both the node's
// entrypoint and the CNI agent apply it. It is not a network policy: whatever
// has a way to go is left alone.
package netguard

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Apply guards the pod and service subnets of a cluster in the current network
// namespace. It may be called again at any time and replaces what an earlier
// call made; an empty list leaves its part as it was, so that a caller that
// knows only one kind of range does not undo the work of one that knows both.
// The two parts are independent: when one fails the other is still done, and
// the error names each that failed, such as a missing nft program.
//
// Pods are guarded by a route of type unreachable, which loses against every
// more specific route of a node or a pod: a local sender gets EHOSTUNREACH and
// a forwarded one an ICMP host unreachable. Services cannot be guarded by a
// route: a locally generated packet is routed before kube-proxy translates its
// destination in the output hook, and an unreachable route would refuse it
// there, though it has somewhere to go. Rules do it, see guardTransaction.
func Apply(ctx context.Context, pods, services []netip.Prefix) error {
	return errors.Join(refusePods(kernel{}, pods), refuseServices(ctx, services))
}

// Clear removes all that Apply made, and does nothing when there is nothing.
func Clear(ctx context.Context) error {
	return errors.Join(clearRoutes(kernel{}), clearRules(ctx))
}

// routes is the kernel's list of the guard's own unreachable routes.
type routes interface {
	List() ([]netip.Prefix, error)
	Add(netip.Prefix) error // also when it is there already
	Delete(netip.Prefix) error
}

// refusePods makes the guard's routes those of pods.
func refusePods(r routes, pods []netip.Prefix) error {
	if len(pods) == 0 {
		return nil
	}
	want := masked(pods)
	for _, p := range want {
		if err := r.Add(p); err != nil {
			return fmt.Errorf("add unreachable route for pods %s: %w", p, err)
		}
	}
	return deleteRoutes(r, func(p netip.Prefix) bool { return !slices.Contains(want, p) })
}

func clearRoutes(r routes) error {
	return deleteRoutes(r, func(netip.Prefix) bool { return true })
}

func deleteRoutes(r routes, unwanted func(netip.Prefix) bool) error {
	have, err := r.List()
	if err != nil {
		return fmt.Errorf("list unreachable routes: %w", err)
	}
	for _, p := range have {
		if !unwanted(p) {
			continue
		}
		if err := r.Delete(p); err != nil {
			return fmt.Errorf("delete unreachable route for %s: %w", p, err)
		}
	}
	return nil
}

// masked gives prefixes in the form the kernel keeps them, without host bits.
func masked(prefixes []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, len(prefixes))
	for i, p := range prefixes {
		out[i] = p.Masked()
	}
	return out
}
