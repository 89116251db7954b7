package container

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/system"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

// portAttempts is how often ports are picked anew because another process took
// one of them between the picking and the start of the container.
const portAttempts = 3

// addressAttempts is how often addresses on a shared network are chosen anew
// because another creation chose the same ones at the same time.
const addressAttempts = 4

// Create implements provider.Provider. It reports the phases "container" and
// "boot" of each node; the latter end after Create has returned. A node that
// needs longer than the limit, or stops, fails every command run on it with
// the end of its console as the log.
func (p *Provider) Create(ctx context.Context, spec provider.Spec, r progress.Reporter) ([]node.Node, error) {
	if err := checkSubnets(spec.Subnets); err != nil {
		return nil, err
	}
	info, err := p.engineInfo(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.checkIPv6(spec); err != nil {
		return nil, err
	}
	if err := p.refuseTaken(ctx, spec); err != nil {
		return nil, err
	}
	for tries := 1; ; tries++ {
		network, err := p.ensureNetwork(ctx, spec)
		if err != nil {
			return nil, err
		}
		nodes, err := p.attempt(ctx, info, r, network, func(on clusterNetwork) (*placement, error) { return p.place(ctx, spec, on) })
		if err == nil || ctx.Err() != nil || spec.Network == "" || tries == addressAttempts || !p.dialect.addressTaken(err) {
			return nodes, err
		}
		if err := p.removeContainers(ctx, spec.Cluster); err != nil {
			return nil, err
		}
	}
}

// attempt makes the nodes of a placement on a network, and of another one when
// a port that was picked for it is taken before it is published, or when it
// turns out that the engine gives the addresses.
func (p *Provider) attempt(ctx context.Context, info system.Info, r progress.Reporter, network clusterNetwork, place func(clusterNetwork) (*placement, error)) ([]node.Node, error) {
	for attempt := 1; ; attempt++ {
		pl, err := place(network)
		if err != nil {
			return nil, err
		}
		nodes, err := (&creation{p: p, placement: pl, info: info, reporter: r}).run(ctx)
		if err == nil {
			p.remember(pl)
		}
		given := err != nil && !network.given && p.dialect.fixedAddressRefused(err)
		again := given || err != nil && pl.picked && attempt < portAttempts && p.dialect.portTaken(err)
		if !again || ctx.Err() != nil {
			return nodes, err
		}
		if given && severalControlPlanes(pl) {
			return nil, errdefs.New(errdefs.ClassUsage, "NETWORK-UNFIT",
				"use network %s: the engine would give other addresses at each start, and control planes know each other by theirs: %w", network.name, err).
				WithHint("Remove that network when nothing is on it, and petri makes it anew with a subnet; or name another one.")
		}
		network.given = network.given || given
		// The port is in labels and in nodes' files: they are made anew.
		err = each(pl.spec.Nodes, func(n provider.NodeSpec) error { return p.Remove(ctx, pl.spec.Cluster, n.Name) })
		if err != nil {
			return nil, err
		}
	}
}

// severalControlPlanes reports whether there will be several: a cluster that is
// there has one at least.
func severalControlPlanes(pl *placement) bool {
	count := min(1, len(pl.others))
	for _, n := range pl.spec.Nodes {
		if n.Role == nodeimage.RoleControlPlane {
			count++
		}
	}
	return count > 1
}

// remember keeps the endpoint of a cluster that was just made, if it has one.
func (p *Provider) remember(pl *placement) {
	if pl.endpointNode == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endpoints[pl.spec.Cluster] = p.endpoint(pl.endpoint.Addr().String(), strconv.Itoa(int(pl.endpoint.Port())))
}

// creation makes the nodes of one placement.
type creation struct {
	p         *Provider
	placement *placement
	info      system.Info
	reporter  progress.Reporter
}

// run makes all nodes, and tells those that were given an address what
// they are.
func (c *creation) run(ctx context.Context) ([]node.Node, error) {
	nodes, err := c.startAll(ctx)
	if err == nil && c.placement.network.given {
		err = c.tellAddresses(ctx, nodes)
	}
	if err != nil {
		return nil, err
	}
	return nodes, nil
}

// startAll makes one node and then all others at once. The engine takes all
// cores for several, and everyone waits for the control plane that makes the
// cluster. The one that comes first also finds out how the engine lets nodes
// run, so that it fails once and not each.
func (c *creation) startAll(ctx context.Context) ([]node.Node, error) {
	count := len(c.placement.spec.Nodes)
	nodes := make([]node.Node, count)
	first := c.first()
	if first < count {
		var err error
		if nodes[first], err = c.node(ctx, first); err != nil {
			return nil, err
		}
		if c.placement.spec.Started != nil && c.stays(first) {
			c.placement.spec.Started(nodes[first])
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, count)
	var all sync.WaitGroup
	for i := range count {
		if i == first {
			continue
		}
		all.Go(func() {
			nodes[i], errs[i] = c.node(ctx, i)
			if errs[i] != nil {
				cancel()
			}
		})
	}
	all.Wait()
	if err := joinCauses(errs); err != nil {
		return nil, err
	}
	return nodes, nil
}

// first is the node that is made before the others: the first control plane; of
// nodes that are like each other none, when it is known how they run.
func (c *creation) first() int {
	isControlPlane := func(n provider.NodeSpec) bool { return n.Role == nodeimage.RoleControlPlane }
	if i := slices.IndexFunc(c.placement.spec.Nodes, isControlPlane); i >= 0 {
		return i
	}
	if c.p.knownMode(c.info.ID) == "" {
		return 0
	}
	return len(c.placement.spec.Nodes)
}

// stays reports whether a node that was started is not made anew, whatever happens
// to the others: their ports may be taken, and on a network of somebody's so may
// their addresses.
func (c *creation) stays(started int) bool {
	for i, ports := range c.placement.ports {
		if i != started && len(ports) > 0 {
			return false
		}
	}
	return c.placement.spec.Network == "" && !c.placement.network.given
}

// joinCauses joins the errors of work that was cancelled on the first, without
// those that only say that it was.
func joinCauses(errs []error) error {
	var causes []error
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			causes = append(causes, err)
		}
	}
	if causes == nil {
		return cmp.Or(errs...)
	}
	return errors.Join(causes...)
}

// node makes and starts the i-th node, with all privileges if the engine lets
// it, else with nearly all.
func (c *creation) node(ctx context.Context, i int) (node.Node, error) {
	spec := c.placement.spec.Nodes[i]
	task := progress.Start(c.reporter, "container", "Starting "+spec.Name, spec.Name)
	n, err := c.startAsAllowed(ctx, i)
	if err != nil {
		err = fmt.Errorf("create node %s: %w", spec.Name, err)
	}
	return n, task.Done(err)
}

func (c *creation) startAsAllowed(ctx context.Context, i int) (node.Node, error) {
	var files []byte
	if !c.placement.network.given {
		var err error
		if files, err = c.files(i); err != nil {
			return node.Node{}, err
		}
	}
	if len(c.placement.spec.Nodes[i].Command) > 0 {
		n, _, err := c.start(ctx, i, modeNone, files)
		return n, err
	}
	mode := c.p.knownMode(c.info.ID)
	if mode == "" {
		mode = modePrivileged
	}
	n, id, err := c.start(ctx, i, mode, files)
	if err != nil && mode == modePrivileged && c.p.dialect.refusesPrivileges(err) {
		// Some engines refuse to make it, most to start it.
		if id != "" {
			if err := c.p.removeContainer(ctx, id); err != nil {
				return node.Node{}, err
			}
		}
		mode = modeCapabilities
		n, _, err = c.start(ctx, i, mode, files)
		if err != nil && c.p.dialect.refusesPrivileges(err) {
			return node.Node{}, errdefs.New(errdefs.ClassUnavailable, "PRIVILEGES-REFUSED",
				"the engine allows no container the privileges that a node needs: %w", err).
				WithHint("Run %s outside of a sandbox, or allow it privileged containers.", c.p.Name())
		}
	}
	if err == nil {
		c.p.learnMode(c.info.ID, mode)
	}
	return n, err
}

// settleLimit bounds a call that is not given up when its caller is.
const settleLimit = 30 * time.Second

// settle is a context for calls that make an object. An engine makes it even
// when nobody waits for the answer any more, and a Delete that comes in between
// would find nothing to remove. So these calls are waited for.
func settle(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Err() != nil {
		return ctx, func() {}
	}
	return context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
}

// files is the archive of the i-th node's files; nil when there are none.
func (c *creation) files(i int) ([]byte, error) {
	if c.placement.spec.Files == nil {
		return nil, nil
	}
	files, err := c.placement.spec.Files(c.placement.placementOf(i))
	if err != nil {
		return nil, fmt.Errorf("render its files: %w", err)
	}
	if c.placement.network.given {
		files = append(files, lastFile())
	}
	if len(files) == 0 {
		return nil, nil
	}
	return archive(files)
}

// start makes the container, fills it, and starts it with the console watched:
// four calls. The container's ID is returned as soon as there is one.
func (c *creation) start(ctx context.Context, i int, mode string, files []byte) (n node.Node, id string, err error) {
	p, spec := c.p, c.placement.spec.Nodes[i]
	cfg := p.nodeConfig(c.placement, i, mode, c.info)
	settled, cancel := settle(ctx)
	defer cancel()
	made, err := p.engine.ContainerCreate(settled, cfg.config, cfg.host, cfg.network, nil, spec.Name)
	if err != nil {
		return node.Node{}, "", p.createError(err, spec)
	}
	if files != nil {
		err := p.engine.CopyToContainer(ctx, made.ID, "/", bytes.NewReader(files), container.CopyToContainerOptions{})
		if err != nil {
			return node.Node{}, made.ID, p.engineError(err, "put files into the container")
		}
	}
	// Attached before the start, so that no line is missed.
	console, err := p.engine.ContainerAttach(ctx, made.ID, container.AttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return node.Node{}, made.ID, p.engineError(err, "watch the console")
	}
	if err := p.engine.ContainerStart(ctx, made.ID, container.StartOptions{}); err != nil {
		console.Close()
		return node.Node{}, made.ID, p.startError(err)
	}
	b := p.watch(made.ID, spec.Name, hijacked{console}, c.reporter)
	r := &runner{p: p, id: made.ID, name: spec.Name, mode: mode, boot: b, bootFirst: spec.BootFirst}
	return c.started(i, r), made.ID, nil
}

// started is the handle on the i-th node, whose facts need not be asked for.
func (c *creation) started(i int, r *runner) node.Node {
	spec := c.placement.spec.Nodes[i]
	return node.Node{
		Runner:     r,
		Cluster:    c.placement.spec.Cluster,
		Name:       spec.Name,
		Role:       spec.Role,
		Image:      spec.Image,
		Addrs:      c.placement.network.chosenFor(i),
		State:      node.Running,
		Created:    time.Now(),
		Ports:      c.placement.ports[i],
		Privileges: r.mode,
		Creation:   c.placement.spec.Labels[nodeimage.LabelCreation],
		Ephemeral:  c.placement.spec.Labels[nodeimage.LabelEphemeral] != "",
		Dialect:    cmp.Or(c.placement.spec.Labels[nodeimage.LabelDialect], nodeimage.DialectPetri),
		ServesAPI:  spec.Name == c.placement.endpointNode,
	}
}

// watch watches a node boot, and remembers that it does: the nodes that
// another listing gives wait for it as well.
func (p *Provider) watch(id, name string, console hijacked, r progress.Reporter) *boot {
	task := progress.Start(r, "boot", "Booting "+name, name)
	p.mu.Lock()
	defer p.mu.Unlock()
	b := watchBoot(console, name, p.opts.BootTimeout, func(err error) {
		task.Done(err)
		p.mu.Lock()
		defer p.mu.Unlock()
		if err == nil {
			delete(p.booting, id)
		}
	})
	p.booting[id] = b
	return b
}

func (p *Provider) createError(err error, spec provider.NodeSpec) error {
	switch {
	case cerrdefs.IsNotFound(err):
		return errdefs.New(errdefs.ClassNotFound, "IMAGE-NOT-FOUND", "node image %s is not there: %w", spec.Image, err).
			WithHint("Load or pull it first.")
	case cerrdefs.IsConflict(err):
		return nameTaken(spec.Name, "a container of that name is there: %w", err)
	}
	return p.engineError(err, "create the container")
}

func (p *Provider) startError(err error) error {
	if p.dialect.portTaken(err) {
		return portTaken("start the container: %w", err)
	}
	return p.engineError(err, "start the container")
}
