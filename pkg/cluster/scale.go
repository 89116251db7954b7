package cluster

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// Size is how many nodes a cluster is to have; of a role that is nil, as many
// as it has.
type Size struct {
	ControlPlanes, Workers *int
}

func (z Size) check() error {
	if z.ControlPlanes != nil && *z.ControlPlanes < 1 {
		return errdefs.New(errdefs.ClassUsage, "NODE-COUNT", "a cluster cannot have %d control planes", *z.ControlPlanes)
	}
	if z.Workers != nil && *z.Workers < 0 {
		return errdefs.New(errdefs.ClassUsage, "NODE-COUNT", "a cluster cannot have %d workers", *z.Workers)
	}
	return nil
}

// Scale makes a cluster have a number of nodes: new ones are added as
// CreateNodes does, and those with the highest numbers are deleted as
// DeleteNodes does. Control planes come before workers.
func (m *Manager) Scale(ctx context.Context, name string, size Size, add AddOptions, remove RemoveOptions) error {
	if err := size.check(); err != nil {
		return err
	}
	for _, part := range []struct {
		role string
		want *int
	}{{nodeimage.RoleControlPlane, size.ControlPlanes}, {nodeimage.RoleWorker, size.Workers}} {
		if part.want == nil {
			continue
		}
		add.Role = part.role
		if err := m.scaleRole(ctx, name, *part.want, add, remove); err != nil {
			return err
		}
	}
	return nil
}

// scaleRole makes a cluster have a number of nodes of the role that add has.
// Which ones leave is known when the cluster was looked at, and then they are
// deleted as if somebody had named them.
func (m *Manager) scaleRole(ctx context.Context, name string, want int, add AddOptions, remove RemoveOptions) error {
	var leaving []string
	err := m.withMembers(ctx, name, nil, func(s *members) error {
		have := s.config.Workers()
		if add.Role == nodeimage.RoleControlPlane {
			have = s.config.ControlPlanes()
		}
		if len(have) < want {
			add.Count = want - len(have)
			_, err := s.add(ctx, add)
			return err
		}
		leaving = s.last(have, len(have)-want)
		return nil
	})
	if err != nil || len(leaving) == 0 {
		return err
	}
	return m.DeleteNodes(ctx, name, leaving, remove)
}

// last are count of the nodes: those that do not run, and then those with the
// highest numbers. Shorter names of one form have lower ones.
func (s *members) last(nodes []config.Node, count int) []string {
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(alive(s.machine(a))-alive(s.machine(b)), len(b)-len(a), strings.Compare(b, a))
	})
	return names[:count]
}
