//go:build linux

package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// route leads to the pods of another node.
type route struct {
	to  netip.Prefix
	via netip.Addr
}

// kernel is what the agent needs of the node's network stack.
type kernel interface {
	// Routes gives the agent's own routes, whatever made others.
	Routes() ([]route, error)
	// Replace adds a route, in the place of one to the same prefix if any.
	Replace(route) error
	// Delete removes a route; one that is gone is no error.
	Delete(route) error
	// MTU gives the MTU of the interface of the default route, or 0 when
	// there is no default route.
	MTU() (int, error)
}

// desiredRoutes gives a route for each range of pods of each node but own, in
// order of their prefixes. A node without an address of the family yet gets
// its route when it has one.
func desiredRoutes(own string, all map[string]member) []route {
	var out []route
	for name, m := range all {
		if name == own {
			continue
		}
		for _, p := range m.pods {
			if via, ok := m.via(p); ok {
				out = append(out, route{p, via})
			}
		}
	}
	slices.SortFunc(out, func(a, b route) int {
		return cmp.Or(a.to.Compare(b.to), a.via.Compare(b.via))
	})
	return out
}

// routeChanges says which routes to add and which to remove. One whose gateway
// changed is only added: adding replaces.
func routeChanges(have, want []route) (add, remove []route) {
	for _, r := range want {
		if !slices.Contains(have, r) {
			add = append(add, r)
		}
	}
	for _, r := range have {
		if !slices.ContainsFunc(want, func(w route) bool { return w.to == r.to }) {
			remove = append(remove, r)
		}
	}
	return add, remove
}

// syncRoutes makes the node's routes to pods those that the nodes ask for.
func (a *agent) syncRoutes(all map[string]member) error {
	have, err := a.kernel.Routes()
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	add, remove := routeChanges(have, desiredRoutes(a.settings.node, all))
	var errs []error
	for _, r := range remove {
		if err := a.kernel.Delete(r); err != nil {
			errs = append(errs, fmt.Errorf("delete route to pods %s: %w", r.to, err))
			continue
		}
		a.log.Info("route deleted", "pods", r.to, "via", r.via)
	}
	for _, r := range add {
		if err := a.kernel.Replace(r); err != nil {
			errs = append(errs, fmt.Errorf("route to pods %s via %s: %w", r.to, r.via, err))
			continue
		}
		a.log.Info("route added", "pods", r.to, "via", r.via)
	}
	return errors.Join(errs...)
}
