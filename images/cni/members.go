//go:build linux

package main

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// member is what the agent needs to know of a node.
type member struct {
	pods  []netip.Prefix // spec.podCIDRs, one of each family; empty until assigned
	addrs []netip.Addr   // internal addresses, in the order of the status
}

// via is the member's first address of the family of p.
func (m member) via(p netip.Prefix) (netip.Addr, bool) {
	i := slices.IndexFunc(m.addrs, func(a netip.Addr) bool { return a.Is4() == p.Addr().Is4() })
	if i < 0 {
		return netip.Addr{}, false
	}
	return m.addrs[i], true
}

func (m member) equal(n member) bool {
	return slices.Equal(m.pods, n.pods) && slices.Equal(m.addrs, n.addrs)
}

// memberOf takes what is well-formed; the API server validates both fields.
func memberOf(n *corev1.Node) member {
	var m member
	cidrs := n.Spec.PodCIDRs
	if len(cidrs) == 0 && n.Spec.PodCIDR != "" {
		cidrs = []string{n.Spec.PodCIDR}
	}
	for _, c := range cidrs {
		if p, err := netip.ParsePrefix(c); err == nil {
			m.pods = append(m.pods, p.Masked())
		}
	}
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if addr, err := netip.ParseAddr(a.Address); err == nil {
			m.addrs = append(m.addrs, addr)
		}
	}
	return m
}

// members is the store that a reflector fills. It keeps a few words of each
// node instead of the object, and says when one of those words changed: most
// updates of a node are heartbeats.
type members struct {
	changed chan struct{} // holds one token when something changed

	mu     sync.Mutex
	byName map[string]member
	known  bool // there has been a whole list
}

func newMembers() *members {
	return &members{changed: make(chan struct{}, 1), byName: map[string]member{}}
}

// list gives the nodes by name, and whether they have been listed at all.
func (s *members) list() (map[string]member, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.byName), s.known
}

// Add implements cache.ReflectorStore.
func (s *members) Add(obj any) error { return s.Update(obj) }

// Update implements cache.ReflectorStore.
func (s *members) Update(obj any) error {
	n, ok := obj.(*corev1.Node)
	if !ok {
		return fmt.Errorf("watch of nodes brought a %T", obj)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := memberOf(n)
	if old, have := s.byName[n.Name]; !have || !old.equal(now) {
		s.byName[n.Name] = now
		s.signal()
	}
	return nil
}

// Delete implements cache.ReflectorStore.
func (s *members) Delete(obj any) error {
	n, ok := obj.(*corev1.Node)
	if !ok {
		return fmt.Errorf("watch of nodes brought a %T", obj)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byName, n.Name)
	s.signal()
	return nil
}

// Replace implements cache.ReflectorStore.
func (s *members) Replace(objs []any, _ string) error {
	byName := make(map[string]member, len(objs))
	for _, obj := range objs {
		n, ok := obj.(*corev1.Node)
		if !ok {
			return fmt.Errorf("list of nodes brought a %T", obj)
		}
		byName[n.Name] = memberOf(n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known || !maps.EqualFunc(s.byName, byName, member.equal) {
		s.signal()
	}
	s.byName, s.known = byName, true
	return nil
}

// Resync implements cache.ReflectorStore; the agent resyncs by itself.
func (s *members) Resync() error { return nil }

func (s *members) signal() {
	select {
	case s.changed <- struct{}{}:
	default: // one is waiting already, and will see this change too
	}
}
