// Package kubeadm renders the documents that kubeadm reads on a node: a pure
// function from the cluster's configuration, the node and its address. It
// stands on pkg/config, follows kubeadm's v1beta4 API, and does not run
// kubeadm: that is the node's part.
package kubeadm

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// Input is everything that the documents of one node depend on.
type Input struct {
	// Cluster has at least one control plane; the first is the one that
	// kubeadm initialises, and all other nodes join.
	Cluster           *config.Cluster
	Node              config.Node
	KubernetesVersion string // "v1.36.3"
	// Addresses are the node's, one of each of the cluster's families, in the
	// order of its ranges.
	Addresses []netip.Addr
	// ControlPlaneEndpoint is the API as nodes name it: "host:port".
	ControlPlaneEndpoint string
	// CertSANs are names and addresses of the API beside those that kubeadm
	// and Render know.
	CertSANs []string
	Token    string // bootstrap token, a secret
	TokenTTL time.Duration
	Provider string // name of the provider, for provider IDs
	// PatchesDir is the directory of kubeadm patches in control planes; empty:
	// none.
	PatchesDir string
	// AllowCgroupV1 lets the kubelet run where only cgroup v1 is, which 1.35
	// and later refuse unless told.
	AllowCgroupV1 bool
}

// oldestMinor is the first minor version of Kubernetes 1 whose kubeadm reads
// v1beta4.
const oldestMinor = 31

// Render returns the documents of one node as a YAML stream. Every node gets
// all of them, as kind's contract has it; kubeadm reads those that it needs.
// Documents and patches of the configuration are laid over what petri makes:
// raw documents first, then patches of the cluster, then those of the node, of
// each merge patches before JSON patches. What they say in the words of v1beta2
// or v1beta3 is translated. It fails, with the name of the patch, when one is
// for a document that is not there or, on a worker, is not read, and when the
// version is older than v1.31.
func Render(in Input) ([]byte, error) {
	if err := check(in); err != nil {
		return nil, fmt.Errorf("render kubeadm documents of node %s: %w", in.Node.Name, err)
	}
	documents := render(in)
	if err := change(documents, in); err != nil {
		return nil, fmt.Errorf("render kubeadm documents of node %s: %w", in.Node.Name, err)
	}
	moveTimeouts(documents)
	leaveExternalEtcd(documents)
	settleSecurity(documents, in.KubernetesVersion)
	var out bytes.Buffer
	for _, d := range documents {
		data, err := yaml.Marshal(d)
		if err != nil {
			return nil, fmt.Errorf("write %s of node %s: %w", text(d, "kind"), in.Node.Name, err)
		}
		out.WriteString("---\n")
		out.Write(data)
	}
	return out.Bytes(), nil
}

func check(in Input) error {
	v, err := version.ParseSemantic(in.KubernetesVersion)
	if err != nil {
		return fmt.Errorf("kubernetes version %q: %w", in.KubernetesVersion, err)
	}
	if v.Major() != 1 || v.Minor() < oldestMinor {
		return fmt.Errorf("kubernetes %s is older than v1.%d, the first whose kubeadm reads v1beta4", in.KubernetesVersion, oldestMinor)
	}
	if len(in.Addresses) == 0 {
		return fmt.Errorf("node %s has no address", in.Node.Name)
	}
	if len(in.Cluster.ControlPlanes()) == 0 {
		return fmt.Errorf("cluster %s has no control plane", in.Cluster.Name)
	}
	return nil
}

// object is a document, or a part of one, as it will be written.
type object = map[string]any

// text is a field that holds a string; "" when it does not.
func text(o object, field string) string {
	s, _ := o[field].(string)
	return s
}

// render makes all documents, as they are for the node.
func render(in Input) []object {
	documents := []object{
		clusterConfiguration(in), initConfiguration(in), joinConfiguration(in), kubeletConfiguration(in),
	}
	if in.Cluster.Networking.KubeProxyMode != "none" {
		documents = append(documents, kubeProxyConfiguration(in))
	}
	return documents
}

// leaveExternalEtcd takes out what petri says of its own etcd where the
// configuration names another: kubeadm refuses to be told of both.
func leaveExternalEtcd(documents []object) {
	for _, d := range documents {
		if etcd, ok := d["etcd"].(object); ok && etcd["external"] != nil {
			delete(etcd, "local")
		}
	}
}

// change lays what the configuration says over the documents.
func change(documents []object, in Input) error {
	for i, raw := range in.Cluster.Kubeadm {
		if err := overlay(documents, raw.YAML); err != nil {
			return fmt.Errorf("kubeadm[%d], %s: %w", i, raw.Kind, err)
		}
	}
	err := changeBy(documents, "cluster", in.Cluster.KubeadmPatches, in.Cluster.KubeadmJSONPatches, "")
	if err != nil {
		return err
	}
	// a joining worker takes all else from the cluster: a patch would be lost
	// without a word
	only := ""
	if in.Node.Role == nodeimage.RoleWorker {
		only = "JoinConfiguration"
	}
	return changeBy(documents, "node", in.Node.KubeadmPatches, in.Node.KubeadmJSONPatches, only)
}

// changeBy applies merge patches and then JSON patches, which may be for one
// kind only if that is not empty. Whose they are is for errors.
func changeBy(documents []object, whose string, patches []string, json []config.JSONPatch, only string) error {
	for i, source := range patches {
		if err := applyMerge(documents, source, only); err != nil {
			return fmt.Errorf("kubeadmConfigPatches[%d] of the %s: %w", i, whose, err)
		}
	}
	for i, one := range json {
		if err := applyJSON(documents, one, only); err != nil {
			return fmt.Errorf("kubeadmConfigPatchesJSON6902[%d] of the %s: %w", i, whose, err)
		}
	}
	return nil
}
