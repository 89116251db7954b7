package container

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"io"
	"iter"
	"math/bits"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// subnetBits is the size of the networks petri makes: 253 nodes. subnetBits6 is
// what every IPv6 network has.
const (
	subnetBits  = 24
	subnetBits6 = 64
)

// subnetRanges are where petri's networks are. They are private, and none of
// the ranges that engines, home routers, VPNs and Kubernetes itself take first
// (subnet_test.go names those). The later ones are for hosts on which a VPN
// has taken all of 10.0.0.0/8.
func subnetRanges() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.201.0.0/16"),
		netip.MustParsePrefix("10.213.0.0/16"),
		netip.MustParsePrefix("172.30.0.0/16"),
		netip.MustParsePrefix("192.168.192.0/18"),
		netip.MustParsePrefix("198.18.0.0/15"), // for benchmarks (RFC 2544)
	}
}

// freeSubnets yields subnets that overlap with nothing taken. In each range it
// begins at a place that depends on the name: a cluster made anew gets its old
// subnet when it can, and clusters made at once rarely want the same.
func freeSubnets(name string, taken []netip.Prefix) iter.Seq[netip.Prefix] {
	hash := fnv.New32a()
	io.WriteString(hash, name)
	return func(yield func(netip.Prefix) bool) {
		for _, r := range subnetRanges() {
			count := uint32(1) << (subnetBits - r.Bits())
			for i := range count {
				subnet := nthSubnet(r, (hash.Sum32()+i)%count)
				if overlapsAny(subnet, taken) {
					continue
				}
				if !yield(subnet) {
					return
				}
			}
		}
	}
}

// freeSubnets6 yields unique local subnets (RFC 4193) that overlap with nothing
// taken. They come from a hash of the name, as kind has it: a network made anew
// gets its old subnet, and two networks anywhere hardly ever the same.
func freeSubnets6(name string, taken []netip.Prefix) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for attempt := range uint32(subnetAttempts6) {
			sum := sha256.Sum256(binary.BigEndian.AppendUint32([]byte(name), attempt))
			addr := [16]byte{0: 0xfd}
			copy(addr[1:8], sum[:])
			subnet := netip.PrefixFrom(netip.AddrFrom16(addr), subnetBits6)
			if !overlapsAny(subnet, taken) && !yield(subnet) {
				return
			}
		}
	}
}

// subnetAttempts6 is how often a subnet is chosen. The first is nearly always
// free: there are 2^56.
const subnetAttempts6 = 16

func nthSubnet(r netip.Prefix, n uint32) netip.Prefix {
	return netip.PrefixFrom(nthAddr(r, n<<(32-subnetBits)), subnetBits)
}

// nthAddr is the n-th address of a prefix; the 0th is its network's.
func nthAddr(p netip.Prefix, n uint32) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	last := b[len(b)-4:]
	binary.BigEndian.PutUint32(last, binary.BigEndian.Uint32(last)+n)
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

func overlapsAny(p netip.Prefix, others []netip.Prefix) bool {
	return slices.ContainsFunc(others, p.Overlaps)
}

// hostRoutes are the networks this host has routes to. Where the kernel does
// not say, there are none: the engine still refuses what clashes on its side.
func hostRoutes() []netip.Prefix {
	return append(readRoutes("/proc/net/route", parseRoutes), readRoutes("/proc/net/ipv6_route", parseRoutes6)...)
}

func readRoutes(path string, parse func(io.Reader) []netip.Prefix) []netip.Prefix {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	return parse(f)
}

// parseRoutes reads /proc/net/route. Default routes, whole or in halves as
// some VPNs set them, lead everywhere and are left out.
func parseRoutes(r io.Reader) []netip.Prefix {
	var routes []netip.Prefix
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 8 {
			continue
		}
		addr, ok := parseRouteAddr(fields[1])
		mask, err := strconv.ParseUint(fields[7], 16, 32)
		if !ok || err != nil {
			continue
		}
		ones := bits.OnesCount64(mask)
		if ones < 8 {
			continue
		}
		routes = append(routes, netip.PrefixFrom(addr, ones).Masked())
	}
	return routes
}

// parseRoutes6 reads /proc/net/ipv6_route. Routes that lead everywhere, or to
// half of it, are left out.
func parseRoutes6(r io.Reader) []netip.Prefix {
	var routes []netip.Prefix
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		b, err := hex.DecodeString(fields[0])
		ones, bad := strconv.ParseUint(fields[1], 16, 8)
		addr, ok := netip.AddrFromSlice(b)
		if err != nil || bad != nil || !ok || ones < 8 {
			continue
		}
		routes = append(routes, netip.PrefixFrom(addr, int(ones)).Masked())
	}
	return routes
}

// parseRouteAddr reads an address as the kernel prints it: the hexadecimal
// number that its bytes make on a little-endian machine.
func parseRouteAddr(s string) (netip.Addr, bool) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 4 {
		return netip.Addr{}, false
	}
	slices.Reverse(b)
	return netip.AddrFromSlice(b)
}
