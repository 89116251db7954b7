package health

import (
	"slices"
	"strings"

	"github.com/petri-cluster/petri/pkg/kube"
)

// essential own the pods that kubeadm, petri and kind bring, but for static
// pods. What else is in their namespaces is the user's, whatever its name.
var essential = []string{
	"DaemonSet/kube-proxy", "DaemonSet/petri-cni", "DaemonSet/kindnet", "Deployment/coredns", "Deployment/local-path-provisioner",
}

// component is what a pod is of, if that is essential.
func component(p kube.Pod) string {
	kind, name, _ := strings.Cut(p.Controller, "/")
	if kind == "Node" { // a static pod
		if static := strings.TrimSuffix(p.Name, "-"+name); slices.Contains(controlPlane, static) {
			return static
		}
		return ""
	}
	if slices.Contains(essential, p.Controller) {
		return name
	}
	return ""
}

// of is what is said of the first pod of a component that is not Ready. One
// that has failed for good was replaced.
func (f *Facts) of(name string) string {
	for _, p := range f.Pods {
		if component(p) == name && p.Problem != "" && p.Phase != "Failed" {
			return ": pod " + p.Name + ": " + p.Problem
		}
	}
	return ""
}

// pods finds system pods that fail, on nodes of which nothing worse is known.
func (f *Facts) pods(told []Problem) []Problem {
	var out []Problem
	for _, p := range f.Pods {
		name := component(p)
		// of all, these reach the API by its Service
		excused := f.NoServices && strings.HasPrefix(p.Controller, "Deployment/")
		if name == "" || !p.Failing || excused {
			continue
		}
		known := func(o Problem) bool {
			return o.Component == name || o.Component == "" && o.Node != "" && o.Node == p.Node
		}
		if slices.ContainsFunc(told, known) {
			continue
		}
		one := problem("SYSTEM-POD", "pod %s/%s fails on node %s: %s", p.Namespace, p.Name, p.Node, p.Problem).
			fix("kubectl -n %s logs --previous %s; kubectl -n %s describe pod %s", p.Namespace, p.Name, p.Namespace, p.Name)
		one.Node, one.Component = p.Node, name
		out = append(out, one)
	}
	return out
}
