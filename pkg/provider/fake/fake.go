// Package fake is a provider in memory, for tests. Its clusters are real to
// everything above the provider seam: they are created, listed, entered and
// deleted by the same calls, in microseconds. Commands in its nodes are
// recorded and answered by a script, and any call to its engine can be made to
// fail. It is not a mock: tests look at what is there afterwards.
package fake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

// Provider is the fake. It implements provider.Provider and every ability that
// package provider knows. Use New.
type Provider struct {
	mu       sync.Mutex
	info     provider.Info
	calls    []string
	failures map[int]failure
	hooks    map[int]func()
	dead     bool // whoever calls was killed
	networks map[string]*network
	machines map[string]*machine
	// by name, with the clusters that they are connected to
	registries map[string]*provider.Registry
	local      map[string]Image
	remote     map[string]Image
	scripts    []script
	commands   []Command
	// strangers are containers that Create did not make.
	strangers []provider.Container
	nextPort  uint16
}

// network and machine are what the engine has.
type network struct {
	cluster string
	subnets []netip.Prefix // of IPv4, and of IPv6 where nodes have it
}

type machine struct {
	node    node.Node
	env     []string
	files   map[string]provider.File
	console []string
	boots   int
	port    uint16 // of the API on the host; 0 when it serves none
	address string
}

var (
	_ provider.Provider     = (*Provider)(nil)
	_ provider.ImageSource  = (*Provider)(nil)
	_ provider.ImageFiles   = (*Provider)(nil)
	_ provider.LogCollector = (*Provider)(nil)
	_ provider.Power        = (*Provider)(nil)
	_ provider.Growth       = (*Provider)(nil)
	_ provider.Surveyor     = (*Provider)(nil)
	_ provider.Registries   = (*Provider)(nil)
)

// New is an engine with no images and no clusters.
func New() *Provider {
	return &Provider{
		info: provider.Info{
			Name: "fake", Version: "1.0.0", APIVersion: "1.41", OS: "linux", Architecture: "amd64",
			CgroupVersion: 2, CgroupDriver: "systemd", StorageDriver: "overlay2",
			CPUs: 2, MemoryBytes: 8 << 30, KernelVersion: "6.18.0", ID: "fake-engine",
		},
		failures:   make(map[int]failure),
		networks:   make(map[string]*network),
		machines:   make(map[string]*machine),
		registries: make(map[string]*provider.Registry),
		local:      make(map[string]Image),
		remote:     make(map[string]Image),
		nextPort:   40000,
	}
}

// SetInfo changes what Check says.
func (p *Provider) SetInfo(info provider.Info) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.info = info
}

// Name implements provider.Provider.
func (p *Provider) Name() string { return "fake" }

// Check implements provider.Provider.
func (p *Provider) Check(ctx context.Context) (provider.Info, error) {
	var info provider.Info
	err := p.call(ctx, "info", func() error {
		info = p.info
		return nil
	})
	return info, err
}

// Create implements provider.Provider. The engine is called in the order of
// the spec, so that a count of calls means the same in each run; files are
// rendered at once, as real providers do.
func (p *Provider) Create(ctx context.Context, spec provider.Spec, _ progress.Reporter) ([]node.Node, error) {
	err := p.call(ctx, "list nodes of "+spec.Cluster, func() error { return p.refuseExisting(spec.Cluster) })
	if err != nil {
		return nil, err
	}
	subnets, err := p.createNetwork(ctx, spec)
	if err != nil {
		return nil, err
	}
	return p.createNodes(ctx, p.place(spec, subnets, nil))
}

// createNodes makes the nodes of a placement.
func (p *Provider) createNodes(ctx context.Context, pl *placement) ([]node.Node, error) {
	files, err := pl.render()
	if err != nil {
		return nil, err
	}
	var nodes []node.Node
	for i := range pl.spec.Nodes {
		n, err := p.createNode(ctx, pl, i, files[i])
		if err != nil {
			return nil, fmt.Errorf("create node %s: %w", pl.spec.Nodes[i].Name, err)
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

func (p *Provider) refuseExisting(cluster string) error {
	for _, m := range p.machines {
		if m.node.Cluster == cluster {
			return existsError(cluster)
		}
	}
	for _, n := range p.networks {
		if n.cluster == cluster {
			return existsError(cluster)
		}
	}
	return nil
}

func existsError(cluster string) error {
	return errdefs.New(errdefs.ClassExists, "CLUSTER-EXISTS", "cluster %s exists", cluster)
}

func (p *Provider) createNetwork(ctx context.Context, spec provider.Spec) ([]netip.Prefix, error) {
	name := cmp.Or(spec.Network, "petri-"+spec.Cluster)
	var subnets []netip.Prefix
	err := p.call(ctx, "create network "+name, func() error {
		if there, ok := p.networks[name]; ok && spec.Network != "" {
			subnets = there.subnets
			return nil
		}
		for _, v6 := range []bool{false, true} {
			if v6 && !spec.IPv6 {
				continue
			}
			subnet, err := p.freeSubnet(spec, v6)
			if err != nil {
				return err
			}
			subnets = append(subnets, subnet)
		}
		owner := spec.Cluster
		if spec.Network != "" {
			owner = "" // others may come to use it
		}
		p.networks[name] = &network{cluster: owner, subnets: subnets}
		return nil
	})
	return subnets, err
}

func (p *Provider) freeSubnet(spec provider.Spec, v6 bool) (netip.Prefix, error) {
	taken := slices.Clone(spec.Avoid)
	for _, n := range p.networks {
		taken = append(taken, n.subnets...)
	}
	for _, subnet := range spec.Subnets {
		if subnet.Addr().Is6() != v6 {
			continue
		}
		if slices.ContainsFunc(taken[len(spec.Avoid):], subnet.Overlaps) {
			return netip.Prefix{}, errdefs.New(errdefs.ClassUsage, "SUBNET-TAKEN", "subnet %s overlaps with another network", subnet)
		}
		return subnet.Masked(), nil
	}
	for third := range 256 {
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 201, byte(third), 0}), 24)
		if v6 {
			subnet = netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0xc9, 2: byte(third)}), 64)
		}
		if !slices.ContainsFunc(taken, subnet.Overlaps) {
			return subnet, nil
		}
	}
	return netip.Prefix{}, errdefs.New(errdefs.ClassUnavailable, "NO-FREE-SUBNET", "every subnet is in use")
}

// createNode makes, fills and starts one node: three calls.
func (p *Provider) createNode(ctx context.Context, pl *placement, i int, files []provider.File) (node.Node, error) {
	spec := pl.spec.Nodes[i]
	m := pl.machine(i)
	err := p.call(ctx, "create container "+spec.Name, func() error {
		if _, ok := p.local[spec.Image]; !ok {
			return errdefs.New(errdefs.ClassNotFound, "IMAGE-NOT-FOUND", "node image %s is not there", spec.Image)
		}
		if _, ok := p.machines[spec.Name]; ok {
			return errdefs.New(errdefs.ClassFailed, "NODE-NAME-TAKEN", "a container %s is there", spec.Name)
		}
		p.machines[spec.Name] = m
		return nil
	})
	if err != nil {
		return node.Node{}, err
	}
	err = p.call(ctx, "copy files to "+spec.Name, func() error {
		for _, f := range files {
			f.Mode = cmp.Or(f.Mode, 0o644)
			m.files[f.Path] = f
		}
		return nil
	})
	if err != nil {
		return node.Node{}, err
	}
	err = p.call(ctx, "start "+spec.Name, func() error {
		m.boot()
		return nil
	})
	return m.handle(p), err
}

// Delete implements provider.Provider.
func (p *Provider) Delete(ctx context.Context, cluster string) error {
	nodes, err := p.Nodes(ctx, cluster)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range nodes {
		errs = append(errs, p.call(ctx, "remove container "+n.Name, func() error {
			delete(p.machines, n.Name)
			return nil
		}))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var names []string
	err = p.call(ctx, "list networks of "+cluster, func() error {
		for name, n := range p.networks {
			if n.cluster == cluster {
				names = append(names, name)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		err := p.call(ctx, "remove network "+name, func() error {
			delete(p.networks, name)
			for _, r := range p.registries {
				r.Clusters = without(r.Clusters, cluster)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Clusters implements provider.Provider.
func (p *Provider) Clusters(ctx context.Context) ([]string, error) {
	names := map[string]bool{}
	err := p.call(ctx, "list clusters", func() error {
		for _, m := range p.machines {
			names[m.node.Cluster] = true
		}
		for _, n := range p.networks {
			names[n.cluster] = true
		}
		delete(names, "") // shared networks
		return nil
	})
	return slices.Sorted(maps.Keys(names)), err
}

// Nodes implements provider.Provider.
func (p *Provider) Nodes(ctx context.Context, cluster string) ([]node.Node, error) {
	var nodes []node.Node
	err := p.call(ctx, "list nodes of "+cluster, func() error {
		for _, m := range p.machines {
			if m.node.Cluster == cluster {
				nodes = append(nodes, m.handle(p))
			}
		}
		return nil
	})
	slices.SortFunc(nodes, func(a, b node.Node) int {
		return cmp.Or(cmp.Compare(roleRank(a), roleRank(b)), strings.Compare(a.Name, b.Name))
	})
	return nodes, err
}

func roleRank(n node.Node) int {
	if n.Role == nodeimage.RoleControlPlane {
		return 0
	}
	return 1
}

// Endpoint implements provider.Provider.
func (p *Provider) Endpoint(ctx context.Context, cluster string) (string, error) {
	var endpoint string
	err := p.call(ctx, "list nodes of "+cluster, func() error {
		for _, m := range p.machines {
			if m.node.Cluster == cluster && m.port != 0 {
				endpoint = fmt.Sprintf("%s:%d", m.address, m.port)
				return nil
			}
		}
		return errdefs.New(errdefs.ClassNotFound, "NO-ENDPOINT", "cluster %s publishes no API", cluster)
	})
	return endpoint, err
}

// handle is the node as a listing gives it.
func (m *machine) handle(p *Provider) node.Node {
	n := m.node
	n.Ports = slices.Clone(n.Ports)
	n.Runner = &runner{p: p, name: n.Name}
	n.ServesAPI = m.port != 0
	return n
}

// Objects names everything that is on the engine but images, sorted: "network
// petri-a", "node a-worker". It is empty when nothing was left behind.
func (p *Provider) Objects() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for name := range p.networks {
		out = append(out, "network "+name)
	}
	for name := range p.machines {
		out = append(out, "node "+name)
	}
	for name := range p.registries {
		out = append(out, "registry "+name)
	}
	slices.Sort(out)
	return out
}

// SetState stops, pauses or starts a node. Commands fail in one that does not
// run.
func (p *Provider) SetState(name string, state node.State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m, ok := p.machines[name]; ok {
		m.node.State = state
	}
}

// started is when each fake node was created: the same moment in every run.
func started() time.Time { return time.Date(2026, time.January, 2, 3, 4, 5, 0, time.UTC) }
