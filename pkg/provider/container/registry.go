package container

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

const (
	// labelRegistryPort and labelRegistryAddress are where a registry is
	// published: one that is stopped publishes nothing.
	labelRegistryPort    = "dev.petri.registry-port"
	labelRegistryAddress = "dev.petri.registry-address"
	labelUpstream        = "dev.petri.registry-upstream"
)

// registryContainer is the name of a registry's container, and of its volume.
func registryContainer(name string) string { return "petri-registry-" + name }

// CreateRegistry implements provider.Registries.
func (p *Provider) CreateRegistry(ctx context.Context, spec provider.RegistrySpec, r progress.Reporter) (made provider.Registry, err error) {
	there, err := p.registryContainers(ctx, spec.Name)
	if err != nil {
		return provider.Registry{}, err
	}
	if len(there) > 0 {
		return provider.Registry{}, errdefs.New(errdefs.ClassExists, "REGISTRY-EXISTS", "there is a registry %q already", spec.Name).
			WithHint("Choose another name, or remove it: petri delete registry %s", spec.Name)
	}
	kept, err := p.registryVolumes(ctx, spec.Name)
	if err != nil {
		return provider.Registry{}, err
	}
	task := progress.Start(r, "registry", "Starting registry "+spec.Name, "")
	err = p.startRegistry(ctx, spec)
	// when the name is taken nothing was made, and what has it is another's
	if err != nil && !cerrdefs.IsConflict(err) {
		// also when ctx has ended: it would stay for ever
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
		defer cancel()
		err = errors.Join(err, p.undoRegistry(cleanup, spec.Name, len(kept) > 0))
	}
	if err := task.Done(err); err != nil {
		return provider.Registry{}, err
	}
	return p.registry(ctx, spec.Name)
}

// undoRegistry removes what is left of a creation that failed. What was stored
// before is not its to remove.
func (p *Provider) undoRegistry(ctx context.Context, name string, keepVolume bool) error {
	if !keepVolume {
		return p.DeleteRegistry(ctx, name)
	}
	there, err := p.registryContainers(ctx, name)
	return errors.Join(err, each(there, func(c container.Summary) error { return p.removeContainer(ctx, c.ID) }))
}

// startRegistry makes the container, fills it, starts it, and waits until it
// serves.
func (p *Provider) startRegistry(ctx context.Context, spec provider.RegistrySpec) error {
	serving, err := regexp.Compile(spec.Serving)
	if err != nil {
		return err
	}
	published, bound, err := pickPort(ctx, withDefaults(node.Port{
		ContainerPort: provider.RegistryPort, HostPort: spec.Publish.Port, ListenAddress: spec.Publish.Address,
	}))
	if bound != nil {
		bound.Close()
	}
	if err != nil {
		return err
	}
	files, err := archive(spec.Files)
	if err != nil {
		return err
	}
	config, host := p.registryConfig(spec, published)
	settled, cancel := settle(ctx)
	defer cancel()
	made, err := p.engine.ContainerCreate(settled, config, host, nil, nil, registryContainer(spec.Name))
	if err != nil {
		return p.registryCreateError(err, spec)
	}
	if err := p.engine.CopyToContainer(ctx, made.ID, "/", bytes.NewReader(files), container.CopyToContainerOptions{}); err != nil {
		return p.engineError(err, "put files into registry %s", spec.Name)
	}
	// attached before the start, so that no line is missed
	console, err := p.engine.ContainerAttach(ctx, made.ID, container.AttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return p.engineError(err, "watch registry %s", spec.Name)
	}
	defer console.Close()
	if err := p.engine.ContainerStart(ctx, made.ID, container.StartOptions{}); err != nil {
		return p.startError(err)
	}
	return p.awaitServing(ctx, hijacked{console}, serving, spec)
}

// registryConfig describes a registry as the engine is asked for it. It is up
// again after the engine.
func (p *Provider) registryConfig(spec provider.RegistrySpec, published node.Port) (*container.Config, *container.HostConfig) {
	labels := maps.Clone(spec.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[nodeimage.LabelRegistry] = spec.Name
	volumeLabels := maps.Clone(labels)
	labels[labelRegistryPort] = strconv.Itoa(int(published.HostPort))
	labels[labelRegistryAddress] = published.ListenAddress
	labels[labelUpstream] = spec.Upstream
	exposed, bindings := publish([]node.Port{published})
	config := &container.Config{
		Hostname: registryContainer(spec.Name), Image: spec.Image, Entrypoint: spec.Command, StopSignal: "SIGTERM", Tty: true,
		Labels: labels, ExposedPorts: exposed, Env: append(proxyEnv(p.opts.Getenv, nil), spec.Env...),
	}
	host := &container.HostConfig{
		PortBindings: bindings, Init: new(false),
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyUnlessStopped},
		Mounts: []mount.Mount{{
			Type: mount.TypeVolume, Source: registryContainer(spec.Name), Target: spec.DataDir,
			VolumeOptions: &mount.VolumeOptions{Labels: volumeLabels},
		}},
	}
	return config, host
}

func (p *Provider) registryCreateError(err error, spec provider.RegistrySpec) error {
	switch {
	case cerrdefs.IsConflict(err):
		return errdefs.New(errdefs.ClassFailed, "REGISTRY-NAME-TAKEN", "create registry %s: another container has its name: %w", spec.Name, err).
			WithHint("Remove it (docker rm -f %s) or choose another name.", registryContainer(spec.Name))
	case cerrdefs.IsNotFound(err):
		return errdefs.New(errdefs.ClassNotFound, "NODE-IMAGE-MISSING", "create registry %s: the engine has no image %s, whose registry program it runs", spec.Name, spec.Image).
			WithHint("Build it (petri build node-image) or name another one with --image.")
	}
	return p.engineError(err, "create registry %s", spec.Name)
}

// awaitServing waits for the line on the console that says that a registry
// serves. One that caches another asks that first, and ends when nobody answers.
func (p *Provider) awaitServing(ctx context.Context, console hijacked, line *regexp.Regexp, spec provider.RegistrySpec) error {
	type outcome struct {
		serves bool
		tail   string
	}
	read := make(chan outcome, 1)
	go func() {
		serves, tail := readConsole(console, line)
		read <- outcome{serves, tail}
	}()
	timer := time.NewTimer(p.opts.BootTimeout)
	defer timer.Stop()
	why := "ended before it served"
	var end outcome
	select {
	case end = <-read:
		if end.serves {
			return nil
		}
	case <-timer.C:
		why = "did not serve within " + p.opts.BootTimeout.String()
		console.Close()
		end = <-read
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if spec.Upstream != "" {
		return errdefs.New(errdefs.ClassFailed, "REGISTRY-UPSTREAM", "registry %s %s: it is to cache %s, which it could not reach", spec.Name, why, spec.Upstream).
			WithLog(end.tail).
			WithHint("Is the URL right, and does it answer containers on this machine? localhost is the container itself there.")
	}
	return errdefs.New(errdefs.ClassFailed, "REGISTRY-DIED", "registry %s %s", spec.Name, why).WithLog(end.tail).
		WithHint("Its console tells why. Does the image have the registry's program (petri build node-image)?")
}

// registryContainers are the containers of a registry, or of all when name is
// empty.
func (p *Provider) registryContainers(ctx context.Context, name string) ([]container.Summary, error) {
	found, err := p.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: labelFilter(nodeimage.LabelRegistry, name)})
	return found, p.engineError(err, "list registries")
}

func (p *Provider) registryVolumes(ctx context.Context, name string) ([]*volume.Volume, error) {
	found, err := p.engine.VolumeList(ctx, volume.ListOptions{Filters: labelFilter(nodeimage.LabelRegistry, name)})
	return found.Volumes, p.engineError(err, "list the volumes of registries")
}

// Registries implements provider.Registries.
func (p *Provider) Registries(ctx context.Context) ([]provider.Registry, error) {
	found, err := p.registryContainers(ctx, "")
	if err != nil || len(found) == 0 {
		return nil, err
	}
	nodes, err := p.containers(ctx, "")
	if err != nil {
		return nil, err
	}
	var out []provider.Registry
	for _, c := range found {
		out = append(out, p.registryOf(c, nodes))
	}
	slices.SortFunc(out, func(a, b provider.Registry) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// registryOf is a registry as the engine lists it, among the nodes that share
// a network with it.
func (p *Provider) registryOf(c container.Summary, nodes []container.Summary) provider.Registry {
	port, _ := strconv.ParseUint(c.Labels[labelRegistryPort], 10, 16)
	r := provider.Registry{
		Name: c.Labels[nodeimage.LabelRegistry], Container: containerName(c),
		Address: c.Labels[labelRegistryAddress], Port: uint16(port), Upstream: c.Labels[labelUpstream],
		Image: c.Image, State: string(nodeState(c.State)), Created: time.Unix(c.Created, 0),
	}
	clusters := map[string]struct{}{}
	for _, n := range nodes {
		if onNetwork(c, networkOf(n)) {
			clusters[n.Labels[nodeimage.LabelKindCluster]] = struct{}{}
		}
	}
	r.Clusters = slices.Sorted(maps.Keys(clusters))
	return r
}

// onNetwork reports whether a container is on a network.
func onNetwork(c container.Summary, name string) bool {
	return c.NetworkSettings != nil && c.NetworkSettings.Networks[name] != nil
}

// registry is one registry, or an error of class not found.
func (p *Provider) registry(ctx context.Context, name string) (provider.Registry, error) {
	all, err := p.Registries(ctx)
	if err != nil {
		return provider.Registry{}, err
	}
	if i := slices.IndexFunc(all, func(r provider.Registry) bool { return r.Name == name }); i >= 0 {
		return all[i], nil
	}
	return provider.Registry{}, registryNotFound(name)
}

func registryNotFound(name string) error {
	return errdefs.New(errdefs.ClassNotFound, "REGISTRY-NOT-FOUND", "there is no registry %q", name).
		WithHint("Make it: petri create registry %s", name)
}

// ConnectRegistry implements provider.Registries.
func (p *Provider) ConnectRegistry(ctx context.Context, name, cluster string) error {
	c, on, err := p.meeting(ctx, name, cluster)
	if err != nil {
		return err
	}
	if c.ID == "" {
		return registryNotFound(name)
	}
	if c.State != container.StateRunning {
		if err := p.engine.ContainerStart(ctx, c.ID, container.StartOptions{}); err != nil {
			return p.engineError(err, "start registry %s", name)
		}
	}
	if onNetwork(c, on.Name) {
		return nil
	}
	endpoint := &network.EndpointSettings{Aliases: []string{provider.RegistryHost(name)}}
	addr, err := p.lastFree(ctx, on)
	if err != nil {
		return err
	}
	endpoint.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: addr.String()}
	err = p.engine.NetworkConnect(ctx, on.ID, c.ID, endpoint)
	if err != nil && p.dialect.fixedAddressRefused(err) {
		endpoint.IPAMConfig = nil
		err = p.engine.NetworkConnect(ctx, on.ID, c.ID, endpoint)
	}
	return p.engineError(err, "connect registry %s to network %s", name, on.Name)
}

// meeting is a registry's container, which may not be there, and the network of
// a cluster, which must.
func (p *Provider) meeting(ctx context.Context, name, cluster string) (c container.Summary, on network.Summary, err error) {
	nodes, err := p.containers(ctx, cluster)
	if err != nil {
		return c, on, err
	}
	if len(nodes) == 0 {
		return c, on, errdefs.New(errdefs.ClassNotFound, "CLUSTER-NOT-FOUND", "there is no cluster %q", cluster)
	}
	found, err := p.registryContainers(ctx, name)
	if err != nil {
		return c, on, err
	}
	if len(found) > 0 {
		c = found[0]
	}
	on, err = p.networkNamed(ctx, networkOf(nodes[0]))
	return c, on, err
}

// lastFree is the last IPv4 address of a network that nobody has. Nodes get theirs
// from below, or from the middle, and a stopped one has the engine keep none.
func (p *Provider) lastFree(ctx context.Context, on network.Summary) (netip.Addr, error) {
	described, err := describeNetwork(on, false)
	if err != nil {
		return netip.Addr{}, err
	}
	taken, err := p.addrsOn(ctx, on)
	if err != nil {
		return netip.Addr{}, err
	}
	subnet := described.v4.subnet
	taken = append(taken, described.v4.gateway)
	for i := uint32(1)<<(32-subnet.Bits()) - 2; i > 0; i-- {
		if addr := nthAddr(subnet, i); !slices.Contains(taken, addr) {
			return addr, nil
		}
	}
	return netip.Addr{}, errdefs.New(errdefs.ClassUsage, "SUBNET-FULL", "network %s: no address is left in subnet %s", on.Name, subnet).
		WithHint("Choose a larger node subnet.")
}

// addrsOn are the addresses of all containers on a network, running or not.
func (p *Provider) addrsOn(ctx context.Context, on network.Summary) ([]netip.Addr, error) {
	members, err := p.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("network", on.ID))})
	var addrs []netip.Addr
	for _, m := range members {
		addrs = append(addrs, containerAddrs(m)...)
	}
	return addrs, p.engineError(err, "list containers on network %s", on.Name)
}

// DisconnectRegistry implements provider.Registries.
func (p *Provider) DisconnectRegistry(ctx context.Context, name, cluster string) error {
	c, on, err := p.meeting(ctx, name, cluster)
	if err != nil || c.ID == "" || !onNetwork(c, on.Name) {
		return err
	}
	if shared, err := p.sharedNetwork(ctx, on, cluster); err != nil || shared {
		return err
	}
	return p.takeOff(ctx, c, on)
}

// sharedNetwork reports whether nodes of another cluster are on a network.
func (p *Provider) sharedNetwork(ctx context.Context, on network.Summary, cluster string) (bool, error) {
	nodes, err := p.containers(ctx, "")
	return slices.ContainsFunc(nodes, func(n container.Summary) bool {
		return onNetwork(n, on.Name) && n.Labels[nodeimage.LabelKindCluster] != cluster
	}), err
}

// takeOff takes a registry off a network.
func (p *Provider) takeOff(ctx context.Context, c container.Summary, on network.Summary) error {
	err := p.engine.NetworkDisconnect(ctx, on.ID, c.ID, true)
	if err == nil || cerrdefs.IsNotFound(err) || strings.Contains(statusText(err), "is not connected") {
		return nil
	}
	return p.engineError(err, "disconnect registry %s from network %s", c.Labels[nodeimage.LabelRegistry], on.Name)
}

// DeleteRegistry implements provider.Registries.
func (p *Provider) DeleteRegistry(ctx context.Context, name string) error {
	if name == "" {
		return errdefs.New(errdefs.ClassUsage, "REGISTRY-NAME", "delete a registry: no name given")
	}
	there, err := p.registryContainers(ctx, name)
	if err != nil {
		return err
	}
	if err := each(there, func(c container.Summary) error { return p.removeContainer(ctx, c.ID) }); err != nil {
		return err
	}
	volumes, err := p.registryVolumes(ctx, name)
	if err != nil {
		return err
	}
	return p.dropVolumes(ctx, volumes)
}
