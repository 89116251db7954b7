package container

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/go-connections/nat"

	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

// containerConfig is a node as the engine is asked for it.
type containerConfig struct {
	config  *container.Config
	host    *container.HostConfig
	network *network.NetworkingConfig
}

// nodeConfig describes the i-th node of a placement. The image's own
// entrypoint runs, as kind's contract has it, unless the node has a command.
func (p *Provider) nodeConfig(pl *placement, i int, mode string, info system.Info) containerConfig {
	spec := pl.spec.Nodes[i]
	exposed, bindings := publish(pl.ports[i])
	config := &container.Config{
		Hostname:     spec.Name,
		Image:        spec.Image,
		Tty:          true,
		Env:          p.nodeEnv(pl, spec),
		Labels:       p.nodeLabels(pl, spec, mode),
		ExposedPorts: exposed,
	}
	host := &container.HostConfig{
		NetworkMode:  container.NetworkMode(pl.network.name),
		PortBindings: bindings,
		CgroupnsMode: container.CgroupnsModePrivate,
		// An init of the engine's own would not be the image's process 1.
		Init: new(false),
		// Up again after the engine, and after whatever ended it: a working week
		// has more than one of each. What petri stopped stays stopped. A node that
		// cannot boot is tried again with pauses that grow to a minute.
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyUnlessStopped},
	}
	if len(spec.Command) > 0 {
		config.Entrypoint, config.StopSignal = spec.Command, "SIGTERM"
	} else {
		config.StopTimeout = new(nodeimage.ShutdownSeconds)
		p.makeMachine(host, pl.spec, spec, mode, info)
	}
	if spec.Engine {
		p.giveEngine(host, info)
	}
	endpoint := &network.EndpointSettings{}
	if !pl.network.given {
		endpoint.IPAMConfig = pl.network.choose(i)
	}
	if pl.spec.IPv6 {
		// some engines and hosts switch it off in containers
		host.Sysctls = map[string]string{
			"net.ipv6.conf.all.disable_ipv6": "0", "net.ipv6.conf.default.disable_ipv6": "0",
			"net.ipv6.conf.all.forwarding": "1",
		}
	}
	return containerConfig{
		config:  config,
		host:    host,
		network: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{pl.network.name: endpoint}},
	}
}

// makeMachine adds what an init system, a container runtime and a kubelet need.
func (p *Provider) makeMachine(host *container.HostConfig, cluster provider.Spec, spec provider.NodeSpec, mode string, info system.Info) {
	host.Tmpfs = map[string]string{"/tmp": "", "/run": ""}
	host.Mounts = []mount.Mount{{
		Type: mount.TypeVolume, Target: "/var",
		VolumeOptions: &mount.VolumeOptions{Labels: p.objectLabels(cluster)},
	}}
	host.Binds = p.binds(spec.Mounts, info)
	applyMode(host, mode)
	applyEngine(host, info)
}

// giveEngine mounts the engine's socket. On an engine in a virtual machine, or
// on another one, it is where engines have it, and not where it is reached here.
func (p *Provider) giveEngine(host *container.HostConfig, info system.Info) {
	socket := provider.EngineSocket
	if p.local() && info.OperatingSystem != "Docker Desktop" {
		socket = strings.TrimPrefix(p.engine.DaemonHost(), "unix://")
	}
	host.Binds = append(host.Binds, socket+":"+provider.EngineSocket)
	// SELinux allows it to no container that it confines
	host.SecurityOpt = append(host.SecurityOpt, "label=disable")
	if hasSecurityOption(info, "userns") {
		host.UsernsMode = "host"
	}
}

// applyEngine adds what nodes need of some engines.
func applyEngine(host *container.HostConfig, info system.Info) {
	if hasSecurityOption(info, "userns") {
		// Root of a remapped user namespace cannot run a kubelet.
		host.UsernsMode = "host"
	}
	if hasSecurityOption(info, "rootless") {
		// fuse-overlayfs stands in for overlayfs there.
		host.Devices = append(host.Devices, container.DeviceMapping{
			PathOnHost: "/dev/fuse", PathInContainer: "/dev/fuse", CgroupPermissions: "rwm",
		})
	}
	switch info.Driver {
	case "btrfs", "zfs", "devicemapper":
		// cAdvisor looks up the block devices of these file systems.
		host.Binds = append(host.Binds, "/dev/mapper:/dev/mapper")
	}
}

// binds are the mounts of the host in a node, in the engine's short form: only
// that can relabel for SELinux, and make a directory that is not there.
func (p *Provider) binds(mounts []provider.Mount, info system.Info) []string {
	var binds []string
	// Kernel modules: kube-proxy and CNIs ask what the kernel can do. A kernel
	// without modules has no such directory, and none should be made.
	if _, err := os.Stat("/lib/modules"); err == nil || !p.local() || info.OperatingSystem == "Docker Desktop" {
		binds = append(binds, "/lib/modules:/lib/modules:ro")
	}
	for _, m := range mounts {
		var options []string
		if m.ReadOnly {
			options = append(options, "ro")
		}
		if m.SelinuxRelabel {
			options = append(options, "Z")
		}
		switch m.Propagation {
		case "HostToContainer":
			options = append(options, "rslave")
		case "Bidirectional":
			options = append(options, "rshared")
		}
		bind := m.HostPath + ":" + m.ContainerPath
		if len(options) > 0 {
			bind += ":" + strings.Join(options, ",")
		}
		binds = append(binds, bind)
	}
	return binds
}

func publish(ports []node.Port) (nat.PortSet, nat.PortMap) {
	exposed, bindings := nat.PortSet{}, nat.PortMap{}
	for _, port := range ports {
		key := nat.Port(strconv.Itoa(int(port.ContainerPort)) + "/" + strings.ToLower(port.Protocol))
		exposed[key] = struct{}{}
		bindings[key] = append(bindings[key], nat.PortBinding{
			HostIP: port.ListenAddress, HostPort: strconv.Itoa(int(port.HostPort)),
		})
	}
	return exposed, bindings
}

// objectLabels are on everything that a cluster is made of.
func (p *Provider) objectLabels(spec provider.Spec) map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, spec.Labels)
	labels[nodeimage.LabelCluster] = spec.Cluster
	if p.opts.Version != "" {
		labels[nodeimage.LabelVersion] = p.opts.Version
	}
	return labels
}

func (p *Provider) nodeLabels(pl *placement, spec provider.NodeSpec, mode string) map[string]string {
	labels := p.objectLabels(pl.spec)
	labels[nodeimage.LabelRole] = spec.Role
	labels[nodeimage.LabelMode] = mode
	labels[nodeimage.LabelKindCluster] = pl.spec.Cluster
	labels[nodeimage.LabelKindRole] = spec.Role
	if spec.Name == pl.endpointNode {
		labels[nodeimage.LabelPort] = strconv.Itoa(int(pl.endpoint.Port()))
		labels[labelAddress] = pl.endpoint.Addr().String()
	}
	return labels
}

// nodeEnv is a node's environment: kubectl's credentials where they will be,
// the proxies of this process, and what the spec asks for.
func (p *Provider) nodeEnv(pl *placement, spec provider.NodeSpec) []string {
	var env []string
	if spec.Role == nodeimage.RoleControlPlane {
		env = append(env, "KUBECONFIG="+nodeimage.AdminConfPath)
	}
	if pl.network.given {
		env = append(env, nodeimage.EnvAwaitFiles+"=1")
	}
	env = append(env, proxyEnv(p.opts.Getenv, directNames(pl))...)
	return append(env, spec.Env...)
}

// directNames are the names and networks inside a cluster, which no proxy
// outside could reach.
func directNames(pl *placement) []string {
	var names []string
	for _, subnet := range append(pl.network.subnets(), pl.spec.Avoid...) {
		names = append(names, subnet.String())
	}
	for _, n := range pl.spec.Nodes {
		names = append(names, n.Name)
	}
	names = append(names, slices.Sorted(maps.Keys(pl.others))...)
	return append(names, "."+provider.RegistryDomain, ".svc", ".svc.cluster.local", ".cluster.local")
}

// proxyEnv passes proxy settings on, in both spellings that programs look for.
// There is none when no proxy is set.
func proxyEnv(getenv func(string) string, direct []string) []string {
	lookup := func(name string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return getenv(strings.ToLower(name))
	}
	var env []string
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY"} {
		if v := lookup(name); v != "" {
			env = append(env, name+"="+v, strings.ToLower(name)+"="+v)
		}
	}
	if len(env) == 0 {
		return nil
	}
	var names []string
	for name := range strings.SplitSeq(lookup("NO_PROXY"), ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	for _, name := range direct {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	list := strings.Join(names, ",")
	return append(env, "NO_PROXY="+list, "no_proxy="+list)
}

// placementOf is what the spec's Files is told about the i-th node.
func (pl *placement) placementOf(i int) provider.Placement {
	nodes := make(map[string]node.Addrs, len(pl.spec.Nodes)+len(pl.others))
	maps.Copy(nodes, pl.others)
	for j, n := range pl.spec.Nodes {
		nodes[n.Name] = pl.network.addrsOf(j)
	}
	return provider.Placement{
		Node:     pl.spec.Nodes[i],
		Addrs:    pl.network.addrsOf(i),
		Nodes:    nodes,
		Endpoint: pl.endpoint,
		Gateway:  pl.network.v4.gateway,
		Subnet:   pl.network.v4.subnet,
	}
}
