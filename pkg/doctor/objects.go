package doctor

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

func checkImages(f *Facts) []Finding {
	var found []Finding
	for _, ref := range slices.Sorted(maps.Keys(f.Images)) {
		image := f.Images[ref]
		tag, ours := strings.CutPrefix(ref, nodeimage.LocalPrefix)
		switch {
		case errdefs.Is(image.Err, errdefs.ClassNotFound) && ours:
			found = append(found, fatal(errdefs.ClassNotFound, "NODE-IMAGE-MISSING", "the engine has no node image %s", ref).
				because("images of that name are built and never pulled").fix("petri build node-image %s", tag))
		case errdefs.Is(image.Err, errdefs.ClassNotFound):
			found = append(found, note("NODE-IMAGE-MISSING", "the engine has no node image %s, and will pull it", ref).
				because("the first creation takes as long as that").fix("docker pull %s", ref))
		case image.Err != nil:
			found = append(found, failed(image.Err))
		case f.Engine.Architecture != "" && image.Architecture != "" && image.Architecture != f.Engine.Architecture:
			found = append(found, fatal(errdefs.ClassUsage, "NODE-IMAGE-ARCH", "node image %s is for %s, and the engine runs on %s", ref, image.Architecture, f.Engine.Architecture).
				because("its programs cannot run there").fix("petri build node-image --arch %s", f.Engine.Architecture))
		}
	}
	return or(found, "%s", strings.Join(slices.Sorted(maps.Keys(f.Images)), ", "))
}

// checkNames looks for what has the name of the cluster, where it was given,
// or of one of its nodes.
func checkNames(f *Facts) []Finding {
	if !f.Named {
		return fine("no name was given")
	}
	var found []Finding
	nodes := 0
	for _, c := range f.Survey.Containers {
		isNode := slices.ContainsFunc(f.Cluster.Nodes, func(n config.Node) bool { return n.Name == c.Name })
		switch {
		case c.Cluster == f.Cluster.Name:
			nodes++
		case isNode:
			found = append(found, fatal(errdefs.ClassFailed, "NODE-NAME-TAKEN", "a container %s is there, and it is no node of cluster %s", c.Name, f.Cluster.Name).
				because("a node has its container's name").fix("docker rm -f %s", c.Name))
		}
	}
	if nodes > 0 {
		found = append(found, fatal(errdefs.ClassExists, "CLUSTER-EXISTS", "there is a cluster %s already, with %d containers", f.Cluster.Name, nodes).
			because("a creation leaves it alone").fix("choose another --name, or petri delete cluster --name %s", f.Cluster.Name))
	}
	return or(found, "%s is free", f.Cluster.Name)
}

// checkLeftovers looks for what interrupted creations and deletions leave: a
// cluster without a control plane, and containers that were for a moment.
func checkLeftovers(f *Facts) []Finding {
	clusters := map[string]bool{} // by name, whether it has a control plane
	var found []Finding
	for _, c := range f.Survey.Containers {
		if c.Passing {
			found = append(found, warning("LEFTOVERS", "container %s was made to read a file of an image, and is still there", c.Name).
				because("nothing will remove it, if no petri runs at this moment").fix("docker rm -f %s", c.Name))
		}
		if c.Cluster != "" {
			clusters[c.Cluster] = clusters[c.Cluster] || c.Role == nodeimage.RoleControlPlane
		}
	}
	for _, n := range f.Survey.Networks {
		if n.Cluster != "" {
			clusters[n.Cluster] = clusters[n.Cluster] || false
		}
	}
	for _, name := range slices.Sorted(maps.Keys(clusters)) {
		if !clusters[name] {
			found = append(found, warning("LEFTOVERS", "of cluster %s there are parts, and no control plane", name).
				because("it was interrupted while it was made or deleted, and takes disk and addresses").fix("petri delete cluster --name %s", name))
		}
	}
	return or(found, "none, and %d clusters", len(clusters))
}

func checkKubeconfig(f *Facts) []Finding {
	if f.KubeconfigErr != nil {
		return []Finding{failed(f.KubeconfigErr).because("a cluster that nobody can reach would be made for nothing")}
	}
	return fine("can be written")
}

// checkKubectl holds the user's kubectl against the images: it may be one minor
// version older or newer than the API server.
func checkKubectl(f *Facts) []Finding {
	if f.Kubectl == "" {
		return []Finding{note("KUBECTL-MISSING", "there is no kubectl in PATH").
			because("clusters work without, and you will want one").
			fix("docker cp petri-control-plane:/usr/bin/kubectl /usr/local/bin/ takes that of a node")}
	}
	for _, ref := range slices.Sorted(maps.Keys(f.Images)) {
		carried := f.Images[ref].Labels[nodeimage.LabelKubernetes]
		if skewed(f.Kubectl, carried) {
			return []Finding{warning("KUBECTL-SKEW", "kubectl is %s, and node image %s carries %s", f.Kubectl, ref, carried).
				because("kubectl is only made for API servers one minor version away").
				fix("install kubectl %s", carried)}
		}
	}
	return fine("%s", f.Kubectl)
}

// skewed reports whether two versions are more than one minor version apart; of
// what is no version it knows nothing.
func skewed(a, b string) bool {
	one, errA := version.ParseGeneric(a)
	other, errB := version.ParseGeneric(b)
	if errA != nil || errB != nil {
		return false
	}
	return max(one.Minor(), other.Minor())-min(one.Minor(), other.Minor()) > 1
}
