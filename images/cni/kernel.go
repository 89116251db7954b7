//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/petri-cluster/petri/pkg/podnet"
)

// routeProtocol marks the agent's routes as its own. The node's entrypoint makes
// one too, which the agent removes once it knows better.
const routeProtocol netlink.RouteProtocol = podnet.RouteProtocol

// netlinkKernel is the network stack of the namespace that the agent runs in.
type netlinkKernel struct{}

// Routes implements kernel.
func (netlinkKernel) Routes() ([]route, error) {
	var out []route
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
			via, _ := netip.AddrFromSlice(r.Gw)
			ones, _ := r.Dst.Mask.Size()
			out = append(out, route{netip.PrefixFrom(addr.Unmap(), ones), via.Unmap()})
		}
	}
	return out, nil
}

// Replace implements kernel.
func (netlinkKernel) Replace(r route) error { return netlink.RouteReplace(toNetlink(r)) }

// Delete implements kernel.
func (netlinkKernel) Delete(r route) error {
	err := netlink.RouteDel(toNetlink(r))
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

func toNetlink(r route) *netlink.Route {
	return &netlink.Route{
		Dst:      &net.IPNet{IP: r.to.Addr().AsSlice(), Mask: net.CIDRMask(r.to.Bits(), r.to.Addr().BitLen())},
		Gw:       r.via.AsSlice(),
		Protocol: routeProtocol,
	}
}

// MTU implements kernel.
func (netlinkKernel) MTU() (int, error) {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		found, err := netlink.RouteList(nil, family)
		if err != nil {
			return 0, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range found {
			if !isDefault(r) || r.LinkIndex == 0 {
				continue
			}
			link, err := netlink.LinkByIndex(r.LinkIndex)
			if err != nil {
				return 0, fmt.Errorf("interface of the default route: %w", err)
			}
			return link.Attrs().MTU, nil
		}
	}
	return 0, nil
}

// isDefault knows both forms in which a default route is listed.
func isDefault(r netlink.Route) bool {
	if r.Type != unix.RTN_UNICAST {
		return false
	}
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0 && r.Dst.IP.IsUnspecified()
}
