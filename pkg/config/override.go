package config

import (
	"slices"

	"github.com/petri-cluster/petri/pkg/config/v1alpha1"
)

// source is a file as it was read, with the flags laid over it.
type source struct {
	v1alpha1.Cluster
	nodes []entry
}

// entry is one entry of the list of nodes, and where it stands in the file;
// the path is empty for what a default or a flag made.
type entry struct {
	v1alpha1.Node
	path string
}

// at is the path of a field of an entry.
func (e entry) at(field string) string {
	if e.path == "" {
		return field
	}
	return e.path + "." + field
}

// override lays flags over the file, and notes what they decided.
func (s *source) override(o Overrides, p *problems) {
	if o.Name != "" {
		s.Name, p.flags["name"] = o.Name, "--name"
	}
	if o.KubernetesVersion != "" {
		s.KubernetesVersion, p.flags["kubernetesVersion"] = o.KubernetesVersion, "--kubernetes-version"
	}
	if o.Profile != "" {
		s.Security.Profile, p.flags["security.profile"] = o.Profile, "--profile"
	}
	s.Ephemeral = s.Ephemeral || o.Ephemeral
	for _, name := range o.LocalRegistries {
		if !slices.Contains(s.LocalRegistries, name) {
			p.flags[index("localRegistries", len(s.LocalRegistries))] = "--registry"
			s.LocalRegistries = append(s.LocalRegistries, name)
		}
	}
	for i, n := range s.Nodes {
		s.nodes = append(s.nodes, entry{Node: n, path: index("nodes", i)})
	}
	if len(s.nodes) == 0 {
		s.nodes = []entry{{}}
	}
	if o.Image != "" {
		s.Image, p.flags["image"] = o.Image, "--image"
		for i := range s.nodes {
			s.nodes[i].Image = ""
		}
	}
	s.setCount(controlPlane, o.ControlPlanes, "--control-planes", p)
	s.setCount(worker, o.Workers, "--workers", p)
}

// setCount makes the list hold count nodes of a role: the first entry of that
// role is the model for all.
func (s *source) setCount(role string, count *int, flag string, p *problems) {
	if count == nil {
		return
	}
	model := entry{Node: v1alpha1.Node{Role: role}, path: role}
	var rest []entry
	found := false
	for _, n := range s.nodes {
		same := n.Role == role || (n.Role == "" && role == controlPlane)
		if same && !found {
			model, found = n, true
		}
		if !same {
			rest = append(rest, n)
		}
	}
	model.Count, model.Name = count, ""
	p.flags[model.at("count")] = flag
	s.nodes = append([]entry{model}, rest...)
}
