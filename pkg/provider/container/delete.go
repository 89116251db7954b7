package container

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// deleteRounds bounds how often containers are looked for again while others
// keep appearing.
const deleteRounds = 3

// removeAttempts is how often a container that was killed and has not ended
// yet is asked to be removed.
const removeAttempts = 4

// makingLimit is how long an engine is waited for that is still making a
// container, for a creation that was killed.
const makingLimit = 20 * time.Second

// Delete implements provider.Provider. It looks for containers once more in the
// end, for one that the engine was still making for a killed creation. A network that was made under a name
// the spec gave is shared, and stays.
func (p *Provider) Delete(ctx context.Context, cluster string) error {
	if cluster == "" {
		return errdefs.New(errdefs.ClassUsage, "CLUSTER-NAME", "delete a cluster: no name given")
	}
	p.mu.Lock()
	delete(p.endpoints, cluster)
	p.mu.Unlock()
	if err := p.removeObjects(ctx, cluster); err != nil {
		return err
	}
	return p.removeContainers(ctx, cluster)
}

// removeObjects removes what a cluster has. A volume can be in use by a
// container that no listing shows yet: the engine is making it.
func (p *Provider) removeObjects(ctx context.Context, cluster string) error {
	begun := time.Now()
	for delay := 100 * time.Millisecond; ; delay *= 2 {
		if err := p.removeNodes(ctx, cluster); err != nil {
			return err
		}
		// Volumes go with their containers; what is left is of those that were
		// removed by other hands. Neither kind of object needs the other.
		volumes := p.removeVolumes(ctx, cluster)
		err := errors.Join(volumes, p.removeNetworks(ctx, cluster))
		if !cerrdefs.IsConflict(volumes) || time.Since(begun) > makingLimit {
			return err
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return err
		}
	}
}

// removeNodes removes a cluster's containers. Where nodes run, a network is left by
// the last of them some time before the engine has removed that one's files, and
// goes meanwhile.
func (p *Provider) removeNodes(ctx context.Context, cluster string) error {
	present, err := p.containers(ctx, cluster)
	if err != nil {
		return err
	}
	gone := make(chan struct{})
	var all sync.WaitGroup
	if slices.ContainsFunc(present, func(c container.Summary) bool { return c.State == container.StateRunning }) {
		all.Go(func() { p.removeLeft(ctx, cluster, gone) })
	}
	err = p.removeContainers(ctx, cluster)
	close(gone)
	all.Wait()
	return err
}

func (p *Provider) removeContainers(ctx context.Context, cluster string) error {
	for range deleteRounds {
		present, err := p.containers(ctx, cluster)
		if err != nil {
			return err
		}
		if len(present) == 0 {
			return nil
		}
		err = each(present, func(c container.Summary) error { return p.removeContainer(ctx, c.ID) })
		if err != nil {
			return err
		}
	}
	return nil
}

// removeContainer removes a container, by ID or name, with its anonymous
// volumes. One that is gone is no error; one that another is removing is
// waited for.
func (p *Provider) removeContainer(ctx context.Context, id string) error {
	force := container.RemoveOptions{Force: true, RemoveVolumes: true}
	err := p.engine.ContainerRemove(ctx, id, force)
	for again := 1; again < removeAttempts && err != nil && p.dialect.dying(err); again++ {
		if err := p.thaw(ctx, id); err != nil {
			return err
		}
		err = p.engine.ContainerRemove(ctx, id, force) // waits for it some ten seconds
	}
	if err != nil && p.dialect.removing(err) {
		removed, failed := p.engine.ContainerWait(ctx, id, container.WaitConditionRemoved)
		select {
		case <-removed:
			err = nil
		case err = <-failed:
		}
	}
	if err == nil || cerrdefs.IsNotFound(err) {
		p.mu.Lock()
		delete(p.booting, id)
		p.mu.Unlock()
		return nil
	}
	return p.engineError(err, "remove container %s", id)
}

func (p *Provider) removeVolumes(ctx context.Context, cluster string) error {
	found, err := p.engine.VolumeList(ctx, volume.ListOptions{Filters: clusterFilter(cluster)})
	if err != nil {
		return p.engineError(err, "list volumes of cluster %s", cluster)
	}
	return p.dropVolumes(ctx, found.Volumes)
}

func (p *Provider) dropVolumes(ctx context.Context, volumes []*volume.Volume) error {
	return each(volumes, func(v *volume.Volume) error {
		if err := p.engine.VolumeRemove(ctx, v.Name, true); err != nil && !cerrdefs.IsNotFound(err) {
			return p.engineError(err, "remove volume %s", v.Name)
		}
		return nil
	})
}

// emptyInterval is how often a network is tried to be removed that containers
// are leaving, at first: the engine refuses it without work. Nodes that take longer
// than impatience to end may take long.
const (
	emptyInterval = 40 * time.Millisecond
	impatience    = 2 * time.Second
)

// removeLeft removes the networks of a cluster that everyone leaves while its
// containers are being removed. What it cannot do is left to removeNetworks.
func (p *Provider) removeLeft(ctx context.Context, cluster string, gone <-chan struct{}) {
	found, err := p.engine.NetworkList(ctx, network.ListOptions{Filters: clusterFilter(cluster)})
	if err != nil {
		return
	}
	_ = each(found, func(n network.Summary) error {
		tick := time.NewTicker(emptyInterval)
		defer tick.Stop()
		for begun := time.Now(); p.engine.NetworkRemove(ctx, n.ID) != nil; {
			if time.Since(begun) > impatience {
				tick.Reset(impatience)
			}
			select {
			case <-tick.C:
			case <-gone:
				return nil
			case <-ctx.Done():
				return nil
			}
		}
		return nil
	})
}

// removeNetworks removes the networks of a cluster. Registries that are on them
// stay without them.
func (p *Provider) removeNetworks(ctx context.Context, cluster string) error {
	found, err := p.engine.NetworkList(ctx, network.ListOptions{Filters: clusterFilter(cluster)})
	if err != nil || len(found) == 0 {
		return p.engineError(err, "list networks of cluster %s", cluster)
	}
	registries, err := p.registryContainers(ctx, "")
	if err != nil {
		return err
	}
	return each(found, func(n network.Summary) error {
		for _, c := range registries {
			if !onNetwork(c, n.Name) {
				continue
			}
			if err := p.takeOff(ctx, c, n); err != nil {
				return err
			}
		}
		err := p.engine.NetworkRemove(ctx, n.ID)
		if err == nil || cerrdefs.IsNotFound(err) {
			return nil
		}
		return p.networkRemoveError(ctx, n, err)
	})
}

// networkRemoveError says who is still on a network that cannot be removed.
func (p *Provider) networkRemoveError(ctx context.Context, n network.Summary, cause error) error {
	details, err := p.engine.NetworkInspect(ctx, n.ID, network.InspectOptions{})
	if err != nil || len(details.Containers) == 0 {
		return p.engineError(cause, "remove network %s", n.Name)
	}
	var names []string
	for _, endpoint := range details.Containers {
		names = append(names, endpoint.Name)
	}
	slices.Sort(names)
	return errdefs.New(errdefs.ClassFailed, "NETWORK-IN-USE",
		"remove network %s: containers that are not the cluster's are on it, %s: %w", n.Name, strings.Join(names, ", "), cause).
		WithHint("Take them off (docker network disconnect %s %s) and delete the cluster again.", n.Name, names[0])
}

// each does the same to all items at once and joins the errors.
func each[T any](items []T, do func(T) error) error {
	errs := make([]error, len(items))
	var all sync.WaitGroup
	for i, item := range items {
		all.Go(func() { errs[i] = do(item) })
	}
	all.Wait()
	return errors.Join(errs...)
}
