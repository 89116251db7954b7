package config

import (
	"errors"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/internal/jsonpatch"
)

// kubeadmKinds are the documents that kubeadm reads, by apiVersion.
var kubeadmKinds = map[string][]string{
	"kubeadm.k8s.io/v1beta4":           {"ClusterConfiguration", "InitConfiguration", "JoinConfiguration"},
	"kubelet.config.k8s.io/v1beta1":    {"KubeletConfiguration"},
	"kubeproxy.config.k8s.io/v1alpha1": {"KubeProxyConfiguration"},
}

// rawDocument keeps a document of kubeadm as it is.
func rawDocument(n *yaml.Node, p *problems) (RawDocument, bool) {
	if n.Kind != yaml.MappingNode {
		p.addAt(placeOf(n), "", "must be a document of kubeadm, and is %s", describe(n))
		return RawDocument{}, false
	}
	var object map[string]any
	if err := n.Decode(&object); err != nil {
		p.addAt(yamlPosition(err), "", "%s", plainYAML(err))
		return RawDocument{}, false
	}
	return raw(object, "", placeOf(n), p)
}

func raw(object map[string]any, path string, at position, p *problems) (RawDocument, bool) {
	version, _ := object["apiVersion"].(string)
	kind, _ := object["kind"].(string)
	if !slices.Contains(kubeadmKinds[version], kind) {
		p.addAt(at, path, "apiVersion %q, kind %q is not a document of kubeadm v1beta4, kubelet v1beta1 or kube-proxy v1alpha1", version, kind)
		return RawDocument{}, false
	}
	data, err := sigsyaml.Marshal(object)
	if err != nil {
		p.addAt(at, path, "%v", err)
		return RawDocument{}, false
	}
	return RawDocument{APIVersion: version, Kind: kind, YAML: string(data)}, true
}

// checkPatches wants an object in YAML of each patch, for a document that is
// there.
func checkPatches(p *problems, path string, patches []string) {
	for i, text := range patches {
		version, kind, err := target(text)
		switch {
		case err != nil:
			p.add(index(path, i), "is not an object in YAML: %s", plainYAML(err))
		case !patchable(version, kind):
			p.add(index(path, i), "apiVersion %q, kind %q is for no document that petri makes: give it a kind, such as ClusterConfiguration", version, kind)
		}
	}
}

// target is what a patch is for. A patch is one document: what follows would
// not be read.
func target(patch string) (version, kind string, err error) {
	documents, err := parseDocuments(patch)
	if err != nil {
		return "", "", err
	}
	if len(documents) > 1 {
		return "", "", errors.New("it has several documents")
	}
	var object map[string]any
	for _, one := range documents {
		err = one.Decode(&object)
	}
	version, _ = object["apiVersion"].(string)
	kind, _ = object["kind"].(string)
	return version, kind, err
}

// parseDocuments gives the YAML documents of a text, empty ones too.
func parseDocuments(text string) ([]*yaml.Node, error) {
	var out []*yaml.Node
	for decoder := yaml.NewDecoder(strings.NewReader(text)); ; {
		n := new(yaml.Node)
		err := decoder.Decode(n)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
}

// checkJSONPatches wants a list of operations of each patch, for a document
// that is there.
func checkJSONPatches(p *problems, path string, patches []JSONPatch) {
	for i, one := range patches {
		checkOperations(p, index(path, i), one.Patch)
		if !patchable(one.APIVersion(), one.Kind) {
			p.add(index(path, i), "group %q, version %q, kind %q is for no document that petri makes", one.Group, one.Version, one.Kind)
		}
	}
}

// APIVersion is the apiVersion of the document that a patch is for; "" where
// its kind decides.
func (p JSONPatch) APIVersion() string {
	if p.Group == "" {
		return p.Version
	}
	return p.Group + "/" + p.Version
}

// checkOperations reports whether a text is a list of operations.
func checkOperations(p *problems, path, text string) bool {
	_, err := jsonpatch.Parse(text)
	if err != nil {
		p.add(path+".patch", "%v", err)
	}
	return err == nil
}

// checkProxy refuses changes to the document of a kube-proxy that is left out.
func checkProxy(p *problems, c *Cluster) {
	if c.Networking.KubeProxyMode != "none" {
		return
	}
	var kinds []string
	for _, d := range c.Kubeadm {
		kinds = append(kinds, d.Kind)
	}
	kinds = append(kinds, patchKinds(c.KubeadmPatches, c.KubeadmJSONPatches)...)
	for _, n := range c.Nodes {
		kinds = append(kinds, patchKinds(n.KubeadmPatches, n.KubeadmJSONPatches)...)
	}
	if slices.Contains(kinds, "KubeProxyConfiguration") {
		p.add("networking.kubeProxyMode", "is none, and there is a document or patch for kube-proxy")
	}
}

// patchKinds are the kinds that patches are for, in their order. A patch that
// cannot be read is a problem already, and for none.
func patchKinds(patches []string, json []JSONPatch) []string {
	var out []string
	for _, text := range patches {
		_, kind, _ := target(text)
		out = append(out, kind)
	}
	for _, one := range json {
		out = append(out, one.Kind)
	}
	return out
}

// checkWorkerPatches wants patches of a worker to be for what it reads: all
// else it takes from the cluster, and the patch would be lost without a word.
func checkWorkerPatches(p *problems, e entry, n Node) {
	const text = "%s is the cluster's, and this is a worker: it reads JoinConfiguration only"
	for i, patch := range n.KubeadmPatches {
		version, kind, err := target(patch)
		if err == nil && patchable(version, kind) && kind != "JoinConfiguration" {
			p.add(index(e.at("kubeadmConfigPatches"), i), text, kind)
		}
	}
	for i, patch := range n.KubeadmJSONPatches {
		if patchable(patch.APIVersion(), patch.Kind) && patch.Kind != "JoinConfiguration" {
			p.add(index(e.at("kubeadmConfigPatchesJSON6902"), i), text, patch.Kind)
		}
	}
}

// olderKubeadm are versions of kubeadm's API that patches may be written for:
// they are translated when they are applied.
var olderKubeadm = []string{"kubeadm.k8s.io/v1beta2", "kubeadm.k8s.io/v1beta3"}

// patchable reports whether there is a document of a kind for patches; its
// version may be left out.
func patchable(version, kind string) bool {
	if slices.Contains(olderKubeadm, version) {
		version = "kubeadm.k8s.io/v1beta4"
	}
	for v, kinds := range kubeadmKinds {
		if (version == "" || version == v) && slices.Contains(kinds, kind) {
			return true
		}
	}
	return false
}
