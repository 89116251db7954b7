package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/bootstrap"
	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/kubeconfig"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/version"
)

// AddOptions say what nodes are added.
type AddOptions struct {
	// Role is nodeimage.RoleWorker.
	Role string
	// Count is how many.
	Count int
	// Image is their node image; empty: that of the first worker, or of the
	// control plane when there is none.
	Image string
	// Labels are added to those of the first worker.
	Labels map[string]string
	// Wait bounds the waiting until they are Ready; 0: do not wait.
	Wait time.Duration
}

// CreateNodes adds nodes to a cluster, all at once, and returns their names
// when they are Ready. They are like the cluster's first worker, but for ports
// of the host, which one node only can have. When it fails, or ctx ends, the
// new nodes are removed again, and no other.
func (m *Manager) CreateNodes(ctx context.Context, name string, opts AddOptions) (names []string, err error) {
	if opts.Role != nodeimage.RoleWorker {
		return nil, errdefs.New(errdefs.ClassUsage, "NODE-ROLE", "nodes of role %q cannot be added to a cluster", opts.Role).
			WithHint("use --role %s", nodeimage.RoleWorker)
	}
	if opts.Count < 1 {
		return nil, errdefs.New(errdefs.ClassUsage, "NODE-COUNT", "%d nodes cannot be added", opts.Count).WithHint("use --count with 1 or more")
	}
	err = m.withMembers(ctx, name, func(s *members) error {
		names, err = s.add(ctx, opts)
		return err
	})
	return names, err
}

func (s *members) add(ctx context.Context, opts AddOptions) ([]string, error) {
	grown, added, err := s.grown(opts)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range added {
		names = append(names, n.Name)
		if _, stale := s.known[n.Name]; stale {
			// of a machine that is gone: the new one is to begin as new
			if err := s.api.DeleteNode(ctx, n.Name); err != nil {
				return nil, err
			}
		}
	}
	secrets, err := s.registrySecrets(ctx)
	if err != nil {
		return nil, err
	}
	task := progress.Start(s.reporter, "token", "Allowing nodes to join", "")
	token, discovery, err := s.invite(ctx)
	if err := task.Done(err); err != nil {
		return nil, err
	}
	env := &bootstrap.Env{
		Config: grown, Provider: s.provider, Reporter: s.reporter, Wait: opts.Wait,
		NodeEnv: s.NodeEnv,
		Labels:  map[string]string{nodeimage.LabelVersion: version.String(), nodeimage.LabelDialect: s.first.Dialect},
	}
	err = bootstrap.Grow(ctx, env, bootstrap.Addition{Nodes: added, Token: token, Discovery: discovery, API: s.api, Secrets: secrets})
	if err != nil {
		return nil, s.withdraw(ctx, names, token, err)
	}
	return names, s.keep(ctx, grown)
}

// grown is the cluster with the new nodes, checked as if somebody had written
// it.
func (s *members) grown(opts AddOptions) (*config.Cluster, []config.Node, error) {
	model := config.Node{Image: s.config.ControlPlanes()[0].Image}
	if workers := s.config.Workers(); len(workers) > 0 {
		model = workers[0]
	}
	model.Role = opts.Role
	if opts.Image != "" {
		model.Image = opts.Image
	}
	model.Labels = maps.Clone(model.Labels)
	if len(opts.Labels) > 0 && model.Labels == nil {
		model.Labels = map[string]string{}
	}
	maps.Copy(model.Labels, opts.Labels)
	model.Ports = slices.DeleteFunc(slices.Clone(model.Ports), func(p config.PortMapping) bool { return p.HostPort != 0 })

	grown := *s.config
	grown.Nodes = slices.Clone(s.config.Nodes)
	var added []config.Node
	for i := 1; len(added) < opts.Count && i <= len(s.nodes)+opts.Count; i++ {
		model.Name = config.NodeName(s.config.Name, opts.Role, i)
		if !s.there(model.Name) {
			added = append(added, model)
		}
	}
	grown.Nodes = append(grown.Nodes, added...)
	data, err := config.Encode(&grown)
	if err != nil {
		return nil, nil, err
	}
	checked, err := config.Load(data, "the cluster with the new nodes", config.Options{})
	return checked, added, err
}

// tokenLife is how long a new node may take to join.
const tokenLife = 15 * time.Minute

// invite has kubeadm make a bootstrap token, and reads what joining nodes must
// know of the cluster from the administrator's kubeconfig.
func (s *members) invite(ctx context.Context) (token, discovery string, err error) {
	admin, err := s.first.ReadFile(ctx, nodeimage.AdminConfPath)
	if err != nil {
		return "", "", err
	}
	text, err := kubeconfig.Discovery(admin)
	if err != nil {
		return "", "", err
	}
	out, err := exec.Output(ctx, s.first, "kubeadm", "token", "create", "--ttl="+tokenLife.String(), "--description=petri: joining nodes")
	if err != nil {
		return "", "", fmt.Errorf("make a bootstrap token: %w", err)
	}
	return strings.TrimSpace(string(out)), string(text), nil
}

// withdraw removes the nodes of an addition that failed, and what let them
// join, and returns why it failed.
func (s *members) withdraw(ctx context.Context, names []string, token string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	task := progress.Start(s.reporter, "undo", "Removing the new nodes", "")
	id, _, _ := strings.Cut(token, ".")
	errs := []error{s.api.DeleteToken(ctx, id)}
	for _, name := range names {
		errs = append(errs, s.growth.Remove(ctx, s.name, name), s.api.DeleteNode(ctx, name))
	}
	if err := task.Done(errors.Join(errs...)); err != nil {
		return errors.Join(cause, fmt.Errorf("removing the new nodes failed too, finish with petri delete node --name %s %s: %w", s.name, strings.Join(names, " "), err))
	}
	return cause
}

// Scale makes a cluster have a number of workers: new ones are added as
// CreateNodes does, and those with the highest numbers are deleted as
// DeleteNodes does.
func (m *Manager) Scale(ctx context.Context, name string, workers int, add AddOptions, remove RemoveOptions) error {
	if workers < 0 {
		return errdefs.New(errdefs.ClassUsage, "NODE-COUNT", "a cluster cannot have %d workers", workers)
	}
	return m.withMembers(ctx, name, func(s *members) error {
		have := s.config.Workers()
		switch {
		case len(have) < workers:
			add.Role, add.Count = nodeimage.RoleWorker, workers-len(have)
			_, err := s.add(ctx, add)
			return err
		case len(have) > workers:
			return s.remove(ctx, lastNodes(s.nodes, len(have)-workers), remove)
		}
		return nil
	})
}

// lastNodes are the count workers with the highest numbers. Shorter names of
// one form have lower ones.
func lastNodes(nodes []node.Node, count int) []string {
	var names []string
	for _, n := range nodes {
		if n.Role == nodeimage.RoleWorker {
			names = append(names, n.Name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(b, a)
	})
	return names[:count]
}
