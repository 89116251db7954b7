// Package release is where the programs of a node image come from: Kubernetes
// from a released module, a source tree, an official archive or a URL, and the
// other components from the modules that versions.yaml and Kubernetes itself
// name. It stands on the go command, which it runs through pkg/exec, and
// answers with files on disk, their licences and checksums. It does not build
// images, and it needs neither a container engine nor a registry.
package release

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
)

// Source is one place where Kubernetes comes from.
type Source interface {
	// Fetch gets or builds the programs for linux on arch ("amd64") and
	// reports what it does as phases. The files stay until the build cache
	// is emptied; a second Fetch of the same release is quick.
	Fetch(ctx context.Context, arch string, r progress.Reporter) (Kubernetes, error)
	// String says in a few words what the source is.
	String() string
}

// Kubernetes is one build of Kubernetes. Its Artifacts hold exactly the
// programs that KubernetesPrograms names.
type Kubernetes struct {
	Version    string // semantic version with its "v", as the programs print it
	Prescribed Prescribed
	// Roles are what its API server makes of roles and bindings by default, a List
	// in JSON. Nil where that is not certain: only a release has been tested to
	// say so of itself.
	Roles []byte
	Artifacts
}

// ImageTag is the tag that kubeadm expects on the images of this version: a
// tag has no "+", so kubeadm writes "_".
func (k Kubernetes) ImageTag() string { return strings.ReplaceAll(k.Version, "+", "_") }

// KubernetesPrograms lists the programs of Kubernetes that a node image has.
func KubernetesPrograms() []string {
	return []string{
		"kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler",
		"kubeadm", "kubectl", "kubelet",
	}
}

// Artifacts are files on disk and where they come from.
type Artifacts struct {
	Programs   map[string]string     // path by program name ("kubelet")
	Licenses   map[string]string     // path of the licence text by component name
	Components []nodeimage.Component // for the image's manifest, sorted by name
}

// Merge returns what a and b hold together; b wins where names are the same.
func (a Artifacts) Merge(b Artifacts) Artifacts {
	out := Artifacts{Programs: map[string]string{}, Licenses: map[string]string{}}
	for _, part := range []Artifacts{a, b} {
		maps.Copy(out.Programs, part.Programs)
		maps.Copy(out.Licenses, part.Licenses)
	}
	byName := map[string]nodeimage.Component{}
	for _, c := range slices.Concat(a.Components, b.Components) {
		byName[c.Name] = c
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out.Components = append(out.Components, byName[name])
	}
	return out
}
