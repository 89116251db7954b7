package config

import (
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/distribution/reference"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/petri-cluster/petri/pkg/config/v1alpha1"
	"github.com/petri-cluster/petri/pkg/containerdconf"
)

// maxName leaves room for "-control-plane250" in a host name of 63.
const maxName = 46

// nameForm is DNS labels with dots between them.
var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

func checkName(p *problems, name string) {
	if !nameForm.MatchString(name) || len(name) > maxName {
		p.add("name", "%q must be lower-case letters, digits, dashes and dots, have a letter or digit at both ends and beside each dot, and be at most %d long", name, maxName)
	}
}

// maxNodeName is what a host name can hold.
const maxNodeName = 63

func checkNodeNames(p *problems, nodes []machine) {
	seen := map[string]bool{}
	for _, m := range nodes {
		switch given := m.from.Name; {
		case given != "" && m.from.Count != nil && *m.from.Count > 1:
			p.add(m.from.at("name"), "%s cannot be the name of %d nodes", given, *m.from.Count)
			return
		case given != "" && (!nameForm.MatchString(given) || len(given) > maxNodeName):
			p.add(m.from.at("name"), "%q must be lower-case letters, digits and dashes, begin and end with a letter or digit, and be at most %d long", given, maxNodeName)
		case seen[m.Name]:
			p.add(m.from.at("name"), "there are two nodes %s", m.Name)
		}
		seen[m.Name] = true
	}
}

func checkVersion(p *problems, text string) {
	if text == "" {
		return
	}
	v, err := version.ParseSemantic(text)
	switch {
	case err != nil || !strings.HasPrefix(text, "v"):
		p.add("kubernetesVersion", "must be a version such as v1.36.3, and is %q", text)
	case v.Major() != 1 || v.Minor() < oldestMinor:
		p.add("kubernetesVersion", "must be v1.%d.0 or later, whose kubeadm reads v1beta4, and is %s", oldestMinor, text)
	}
}

// oldestMinor is the first minor version of Kubernetes 1 that petri can make.
const oldestMinor = 31

func checkImage(p *problems, path, image string) {
	if image == "" {
		return
	}
	if _, err := reference.ParseAnyReference(image); err != nil {
		p.add(path, "%q is not the name of an image: %v", image, err)
	}
}

var gateForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*$`)

func checkFeatureGates(p *problems, gates map[string]bool) {
	for _, name := range slices.Sorted(maps.Keys(gates)) {
		if !gateForm.MatchString(name) {
			p.add("featureGates."+name, "is not the name of a feature gate")
		}
	}
}

// versionForm is a version of an API ("apps/v1", "api/alpha"), or of one
// resource of it.
var versionForm = regexp.MustCompile(`^[a-z0-9][a-z0-9./-]*$`)

func checkRuntimeConfig(p *problems, versions map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(versions)) {
		if !versionForm.MatchString(key) {
			p.add("runtimeConfig."+key, "is not a version of an API")
		}
		if value := versions[key]; value != "true" && value != "false" {
			p.add("runtimeConfig."+key, `must be "true" or "false", and is %q`, value)
		}
	}
}

func checkLabels(p *problems, path string, labels map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if why := validation.IsQualifiedName(key); len(why) > 0 {
			p.add(path+"."+key, "is not the key of a label: %s", strings.Join(why, "; "))
		}
		if why := validation.IsValidLabelValue(labels[key]); len(why) > 0 {
			p.add(path+"."+key, "has no label's value: %s", strings.Join(why, "; "))
		}
		if domain, _, ok := strings.Cut(key, "/"); ok && !ownLabel(key, domain) {
			p.add(path+"."+key, "is a label that a node may not give itself: kubelet would not start")
		}
	}
}

// kubeletLabels are the labels of Kubernetes' own domains that kubelet
// accepts, beside those below the domains in kubeletDomains.
var (
	kubeletLabels = []string{
		"beta.kubernetes.io/arch", "beta.kubernetes.io/instance-type", "beta.kubernetes.io/os",
		"failure-domain.beta.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone",
		"kubernetes.io/arch", "kubernetes.io/hostname", "kubernetes.io/os",
		"node.kubernetes.io/instance-type", "topology.kubernetes.io/region", "topology.kubernetes.io/zone",
	}
	kubeletDomains = []string{"kubelet.kubernetes.io", "node.kubernetes.io"}
)

// ownLabel reports whether a kubelet may give a label to its node.
func ownLabel(key, domain string) bool {
	return !within(domain, "kubernetes.io", "k8s.io") || within(domain, kubeletDomains...) || slices.Contains(kubeletLabels, key)
}

// within reports whether a domain is one of some, or below one.
func within(domain string, some ...string) bool {
	return slices.ContainsFunc(some, func(s string) bool { return domain == s || strings.HasSuffix(domain, "."+s) })
}

var effects = []string{"NoSchedule", "PreferNoSchedule", "NoExecute"}

func checkTaint(p *problems, path string, t v1alpha1.Taint) {
	if why := validation.IsQualifiedName(t.Key); len(why) > 0 {
		p.add(path+".key", "is not the key of a taint: %s", strings.Join(why, "; "))
	}
	if why := validation.IsValidLabelValue(t.Value); len(why) > 0 {
		p.add(path+".value", "is not the value of a taint: %s", strings.Join(why, "; "))
	}
	if !slices.Contains(effects, t.Effect) {
		p.add(path+".effect", "%q is not one of %s", t.Effect, strings.Join(effects, ", "))
	}
}

// printable reports whether a path can stand in messages and files as it is.
func printable(path string) bool {
	return !strings.ContainsFunc(path, func(r rune) bool { return !unicode.IsPrint(r) })
}

func checkDomain(p *problems, domain string) {
	if why := validation.IsDNS1123Subdomain(domain); len(why) > 0 {
		p.add("networking.dnsDomain", "%q: %s", domain, strings.Join(why, "; "))
	}
}

// searchForm is looser than a DNS name: resolvers take what is asked for.
var searchForm = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$`)

func checkSearch(p *problems, domains []string) {
	for i, domain := range domains {
		if !searchForm.MatchString(domain) {
			p.add(index("networking.dnsSearch", i), "%q is not the name of a domain", domain)
		}
	}
}

func checkContainerd(p *problems, c *Cluster) {
	for i, text := range c.ContainerdPatches {
		if err := containerdconf.CheckPatch(text); err != nil {
			p.add(index("containerdConfigPatches", i), "%v", err)
		}
	}
	for i, text := range c.ContainerdJSONPatches {
		if err := containerdconf.CheckJSONPatch(text); err != nil {
			p.add(index("containerdConfigPatchesJSON6902", i), "%v", err)
		}
	}
}

// resolveCNI makes the path of a manifest absolute, and wants it to be there.
func resolveCNI(p *problems, cni, dir string) string {
	const path = "networking.cni"
	switch {
	case cni == "default" || cni == "none":
		return cni
	case strings.Contains(cni, "://"):
		if u, err := url.Parse(cni); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			p.add(path, "%q is not an http or https URL", cni)
		}
		return cni
	case dir == "":
		return cni
	}
	cni = resolvePath(cni, dir)
	if info, err := os.Stat(cni); err != nil || info.IsDir() {
		p.add(path, "is default, none, or the path or URL of a manifest, and there is no file %s", cni)
	}
	return cni
}

// resolvePath is the absolute form of a path.
func resolvePath(path, dir string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// binding is a port of the host and who holds it.
type binding struct {
	port     uint16
	protocol string
	address  string
	holder   string
}

// clashes reports whether both cannot be had: the same port, at one address or
// at all of them.
func (b binding) clashes(other binding) bool {
	if b.port != other.port || b.protocol != other.protocol {
		return false
	}
	mine, _ := netip.ParseAddr(b.address)
	its, _ := netip.ParseAddr(other.address)
	return mine == its || mine.IsUnspecified() || its.IsUnspecified()
}

// checkHostPorts finds ports of the host that are asked for twice: on one
// node, on two, or by the API.
func checkHostPorts(p *problems, n Networking, nodes []machine) {
	var taken []binding
	if n.APIServerPort != 0 {
		taken = append(taken, binding{n.APIServerPort, "tcp", n.APIServerAddress.String(), "the API"})
	}
	for _, m := range nodes {
		for i, published := range m.Ports {
			if published.HostPort == 0 {
				continue
			}
			own := binding{published.HostPort, published.Protocol, published.ListenAddress, m.Name}
			if held := slices.IndexFunc(taken, own.clashes); held >= 0 {
				p.add(index(m.from.at("extraPortMappings"), i)+".hostPort", "%d is taken by %s already", own.port, taken[held].holder)
				continue
			}
			taken = append(taken, own)
		}
	}
}

// nodeRange is the length of the range of pod addresses that a node takes.
const nodeRange = 24

// checkSubnets wants ranges that do not overlap and have room for the nodes.
func checkSubnets(p *problems, n Networking, nodes, besides int) {
	overlap := func(a, b netip.Prefix) bool { return a.IsValid() && b.IsValid() && a.Overlaps(b) }
	pods, services := n.PodSubnet, n.ServiceSubnet
	if pods.IsValid() {
		if room := 1 << (nodeRange - pods.Bits()); nodes > room {
			p.add("networking.podSubnet", "%s has room for %d nodes, and there are %d", pods, room, nodes)
		}
	}
	if overlap(pods, services) {
		p.add("networking.serviceSubnet", "%s overlaps podSubnet %s", services, pods)
	}
	if !n.NodeSubnet.IsValid() {
		return
	}
	if overlap(pods, n.NodeSubnet) || overlap(services, n.NodeSubnet) {
		p.add("networking.nodeSubnet", "%s overlaps the range of pods or Services", n.NodeSubnet)
	}
	// neither the first and last address nor the gateway's is a node's
	if room := 1<<(32-n.NodeSubnet.Bits()) - 3 - besides; nodes > room {
		p.add("networking.nodeSubnet", "%s has room for %d nodes, and there are %d", n.NodeSubnet, room, nodes)
	}
}
