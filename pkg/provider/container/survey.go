package container

import (
	"cmp"
	"context"
	"slices"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

// Survey implements provider.Surveyor.
func (p *Provider) Survey(ctx context.Context) (provider.Survey, error) {
	var out provider.Survey
	containers, err := p.allContainers(ctx)
	if err != nil {
		return out, err
	}
	networks, err := p.engine.NetworkList(ctx, network.ListOptions{})
	if err != nil {
		return out, p.engineError(err, "list networks")
	}
	for _, c := range containers {
		out.Containers = append(out.Containers, describeContainer(c))
	}
	for _, n := range networks {
		out.Networks = append(out.Networks, provider.Network{
			Name: n.Name, Cluster: n.Labels[nodeimage.LabelCluster], Subnets: networkSubnets(n),
		})
	}
	slices.SortFunc(out.Containers, func(a, b provider.Container) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(out.Networks, func(a, b provider.Network) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func (p *Provider) allContainers(ctx context.Context) ([]container.Summary, error) {
	all, err := p.engine.ContainerList(ctx, container.ListOptions{All: true})
	return all, p.engineError(err, "list containers")
}

func describeContainer(c container.Summary) provider.Container {
	return provider.Container{
		Name:    containerName(c),
		Cluster: c.Labels[nodeimage.LabelKindCluster],
		Role:    c.Labels[nodeimage.LabelKindRole],
		State:   nodeState(c.State),
		Ports:   containerPorts(c),
		Passing: c.Labels[labelPurpose] != "",
	}
}

// refuseTaken fails, before anything is made, when the engine has something in
// the place of what the spec wants: nodes of that cluster, containers with the
// names of its nodes, or ports that were not left to petri. One listing shows
// all of it.
func (p *Provider) refuseTaken(ctx context.Context, spec provider.Spec) error {
	all, err := p.allContainers(ctx)
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.Labels[nodeimage.LabelKindCluster] == spec.Cluster {
			return existsError(spec.Cluster, "node "+containerName(c))
		}
	}
	wanted := fixedPorts(spec)
	for _, c := range all {
		name := containerName(c)
		if slices.ContainsFunc(spec.Nodes, func(n provider.NodeSpec) bool { return n.Name == name }) {
			return nameTaken(name, "a container %s is there, and it is no node of this cluster", name)
		}
		for _, theirs := range containerPorts(c) {
			for _, ours := range wanted {
				if ours.Collides(theirs) {
					return portTaken("port %s:%d of the host is published by container %s", ours.ListenAddress, ours.HostPort, name)
				}
			}
		}
	}
	return nil
}

// fixedPorts are the host ports that the spec does not leave open.
func fixedPorts(spec provider.Spec) []node.Port {
	ports := []node.Port{apiPort(spec.API)}
	for _, n := range spec.Nodes {
		for _, port := range n.Ports {
			ports = append(ports, withDefaults(port))
		}
	}
	return slices.DeleteFunc(ports, func(port node.Port) bool { return port.HostPort == 0 })
}

func nameTaken(name, format string, args ...any) error {
	return errdefs.New(errdefs.ClassFailed, "NODE-NAME-TAKEN", format, args...).
		WithHint("Remove it (docker rm -f %s) or choose another name.", name)
}

func portTaken(format string, args ...any) error {
	return errdefs.New(errdefs.ClassFailed, "PORT-TAKEN", format, args...).
		WithHint("Stop what listens there, or choose another port.")
}
