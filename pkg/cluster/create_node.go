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
)

// AddOptions say what nodes are added.
type AddOptions struct {
	// Role is nodeimage.RoleWorker or RoleControlPlane.
	Role string
	// Count is how many.
	Count int
	// Image is their node image; empty: that of the first node of the role, or
	// of the first control plane when there is none.
	Image string
	// Labels are added to those of the first node of the role.
	Labels map[string]string
	// Wait bounds the waiting until they are Ready; 0: do not wait.
	Wait time.Duration
}

// CreateNodes adds nodes to a cluster, all at once, and returns their names
// when they are Ready. They are like the cluster's first node of the role, but
// for ports of the host, which one node only can have. When it fails, or ctx
// ends, the new nodes are removed again, and no other.
func (m *Manager) CreateNodes(ctx context.Context, name string, opts AddOptions) (names []string, err error) {
	if opts.Role != nodeimage.RoleWorker && opts.Role != nodeimage.RoleControlPlane {
		return nil, errdefs.New(errdefs.ClassUsage, "NODE-ROLE", "nodes of role %q cannot be added to a cluster", opts.Role).
			WithHint("use --role %s or --role %s", nodeimage.RoleWorker, nodeimage.RoleControlPlane)
	}
	if opts.Count < 1 {
		return nil, errdefs.New(errdefs.ClassUsage, "NODE-COUNT", "%d nodes cannot be added", opts.Count).WithHint("use --count with 1 or more")
	}
	err = m.withMembers(ctx, name, nil, func(s *members) error {
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
	if opts.Role == nodeimage.RoleControlPlane {
		s.warnOfEven(len(grown.ControlPlanes()))
		if err := s.prepare(ctx, grown); err != nil {
			return nil, err
		}
	}
	task := progress.Start(s.reporter, "token", "Allowing nodes to join", "")
	token, discovery, err := s.invite(ctx)
	if err := task.Done(err); err != nil {
		return nil, err
	}
	err = bootstrap.Grow(ctx, s.env(grown, opts.Wait), bootstrap.Addition{
		Nodes: added, Token: token, Discovery: discovery, Member: s.first, API: s.api, Secrets: secrets,
		Joined: func(ctx context.Context) error { return s.Balance(ctx, s.name) },
	})
	if err != nil {
		return nil, s.withdraw(ctx, names, token, err)
	}
	if err := s.keep(ctx, grown); err != nil {
		return names, err
	}
	if opts.Role == nodeimage.RoleControlPlane {
		s.warnOfPort()
	}
	return names, nil
}

// warnOfPort says that one of several control planes is the only way in from
// the host: it was there alone, and no engine takes a port from a container.
func (s *members) warnOfPort() {
	i := slices.IndexFunc(s.nodes, func(n node.Node) bool { return n.ServesAPI })
	if i < 0 || !s.balanced {
		return
	}
	s.note(fmt.Sprintf("The host reaches the API through %[1]s only, which was there first. To have a load balancer instead, replace it: petri delete node %[1]s --name %[2]s, then petri create node --role control-plane --name %[2]s.",
		s.nodes[i].Name, s.name))
}

// grown is the cluster with the new nodes, checked as if somebody had written
// it.
func (s *members) grown(opts AddOptions) (*config.Cluster, []config.Node, error) {
	model := config.Node{Image: s.config.ControlPlanes()[0].Image}
	for _, n := range slices.Backward(s.config.Nodes) {
		if n.Role == opts.Role {
			model = n
		}
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
	for i := 1; len(added) < opts.Count && i <= len(s.nodes)+len(s.config.Nodes)+opts.Count; i++ {
		model.Name = config.NodeName(s.config.Name, opts.Role, i)
		if !s.there(model.Name) && !s.configured(model.Name) {
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
	nodes, err := s.Nodes(ctx, s.name)
	nodes = slices.DeleteFunc(nodes, func(n node.Node) bool { return !slices.Contains(names, n.Name) })
	err = errors.Join(s.api.DeleteToken(ctx, id), err, s.takeOut(ctx, nodes))
	for _, name := range names {
		err = errors.Join(err, s.api.DeleteNode(ctx, name))
	}
	if err := task.Done(err); err != nil {
		return errors.Join(cause, fmt.Errorf("removing the new nodes failed too, finish with petri delete node --name %s %s: %w", s.name, strings.Join(names, " "), err))
	}
	return cause
}
