package bootstrap

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/kubeadm"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

// provision makes the machines, with everything they need to know inside.
func provision(ctx context.Context, env *Env, _ *progress.Task) error {
	spec := env.spec()
	first := env.Config.ControlPlanes()[0].Name
	if noRegistries(env) != "" { // from which kubeadm may pull
		spec.Started = func(n node.Node) {
			if n.Name == first {
				env.started.set(n)
			}
		}
	}
	nodes, err := env.Provider.Create(ctx, spec, env.Reporter)
	if err != nil {
		return err
	}
	env.nodes = map[string]node.Node{}
	for _, n := range nodes {
		env.nodes[n.Name] = n
	}
	endpoint, err := env.Provider.Endpoint(ctx, env.Config.Name)
	if err != nil {
		return err
	}
	env.endpoint = "https://" + endpoint
	if err := env.connectRegistries(ctx); err != nil {
		return err
	}
	env.started.set(env.nodes[first])
	return nil
}

// controlPlaneStarted returns when the first control plane runs: kubeadm need not
// wait until the others do.
func controlPlaneStarted(ctx context.Context, env *Env) error {
	_, err := env.started.get(ctx)
	return err
}

func (e *Env) spec() provider.Spec {
	net := e.Config.Networking
	spec := provider.Spec{
		Cluster: e.Config.Name,
		Network: e.Network,
		Subnets: net.NodeSubnets,
		Avoid:   slices.Concat(net.PodSubnets, net.ServiceSubnets),
		IPv6:    net.IPv6(),
		API:     provider.Publish{Address: net.APIServerAddress.String(), Port: net.APIServerPort},
		Labels:  e.Labels,
		Files:   e.files,
	}
	for _, n := range e.making() {
		made := nodeSpec(n)
		made.Env = slices.Clone(e.NodeEnv)
		if net.DNSSearch != nil {
			made.Env = append(made.Env, nodeimage.EnvDNSSearch+"="+strings.Join(net.DNSSearch, " "))
		}
		made.BootFirst = e.isForeign(n)
		spec.Nodes = append(spec.Nodes, made)
	}
	if e.adding == nil && e.balanced() {
		spec.Nodes = append(spec.Nodes, e.loadBalancer())
	}
	if e.adding == nil && e.Config.ShareEngine {
		spec.Nodes = append(spec.Nodes, e.imageServer())
	}
	return spec
}

func nodeSpec(n config.Node) provider.NodeSpec {
	out := provider.NodeSpec{Name: n.Name, Role: n.Role, Image: n.Image}
	for _, m := range n.Mounts {
		out.Mounts = append(out.Mounts, provider.Mount{
			HostPath: m.HostPath, ContainerPath: m.ContainerPath,
			ReadOnly: m.ReadOnly, SelinuxRelabel: m.SelinuxRelabel, Propagation: m.Propagation,
		})
	}
	for _, p := range n.Ports {
		out.Ports = append(out.Ports, node.Port(p))
	}
	return out
}

// files renders what a node finds inside itself when it boots.
func (e *Env) files(at provider.Placement) ([]provider.File, error) {
	if at.Node.Role == nodeimage.RoleImageServer {
		return nil, nil
	}
	balancer, err := e.balancerFiles(at)
	if err != nil || at.Node.Role == nodeimage.RoleLoadBalancer {
		return balancer, err
	}
	n, err := e.configNode(at.Node.Name)
	if err != nil {
		return nil, err
	}
	conf, err := e.kubeadmConfig(n, at)
	if err != nil {
		return nil, err
	}
	plan, err := json.MarshalIndent(e.plan(n, at, conf), "", "  ")
	if err != nil {
		return nil, err
	}
	registries, err := e.registryFiles()
	if err != nil {
		return nil, err
	}
	files := append(slices.Concat(balancer, registries),
		provider.File{Path: nodeimage.PlanPath, Data: plan, Mode: 0o600}, // patches may hold passwords
		provider.File{Path: nodeimage.KubeadmConfigPath, Data: conf, Mode: 0o600},
	)
	if e.isForeign(n) {
		files = append(files, provider.File{Path: nodeimage.HelperPath, Data: e.nodeHelper, Mode: 0o755})
	}
	if n.Role != nodeimage.RoleControlPlane {
		return files, nil
	}
	own, err := config.Encode(e.Config)
	if err != nil {
		return nil, err
	}
	security, err := kubeadm.SecurityFiles(e.Config, e.versions[n.Image])
	if err != nil {
		return nil, err
	}
	serving, err := kubeadm.ServingFiles(n.Name)
	if err != nil {
		return nil, err
	}
	for _, some := range []map[string][]byte{security, serving} {
		for _, path := range slices.Sorted(maps.Keys(some)) {
			files = append(files, provider.File{Path: path, Data: some[path], Mode: 0o600})
		}
	}
	files = append(files, provider.File{Path: nodeimage.ConfigPath, Data: own, Mode: 0o600})
	return append(files, e.patchFiles(e.versions[n.Image])...), nil
}

// isForeign reports whether a node's image is not petri's: it brings no helper,
// and its own entrypoint boots it.
func (e *Env) isForeign(n config.Node) bool { return slices.Contains(e.foreign, n.Image) }

func (e *Env) configNode(name string) (config.Node, error) {
	for _, n := range e.Config.Nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return config.Node{}, fmt.Errorf("node %s is not in the configuration", name)
}

// ignoredPreflight are the checks of kubeadm that do not hold in a container.
var ignoredPreflight = []string{
	"SystemVerification", // reads the host's kernel configuration, refuses cgroup v1
	"Swap",               // is the host's, and kubelet is told to tolerate it
	// belongs to CNIs on a Linux bridge; the default one routes
	"FileContent--proc-sys-net-bridge-bridge-nf-call-iptables",
}

func (e *Env) plan(n config.Node, at provider.Placement, kubeadmConfig []byte) nodeimage.Plan {
	net := e.Config.Networking
	plan := nodeimage.Plan{
		Cluster:               e.Config.Name,
		Name:                  n.Name,
		Role:                  n.Role,
		Address:               e.primary(at.Addrs).String(),
		PodSubnets:            config.Texts(net.PodSubnets),
		ServiceSubnets:        config.Texts(net.ServiceSubnets),
		Foreign:               e.isForeign(n),
		IgnorePreflight:       ignoredPreflight,
		RegistryAuth:          e.secrets.Auth,
		ContainerdPatches:     e.Config.ContainerdPatches,
		ContainerdJSONPatches: e.Config.ContainerdJSONPatches,
	}
	plan.KubeletApart = kubeadm.StartsKubeletApart(e.versions[n.Image], kubeadmConfig)
	plan.Hardened = e.Config.Security.Hardened()
	// what the configuration lays over it may say otherwise
	plan.ServingCertificates = plan.Hardened && bytes.Contains(kubeadmConfig, []byte("\nserverTLSBootstrap: true\n"))
	// the one that is asked while nobody serves Services; it makes the cluster,
	// unless that is there
	first := e.Config.ControlPlanes()[0].Name
	if e.adding != nil {
		first = e.member.Name
	}
	if n.Name == first && !plan.Foreign && net.CNI == "default" && !bytes.Contains(kubeadmConfig, []byte("node-cidr")) {
		for _, pods := range net.PodSubnets {
			plan.PodRanges = append(plan.PodRanges, firstRange(pods).String())
		}
	}
	if n.Name != first && net.CNI == "default" && !plan.Foreign && e.bringsCNI(n) {
		for _, pods := range net.PodSubnets {
			plan.PodGateways = append(plan.PodGateways, at.Nodes[first].Of(pods.Addr().Is6()).String())
		}
	}
	// with ipvs the address belongs to kube-proxy's own interface: what is sent
	// there must not be translated before it arrives
	if net.KubeProxyMode != "none" && !bytes.Contains(kubeadmConfig, []byte("\nmode: ipvs\n")) {
		plan.APIService = net.ServiceSubnets[0].Masked().Addr().Next().String()
		plan.APIServer = e.primary(at.Nodes[first]).String()
	}
	if e.balanced() {
		plan.Balanced = e.endpointName()
	}
	if n.Role == nodeimage.RoleControlPlane && e.announcesMembers() {
		plan.EtcdMembers = e.etcdMembers(at)
		plan.EtcdBefore = etcdBefore(n.Name, first, plan.EtcdMembers)
	}
	return plan
}

// bringsCNI reports whether the default CNI is that of a node's own image: it is
// the one that the first control plane's image brought. Of a cluster that is there
// only the same image is known to be.
func (e *Env) bringsCNI(n config.Node) bool {
	if e.adding != nil {
		return e.member.Image == n.Image
	}
	return !e.isForeign(e.Config.ControlPlanes()[0])
}

// used are the addresses of a node that the cluster uses, its primary family's
// first.
func (e *Env) used(addrs node.Addrs) []netip.Addr {
	var out []netip.Addr
	for _, services := range e.Config.Networking.ServiceSubnets {
		out = append(out, addrs.Of(services.Addr().Is6()))
	}
	return out
}

// primary is the address by which a node is known first.
func (e *Env) primary(addrs node.Addrs) netip.Addr { return e.used(addrs)[0] }

// firstRange is what the controller-manager gives to the first node that is
// registered, unless it is told another size of range.
func firstRange(pods netip.Prefix) netip.Prefix {
	bits := 24
	if !pods.Addr().Is4() {
		bits = 64
	}
	return netip.PrefixFrom(pods.Masked().Addr(), max(bits, pods.Bits()))
}

// tokenTTL is how long a node may take to join.
const tokenTTL = 15 * time.Minute

func (e *Env) kubeadmConfig(n config.Node, at provider.Placement) ([]byte, error) {
	version, err := e.version(n.Image)
	if err != nil {
		return nil, err
	}
	return kubeadm.Render(kubeadm.Input{
		Cluster:              e.Config,
		Node:                 n,
		KubernetesVersion:    version,
		Addresses:            e.used(at.Addrs),
		ControlPlaneEndpoint: e.controlPlaneEndpoint(),
		CertSANs:             e.certSANs(at),
		Token:                e.token,
		TokenTTL:             tokenTTL,
		Provider:             e.Provider.Name(),
		PatchesDir:           nodeimage.PatchesDir,
		// petri's own images see to it when they boot
		AllowCgroupV1: e.isForeign(n) && e.cgroupV1,
	})
}
