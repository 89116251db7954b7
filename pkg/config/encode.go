package config

import (
	"fmt"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3" // keeps large numbers whole
	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/config/v1alpha1"
)

// Encode prints the fully defaulted form of a cluster as a v1alpha1 file.
// Load reads it back to an equal Cluster.
func Encode(c *Cluster) ([]byte, error) {
	out := v1alpha1.Cluster{
		APIVersion: v1alpha1.APIVersion, Kind: v1alpha1.Kind,
		Name: c.Name, KubernetesVersion: c.KubernetesVersion, Ephemeral: c.Ephemeral,
		FeatureGates: c.FeatureGates, RuntimeConfig: c.RuntimeConfig,
		KubeadmConfigPatches: c.KubeadmPatches, KubeadmConfigPatchesJSON6902: encodeJSONPatches(c.KubeadmJSONPatches),
		ContainerdConfigPatches: c.ContainerdPatches, ContainerdConfigPatchesJSON6902: c.ContainerdJSONPatches,
		Networking: encodeNetworking(c.Networking), LocalRegistries: c.LocalRegistries,
		Security: v1alpha1.Security{Profile: c.Security.Profile, PodSecurity: v1alpha1.PodSecurity(c.Security.PodSecurity)},
	}
	if c.ShareEngine {
		out.Images.Share = shareEngine
	}
	for _, r := range c.Registries {
		out.Registries = append(out.Registries, v1alpha1.Registry(r))
	}
	seen := map[string]int{}
	for _, n := range c.Nodes {
		node := encodeNode(n)
		if seen[n.Role]++; n.Name != NodeName(c.Name, n.Role, seen[n.Role]) {
			node.Name = n.Name
		}
		out.Nodes = append(out.Nodes, node)
	}
	for _, r := range c.Kubeadm {
		var document v1alpha1.Document
		if err := yamlv3.Unmarshal([]byte(r.YAML), &document); err != nil {
			return nil, fmt.Errorf("encode document %s: %w", r.Kind, err)
		}
		out.Kubeadm = append(out.Kubeadm, document)
	}
	return yaml.Marshal(out)
}

func encodeNetworking(n Networking) v1alpha1.Networking {
	out := v1alpha1.Networking{
		IPFamily: n.IPFamily, PodSubnet: Joined(n.PodSubnets), ServiceSubnet: Joined(n.ServiceSubnets),
		NodeSubnet: Joined(n.NodeSubnets), DNSDomain: n.DNSDomain,
		APIServerAddress: n.APIServerAddress.String(), APIServerPort: int(n.APIServerPort),
		KubeProxyMode: n.KubeProxyMode, CNI: n.CNI,
	}
	if n.DNSSearch != nil {
		out.DNSSearch = &n.DNSSearch
	}
	return out
}

func encodeNode(n Node) v1alpha1.Node {
	out := v1alpha1.Node{
		Role: n.Role, Count: new(1), Image: n.Image, Labels: n.Labels,
		KubeadmConfigPatches: n.KubeadmPatches, KubeadmConfigPatchesJSON6902: encodeJSONPatches(n.KubeadmJSONPatches),
	}
	for _, t := range n.Taints {
		out.Taints = append(out.Taints, v1alpha1.Taint(t))
	}
	for _, m := range n.Mounts {
		out.ExtraMounts = append(out.ExtraMounts, v1alpha1.Mount(m))
	}
	for _, m := range n.Ports {
		out.ExtraPortMappings = append(out.ExtraPortMappings, v1alpha1.PortMapping{
			ContainerPort: int(m.ContainerPort), HostPort: int(m.HostPort),
			ListenAddress: m.ListenAddress, Protocol: strings.ToUpper(m.Protocol),
		})
	}
	return out
}

func encodeJSONPatches(patches []JSONPatch) []v1alpha1.JSONPatch {
	var out []v1alpha1.JSONPatch
	for _, one := range patches {
		out = append(out, v1alpha1.JSONPatch(one))
	}
	return out
}
