package config

import (
	"cmp"
	"maps"
	"net/netip"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/petri-cluster/petri/pkg/config/v1alpha1"
)

// The defaults of the file format; v1alpha1 documents them.
const (
	defaultName          = "petri"
	defaultDNSDomain     = "cluster.local"
	defaultKubeProxyMode = "nftables"
	defaultCNI           = "default"
)

const (
	controlPlane = "control-plane"
	worker       = "worker"
)

// resolve turns a file into a cluster, with every default filled in, and
// notes everything that is wrong with it.
func (s *source) resolve(p *problems, opts Options) *Cluster {
	c := &Cluster{
		Name:                  cmp.Or(s.Name, opts.DefaultName, defaultName),
		KubernetesVersion:     s.KubernetesVersion,
		Ephemeral:             s.Ephemeral,
		FeatureGates:          maps.Clone(s.FeatureGates),
		RuntimeConfig:         maps.Clone(s.RuntimeConfig),
		KubeadmPatches:        slices.Clone(s.KubeadmConfigPatches),
		KubeadmJSONPatches:    jsonPatches(s.KubeadmConfigPatchesJSON6902),
		ContainerdPatches:     slices.Clone(s.ContainerdConfigPatches),
		ContainerdJSONPatches: slices.Clone(s.ContainerdConfigPatchesJSON6902),
	}
	checkName(p, c.Name)
	checkVersion(p, c.KubernetesVersion)
	checkImage(p, "image", s.Image)
	for i, document := range s.Kubeadm {
		path := index("kubeadm", i)
		if r, ok := raw(document, path, p.at[path], p); ok {
			c.Kubeadm = append(c.Kubeadm, r)
		}
	}
	checkFeatureGates(p, c.FeatureGates)
	checkRuntimeConfig(p, c.RuntimeConfig)
	checkPatches(p, "kubeadmConfigPatches", c.KubeadmPatches)
	checkJSONPatches(p, "kubeadmConfigPatchesJSON6902", c.KubeadmJSONPatches)
	checkContainerd(p, c)
	c.Networking = s.networking(p, opts.Dir)
	c.Security = resolveSecurity(p, s.Security)
	c.Registries = s.registries(p, opts.Dir)
	c.LocalRegistries = slices.Clone(s.LocalRegistries)
	checkLocalRegistries(p, c.LocalRegistries)
	c.ShareEngine = s.Images.Share == shareEngine
	if !slices.Contains([]string{"", shareNone, shareEngine}, s.Images.Share) {
		p.add("images.share", "%q is not one of %s, %s", s.Images.Share, shareNone, shareEngine)
	}
	nodes := s.machines(p, opts, c.Name, loopback(c.Networking.IPFamily))
	for _, m := range nodes {
		c.Nodes = append(c.Nodes, m.Node)
	}
	checkHostPorts(p, c.Networking, nodes)
	checkSubnets(p, c.Networking, len(nodes), c.besides())
	return c
}

// machine is a node and the entry it is made from.
type machine struct {
	Node
	from entry
}

// machines expands the list of nodes, control planes first. Their ports are
// published at listen where the file does not say.
func (s *source) machines(p *problems, opts Options, name, listen string) []machine {
	image := s.Image
	if image == "" && opts.DefaultImage != nil {
		image = opts.DefaultImage(s.KubernetesVersion)
	}
	var out []machine
	for _, e := range s.nodes {
		n := e.resolve(p, opts.Dir, listen)
		n.Image = cmp.Or(n.Image, image)
		for range e.count(p) {
			out = append(out, machine{n.clone(), e})
		}
	}
	if len(out) > maxNodes {
		p.add("nodes", "there are %d in all, more than %d", len(out), maxNodes)
		out = out[:maxNodes]
	}
	slices.SortStableFunc(out, func(a, b machine) int { return cmp.Compare(rank(a.Role), rank(b.Role)) })
	seen := map[string]int{}
	for i := range out {
		seen[out[i].Role]++
		out[i].Name = cmp.Or(out[i].from.Name, NodeName(name, out[i].Role, seen[out[i].Role]))
	}
	checkNodeNames(p, out)
	refuse := func(format string, args ...any) {
		if opts.Overrides.ControlPlanes != nil {
			p.addAt(position{}, "--control-planes", format, args...)
		} else {
			p.add("nodes", format, args...)
		}
	}
	if seen[controlPlane] == 0 && seen[controlPlane]+seen[worker] == len(out) {
		refuse("there must be at least one " + controlPlane)
	}
	if seen[controlPlane] > maxControlPlanes {
		refuse("there are %d control planes, more than %d", seen[controlPlane], maxControlPlanes)
	}
	return out
}

// maxControlPlanes is where more members make etcd slower and no safer.
const maxControlPlanes = 9

// NodeName is the name of the n-th node of a role, from 1, as kind has it.
func NodeName(cluster, role string, n int) string {
	if n == 1 {
		return cluster + "-" + role
	}
	return cluster + "-" + role + strconv.Itoa(n)
}

func rank(role string) int {
	if role == controlPlane {
		return 0
	}
	return 1
}

// maxNodes is more than a machine can carry, and bounds a slip of the finger.
const maxNodes = 250

// count is the number of nodes that an entry stands for; 0 switches it off.
func (e entry) count(p *problems) int {
	if e.Count == nil {
		return 1
	}
	if n := *e.Count; n < 0 || n > maxNodes {
		p.add(e.at("count"), "must be from 0 to %d, and is %d", maxNodes, n)
		return 1
	}
	return *e.Count
}

// resolve makes the node of an entry, but for its name and the image of the
// cluster.
func (e entry) resolve(p *problems, dir, listen string) Node {
	n := Node{
		Role: cmp.Or(e.Role, controlPlane), Image: e.Image, Labels: e.Labels,
		KubeadmPatches: e.KubeadmConfigPatches, KubeadmJSONPatches: jsonPatches(e.KubeadmConfigPatchesJSON6902),
	}
	if n.Role != controlPlane && n.Role != worker {
		p.add(e.at("role"), "%q is not a role; it is %s or %s", n.Role, controlPlane, worker)
	}
	if e.Image != "" {
		checkImage(p, e.at("image"), e.Image)
	}
	checkLabels(p, e.at("labels"), e.Labels)
	checkPatches(p, e.at("kubeadmConfigPatches"), n.KubeadmPatches)
	checkJSONPatches(p, e.at("kubeadmConfigPatchesJSON6902"), n.KubeadmJSONPatches)
	if n.Role == worker {
		checkWorkerPatches(p, e, n)
	}
	for i, t := range e.Taints {
		checkTaint(p, index(e.at("taints"), i), t)
		if slices.ContainsFunc(n.Taints, func(o Taint) bool { return o.Key == t.Key && o.Effect == t.Effect }) {
			p.add(index(e.at("taints"), i), "%s with %s is there already", t.Key, t.Effect)
		}
		n.Taints = append(n.Taints, Taint(t))
	}
	for i, m := range e.ExtraMounts {
		if slices.ContainsFunc(n.Mounts, func(o Mount) bool { return path.Clean(o.ContainerPath) == path.Clean(m.ContainerPath) }) {
			p.add(index(e.at("extraMounts"), i)+".containerPath", "%s has a mount already", m.ContainerPath)
		}
		n.Mounts = append(n.Mounts, resolveMount(p, index(e.at("extraMounts"), i), m, dir))
	}
	for i, m := range e.ExtraPortMappings {
		n.Ports = append(n.Ports, resolvePort(p, index(e.at("extraPortMappings"), i), m, listen))
	}
	return n
}

// clone copies a node, so that changing one of several leaves the others.
func (n Node) clone() Node {
	n.Labels = maps.Clone(n.Labels)
	n.Taints = slices.Clone(n.Taints)
	n.Mounts = slices.Clone(n.Mounts)
	n.Ports = slices.Clone(n.Ports)
	n.KubeadmPatches = slices.Clone(n.KubeadmPatches)
	n.KubeadmJSONPatches = slices.Clone(n.KubeadmJSONPatches)
	return n
}

func jsonPatches(in []v1alpha1.JSONPatch) []JSONPatch {
	var out []JSONPatch
	for _, one := range in {
		out = append(out, JSONPatch(one))
	}
	return out
}

func resolveMount(p *problems, path string, m v1alpha1.Mount, dir string) Mount {
	out := Mount(m)
	out.Propagation = cmp.Or(m.Propagation, "None")
	if m.HostPath == "" {
		p.add(path+".hostPath", "is required")
	} else if !printable(m.HostPath) {
		p.add(path+".hostPath", "must be printable, and is %q", m.HostPath)
	} else if dir != "" {
		out.HostPath = resolvePath(m.HostPath, dir)
		// the engine would make a directory of that name, owned by root
		if _, err := os.Stat(out.HostPath); err != nil && m.Create {
			p.note(path+".hostPath", "there is nothing at %s: an empty directory will be made", out.HostPath)
		} else if err != nil {
			p.add(path+".hostPath", "there is no file or directory %s", out.HostPath)
		}
	}
	if !strings.HasPrefix(m.ContainerPath, "/") || m.ContainerPath == "/" || !printable(m.ContainerPath) {
		p.add(path+".containerPath", "must be an absolute path in the node, and is %q", m.ContainerPath)
	}
	if !slices.Contains(propagations, out.Propagation) {
		p.add(path+".propagation", "%q is not one of %s", m.Propagation, strings.Join(propagations, ", "))
	}
	return out
}

var propagations = []string{"None", "HostToContainer", "Bidirectional"}

var protocols = []string{"tcp", "udp", "sctp"}

func resolvePort(p *problems, path string, m v1alpha1.PortMapping, listen string) PortMapping {
	out := PortMapping{
		ContainerPort: port(p, path+".containerPort", m.ContainerPort, 1),
		HostPort:      port(p, path+".hostPort", m.HostPort, 0),
		ListenAddress: cmp.Or(m.ListenAddress, listen),
		Protocol:      strings.ToLower(cmp.Or(m.Protocol, "tcp")),
	}
	if _, err := netip.ParseAddr(out.ListenAddress); err != nil {
		p.add(path+".listenAddress", "must be an IP address, and is %q", m.ListenAddress)
	}
	if !slices.Contains(protocols, out.Protocol) {
		p.add(path+".protocol", "%q is not one of TCP, UDP, SCTP", m.Protocol)
	}
	return out
}

// port reads the number of a port; 0 when it is none.
func port(p *problems, path string, n, least int) uint16 {
	if n < least || n > 65535 {
		p.add(path, "must be from %d to 65535, and is %d", least, n)
		return 0
	}
	return uint16(n)
}

func (s *source) networking(p *problems, dir string) Networking {
	in := s.Networking
	n := Networking{
		IPFamily:      cmp.Or(in.IPFamily, ipv4),
		DNSDomain:     cmp.Or(in.DNSDomain, defaultDNSDomain),
		KubeProxyMode: cmp.Or(in.KubeProxyMode, defaultKubeProxyMode),
		CNI:           cmp.Or(in.CNI, defaultCNI),
	}
	if in.DNSSearch != nil {
		n.DNSSearch = append([]string{}, *in.DNSSearch...)
	}
	checkSearch(p, n.DNSSearch)
	if slices.Contains(ipFamilies, n.IPFamily) {
		n.ranges(p, in)
	} else {
		p.add("networking.ipFamily", "%q is not one of %s", n.IPFamily, strings.Join(ipFamilies, ", "))
	}
	checkDomain(p, n.DNSDomain)
	if !slices.Contains(kubeProxyModes, n.KubeProxyMode) {
		p.add("networking.kubeProxyMode", "%q is not one of %s", n.KubeProxyMode, strings.Join(kubeProxyModes, ", "))
	}
	addr, err := netip.ParseAddr(cmp.Or(in.APIServerAddress, loopback(n.IPFamily)))
	if err != nil {
		p.add("networking.apiServerAddress", "must be an IP address, and is %q", in.APIServerAddress)
	}
	n.APIServerAddress = addr
	n.APIServerPort = port(p, "networking.apiServerPort", in.APIServerPort, 0)
	n.CNI = resolveCNI(p, n.CNI, dir)
	return n
}

var kubeProxyModes = []string{"nftables", "iptables", "ipvs", "none"}
