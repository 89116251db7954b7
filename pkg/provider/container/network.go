package container

import (
	"context"
	"net/netip"
	"slices"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

const optionMTU = "com.docker.network.driver.mtu"

// clusterNetwork is the network that a cluster's nodes are on.
type clusterNetwork struct {
	name    string
	subnet  netip.Prefix
	gateway netip.Addr
	addrs   []netip.Addr // of the nodes, in the order of the spec
	// given says that the engine gives the addresses, and they are known when
	// the nodes run.
	given bool
}

// chosenFor is the i-th node's address, if petri chose it.
func (n clusterNetwork) chosenFor(i int) []netip.Addr {
	if n.given {
		return nil
	}
	return []netip.Addr{n.addrs[i]}
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
	return p.createNetwork(ctx, name, spec, all)
}

func networkName(spec provider.Spec) string {
	if spec.Network != "" {
		return spec.Network
	}
	return "petri-" + spec.Cluster
}

func (p *Provider) createNetwork(ctx context.Context, name string, spec provider.Spec, all []network.Summary) (clusterNetwork, error) {
	subnets := freeSubnets(name, p.takenSubnets(spec, all))
	if spec.Subnet.IsValid() {
		subnets = slices.Values([]netip.Prefix{spec.Subnet.Masked()})
	}
	for subnet := range subnets {
		n := clusterNetwork{name: name, subnet: subnet, gateway: nthAddr(subnet, 1)}
		if err := n.assign(len(spec.Nodes), 2, nil); err != nil {
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
		case !p.dialect.subnetTaken(err):
			return clusterNetwork{}, p.engineError(err, "create network %s with subnet %s", name, subnet)
		}
	}
	if spec.Subnet.IsValid() {
		return clusterNetwork{}, errdefs.New(errdefs.ClassUsage, "SUBNET-TAKEN",
			"create network %s: subnet %s overlaps with another network", name, spec.Subnet).
			WithHint("Choose another node subnet, or leave it out and petri picks a free one.")
	}
	return clusterNetwork{}, errdefs.New(errdefs.ClassUnavailable, "NO-FREE-SUBNET",
		"create network %s: every subnet that petri would take is in use", name).
		WithHint("Choose a node subnet in the cluster's configuration.")
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
	return network.CreateOptions{
		Driver:  "bridge",
		Options: options,
		Labels:  labels,
		IPAM: &network.IPAM{
			Driver: "default",
			Config: []network.IPAMConfig{{Subnet: made.subnet.String(), Gateway: made.gateway.String()}},
		},
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
	adopted, err := describeNetwork(n)
	if err != nil {
		return clusterNetwork{}, err
	}
	taken, err := p.addrsOn(ctx, n)
	if err != nil {
		return clusterNetwork{}, err
	}
	taken = append(taken, adopted.gateway)
	half := uint32(1) << (31 - adopted.subnet.Bits())
	err = adopted.assign(len(spec.Nodes), half, taken)
	return adopted, err
}

// describeNetwork is a network that is there, without addresses for nodes.
func describeNetwork(n network.Summary) (clusterNetwork, error) {
	out := clusterNetwork{name: n.Name}
	for _, c := range n.IPAM.Config {
		subnet, err := netip.ParsePrefix(c.Subnet)
		if err != nil || !subnet.Addr().Is4() {
			continue
		}
		out.subnet, out.gateway = subnet.Masked(), nthAddr(subnet, 1)
		if gateway, err := netip.ParseAddr(c.Gateway); err == nil {
			out.gateway = gateway
		}
	}
	if !out.subnet.IsValid() {
		return out, errdefs.New(errdefs.ClassUsage, "NETWORK-UNFIT",
			"use network %s: it has no IPv4 subnet", n.Name).WithHint("Name another network, or none.")
	}
	return out, nil
}

// assign gives each of count nodes an address, from the first-th on.
func (n *clusterNetwork) assign(count int, first uint32, taken []netip.Addr) error {
	size := uint32(1) << (32 - n.subnet.Bits())
	for i := first; len(n.addrs) < count; i++ {
		if i+1 >= size { // the last address is the broadcast's
			return errdefs.New(errdefs.ClassUsage, "SUBNET-FULL",
				"network %s: no room for %d nodes in subnet %s", n.name, count, n.subnet).
				WithHint("Choose a larger node subnet.")
		}
		if addr := nthAddr(n.subnet, i); !slices.Contains(taken, addr) {
			n.addrs = append(n.addrs, addr)
		}
	}
	return nil
}

func existsError(cluster, what string) error {
	return errdefs.New(errdefs.ClassExists, "CLUSTER-EXISTS", "cluster %s exists: there is its %s", cluster, what).
		WithHint("Delete it first: petri delete cluster --name %s", cluster)
}

// checkSubnet refuses a subnet that the addresses of nodes cannot be taken of.
func checkSubnet(subnet netip.Prefix) error {
	if !subnet.IsValid() {
		return nil
	}
	if !subnet.Addr().Is4() || subnet.Bits() > 29 || subnet.Bits() < 8 {
		return errdefs.New(errdefs.ClassUsage, "SUBNET-UNFIT",
			"use node subnet %s: an IPv4 subnet between /8 and /29 is needed", subnet)
	}
	return nil
}
