package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/petri-cluster/petri/pkg/bootstrap"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/noderelease"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

// UpgradePlan is what an upgrade will do.
type UpgradePlan struct {
	Cluster string `json:"cluster"`
	From    string `json:"from"` // version of the API server
	To      string `json:"to"`
	Image   string `json:"image"`
	// Nodes are in the order in which they are upgraded.
	Nodes  []NodeUpgrade  `json:"nodes"`
	Addons []AddonUpgrade `json:"addons"`
}

// NodeUpgrade is what becomes of a node.
type NodeUpgrade struct {
	Name string `json:"name"`
	Role string `json:"role"`
	From string `json:"from"` // version of its kubelet
	To   string `json:"to"`
	// Steps are what is done on it, in order; none: it is upgraded already.
	Steps []string `json:"steps"`
}

// AddonUpgrade is what becomes of something that runs in pods: a version, and
// the next one, which may be the same.
type AddonUpgrade struct {
	Name string `json:"name"`
	From string `json:"from"`
	To   string `json:"to"`
}

// Done reports whether there is nothing left to do.
func (p UpgradePlan) Done() bool {
	return !slices.ContainsFunc(p.Nodes, func(n NodeUpgrade) bool { return len(n.Steps) > 0 })
}

// PlanUpgrade says what Upgrade would do, and changes nothing. It fails as that
// does when the cluster or the version does not allow it.
func (m *Manager) PlanUpgrade(ctx context.Context, name string, opts UpgradeOptions) (UpgradePlan, error) {
	u := &upgrade{members: &members{Manager: m, name: name}, opts: opts}
	if err := u.load(ctx); err != nil {
		return UpgradePlan{}, err
	}
	err := u.survey(ctx)
	return u.plan, err
}

// survey finds out what there is to do.
func (u *upgrade) survey(ctx context.Context) error {
	if err := u.readImage(ctx); err != nil {
		return err
	}
	if err := u.awaitNodes(ctx); err != nil {
		return err
	}
	if err := u.checkNodes(); err != nil {
		return err
	}
	if err := u.checkOrigin(ctx); err != nil {
		return err
	}
	from, err := u.api.ServerVersion(ctx)
	if err != nil {
		return err
	}
	u.plan = UpgradePlan{Cluster: u.name, From: from, To: u.release.Manifest.Kubernetes, Image: u.opts.Image}
	if err := u.checkVersions(); err != nil {
		return err
	}
	u.planNodes()
	if err := u.checkImages(ctx); err != nil {
		return err
	}
	return u.planAddons(ctx)
}

// readImage reads the node image that is asked for.
func (u *upgrade) readImage(ctx context.Context) error {
	engine, ok := u.provider.(interface {
		provider.ImageStore
		provider.ImageFiles
	})
	if !ok {
		return errdefs.New(errdefs.ClassUnavailable, "NO-IMAGE-STORE", "provider %s keeps no images", u.provider.Name())
	}
	info, err := u.provider.Check(ctx)
	if err != nil {
		return err
	}
	task := progress.Start(u.reporter, "image", "Reading the node image", "")
	err = func() error {
		v, foreign, err := bootstrap.CheckImage(ctx, engine, u.opts.Image, info.Architecture, task)
		if err != nil {
			return err
		}
		if foreign {
			return errdefs.New(errdefs.ClassUsage, "NOT-A-PETRI-IMAGE", "image %s cannot be upgraded to: it is not petri's", u.opts.Image).
				WithHint("use an image of petri build node-image")
		}
		if want := u.opts.Version; want != "" && v != want {
			return errdefs.New(errdefs.ClassUsage, "KUBERNETES-VERSION", "image %s carries Kubernetes %s, and %s is asked for", u.opts.Image, v, want).
				WithHint("build an image of that version: petri build node-image %s", want)
		}
		u.release, err = noderelease.Read(ctx, engine, u.opts.Image)
		return err
	}()
	return task.Done(err)
}

// recovery is how long nodes may take to be Ready again after the API was away,
// as it is for a moment when a step has failed. Who asks at once is not refused
// for that.
const recovery = time.Minute

var errRecovery = errors.New("nodes are not Ready")

// awaitNodes waits for nodes that are not Ready, for a while.
func (u *upgrade) awaitNodes(ctx context.Context) error {
	var names []string
	for _, n := range u.nodes {
		if info, known := u.known[n.Name]; n.State == node.Running && known && !info.Ready {
			names = append(names, n.Name)
		}
	}
	if len(names) == 0 || u.config.Networking.CNI == "none" {
		return nil
	}
	task := progress.Start(u.reporter, "nodes", "Waiting for "+strings.Join(names, ", "), "")
	waiting, cancel := context.WithTimeoutCause(ctx, min(recovery, u.opts.Wait), errRecovery)
	defer cancel()
	err := u.api.Wait(waiting, []kube.Condition{kube.NodesReady(names)}, nil)
	if err == nil || errors.Is(err, errRecovery) {
		// which of them is not, and why, is what checkNodes says
		u.known, err = u.api.Nodes(ctx)
	}
	return task.Done(err)
}

// checkNodes wants every node to be there and well: what is away cannot be
// upgraded, and a control plane that is away may be missed on the way.
func (u *upgrade) checkNodes() error {
	for _, n := range u.nodes {
		info, known := u.known[n.Name]
		switch {
		case n.Foreign:
			return u.notOurs(n)
		case n.State != node.Running:
			return errdefs.New(errdefs.ClassFailed, "NODE-NOT-RUNNING", "node %s is %s, and all must run to be upgraded", n.Name, n.State).
				WithHint("start it: petri start node %s --name %s", n.Name, u.name)
		case !known || !info.Ready && info.Upgrading == "" && u.config.Networking.CNI != "none":
			return errdefs.New(errdefs.ClassFailed, "NODE-NOT-READY", "node %s is not Ready, and all must be to be upgraded: %s", n.Name, info.Problem).
				WithHint("look: petri status --name %s", u.name)
		}
	}
	return nil
}

// checkOrigin wants every node to be made of an image of petri's.
func (u *upgrade) checkOrigin(ctx context.Context) error {
	for _, n := range u.nodes {
		told, err := plan(ctx, n)
		if err != nil {
			return err
		}
		if told.Foreign {
			return u.notOurs(n)
		}
	}
	return nil
}

func (u *upgrade) notOurs(n node.Node) error {
	return errdefs.New(errdefs.ClassUsage, "NOT-A-PETRI-NODE", "node %s was not made by petri, of an image of petri's, and only such can be upgraded", n.Name).
		WithHint("make a new cluster of %s", u.opts.Image)
}

// checkVersions holds the versions against what kubeadm allows: one minor
// version up at a time, no way back, and kubelets three minor versions old at
// most.
func (u *upgrade) checkVersions() error {
	to, err := version.ParseSemantic(u.plan.To)
	if err != nil {
		return fmt.Errorf("version of image %s: %w", u.opts.Image, err)
	}
	var errs []error
	refuse := func(format string, args ...any) {
		errs = append(errs, errdefs.New(errdefs.ClassUsage, "UPGRADE-VERSION", format, args...).WithHint("%s", u.way(to)))
	}
	check := func(who, have string, behind uint) {
		v, err := version.ParseSemantic(have)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("version of %s: %w", who, err))
		case to.LessThan(v):
			refuse("%s is %s: kubeadm does not go back to %s", who, have, u.plan.To)
		case to.Major() != v.Major() || to.Minor() > v.Minor()+behind:
			refuse("%s is %s: kubeadm does not go from there to %s at once", who, have, u.plan.To)
		}
	}
	check("the API server", u.plan.From, 1)
	for _, n := range u.nodes {
		check("kubelet of "+n.Name, u.known[n.Name].Version, 3)
	}
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}

// way is the way that kubeadm allows.
func (u *upgrade) way(to *version.Version) string {
	from, err := version.ParseSemantic(u.plan.From)
	if err != nil || to.LessThan(from) {
		return "there is no way back: make a cluster of that version beside this one"
	}
	steps := []string{u.plan.From}
	for minor := from.Minor() + 1; minor < to.Minor(); minor++ {
		steps = append(steps, fmt.Sprintf("v%d.%d.x", from.Major(), minor))
	}
	return "go by way of " + strings.Join(append(steps, u.plan.To), " -> ")
}

// planNodes says what is done on each node: control planes come first.
func (u *upgrade) planNodes() {
	u.order = slices.Clone(u.nodes)
	slices.SortStableFunc(u.order, func(a, b node.Node) int { return u.rank(a) - u.rank(b) })
	for _, n := range u.order {
		info := u.known[n.Name]
		p := NodeUpgrade{Name: n.Name, Role: n.Role, From: info.Version, To: u.plan.To, Steps: []string{}}
		if info.Version != u.plan.To || info.Upgrading != "" {
			p.Steps = u.steps(n)
		}
		u.plan.Nodes = append(u.plan.Nodes, p)
	}
}

// rank is the place of a node in the order of the configuration, behind all
// control planes when it is a worker.
func (u *upgrade) rank(n node.Node) int {
	for i, c := range u.config.Nodes {
		if c.Name == n.Name && c.Role == nodeimage.RoleControlPlane {
			return i
		}
	}
	return len(u.config.Nodes)
}

func (u *upgrade) steps(n node.Node) []string {
	steps := []string{"programs and images", "kubeadm upgrade node"}
	if n.Name == u.order[0].Name {
		steps[1] = "kubeadm upgrade apply"
	}
	if u.vacates(n) {
		steps = append(steps, "drain")
	}
	steps = append(steps, "kubelet")
	if u.vacates(n) {
		steps = append(steps, "uncordon")
	}
	return steps
}

// vacates reports whether the pods of a node move away while its kubelet is
// exchanged: when there is somewhere to go. What runs on a control plane beside
// workers goes on without a kubelet for the moment that it takes.
func (u *upgrade) vacates(n node.Node) bool {
	return len(u.nodes) > 1 && (n.Role == nodeimage.RoleWorker || len(u.config.Workers()) == 0)
}

// addonOf are the images of what kubeadm and petri run in pods, by repository.
var addonOf = []string{
	"registry.k8s.io/etcd", "registry.k8s.io/coredns/coredns", "registry.k8s.io/kube-proxy",
	"docker.io/petri/cni", "docker.io/rancher/local-path-provisioner",
}

// planAddons compares the image with what the first control plane has.
func (u *upgrade) planAddons(ctx context.Context) error {
	data, err := u.order[0].ReadFile(ctx, nodeimage.ManifestPath)
	if err != nil {
		return errdefs.New(errdefs.ClassUsage, "NOT-A-PETRI-NODE", "node %s was not made of an image of petri's, and only such can be upgraded: %w", u.order[0].Name, err).
			WithHint("make a new cluster of %s", u.opts.Image)
	}
	var has nodeimage.Manifest
	if err := json.Unmarshal(data, &has); err != nil {
		return fmt.Errorf("%s of node %s: %w", nodeimage.ManifestPath, u.order[0].Name, err)
	}
	u.plan.Addons = []AddonUpgrade{}
	for _, repository := range addonOf {
		from, to := noderelease.Tag(has, repository), noderelease.Tag(u.release.Manifest, repository)
		if from != "" || to != "" {
			u.plan.Addons = append(u.plan.Addons, AddonUpgrade{Name: path.Base(repository), From: from, To: to})
		}
	}
	return nil
}
