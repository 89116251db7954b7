package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/petri-cluster/petri/pkg/balancer"
	"github.com/petri-cluster/petri/pkg/bootstrap"
	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/kubeadm"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
)

// stays is the first control plane that runs, is written down, and does not
// leave.
func (s *members) stays() (node.Node, error) {
	for _, n := range s.nodes {
		if n.Role == nodeimage.RoleControlPlane && n.State == node.Running && s.configured(n.Name) && !slices.Contains(s.leaving, n.Name) {
			return n, nil
		}
	}
	if err := s.refuseLast(); err != nil {
		return node.Node{}, err
	}
	return node.Node{}, errdefs.New(errdefs.ClassUnavailable, "CONTROL-PLANE-DOWN", "no other control plane of cluster %q is running", s.name).
		WithHint("start one: petri start cluster --name %s", s.name)
}

// refuseLast fails when every control plane is leaving.
func (s *members) refuseLast() error {
	for _, n := range s.config.ControlPlanes() {
		if !slices.Contains(s.leaving, n.Name) {
			return nil
		}
	}
	return errdefs.New(errdefs.ClassUsage, "LAST-CONTROL-PLANE", "%s: a cluster needs a control plane", strings.Join(s.leaving, ", ")).
		WithHint("make another first: petri create node --role control-plane --name %[1]s; or remove the whole cluster: petri delete cluster --name %[1]s", s.name)
}

func (s *members) loadBalancer() string { return bootstrap.BalancedName(s.name) }

// plan is what a node of the cluster was told when it was made, or when it was
// extended.
func plan(ctx context.Context, n node.Node) (plan nodeimage.Plan, err error) {
	data, err := n.ReadFile(ctx, nodeimage.PlanPath)
	if err != nil {
		return plan, err
	}
	if json.Unmarshal(data, &plan) != nil {
		// it has passwords, of which the error may quote something
		return plan, fmt.Errorf("read %s of node %s: not a plan", nodeimage.PlanPath, n.Name)
	}
	return plan, nil
}

// openWay finds out whether the cluster has balancers, and makes sure then that
// the host reaches its API: a load balancer takes the place of a node which
// published it and is gone, or is stopped and about to go. Where nothing may be
// changed that is an error.
func (s *members) openWay(ctx context.Context, all []node.Node) error {
	running := slices.IndexFunc(s.nodes, func(n node.Node) bool { return n.Role == nodeimage.RoleControlPlane && n.State == node.Running })
	if running < 0 || s.nodes[running].Foreign {
		return nil // what needs one says so
	}
	told, err := plan(ctx, s.nodes[running])
	if err != nil {
		return err
	}
	s.balanced = told.Balanced != ""
	publisher := slices.IndexFunc(all, func(n node.Node) bool { return n.ServesAPI })
	switch {
	case !s.balanced, publisher >= 0 && all[publisher].State == node.Running:
		return nil
	case publisher >= 0 && !s.replaceable(all[publisher]):
		return errdefs.New(errdefs.ClassUnavailable, "CONTROL-PLANE-DOWN", "the API of cluster %q is published by %s, which is %s", s.name, all[publisher].Name, all[publisher].State).
			WithHint("start it: petri start node %[1]s --name %[2]s; or take it out: petri delete node %[1]s --name %[2]s", all[publisher].Name, s.name)
	case s.growth == nil:
		return s.noWay(publisher >= 0)
	}
	data, err := s.nodes[running].ReadFile(ctx, nodeimage.ConfigPath)
	if err != nil {
		return err
	}
	c, err := s.decode(data)
	if err != nil {
		return err
	}
	s.fronted = true
	return s.front(ctx, c)
}

// noWay is the error of a cluster whose load balancer does not run, or is gone.
func (s *members) noWay(there bool) error {
	err := errdefs.New(errdefs.ClassUnavailable, "CONTROL-PLANE-DOWN", "nothing publishes the API of cluster %q: its load balancer does not run", s.name)
	if there {
		return err.WithHint("start it: petri start cluster --name %s", s.name)
	}
	return err.WithHint("it is gone, and any change of the nodes makes it anew: petri scale cluster --name %s --control-planes N, with as many as there are", s.name)
}

// replaceable reports whether the API's port may be taken from a node that does
// not run: one that is about to go, or a load balancer, which is made anew.
func (s *members) replaceable(n node.Node) bool {
	return n.State == node.Stopped && (isLoadBalancer(n) || slices.Contains(s.leaving, n.Name))
}

// front puts a load balancer in front of the control planes, which publishes the
// API where it was published before.
func (s *members) front(ctx context.Context, c *config.Cluster) error {
	task := progress.Start(s.reporter, "front", "Moving the API's port to a load balancer", "")
	err := s.keepPort(ctx, c)
	if err == nil || errdefs.Is(err, errdefs.ClassNotFound) {
		// one that does not run, or of an attempt that was cut short
		err = s.growth.Remove(ctx, s.name, s.loadBalancer())
	}
	if err == nil {
		err = bootstrap.Front(ctx, s.env(c, 0))
	}
	return task.Done(err)
}

// giveBack leaves the API's port to the node that had it, when it is there
// after all. The change has failed, and its context may have ended.
func (s *members) giveBack(ctx context.Context) error {
	if !s.fronted {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	all, err := s.machines(ctx, s.name)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(n node.Node) bool { return n.ServesAPI && !isLoadBalancer(n) }) {
		return nil
	}
	return s.growth.Remove(ctx, s.name, s.loadBalancer())
}

// prepare makes a cluster fit for several control planes, of which it may have
// had one since it was made: every node gets a balancer, and the API is known
// by a name that is no node's. The port of the API on the host is written down
// in c, so that another machine can take it over. What was prepared before is
// left alone.
func (s *members) prepare(ctx context.Context, c *config.Cluster) error {
	if err := s.keepPort(ctx, c); err != nil {
		return err
	}
	unprepared, err := s.unprepared(ctx)
	if err != nil {
		return err
	}
	task := progress.Start(s.reporter, "extend", "Preparing for several control planes", "")
	return task.Done(s.extend(ctx, unprepared))
}

func (s *members) keepPort(ctx context.Context, c *config.Cluster) error {
	endpoint, err := s.provider.Endpoint(ctx, s.name)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(endpoint)
	if err != nil {
		return err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	c.Networking.APIServerPort = uint16(number)
	return err
}

// unprepared are the nodes that have no balancer. All must run that could be.
func (s *members) unprepared(ctx context.Context) ([]node.Node, error) {
	var out []node.Node
	for _, n := range s.nodes {
		if n.State != node.Running {
			if s.balanced {
				continue
			}
			return nil, errdefs.New(errdefs.ClassFailed, "NODE-STOPPED", "node %s is %s, and must learn where the API will be", n.Name, n.State).
				WithHint("start it: petri start node %[1]s --name %[2]s; or take it out: petri delete node %[1]s --name %[2]s", n.Name, s.name)
		}
		told, err := plan(ctx, n)
		if err != nil {
			return nil, err
		}
		if told.Balanced != "" {
			continue
		}
		if told.Foreign {
			return nil, errdefs.New(errdefs.ClassUsage, "NO-BALANCER", "several control planes need haproxy in every node, and image %s of node %s is not petri's", n.Image, n.Name).
				WithHint("make the cluster anew with an image of petri build node-image")
		}
		out = append(out, n)
	}
	return out, nil
}

// extend prepares nodes, the control plane first: its certificate must hold
// when the others look for it under the new name.
func (s *members) extend(ctx context.Context, nodes []node.Node) error {
	endpoint := bootstrap.BalancedEndpoint(s.name)
	input := nodeimage.Extension{Balanced: s.loadBalancer(), Endpoint: endpoint}
	for _, group := range slices.Backward(stopOrder(nodes)) {
		if len(group) == 0 {
			continue
		}
		configuration, err := s.api.ClusterConfiguration(ctx)
		if err != nil {
			return err
		}
		extended, err := kubeadm.Extend(configuration, endpoint)
		if err != nil {
			return err
		}
		input.ClusterConfiguration = string(extended)
		if err := together(group, func(_ int, n node.Node) error { return s.extendNode(ctx, n, input) }); err != nil {
			return err
		}
		// etcd was started again, and the controllers were
		if err := s.api.WaitServing(ctx); err != nil {
			return err
		}
	}
	s.balanced = true
	return s.api.Redirect(ctx, endpoint)
}

func (s *members) extendNode(ctx context.Context, n node.Node, input nodeimage.Extension) error {
	if n.Role != nodeimage.RoleControlPlane {
		input.ClusterConfiguration = ""
	}
	conf, err := balancer.Config(n.Role, n.Addr(true).IsValid(), backends(s.nodes, nil))
	if err != nil {
		return err
	}
	input.Balancer = string(conf)
	data, err := json.Marshal(input)
	if err != nil {
		return err
	}
	if err := n.Run(ctx, exec.Cmd{Args: []string{nodeimage.HelperPath, "extend"}, Stdin: bytes.NewReader(data)}); err != nil {
		return fmt.Errorf("prepare node %s for several control planes: %w", n.Name, err)
	}
	return nil
}

// mayLeave fails when nodes cannot be deleted, and says in which order they
// may: a member of etcd that is dead goes before one that is needed to agree.
func (s *members) mayLeave(ctx context.Context, names []string) ([]string, error) {
	leaving := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return s.role(name) != nodeimage.RoleControlPlane })
	if len(leaving) == 0 {
		return names, nil
	}
	if err := s.refuseLast(); err != nil {
		return nil, err
	}
	etcd, err := s.etcdMembers(ctx)
	if err != nil {
		return nil, err
	}
	voters, healthy, dead := 0, 0, []string{}
	for _, m := range etcd {
		goes := slices.ContainsFunc(leaving, func(name string) bool { return isMember(m, s.machine(name)) })
		if m.Learner || goes {
			continue
		}
		voters++
		if m.Healthy {
			healthy++
		} else {
			dead = append(dead, m.Name)
		}
	}
	if len(etcd) > 0 && healthy <= voters/2 {
		return nil, errdefs.New(errdefs.ClassFailed, "QUORUM-LOST", "without %s only %d of %d members of etcd would work, and the API would stop: %s does not answer",
			strings.Join(leaving, ", "), healthy, voters, strings.Join(dead, ", ")).
			WithHint("start the control planes that do not work, or delete those first")
	}
	s.warnOfEven(max(1, len(s.config.ControlPlanes())-len(leaving)))
	ordered := slices.Clone(names)
	slices.SortStableFunc(ordered, func(a, b string) int { return alive(s.machine(a)) - alive(s.machine(b)) })
	return ordered, nil
}

func alive(n node.Node) int {
	if n.State == node.Running {
		return 1
	}
	return 0
}

// takeOutControlPlanes ends control planes: no new connection is led to them,
// and etcd forgets each before its machine goes. A machine of which etcd could
// not be told stays.
func (s *members) takeOutControlPlanes(ctx context.Context, nodes []node.Node) error {
	if len(nodes) == 0 {
		return nil
	}
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	if err := s.Balance(ctx, s.name, names...); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := s.leaveEtcd(ctx, n); err != nil {
			return err
		}
		s.reset(ctx, n, "--skip-phases=remove-etcd-member")
		if err := s.growth.Remove(ctx, s.name, n.Name); err != nil {
			return err
		}
		if !n.ServesAPI || s.fronted {
			continue
		}
		if err := s.front(ctx, s.rest()); err != nil {
			return err
		}
		if err := s.api.WaitServing(ctx); err != nil {
			return err
		}
	}
	return nil
}

// leaveEtcd takes a node's member out of etcd. One that is not there is no
// error.
func (s *members) leaveEtcd(ctx context.Context, n node.Node) error {
	etcd, err := s.etcdMembers(ctx)
	if err != nil {
		return err
	}
	for _, m := range etcd {
		if !isMember(m, n) {
			continue
		}
		if err := exec.Run(ctx, s.first, nodeimage.HelperPath, "remove-member", m.ID); err != nil {
			return fmt.Errorf("remove %s from etcd: %w", n.Name, err)
		}
	}
	return nil
}

// left reports whether a control plane is certainly no member of etcd.
func (s *members) left(ctx context.Context, name string) bool {
	etcd, err := s.etcdMembers(ctx)
	return err == nil && !slices.Contains(s.leaving, name) && len(etcd) > 0 &&
		!slices.ContainsFunc(etcd, func(m nodeimage.EtcdMember) bool { return m.Name == name })
}

// isMember reports whether a member of etcd is a node's. One that has not begun
// is known by its address only.
func isMember(m nodeimage.EtcdMember, n node.Node) bool {
	if m.Name != "" {
		return m.Name == n.Name
	}
	return slices.ContainsFunc(m.PeerURLs, func(url string) bool {
		peer, err := netip.ParseAddrPort(strings.TrimPrefix(url, "https://"))
		return err == nil && slices.Contains(n.Addrs, peer.Addr())
	})
}

// etcdMembers asks a control plane that stays; none when etcd is not the
// cluster's own.
func (s *members) etcdMembers(ctx context.Context) ([]nodeimage.EtcdMember, error) {
	out, err := exec.Output(ctx, s.first, nodeimage.HelperPath, "members")
	if err != nil {
		return nil, errdefs.New(errdefs.ClassFailed, "QUORUM-LOST", "node %s: etcd does not say who its members are: %w", s.first.Name, err).
			WithHint("more than half of the control planes must run: petri start cluster --name %s", s.name)
	}
	var etcd []nodeimage.EtcdMember
	if err := json.Unmarshal(out, &etcd); err != nil {
		return nil, errors.Join(fmt.Errorf("node %s: read the members of etcd", s.first.Name), err)
	}
	return etcd, nil
}
