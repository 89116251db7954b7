package clustertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider/fake"
)

// errNoQuorum is what comes of asking an etcd of which too few members run.
var errNoQuorum = errors.New("etcdserver: no leader")

// members are the members of etcd of a cluster; those whose nodes run are
// healthy. It fails when they are no majority.
func (w *World) members(ctx context.Context, cluster string) ([]nodeimage.EtcdMember, error) {
	api := w.API(cluster)
	if api == nil {
		return nil, fmt.Errorf("there is no cluster %q", cluster)
	}
	w.mu.Lock()
	names := slices.Clone(api.etcd)
	w.mu.Unlock()
	var out []nodeimage.EtcdMember
	healthy := 0
	for i, name := range names {
		m := nodeimage.EtcdMember{ID: strconv.Itoa(i + 1), Name: name, PeerURLs: []string{"https://" + name + ":2380"}, Healthy: w.Runs(name)}
		if m.Healthy {
			healthy++
		}
		out = append(out, m)
	}
	if healthy <= len(out)/2 {
		return nil, errNoQuorum
	}
	return out, ctx.Err()
}

// joinEtcd makes a node a member. The world is locked.
func (a *API) joinEtcd(w *World, name string) error {
	running := 0
	for _, member := range a.etcd {
		if w.Runs(member) {
			running++
		}
	}
	if running <= len(a.etcd)/2 {
		return errNoQuorum
	}
	if !slices.Contains(a.etcd, name) {
		a.etcd = append(a.etcd, name)
	}
	return nil
}

// listMembers is "petri-node members".
func (w *World) listMembers(ctx context.Context, n node.Node, cmd exec.Cmd) error {
	members, err := w.members(ctx, n.Cluster)
	if err != nil {
		return fake.Exit(cmd, 1, err.Error())
	}
	return json.NewEncoder(cmd.Stdout).Encode(members)
}

// removeMember is "petri-node remove-member".
func (w *World) removeMember(ctx context.Context, n node.Node, cmd exec.Cmd) error {
	members, err := w.members(ctx, n.Cluster)
	if err != nil {
		return fake.Exit(cmd, 1, err.Error())
	}
	i := slices.IndexFunc(members, func(m nodeimage.EtcdMember) bool { return m.ID == cmd.Args[2] })
	if i < 0 {
		return fake.Exit(cmd, 1, "etcdserver: member not found")
	}
	api := w.API(n.Cluster)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, "remove member "+members[i].Name)
	api.etcd = slices.DeleteFunc(api.etcd, func(name string) bool { return name == members[i].Name })
	return nil
}

// extend is "petri-node extend".
func (w *World) extend(_ context.Context, n node.Node, cmd exec.Cmd) error {
	var e nodeimage.Extension
	if err := json.NewDecoder(cmd.Stdin).Decode(&e); err != nil {
		return fake.Exit(cmd, 1, err.Error())
	}
	if controlPlane := n.Role == nodeimage.RoleControlPlane; controlPlane != (e.ClusterConfiguration != "") {
		return fake.Exit(cmd, 1, "a "+n.Role+" has the wrong input")
	}
	plan, err := w.Plan(n.Name)
	if err != nil {
		return fake.Exit(cmd, 1, err.Error())
	}
	w.mu.Lock()
	w.log = append(w.log, "extend "+n.Name)
	w.mu.Unlock()
	plan.Balanced = e.Balanced
	data, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	w.PutFile(n.Name, nodeimage.BalancerPath, []byte(e.Balancer))
	w.PutFile(n.Name, nodeimage.PlanPath, data)
	return nil
}

// ClusterConfiguration is that of a cluster which was made with one control
// plane.
func (a *API) ClusterConfiguration(ctx context.Context) ([]byte, error) {
	defer a.end()
	return []byte("kind: ClusterConfiguration\n"), a.begin(ctx, "ClusterConfiguration", "")
}

// Redirect keeps the endpoint.
func (a *API) Redirect(ctx context.Context, endpoint string) error {
	defer a.end()
	if err := a.begin(ctx, "Redirect", " "+endpoint); err != nil {
		return err
	}
	a.redirected = endpoint
	return nil
}
