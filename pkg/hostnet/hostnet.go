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

// Routes reads /proc/net/route below root. Default routes, whole or in halves
// as some VPNs set them, lead everywhere and are left out.
func Routes(root fs.FS) []Route {
	f, err := root.Open("proc/net/route")
	if err != nil {
		return nil
	}
	defer f.Close()
	var routes []Route
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 8 {
			continue
		}
		addr, ok := parseAddr(fields[1])
		mask, err := strconv.ParseUint(fields[7], 16, 32)
		if !ok || err != nil {
			continue
		}
		ones := bits.OnesCount64(mask)
		if ones < 8 {
			continue
		}
		routes = append(routes, Route{Device: fields[0], Subnet: netip.PrefixFrom(addr, ones).Masked()})
	}
	return routes
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
