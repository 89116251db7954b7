package container

import (
	"context"

	"github.com/docker/docker/api/types/container"
)

// thawScript lets go whatever is frozen below the groups of one container.
const thawScript = `find /host-cgroup/freezer -path "*$0*" -name freezer.state | while read -r f; do echo THAWED >"$f"; done`

// thaw mends what keeps a killed node from ending on a host with cgroup v1:
// runc freezes a pod's group for a moment while it changes it, and if the node
// dies in that moment nobody is left to thaw it. A frozen process cannot die,
// and with it the node. The groups are the host's, so a container of the
// node's own image does it from there. On v2 frozen processes can be killed.
func (p *Provider) thaw(ctx context.Context, id string) error {
	info, err := p.engineInfo(ctx)
	if err != nil || info.CgroupVersion == "2" {
		return err
	}
	node, _, err := p.engine.ContainerInspectWithRaw(ctx, id, false)
	if err != nil {
		return p.engineError(err, "inspect container %s", id)
	}
	config := &container.Config{
		Image: node.Image, Entrypoint: []string{"/bin/sh", "-c", thawScript, id}, NetworkDisabled: true,
		Labels: node.Config.Labels, // so that deleting the cluster finds it, should it be left
	}
	host := &container.HostConfig{Binds: []string{"/sys/fs/cgroup:/host-cgroup"}, NetworkMode: "none"}
	made, err := p.engine.ContainerCreate(ctx, config, host, nil, nil, "")
	if err != nil {
		return p.engineError(err, "thaw container %s", id)
	}
	if err := p.engine.ContainerStart(ctx, made.ID, container.StartOptions{}); err != nil {
		return p.engineError(err, "thaw container %s", id)
	}
	ended, failed := p.engine.ContainerWait(ctx, made.ID, container.WaitConditionNotRunning)
	select {
	case <-ended:
	case err = <-failed:
	}
	if err != nil {
		return p.engineError(err, "thaw container %s", id)
	}
	return p.removeContainer(ctx, made.ID)
}
