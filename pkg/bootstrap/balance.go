package bootstrap

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/petri-cluster/petri/pkg/balancer"
	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/kubeadm"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

// balanced reports whether there are several control planes, or were, and so
// somebody who chooses among them.
func (e *Env) balanced() bool { return e.Balanced || len(e.Config.ControlPlanes()) > 1 }

// BalancedName is the name by which nodes know the control plane of a cluster
// that has several. It is the load balancer's, as kind has it; a node takes it
// for its own balancer's, so that it needs nobody else to find one that works.
func BalancedName(cluster string) string { return cluster + "-" + nodeimage.RoleLoadBalancer }

// BalancedEndpoint is the API of such a cluster as nodes name it.
func BalancedEndpoint(cluster string) string {
	return net.JoinHostPort(BalancedName(cluster), strconv.Itoa(nodeimage.BalancerPort))
}

// endpointName is the name by which nodes know the control plane.
func (e *Env) endpointName() string {
	if e.balanced() {
		return BalancedName(e.Config.Name)
	}
	return e.Config.ControlPlanes()[0].Name
}

// controlPlaneEndpoint is the API as nodes name it.
func (e *Env) controlPlaneEndpoint() string {
	if e.balanced() {
		return BalancedEndpoint(e.Config.Name)
	}
	return net.JoinHostPort(e.endpointName(), strconv.Itoa(nodeimage.APIServerPort))
}

// loadBalancer leads the host to the control planes, and whoever else is on the
// cluster's network. It runs one program of the node image.
func (e *Env) loadBalancer() provider.NodeSpec {
	return provider.NodeSpec{
		Name: e.endpointName(), Role: nodeimage.RoleLoadBalancer,
		Image:   e.Config.ControlPlanes()[0].Image,
		Command: []string{nodeimage.HelperPath, "balancer"},
	}
}

// balancerFiles are what a node needs to lead to the control planes: none where
// there is one.
func (e *Env) balancerFiles(at provider.Placement) ([]provider.File, error) {
	if !e.balanced() {
		return nil, nil
	}
	var backends []balancer.Backend
	for _, n := range e.Config.ControlPlanes() {
		if addrs, there := at.Nodes[n.Name]; there {
			backends = append(backends, balancer.Backend{Name: n.Name, Addr: addrs.Of(false)})
		}
	}
	conf, err := balancer.Config(at.Node.Role, at.Addrs.Of(true).IsValid(), backends)
	if err != nil {
		return nil, err
	}
	return []provider.File{{Path: nodeimage.BalancerPath, Data: conf}}, nil
}

// announcesMembers reports whether the first control plane announces the members
// of etcd that will join it. Those that come to a cluster later are announced one
// after the other, by kubeadm.
func (e *Env) announcesMembers() bool {
	all := e.Config.ControlPlanes()
	return e.adding == nil && len(all) > 1 && kubeadm.TakesLearners(e.versions[all[0].Image])
}

// etcdMembers are the peer URLs of all members of etcd.
func (e *Env) etcdMembers(at provider.Placement) map[string]string {
	members := map[string]string{}
	for _, n := range e.Config.ControlPlanes() {
		members[n.Name] = "https://" + netip.AddrPortFrom(e.primary(at.Nodes[n.Name]), etcdPeerPort).String()
	}
	return members
}

// etcdBefore are the peer URLs of the members that start before a node's own: that
// of the first control plane, then those whose names come before its own.
func etcdBefore(name, first string, members map[string]string) []string {
	if name == first {
		return nil
	}
	before := []string{members[first]}
	for _, other := range slices.Sorted(maps.Keys(members)) {
		if other != first && other < name {
			before = append(before, members[other])
		}
	}
	return before
}

// etcdPeerPort is where kubeadm lets members of etcd talk to each other.
const etcdPeerPort = 2380

// certSANs are the addresses at which the API is reached beside those of its
// own node: on the host, and of the load balancer, whose name kubeadm adds.
func (e *Env) certSANs(at provider.Placement) []string {
	sans := []string{at.Endpoint.Addr().String()}
	if addrs, there := at.Nodes[e.endpointName()]; there && e.balanced() {
		sans = append(sans, config.Texts(e.used(addrs))...)
	}
	return sans
}
