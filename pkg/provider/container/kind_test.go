package container

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

// kindMade puts a node on the engine as kind makes it.
func (e *fakeEngine) kindMade(cluster, name, role string, ports ...container.Port) {
	e.containers[name] = &fakeContainer{
		id: name + "-id", name: name, running: true, ports: ports,
		config: &container.Config{Image: "kindest/node:v1.36.4", Labels: map[string]string{
			nodeimage.LabelKindCluster: cluster, nodeimage.LabelKindRole: role,
		}},
		network: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{"kind": {IPAddress: "172.18.0.2"}}},
	}
}

// clusterOf is specOf under a name.
func clusterOf(name string, workers int) provider.Spec {
	spec := specOf(workers)
	spec.Cluster = name
	for i := range spec.Nodes {
		spec.Nodes[i].Name = fmt.Sprint(name, "-node", i)
	}
	return spec
}

// Clusters that kind made are listed, reached and deleted like others.
func TestClustersOfKind(t *testing.T) {
	e := newFakeEngine()
	p := fakeProvider(t, e)
	api := func(port uint16) container.Port {
		return container.Port{IP: "127.0.0.1", PrivatePort: nodeimage.APIServerPort, PublicPort: port, Type: "tcp"}
	}
	e.kindMade("one", "one-control-plane", nodeimage.RoleControlPlane, api(40001))
	e.kindMade("ha", "ha-control-plane", nodeimage.RoleControlPlane, api(40002))
	e.kindMade("ha", "ha-external-load-balancer", nodeimage.RoleLoadBalancer, api(40003))
	e.kindMade("down", "down-control-plane", nodeimage.RoleControlPlane)
	if _, err := p.Create(t.Context(), clusterOf("own", 0), progress.Discard); err != nil {
		t.Fatal(err)
	}
	names, err := p.Clusters(t.Context())
	if got := strings.Join(names, " "); err != nil || got != "down ha one own" {
		t.Errorf("clusters are %s, %v", got, err)
	}
	for cluster, want := range map[string]string{"one": "127.0.0.1:40001", "ha": "127.0.0.1:40003"} {
		if got, err := p.Endpoint(t.Context(), cluster); err != nil || got != want {
			t.Errorf("the API of %s is at %s, %v; want %s", cluster, got, err, want)
		}
	}
	if _, err := p.Endpoint(t.Context(), "down"); !errdefs.Is(err, errdefs.ClassNotFound) {
		t.Errorf("the API of a stopped one: %v", err)
	}
	nodes, err := p.Nodes(t.Context(), "one")
	if err != nil || len(nodes) != 1 {
		t.Fatalf("%d nodes, %v", len(nodes), err)
	}
	n := nodes[0]
	if n.Cluster != "one" || n.Role != nodeimage.RoleControlPlane || n.Dialect != nodeimage.DialectKind || n.Privileges != modePrivileged {
		t.Errorf("the node is %+v", n)
	}
	if own, err := p.Nodes(t.Context(), "own"); err != nil || own[0].Dialect != nodeimage.DialectPetri {
		t.Errorf("petri's own is %+v, %v", own, err)
	}
	if _, err := p.Create(t.Context(), clusterOf("one", 0), progress.Discard); !errdefs.Is(err, errdefs.ClassExists) {
		t.Errorf("a second cluster of that name: %v", err)
	}
	if err := p.Delete(t.Context(), "ha"); err != nil || e.containers["ha-control-plane"] != nil || e.containers["one-control-plane"] == nil {
		t.Errorf("after deleting ha: %v, %v", e.containers, err)
	}
}

// On a network that lets nobody choose addresses nodes are made anew without,
// wait for their files, and get them with the addresses that they were given.
func TestAddressesGivenByTheEngine(t *testing.T) {
	e := newFakeEngine()
	p := fakeProvider(t, e)
	e.networks["kind"] = network.Summary{ID: "kind-id", Name: "kind", IPAM: network.IPAM{Config: []network.IPAMConfig{{Subnet: "172.18.0.0/16"}}}}
	refusal := errors.New("user specified IP address is supported only when connecting to networks with user configured subnets")
	e.fail = func(call string, _ int) error {
		for _, c := range e.containers {
			if endpoint := c.network.EndpointsConfig["kind"]; call == "ContainerStart" && endpoint.IPAMConfig != nil {
				return refusal
			} else if endpoint.IPAMConfig == nil {
				endpoint.IPAddress = fmt.Sprintf("172.18.0.%d", 10+len(c.name)) // what the engine picks
			}
		}
		return nil
	}
	spec := clusterOf("a", 1)
	spec.Network = "kind"
	spec.Files = func(at provider.Placement) ([]provider.File, error) {
		return []provider.File{{Path: "/petri/addresses", Data: fmt.Append(nil, "at=", at.Addrs.Of(false), " of ", len(at.Nodes), ";")}}, nil
	}
	nodes, err := p.Create(t.Context(), spec, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		c := e.containers[n.Name]
		want := c.network.EndpointsConfig["kind"].IPAddress
		if n.Addr(false).String() != want || !strings.Contains(string(c.files), "at="+want+" of 2;") || !strings.Contains(string(c.files), "petri/complete") {
			t.Errorf("%s is at %s, was told %s; its files are %q", n.Name, want, n.Addr(false), c.files)
		}
		if !strings.Contains(strings.Join(c.config.Env, " "), nodeimage.EnvAwaitFiles+"=1") {
			t.Errorf("%s does not wait for files: %v", n.Name, c.config.Env)
		}
	}
}

// Several control planes know each other by addresses: they are not put where
// the engine would give others at each start.
func TestSeveralControlPlanesNeedTheirAddresses(t *testing.T) {
	e := newFakeEngine()
	p := fakeProvider(t, e)
	e.networks["kind"] = network.Summary{ID: "kind-id", Name: "kind", IPAM: network.IPAM{Config: []network.IPAMConfig{{Subnet: "172.18.0.0/16"}}}}
	e.fail = func(call string, _ int) error {
		if call == "ContainerStart" {
			return errors.New("user specified IP address is supported only when connecting to networks with user configured subnets")
		}
		return nil
	}
	spec := clusterOf("a", 1)
	spec.Network = "kind"
	spec.Nodes[1].Role = nodeimage.RoleControlPlane
	_, err := p.Create(t.Context(), spec, progress.Discard)
	if failed, ok := errors.AsType[*errdefs.Error](err); !ok || failed.ID != "NETWORK-UNFIT" {
		t.Errorf("got %v", err)
	}
}

// Two creations at once may choose the same address on a network that they
// share: the one that comes second chooses again.
func TestAddressTakenOnASharedNetwork(t *testing.T) {
	e := newFakeEngine()
	p := fakeProvider(t, e)
	failures := 0
	e.fail = func(call string, _ int) error {
		if call == "ContainerStart" && failures < 2 {
			failures++
			return errors.New("Error response from daemon: Address already in use")
		}
		return nil
	}
	spec := clusterOf("a", 0)
	spec.Network = "kind"
	if nodes, err := p.Create(t.Context(), spec, progress.Discard); err != nil || len(nodes) != 1 {
		t.Errorf("after %d refusals: %d nodes, %v", failures, len(nodes), err)
	}
}
