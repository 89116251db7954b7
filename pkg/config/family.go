package config

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/petri-cluster/petri/pkg/config/v1alpha1"
)

// The values of ipFamily.
const (
	ipv4 = "ipv4"
	ipv6 = "ipv6"
	dual = "dual"
)

var ipFamilies = []string{ipv4, ipv6, dual}

// ranges are the ranges of one kind (of pods, say) that a cluster may have:
// how long they are in each family, what they are when the file does not say,
// and an example for each.
type ranges struct {
	path               string
	short4, long4      int
	short6, long6      int
	default4, default6 string
}

// The kinds of range. kubeadm gives a node a /24 or a /64 of the pods' and
// takes 16 bits of nodes at most, and 20 bits of Services.
var (
	podRanges     = ranges{"networking.podSubnet", 8, nodeRange, 48, nodeRange6, "10.244.0.0/16", "fd00:10:244::/56"}
	serviceRanges = ranges{"networking.serviceSubnet", 12, 28, 108, 124, "10.96.0.0/16", "fd00:10:96::/112"}
	nodeRanges    = ranges{"networking.nodeSubnet", 16, 28, 64, 120, "", ""}
)

// ranges reads the ranges of a family that is one. Those of pods come in the
// order of those of Services, which says what is the cluster's primary family.
func (n *Networking) ranges(p *problems, in v1alpha1.Networking) {
	n.ServiceSubnets = serviceRanges.read(p, n.IPFamily, in.ServiceSubnet)
	n.PodSubnets = podRanges.read(p, n.IPFamily, in.PodSubnet)
	if len(n.ServiceSubnets) == 2 && len(n.PodSubnets) == 2 && n.ServiceSubnets[0].Addr().Is4() != n.PodSubnets[0].Addr().Is4() {
		slices.Reverse(n.PodSubnets)
	}
	if in.NodeSubnet != "" {
		n.NodeSubnets = nodeRanges.list(p, in.NodeSubnet)
		n.checkNodeFamilies(p, in.NodeSubnet)
	}
}

// read gives one range of each family that the cluster has; none of those that
// are not right.
func (r ranges) read(p *problems, family, text string) []netip.Prefix {
	defaults := map[string]string{ipv4: r.default4, ipv6: r.default6, dual: r.default4 + "," + r.default6}
	out := r.list(p, cmp.Or(text, defaults[family]))
	if out == nil {
		return nil
	}
	count := map[bool]int{} // of IPv6, and not
	for _, one := range out {
		count[one.Addr().Is6()]++
	}
	if want := map[bool]int{false: wants(family, false), true: wants(family, true)}; count[false] != want[false] || count[true] != want[true] {
		p.add(r.path, "must be %s with ipFamily: %s, and is %q", r.described(family), family, text)
		return nil
	}
	return out
}

// wants is how many ranges of IPv6, or not, a cluster of a family has.
func wants(family string, v6 bool) int {
	if family == dual || v6 == (family == ipv6) {
		return 1
	}
	return 0
}

func (r ranges) described(family string) string {
	switch family {
	case ipv4:
		return "one IPv4 range such as " + r.default4
	case ipv6:
		return "one IPv6 range such as " + r.default6
	}
	return "one IPv4 and one IPv6 range with a comma between, such as " + r.default4 + "," + r.default6
}

// list reads ranges with commas between them; nil when one is none.
func (r ranges) list(p *problems, text string) []netip.Prefix {
	var out []netip.Prefix
	good := true
	for one := range strings.SplitSeq(text, ",") {
		prefix, ok := r.one(p, strings.TrimSpace(one))
		good = good && ok
		out = append(out, prefix)
	}
	if !good {
		return nil
	}
	return out
}

// one reads a range.
func (r ranges) one(p *problems, text string) (netip.Prefix, bool) {
	prefix, err := netip.ParsePrefix(text)
	short, long := r.short4, r.long4
	if prefix.Addr().Is6() {
		short, long = r.short6, r.long6
	}
	switch {
	case err != nil || prefix.Addr().Is4In6():
		p.add(r.path, "must be a range such as %s, and is %q", cmp.Or(r.default4, "10.10.0.0/16"), text)
		return netip.Prefix{}, false
	case prefix.Bits() < short || prefix.Bits() > long:
		p.add(r.path, "must be from /%d to /%d, and is %s", short, long, text)
		return netip.Prefix{}, false
	case prefix.Addr().IsLoopback() || prefix.Addr().IsMulticast() || prefix.Addr().IsUnspecified() || prefix.Addr().IsLinkLocalUnicast():
		p.add(r.path, "%s is not a range for machines", text)
		return netip.Prefix{}, false
	case prefix != prefix.Masked():
		p.add(r.path, "has bits beyond its length; did you mean %s?", prefix.Masked())
	}
	return prefix.Masked(), true
}

// checkNodeFamilies wants at most one range of each family, and one of IPv6
// only where nodes have such addresses. All networks have IPv4.
func (n *Networking) checkNodeFamilies(p *problems, text string) {
	count := map[bool]int{}
	for _, one := range n.NodeSubnets {
		count[one.Addr().Is6()]++
	}
	switch {
	case count[true] > 0 && n.IPFamily == ipv4:
		p.add(nodeRanges.path, "must be one IPv4 range with ipFamily: ipv4, and is %q", text)
	case count[false] > 1 || count[true] > 1:
		p.add(nodeRanges.path, "must be at most one IPv4 and one IPv6 range, and is %q", text)
	}
}

// loopback is where ports of the host are published when the file does not
// say.
func loopback(family string) string {
	if family == ipv6 {
		return "::1"
	}
	return "127.0.0.1"
}

// nodeRange and nodeRange6 are the lengths of the ranges of pod addresses that
// a node takes.
const (
	nodeRange  = 24
	nodeRange6 = 64
)

// checkSubnets wants ranges that do not overlap and have room for the nodes.
func checkSubnets(p *problems, n Networking, nodes, besides int) {
	for _, pods := range n.PodSubnets {
		length := nodeRange
		if pods.Addr().Is6() {
			length = nodeRange6
		}
		if room := 1 << (length - pods.Bits()); nodes > room {
			p.add(podRanges.path, "%s has room for %d nodes, and there are %d", pods, room, nodes)
		}
	}
	for _, services := range n.ServiceSubnets {
		if i := slices.IndexFunc(n.PodSubnets, services.Overlaps); i >= 0 {
			p.add(serviceRanges.path, "%s overlaps podSubnet %s", services, n.PodSubnets[i])
		}
	}
	for _, own := range n.NodeSubnets {
		if slices.ContainsFunc(slices.Concat(n.PodSubnets, n.ServiceSubnets), own.Overlaps) {
			p.add(nodeRanges.path, "%s overlaps the range of pods or Services", own)
		}
		// neither the first and last address nor the gateway's is a node's
		if room := 1<<min(own.Addr().BitLen()-own.Bits(), 16) - 3 - besides; nodes > room {
			p.add(nodeRanges.path, "%s has room for %d nodes, and there are %d", own, room, nodes)
		}
	}
}
