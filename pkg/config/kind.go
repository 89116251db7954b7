package config

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/petri-cluster/petri/pkg/config/kindv1alpha4"
	"github.com/petri-cluster/petri/pkg/config/v1alpha1"
)

// readKind reads a file of kind's and puts what it says into the words of
// petri's own format, kind's defaults filled in where they differ. It reports
// false for a file that is too large to go on with.
func readKind(n *yaml.Node, s *source, p *problems) bool {
	var file kindv1alpha4.Cluster
	if !decode(n, &file, p, true) {
		return false
	}
	k := kindFile{Cluster: file, p: p}
	s.Cluster = v1alpha1.Cluster{
		Name: file.Name, FeatureGates: file.FeatureGates, RuntimeConfig: file.RuntimeConfig,
		Networking:                      k.networking(),
		KubeadmConfigPatches:            k.patches("kubeadmConfigPatches", file.KubeadmConfigPatches, false),
		KubeadmConfigPatchesJSON6902:    k.jsonPatches("kubeadmConfigPatchesJSON6902", file.KubeadmConfigPatchesJSON6902, false),
		ContainerdConfigPatches:         file.ContainerdConfigPatches,
		ContainerdConfigPatchesJSON6902: file.ContainerdConfigPatchesJSON6902,
	}
	first := slices.IndexFunc(file.Nodes, func(n kindv1alpha4.Node) bool { return n.Role != worker })
	for i, one := range file.Nodes {
		s.Nodes = append(s.Nodes, k.node(index("nodes", i), one, i != first))
	}
	return true
}

// kindFile is a file of kind's, and what is to be said of it.
type kindFile struct {
	kindv1alpha4.Cluster
	p *problems
}

func (k kindFile) networking() v1alpha1.Networking {
	in := k.Networking
	out := v1alpha1.Networking{
		IPFamily:         in.IPFamily,
		PodSubnet:        maskedText(in.PodSubnet),
		ServiceSubnet:    maskedText(in.ServiceSubnet),
		APIServerAddress: in.APIServerAddress,
		APIServerPort:    k.port("networking.apiServerPort", in.APIServerPort),
		KubeProxyMode:    cmp.Or(in.KubeProxyMode, "iptables"),
		DNSSearch:        in.DNSSearch,
	}
	if in.DisableDefaultCNI {
		out.CNI = "none"
	}
	return out
}

// maskedText leaves out the bits of ranges beyond their lengths, which kind
// does not mind. What is no range is left to be refused.
func maskedText(text string) string {
	ranges := strings.Split(text, ",")
	for i, one := range ranges {
		if prefix, err := netip.ParsePrefix(one); err == nil {
			ranges[i] = prefix.Masked().String()
		}
	}
	return strings.Join(ranges, ",")
}

// port is a port of the host in petri's words. Where kind would leave it to the
// engine, which may pick another at each start, petri picks one and keeps it.
func (k kindFile) port(path string, n int) int {
	if n != -1 {
		return n
	}
	k.p.note(path, "-1 is taken as 0: petri picks a free port and keeps it")
	return 0
}

// node is one node; all but the first control plane join the cluster that this
// one makes.
func (k kindFile) node(path string, in kindv1alpha4.Node, joins bool) v1alpha1.Node {
	out := v1alpha1.Node{
		Role: in.Role, Image: in.Image, Labels: in.Labels,
		KubeadmConfigPatches:         k.patches(path+".kubeadmConfigPatches", in.KubeadmConfigPatches, joins),
		KubeadmConfigPatchesJSON6902: k.jsonPatches(path+".kubeadmConfigPatchesJSON6902", in.KubeadmConfigPatchesJSON6902, joins),
	}
	for _, m := range in.ExtraMounts {
		out.ExtraMounts = append(out.ExtraMounts, v1alpha1.Mount{
			HostPath: m.HostPath, ContainerPath: m.ContainerPath, Create: true,
			ReadOnly: m.ReadOnly, SelinuxRelabel: m.SelinuxRelabel, Propagation: m.Propagation,
		})
	}
	for i, m := range in.ExtraPortMappings {
		out.ExtraPortMappings = append(out.ExtraPortMappings, v1alpha1.PortMapping{
			ContainerPort: m.ContainerPort,
			HostPort:      k.port(index(path+".extraPortMappings", i)+".hostPort", m.HostPort),
			ListenAddress: cmp.Or(m.ListenAddress, k.everywhere()),
			Protocol:      m.Protocol,
		})
	}
	return out
}

// everywhere is where kind publishes a port that has no address of its own.
func (k kindFile) everywhere() string {
	if k.Networking.IPFamily == ipv6 {
		return "::"
	}
	return "0.0.0.0"
}

// patches are merge patches, one document each. kind passes over those that
// match no document; they are left out here, with a note.
func (k kindFile) patches(path string, texts []string, joins bool) []string {
	var out []string
	for i, text := range texts {
		documents, err := splitDocuments(text)
		if err != nil {
			k.p.add(index(path, i), "is not an object in YAML: %s", plainYAML(err))
			continue
		}
		for _, one := range documents {
			version, kind, err := target(one)
			if err != nil {
				k.p.add(index(path, i), "is not an object in YAML: %s", plainYAML(err))
				continue
			}
			if k.used(index(path, i), version, kind, joins) {
				out = append(out, one)
			}
		}
	}
	return out
}

func (k kindFile) jsonPatches(path string, patches []kindv1alpha4.PatchJSON6902, joins bool) []v1alpha1.JSONPatch {
	var out []v1alpha1.JSONPatch
	for i, one := range patches {
		patch := JSONPatch(one)
		if !checkOperations(k.p, index(path, i), patch.Patch) {
			continue
		}
		if k.used(index(path, i), patch.APIVersion(), patch.Kind, joins) {
			out = append(out, v1alpha1.JSONPatch(patch))
		}
	}
	return out
}

// used reports whether a patch is for a document that kubeadm reads, on a node
// that joins or at all, and notes why not.
func (k kindFile) used(path, version, kind string, joins bool) bool {
	switch {
	case kind == "":
		k.p.note(path, "changes nothing, as in kind: it does not say which kind it is for")
	case !patchable(version, kind):
		k.p.note(path, "changes nothing, as in kind: there is no document %s", strings.TrimSpace(version+" "+kind))
	case kind == "KubeProxyConfiguration" && k.Networking.KubeProxyMode == "none":
		k.p.note(path, "changes nothing, as in kind: kube-proxy is left out")
	case joins && kind != "JoinConfiguration":
		k.p.note(path, "changes nothing, as in kind: a node that joins reads JoinConfiguration only")
	default:
		return true
	}
	return false
}

// splitDocuments gives the YAML documents of a text that are not empty; a text
// of one document is given as it is.
func splitDocuments(text string) ([]string, error) {
	documents, err := parseDocuments(text)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range documents {
		if len(n.Content) == 0 || n.Content[0].ShortTag() == "!!null" {
			continue
		}
		if len(documents) == 1 {
			return []string{text}, nil
		}
		data, err := yaml.Marshal(n)
		if err != nil {
			return nil, err
		}
		out = append(out, string(data))
	}
	return out, nil
}
