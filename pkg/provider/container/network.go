package container

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

const optionMTU = "com.docker.network.driver.mtu"

// clusterNetwork is the network that a cluster's nodes are on.
type clusterNetwork struct {
	name string
	v4   addressing
	v6   addressing // without a subnet where the network has no IPv6
	// given says that the engine gives the addresses, and they are known when
	// the nodes run.
	given bool
}

// addressing is a network's range of one family.
type addressing struct {
	subnet  netip.Prefix
	gateway netip.Addr
	addrs   []netip.Addr // of the nodes, in the order of the spec
}

// families are those that the network has.
func (n *clusterNetwork) families() []*addressing {
	if !n.v6.subnet.IsValid() {
		return []*addressing{&n.v4}
	}
	return []*addressing{&n.v4, &n.v6}
}

func (n clusterNetwork) subnets() []netip.Prefix {
	var out []netip.Prefix
	for _, f := range n.families() {
		out = append(out, f.subnet)
	}
	return out
}

// addrsOf are the i-th node's addresses.
func (n clusterNetwork) addrsOf(i int) node.Addrs {
	var out node.Addrs
	for _, f := range n.families() {
		if f.addrs[i].IsValid() { // an engine that gives addresses may give one only
			out = append(out, f.addrs[i])
		}
	}
	return out
}

// chosenFor are the i-th node's addresses, if petri chose them.
func (n clusterNetwork) chosenFor(i int) node.Addrs {
	if n.given {
		return nil
	}
	return n.addrsOf(i)
}

// choose tells the engine the i-th node's addresses.
func (n clusterNetwork) choose(i int) *network.EndpointIPAMConfig {
	out := &network.EndpointIPAMConfig{IPv4Address: n.v4.addrs[i].String()}
	if n.v6.subnet.IsValid() {
		out.IPv6Address = n.v6.addrs[i].String()
	}
	return out
}

// ensureNetwork makes the cluster's network, or adopts the one that the spec
// names when it is there. It fails with class exists when the cluster's own
// network is there already.
func (p *Provider) ensureNetwork(ctx context.Context, spec provider.Spec) (clusterNetwork, error) {
	all, err := p.engine.NetworkList(ctx, network.ListOptions{})
	if err != nil {
		return clusterNetwork{}, p.engineError(err, "list networks")
	}
	name := networkName(spec)
	for _, n := range all {
		switch {
		case n.Name == name && spec.Network != "":
			return p.adoptNetwork(ctx, n, spec)
		case n.Labels[nodeimage.LabelCluster] == spec.Cluster:
			return clusterNetwork{}, existsError(spec.Cluster, "network "+n.Name)
		case n.Name == name:
			return clusterNetwork{}, errdefs.New(errdefs.ClassExists, "NETWORK-EXISTS",
				"a network %s exists, and it is not petri's", name).
				WithHint("Remove it (docker network rm %s) or choose another cluster name.", name)
		}
	}
	if err := refuseSubnet(spec, all); err != nil {
		return clusterNetwork{}, err
	}
	return p.createNetwork(ctx, name, spec, all)
}

// refuseSubnet fails when the subnet that is asked for is another network's,
// and names that.
func refuseSubnet(spec provider.Spec, all []network.Summary) error {
	for _, n := range all {
		for _, subnet := range networkSubnets(n) {
			if slices.ContainsFunc(spec.Subnets, subnet.Overlaps) {
				return subnetTaken(spec, fmt.Sprintf("network %s, %s", n.Name, subnet))
			}
		}
	}
	return nil
}

func subnetTaken(spec provider.Spec, by string) error {
	return errdefs.New(errdefs.ClassUsage, "SUBNET-TAKEN",
		"create network %s: subnet %s overlaps with %s", networkName(spec), joined(spec.Subnets), by).
		WithHint("Choose another node subnet, or leave it out and petri picks a free one.")
}

func joined(subnets []netip.Prefix) string {
	var texts []string
	for _, s := range subnets {
		texts = append(texts, s.String())
	}
	return strings.Join(texts, ",")
}

func networkName(spec provider.Spec) string {
	if spec.Network != "" {
		return spec.Network
	}
	return "petri-" + spec.Cluster
}

// createNetwork makes a network. One that others will use too, as kind's, has
// IPv6 where the engine can, whatever the first cluster on it needs.
func (p *Provider) createNetwork(ctx context.Context, name string, spec provider.Spec, all []network.Summary) (clusterNetwork, error) {
	n, err := p.createWith(ctx, name, spec, all, spec.IPv6 || spec.Network != "")
	if err == nil || spec.IPv6 || spec.Network == "" || !p.dialect.ipv6Refused(err) {
		return n, err
	}
	return p.createWith(ctx, name, spec, all, false)
}

func (p *Provider) createWith(ctx context.Context, name string, spec provider.Spec, all []network.Summary, v6 bool) (clusterNetwork, error) {
	for n := range p.candidates(name, spec, all, v6) {
		if err := n.assign(len(spec.Nodes), firstFree, nil); err != nil {
			return clusterNetwork{}, err
		}
		settled, cancel := settle(ctx)
		_, err := p.engine.NetworkCreate(settled, name, p.networkOptions(spec, all, n))
		cancel()
		switch {
		case err == nil:
			return n, nil
		case cerrdefs.IsConflict(err) && spec.Network != "":
			return p.ensureNetwork(ctx, spec) // another creation was first
		case cerrdefs.IsConflict(err):
			return clusterNetwork{}, existsError(spec.Cluster, "network "+name)
		case p.dialect.subnetTaken(err):
			continue
		case v6 && p.dialect.ipv6Refused(err):
			return clusterNetwork{}, noIPv6("create network %s: %w", name, err)
		}
		return clusterNetwork{}, p.engineError(err, "create network %s with subnets %s", name, n.subnets())
	}
	if len(spec.Subnets) > 0 {
		return clusterNetwork{}, subnetTaken(spec, "another network")
	}
	return clusterNetwork{}, errdefs.New(errdefs.ClassUnavailable, "NO-FREE-SUBNET",
		"create network %s: every subnet that petri would take is in use", name).
		WithHint("Choose a node subnet in the cluster's configuration.")
}

// candidates are networks that may be had, in the order of their trying. When
// the engine has taken one's IPv4 subnet in the meantime, the next one has
// another IPv6 subnet as well: which of them it was is not said.
func (p *Provider) candidates(name string, spec provider.Spec, all []network.Summary, v6 bool) iter.Seq[clusterNetwork] {
	taken := p.takenSubnets(spec, all)
	subnets := chosen(spec.Subnets, false, freeSubnets(name, taken))
	subnets6 := chosen(spec.Subnets, true, freeSubnets6(name, taken))
	return func(yield func(clusterNetwork) bool) {
		next6, stop := iter.Pull(subnets6)
		defer stop()
		var last6 netip.Prefix
		for subnet := range subnets {
			n := clusterNetwork{name: name, v4: addressing{subnet: subnet, gateway: nthAddr(subnet, 1)}}
			if v6 {
				if subnet6, ok := next6(); ok {
					last6 = subnet6
				}
				n.v6 = addressing{subnet: last6, gateway: nthAddr(last6, 1)}
			}
			if !yield(n) {
				return
			}
		}
	}
}

// chosen is the subnet of a family that was asked for, or else those that are
// free.
func chosen(subnets []netip.Prefix, v6 bool, free iter.Seq[netip.Prefix]) iter.Seq[netip.Prefix] {
	for _, one := range subnets {
		if one.Addr().Is6() == v6 {
			return slices.Values([]netip.Prefix{one.Masked()})
		}
	}
	return free
}

func (p *Provider) networkOptions(spec provider.Spec, all []network.Summary, made clusterNetwork) network.CreateOptions {
	options := map[string]string{"com.docker.network.bridge.enable_ip_masquerade": "true"}
	// The default bridge's MTU is what the administrator found to fit the
	// uplink; packets of pods leave by it too.
	for _, n := range all {
		if mtu := n.Options[optionMTU]; n.Name == network.NetworkBridge && mtu != "" {
			options[optionMTU] = mtu
		}
	}
	labels := p.objectLabels(spec)
	if spec.Network != "" {
		delete(labels, nodeimage.LabelCluster)
		labels[labelShared] = "true"
	}
	var ranges []network.IPAMConfig
	for _, f := range made.families() {
		ranges = append(ranges, network.IPAMConfig{Subnet: f.subnet.String(), Gateway: f.gateway.String()})
	}
	return network.CreateOptions{
		Driver:     "bridge",
		EnableIPv6: new(made.v6.subnet.IsValid()),
		Options:    options,
		Labels:     labels,
		IPAM:       &network.IPAM{Driver: "default", Config: ranges},
	}
}

// takenSubnets is what the cluster's subnet must not overlap with.
func (p *Provider) takenSubnets(spec provider.Spec, all []network.Summary) []netip.Prefix {
	taken := slices.Clone(spec.Avoid)
	for _, n := range all {
		taken = append(taken, networkSubnets(n)...)
	}
	if p.local() {
		taken = append(taken, hostRoutes()...)
	}
	return taken
}

func networkSubnets(n network.Summary) []netip.Prefix {
	var subnets []netip.Prefix
	for _, c := range n.IPAM.Config {
		if subnet, err := netip.ParsePrefix(c.Subnet); err == nil {
			subnets = append(subnets, subnet.Masked())
		}
	}
	return subnets
}

// adoptNetwork takes addresses in a network that others are on too. Engines
// hand out addresses from below, so nodes take theirs from the upper half.
func (p *Provider) adoptNetwork(ctx context.Context, n network.Summary, spec provider.Spec) (clusterNetwork, error) {
	adopted, err := describeNetwork(n, spec.IPv6)
	if err != nil {
		return clusterNetwork{}, err
	}
	taken, err := p.addrsOn(ctx, n)
	if err != nil {
		return clusterNetwork{}, err
	}
	return adopted, adopted.assign(len(spec.Nodes), upperHalf, taken)
}

// describeNetwork is a network that is there, without addresses for nodes. It
// must have IPv4, and IPv6 where nodes need it.
func describeNetwork(n network.Summary, v6 bool) (clusterNetwork, error) {
	out := clusterNetwork{name: n.Name}
	for _, c := range n.IPAM.Config {
		subnet, err := netip.ParsePrefix(c.Subnet)
		if err != nil || subnet.Addr().Is6() && !n.EnableIPv6 {
			continue
		}
		found := addressing{subnet: subnet.Masked(), gateway: nthAddr(subnet, 1)}
		if gateway, err := netip.ParseAddr(c.Gateway); err == nil {
			found.gateway = gateway
		}
		if subnet.Addr().Is4() {
			out.v4 = found
		} else {
			out.v6 = found
		}
	}
	switch {
	case !out.v4.subnet.IsValid():
		return out, errdefs.New(errdefs.ClassUsage, "NETWORK-UNFIT",
			"use network %s: it has no IPv4 subnet", n.Name).WithHint("Name another network, or none.")
	case v6 && !out.v6.subnet.IsValid():
		return out, errdefs.New(errdefs.ClassUsage, "NETWORK-UNFIT",
			"use network %s: it has no IPv6 subnet, and networking.ipFamily needs one", n.Name).
			WithHint("Remove that network when nothing is on it (docker network rm %s), and petri makes it anew with IPv6; name another one; or set networking.ipFamily to ipv4.", n.Name)
	}
	return out, nil
}

// firstFree is the first address of a subnet that a node may have, after the
// gateway's.
func firstFree(netip.Prefix) uint32 { return 2 }

// upperHalf is where the upper half of a subnet begins. That of IPv6 is counted
// as if it were a /112: no engine comes so far when it hands out addresses.
func upperHalf(subnet netip.Prefix) uint32 {
	bits := subnet.Addr().BitLen() - subnet.Bits()
	if subnet.Addr().Is6() {
		bits = min(bits, 16)
	}
	return 1 << (bits - 1)
}

// assign gives each of count nodes an address of each family, from the first-th
// on, none of which is taken.
func (n *clusterNetwork) assign(count int, first func(netip.Prefix) uint32, taken []netip.Addr) error {
	for _, f := range n.families() {
		size := uint32(1) << min(f.subnet.Addr().BitLen()-f.subnet.Bits(), 31)
		for i := first(f.subnet); len(f.addrs) < count; i++ {
			if i+1 >= size { // the last address is the broadcast's
				return errdefs.New(errdefs.ClassUsage, "SUBNET-FULL",
					"network %s: no room for %d nodes in subnet %s", n.name, count, f.subnet).
					WithHint("Choose a larger node subnet.")
			}
			if addr := nthAddr(f.subnet, i); addr != f.gateway && !slices.Contains(taken, addr) {
				f.addrs = append(f.addrs, addr)
			}
		}
	}
	return nil
}

func existsError(cluster, what string) error {
	return errdefs.New(errdefs.ClassExists, "CLUSTER-EXISTS", "cluster %s exists: there is its %s", cluster, what).
		WithHint("Delete it first: petri delete cluster --name %s", cluster)
}

// checkSubnets refuses subnets that the addresses of nodes cannot be taken of.
func checkSubnets(subnets []netip.Prefix) error {
	for _, subnet := range subnets {
		short, long := 8, 29
		if subnet.Addr().Is6() {
			short, long = 48, 120
		}
		if subnet.Bits() > long || subnet.Bits() < short {
			return errdefs.New(errdefs.ClassUsage, "SUBNET-UNFIT",
				"use node subnet %s: an IPv4 subnet between /8 and /29, or an IPv6 subnet between /48 and /120 is needed", subnet)
		}
	}
	return nil
}
