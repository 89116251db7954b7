package container

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/fnv"
	"io"
	"iter"
	"net/netip"
	"os"
	"slices"

	"github.com/petri-cluster/petri/pkg/hostnet"
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
	var subnets []netip.Prefix
	for _, r := range hostnet.Routes(os.DirFS("/")) {
		subnets = append(subnets, r.Subnet)
	}
	return subnets
}
