package bootstrap

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// member is the node's own member of etcd, which others know of already.
type member struct {
	url string // of its peers
	pod staticPod
}

// staticPod is what kubeadm writes of etcd by itself: a manifest with anything else,
// which a user's patches may bring, is not run but by the kubelet.
type staticPod struct {
	APIVersion, Kind string
	Metadata, Status any
	Spec             struct {
		Containers []struct {
			Name, Image, ImagePullPolicy                string
			Command                                     []string
			Env                                         []struct{ Name, Value string }
			VolumeMounts                                []struct{ Name, MountPath string }
			Ports, Resources                            any
			LivenessProbe, ReadinessProbe, StartupProbe any
		}
		Volumes []struct {
			Name     string
			HostPath struct{ Path, Type string }
		}
		HostNetwork       bool
		Priority          int
		PriorityClassName string
		SecurityContext   struct{ SeccompProfile any }
	}
}

// complete reports whether the pod can be run by what is known of it: its one
// container, all that is mounted, and where its data is.
func (p *staticPod) complete() bool {
	if len(p.Spec.Containers) != 1 || p.flag("--data-dir") == "" {
		return false
	}
	for _, mount := range p.Spec.Containers[0].VolumeMounts {
		if p.hostPath(mount.Name) == "" {
			return false
		}
	}
	return true
}

// hostPath is where a volume is in the node.
func (p *staticPod) hostPath(volume string) string {
	for _, v := range p.Spec.Volumes {
		if v.Name == volume {
			return v.HostPath.Path
		}
	}
	return ""
}

// announcedMember is the node's member of etcd, when the first control plane has
// announced it, and makes its manifest. It is nil when kubeadm is to do both, or when
// etcd is elsewhere.
func (c *controlPlane) announcedMember(ctx context.Context) *member {
	m := &member{url: c.plan.EtcdMembers[c.plan.Name]}
	// ctr unpacks images where containerd does by default
	if m.url == "" || slices.Contains(c.skip, "etcd-join") || os.Getenv(nodeimage.SnapshotterVariable) != "" || !c.knowsEtcd(ctx) {
		return nil
	}
	path := filepath.Join(c.path(manifestsDir), etcdManifest)
	if err := c.makeManifest(ctx, m, path); err != nil {
		_ = os.Remove(path) // kubeadm makes it again
		return nil
	}
	return m
}

// makeManifest has kubeadm make the manifest of a member that is alone, and makes it
// one that joins the others. kubeadm's own phase for that makes the member vote as soon
// as etcd knows its name: which it does when it has been run once, so that etcd would
// wait for a member that the kubelet has not started.
func (c *controlPlane) makeManifest(ctx context.Context, m *member, path string) error {
	if err := c.initPhase(ctx, "etcd local"); err != nil {
		return err
	}
	manifest, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(initialCluster.FindAll(manifest, 2)) != 1 {
		return errors.New("the manifest does not say who is in the cluster")
	}
	manifest = joining(manifest, c.plan.EtcdMembers)
	if err := yaml.UnmarshalStrict(manifest, &m.pod); err != nil {
		return err
	}
	if !m.pod.complete() {
		return errors.New("the manifest is not as kubeadm makes it")
	}
	return os.WriteFile(path, manifest, 0o600)
}

// knowLimit bounds the asking for the cluster's documents: the first control plane may
// not have given the administrator its rights yet.
const knowLimit = 2 * time.Second

// knowsEtcd reports whether kubeadm runs etcd by the node's own documents as it does
// by the cluster's, which "kubeadm join" reads: patches may be of one node alone.
func (c *controlPlane) knowsEtcd(ctx context.Context) bool {
	api, err := c.admin()
	if err != nil {
		return false
	}
	defer api.CloseIdleConnections()
	var answer []byte
	if until(ctx, knowLimit, apiInterval, func() bool {
		answer, err = api.ask(ctx, http.MethodGet, "/api/v1/namespaces/kube-system/configmaps/kubeadm-config", nil)
		return err == nil
	}) != nil || err != nil {
		return false
	}
	var kept struct {
		Data struct{ ClusterConfiguration string }
	}
	var own, clusters etcdSettings
	var first, joins struct {
		LocalAPIEndpoint, Patches any
		ControlPlane              struct{ LocalAPIEndpoint any }
	}
	if err := errors.Join(json.Unmarshal(answer, &kept), yaml.Unmarshal([]byte(kept.Data.ClusterConfiguration), &clusters),
		c.kubeadmDocument("ClusterConfiguration", &own),
		c.kubeadmDocument("InitConfiguration", &first), c.kubeadmDocument("JoinConfiguration", &joins)); err != nil {
		return false
	}
	return reflect.DeepEqual(own.complete(), clusters.complete()) &&
		reflect.DeepEqual(first.LocalAPIEndpoint, joins.ControlPlane.LocalAPIEndpoint) && reflect.DeepEqual(first.Patches, joins.Patches)
}

// etcdSettings are those of a ClusterConfiguration by which kubeadm runs etcd.
type etcdSettings struct {
	ImageRepository, KubernetesVersion string
	Etcd                               struct {
		External any
		Local    map[string]any
	}
}

// complete are the settings with kubeadm's defaults in them.
func (s etcdSettings) complete() etcdSettings {
	s.ImageRepository = cmp.Or(s.ImageRepository, "registry.k8s.io")
	local := map[string]any{"dataDir": "/var/lib/etcd"}
	maps.Copy(local, s.Etcd.Local)
	s.Etcd.Local = local
	return s
}

// initialCluster is the argument by which kubeadm tells a member of etcd who there
// is, with what comes before it in its line.
var initialCluster = regexp.MustCompile(`(?m)^( *- )--initial-cluster=.*$`)

// joining makes the manifest of a member that is alone that of one that joins
// others, as kubeadm writes it.
func joining(manifest []byte, members map[string]string) []byte {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		list = append(list, name+"="+members[name])
	}
	return initialCluster.ReplaceAll(manifest,
		[]byte("${1}--initial-cluster="+strings.Join(list, ",")+"\n${1}--initial-cluster-state=existing"))
}

// startKubeletToo starts the kubelet while the member of etcd, if there is one,
// catches up with the others.
func (c *controlPlane) startKubeletToo(ctx context.Context, m *member) error {
	end := func() error { return nil }
	group, both := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := c.run(both, nil, "check-etcd", "kubelet-start"); err != nil {
			return err
		}
		return c.waitKubelet(both)
	})
	group.Go(func() error {
		c.waitEtcdTurn(both)
		if m != nil && both.Err() == nil {
			end = c.catchUp(ctx, both, m)
		}
		return nil
	})
	err := group.Wait()
	return errors.Join(err, end())
}

// etcdTurn bounds the waiting for members of etcd that start before a node's own:
// one that does not come may have failed.
const etcdTurn = 8 * time.Second

// waitEtcdTurn returns when the members that start before this node's own take
// part. One that joins asks all others which version they are of; two at once
// take each other's connections, wait for each other's answer, and go on after
// seven seconds (ReqTimeout, go.etcd.io/etcd server/config/config.go).
func (c *controlPlane) waitEtcdTurn(ctx context.Context) {
	if len(c.plan.EtcdBefore) > 0 {
		defer c.Events.phase("node/etcd-turn")()
		_ = c.waitPeers(ctx, etcdTurn, c.plan.EtcdBefore...)
	}
}

// errAbsent is why a wait for members of etcd ended.
var errAbsent = errors.New("a member of etcd does not answer")

// waitPeers returns when all members of etcd at these URLs take part.
func (c *controlPlane) waitPeers(ctx context.Context, limit time.Duration, urls ...string) error {
	client, err := c.peerClient()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	if err := until(ctx, limit, apiInterval, func() bool {
		for len(urls) > 0 && get(ctx, client, urls[0]+"/version") != 0 {
			urls = urls[1:]
		}
		return len(urls) == 0
	}); err != nil {
		return err
	}
	if len(urls) > 0 {
		return errAbsent
	}
	return nil
}

// earlyName is that of the container in which etcd runs before the kubelet runs it.
const earlyName = "petri-etcd-catches-up"

// catchUpLimit bounds the waiting for a snapshot, which takes a tenth of a second
// in a new cluster.
const catchUpLimit = 4 * time.Second

// catchUp runs the member of etcd, and returns when it has what the others hold, or
// when while ends; end ends it. Until the kubelet is to run it it goes on, so that
// others see that it takes part.
//
// A member that has nothing asks the others to make it known as soon as there is a
// leader. What they hold comes to it in a snapshot, with its being known in there:
// it is never told, does not serve, and asks again after seven seconds (publishV3 of
// go.etcd.io/etcd server/etcdserver/server.go, and ReqTimeout). One that has the
// snapshot when it starts is told at once.
func (c *controlPlane) catchUp(ctx, while context.Context, m *member) (end func() error) {
	defer c.Events.phase("node/etcd-catch-up")()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// what it has to say it says again when the kubelet runs it
		_ = exec.Run(ctx, c.Runner, m.pod.alone(earlyName)...)
	}()
	snapshots := filepath.Join(c.path(m.pod.flag("--data-dir")), "member/snap/*.snap")
	_ = until(while, catchUpLimit, apiInterval, func() bool {
		select {
		case <-ended:
			return true
		default:
			found, _ := filepath.Glob(snapshots) // the pattern is good
			return len(found) > 0
		}
	})
	return func() error { return c.endEarly(context.WithoutCancel(ctx), ended) }
}

// An early etcd is asked to end, and then is ended.
const (
	endInterval = 100 * time.Millisecond
	endPatience = 20 // intervals
	endLimit    = 10 * time.Second
)

// endEarly ends etcd's early container. While that has no process yet nothing can be
// ended, and it is tried again: two processes must not have the same data.
func (c *controlPlane) endEarly(ctx context.Context, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	for tries := 1; ; tries++ {
		signal := "SIGTERM"
		if tries > endPatience {
			signal = "SIGKILL"
		}
		_ = exec.Run(ctx, c.Runner, "ctr", "--namespace=k8s.io", "tasks", "kill", "--signal="+signal, earlyName)
		select {
		case <-ended:
			return nil
		case <-time.After(endInterval):
		case <-ctx.Done():
			return errors.New("etcd, which was run to catch up with the others, does not end")
		}
	}
}

// alone is a command that runs the pod's container in the node's network until it
// ends, without a kubelet, under a name.
func (p *staticPod) alone(name string) []string {
	c := p.Spec.Containers[0]
	args := []string{"ctr", "--namespace=k8s.io", "run", "--rm", "--null-io", "--net-host", "--cgroup="}
	for _, env := range c.Env {
		args = append(args, "--env="+env.Name+"="+env.Value)
	}
	for _, mount := range c.VolumeMounts {
		args = append(args, "--mount=type=bind,src="+p.hostPath(mount.Name)+",dst="+mount.MountPath+",options=rbind:rw")
	}
	return slices.Concat(args, []string{c.Image, name}, c.Command)
}

// flag is the value of a flag of the pod's container.
func (p *staticPod) flag(name string) string {
	for _, arg := range p.Spec.Containers[0].Command {
		if value, ok := strings.CutPrefix(arg, name+"="); ok {
			return value
		}
	}
	return ""
}

// memberLimit bounds the waiting for a member that the kubelet runs, as kubeadm's own
// for a control plane.
const memberLimit = 4 * time.Minute

// joinEtcd gives the kubelet the member of etcd, and the member a vote when it runs.
// One that was not announced kubeadm announces; it cannot do the rest of one that was
// (makeManifest).
func (c *controlPlane) joinEtcd(ctx context.Context, m *member) error {
	if m == nil {
		return c.run(ctx, nil, "etcd-join")
	}
	defer c.Events.phase("node/etcd-join")()
	first := strings.TrimSuffix(c.plan.EtcdBefore[0], peerPort) + clientPort
	c.waitVotes(ctx, first)
	if err := c.held.release(isEtcd); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.watchComponents(ctx) })
	group.Go(func() error {
		defer stop()
		return c.vote(ctx, first, m)
	})
	return group.Wait()
}

// waitVotes returns when the members that start before this node's own vote, which
// they do when their kubelets run them, or after a while. One that starts asks all
// others for their hash, and two at once wait for each other (waitEtcdTurn).
func (c *controlPlane) waitVotes(ctx context.Context, first string) {
	before := c.plan.EtcdBefore[1:]
	if len(before) == 0 {
		return
	}
	_ = until(ctx, etcdTurn, promoteInterval, func() bool {
		list, err := c.members(ctx, first)
		return err == nil && !slices.ContainsFunc(list, func(m nodeimage.EtcdMember) bool {
			return m.Learner && slices.ContainsFunc(before, func(url string) bool { return slices.Contains(m.PeerURLs, url) })
		})
	})
}

// vote lets the member vote when it runs.
func (c *controlPlane) vote(ctx context.Context, first string, m *member) error {
	if err := c.waitPeers(ctx, memberLimit, m.url); err != nil {
		return fmt.Errorf("wait for the kubelet to run the node's member of etcd: %w", err)
	}
	var refused error
	err := until(ctx, memberLimit, promoteInterval, func() bool {
		var known nodeimage.EtcdMember
		if known, refused = c.member(ctx, first, m.url); refused == nil && known.Learner {
			// refused while it is behind, and while another one is on its way
			refused = exec.Run(ctx, c.Runner, etcdctl(first, "member", "promote", known.ID)...)
		}
		return refused == nil
	})
	if err = errors.Join(err, refused); err != nil {
		return fmt.Errorf("let the node's member of etcd vote: %w", err)
	}
	return nil
}

// The ports on which kubeadm lets etcd serve.
const (
	clientPort = ":2379"
	peerPort   = ":2380"
)

// promoteInterval is how often it is asked whether a member may vote: each time a
// program starts.
const promoteInterval = 100 * time.Millisecond

// member is the member whose peers find it at a URL, as another one knows it.
func (c *controlPlane) member(ctx context.Context, endpoint, url string) (nodeimage.EtcdMember, error) {
	list, err := c.members(ctx, endpoint)
	if err != nil {
		return nodeimage.EtcdMember{}, err
	}
	for _, m := range list {
		if slices.Contains(m.PeerURLs, url) {
			return m, nil
		}
	}
	return nodeimage.EtcdMember{}, fmt.Errorf("no member of etcd is at %s", url)
}
