package netguard

import (
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// routeProtocol marks the guard's routes as its own. It is not one of the
	// numbers that iproute2 knows a routing daemon by.
	routeProtocol netlink.RouteProtocol = 113
	// routeMetric is so large that any other route for the same prefix wins.
	routeMetric = 1 << 30
)

// kernel is the routing table of the current network namespace.
type kernel struct{}

// List implements routes.
func (kernel) List() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		filter := &netlink.Route{Protocol: routeProtocol}
		found, err := netlink.RouteListFiltered(family, filter, netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			return nil, err
		}
		for _, r := range found {
			if r.Dst == nil {
				continue
			}
			addr, _ := netip.AddrFromSlice(r.Dst.IP)
			ones, _ := r.Dst.Mask.Size()
			out = append(out, netip.PrefixFrom(addr.Unmap(), ones))
		}
	}
	return out, nil
}

// Add implements routes.
func (kernel) Add(p netip.Prefix) error { return netlink.RouteReplace(route(p)) }

// Delete implements routes.
func (kernel) Delete(p netip.Prefix) error {
	err := netlink.RouteDel(route(p))
	if errors.Is(err, unix.ESRCH) {
		return nil // somebody else was faster
	}
	return err
}

func route(p netip.Prefix) *netlink.Route {
	return &netlink.Route{
		Dst:      &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())},
		Type:     unix.RTN_UNREACHABLE,
		Protocol: routeProtocol,
		Priority: routeMetric,
	}
}
