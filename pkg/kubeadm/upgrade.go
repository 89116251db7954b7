package kubeadm

import (
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/yaml"
)

// UpgradeInput is what the document of an upgrade depends on.
type UpgradeInput struct {
	Version string // "v1.36.3", which may be no release
	// IgnorePreflight are the checks that do not hold in a node.
	IgnorePreflight []string
	// PatchesDir is the directory of kubeadm patches of the node; empty: none.
	// kubeadm forgets those of the cluster's creation.
	PatchesDir string
	// Patience is how long each component may take to come back.
	Patience time.Duration
}

// Upgrade renders the document that "kubeadm upgrade" reads on a node, whichever
// of its commands is run.
func Upgrade(in UpgradeInput) ([]byte, error) {
	v, err := version.ParseSemantic(in.Version)
	if err != nil {
		return nil, err
	}
	plan := object{
		"kubernetesVersion": in.Version,
		// a version between releases is what was asked for
		"allowExperimentalUpgrades": v.PreRelease() != "",
		// A job of kubeadm's must end in 60 s, which cannot be changed. When the
		// API was away before, as it is when an upgrade has failed, the
		// controllers and the scheduler may ask it again only after that.
		"ignorePreflightErrors": append(slices.Clone(in.IgnorePreflight), "CreateJob"),
	}
	apply := maps.Clone(plan)
	node := object{"ignorePreflightErrors": in.IgnorePreflight}
	if in.PatchesDir != "" {
		apply["patches"] = object{"directory": in.PatchesDir}
		node["patches"] = object{"directory": in.PatchesDir}
	}
	return yaml.Marshal(object{
		"apiVersion": kubeadmAPI, "kind": "UpgradeConfiguration",
		"plan": plan, "apply": apply, "node": node,
		"timeouts": object{"upgradeManifests": in.Patience.String()},
	})
}

// PatchesDir is the directory of patches that the documents of a control plane
// name; empty when they name none.
func PatchesDir(documents []byte) string {
	for document := range strings.SplitSeq(string(documents), "\n---\n") {
		var d struct{ Patches struct{ Directory string } }
		// what is no document has no patches; kubeadm has read them all
		if err := yaml.Unmarshal([]byte(document), &d); err == nil && d.Patches.Directory != "" {
			return d.Patches.Directory
		}
	}
	return ""
}
