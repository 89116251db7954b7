// Package hostnet reads what this machine's kernel says of its network: the
// routes that it has, and who listens on a port. It reads files below a root
// that the caller gives, so that tests can give another machine's, and changes
// nothing. Where the kernel says nothing, neither does it.
package hostnet

import (
	"bufio"
	"encoding/hex"
	"io/fs"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Route is a network that a machine has a route to.
type Route struct {
	Device string // "tun0"
	Subnet netip.Prefix
}

// Routes reads /proc/net/route and /proc/net/ipv6_route below root. Default
// routes, whole or in halves as some VPNs set them, lead everywhere and are
// left out.
func Routes(root fs.FS) []Route {
	return append(readRoutes(root, "proc/net/route", parseRoute), readRoutes(root, "proc/net/ipv6_route", parseRoute6)...)
}

// leastBits is the shortest prefix that does not lead everywhere.
const leastBits = 8

func readRoutes(root fs.FS, file string, parse func(fields []string) (Route, bool)) []Route {
	f, err := root.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	var routes []Route
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if route, ok := parse(strings.Fields(lines.Text())); ok && route.Subnet.Bits() >= leastBits {
			routes = append(routes, route)
		}
	}
	return routes
}

// parseRoute reads a line of /proc/net/route.
func parseRoute(fields []string) (Route, bool) {
	if len(fields) < 8 {
		return Route{}, false
	}
	addr, ok := parseAddr(fields[1])
	mask, err := strconv.ParseUint(fields[7], 16, 32)
	if !ok || err != nil {
		return Route{}, false
	}
	return Route{Device: fields[0], Subnet: netip.PrefixFrom(addr, bits.OnesCount64(mask)).Masked()}, true
}

// parseRoute6 reads a line of /proc/net/ipv6_route.
func parseRoute6(fields []string) (Route, bool) {
	if len(fields) < 10 {
		return Route{}, false
	}
	b, err := hex.DecodeString(fields[0])
	ones, bad := strconv.ParseUint(fields[1], 16, 8)
	addr, ok := netip.AddrFromSlice(b)
	if err != nil || bad != nil || !ok || int(ones) > addr.BitLen() {
		return Route{}, false
	}
	return Route{Device: fields[9], Subnet: netip.PrefixFrom(addr, int(ones)).Masked()}, true
}

// parseAddr reads an address as the kernel prints it: the hexadecimal number
// that its bytes make on a little-endian machine.
func parseAddr(s string) (netip.Addr, bool) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 4 {
		return netip.Addr{}, false
	}
	slices.Reverse(b)
	return netip.AddrFromSlice(b)
}
