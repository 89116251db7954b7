package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/exec"
)

// member is the node's own member of etcd, which others know of already.
type member struct {
	url string // of its peers
	pod staticPod
}

// staticPod is the part of a static pod that is needed to run its container.
type staticPod struct {
	Spec struct {
		Containers []struct {
			Image   string
			Command []string
			Env     []struct{ Name, Value string }
			Mounts  []struct{ Name, MountPath string } `json:"volumeMounts"`
		}
		Volumes []struct {
			Name     string
			HostPath struct{ Path string }
		}
	}
}

// announcedMember is the node's member of etcd, when the first control plane has
// announced it, and makes its manifest. It is nil when kubeadm is to do both, or when
// etcd is elsewhere.
func (c *controlPlane) announcedMember(ctx context.Context) *member {
	m := &member{url: c.plan.EtcdMembers[c.plan.Name]}
	if m.url == "" || slices.Contains(c.skip, "etcd-join") {
		return nil
	}
	// kubeadm's phase for a member that joins gives it a vote before the kubelet
	// has started it: with two members that have one, etcd then waits for it
	if err := c.initPhase(ctx, "etcd local"); err != nil {
		return nil
	}
	path := filepath.Join(c.path(manifestsDir), etcdManifest)
	manifest, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	manifest = joining(manifest, c.plan.EtcdMembers)
	if err := yaml.Unmarshal(manifest, &m.pod); err != nil || len(m.pod.Spec.Containers) != 1 ||
		os.WriteFile(path, manifest, 0o600) != nil {
		_ = os.Remove(path) // kubeadm makes it again
		return nil
	}
	return m
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
	end := func() {}
	group, both := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := c.run(both, nil, "check-etcd", "kubelet-start"); err != nil {
			return err
		}
		return c.waitKubelet(both)
	})
	group.Go(func() error {
		c.waitEtcdTurn(both)
		if m != nil {
			end = c.catchUp(ctx, m)
		}
		return nil
	})
	err := group.Wait()
	end()
	return err
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

// catchUp runs the member of etcd, and returns when it has what the others hold; end
// ends it. Until the kubelet is to run it it goes on, so that others see that it
// takes part.
//
// A member that has nothing asks the others to make it known as soon as there is a
// leader. What they hold comes to it in a snapshot, with its being known in there:
// it is never told, does not serve, and asks again after seven seconds (publishV3 of
// go.etcd.io/etcd server/etcdserver/server.go, and ReqTimeout). One that has the
// snapshot when it starts is told at once.
func (c *controlPlane) catchUp(ctx context.Context, m *member) (end func()) {
	defer c.Events.phase("node/etcd-catch-up")()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// what it has to say it says again when the kubelet runs it
		_ = exec.Run(ctx, c.Runner, m.pod.alone(earlyName)...)
	}()
	snapshots := filepath.Join(c.path(m.pod.flag("--data-dir")), "member/snap/*.snap")
	_ = until(ctx, catchUpLimit, apiInterval, func() bool {
		select {
		case <-ended:
			return true
		default:
			found, _ := filepath.Glob(snapshots) // the pattern is good
			return len(found) > 0
		}
	})
	return func() {
		// fails when it has ended
		_ = exec.Run(context.WithoutCancel(ctx), c.Runner, "ctr", "--namespace=k8s.io", "tasks", "kill", "--signal=SIGTERM", earlyName)
		<-ended
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
	for _, mount := range c.Mounts {
		for _, volume := range p.Spec.Volumes {
			if volume.Name == mount.Name {
				args = append(args, "--mount=type=bind,src="+volume.HostPath.Path+",dst="+mount.MountPath+",options=rbind:rw")
			}
		}
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

// joinEtcd gives the kubelet the member of etcd, and the member a vote as soon as it
// runs. Where it was not announced, or does not come, kubeadm does the whole, and
// knows best what to say when something is wrong.
func (c *controlPlane) joinEtcd(ctx context.Context, m *member) error {
	if m == nil || c.runMember(ctx, m) != nil {
		return c.run(ctx, nil, "etcd-join")
	}
	return nil
}

// runMember has the kubelet run the member, and lets it vote when it runs.
func (c *controlPlane) runMember(ctx context.Context, m *member) error {
	defer c.Events.phase("node/etcd-join")()
	if err := c.held.release(isEtcd); err != nil {
		return err
	}
	if err := c.waitPeers(ctx, patience, m.url); err != nil {
		return err
	}
	first := strings.TrimSuffix(c.plan.EtcdBefore[0], peerPort) + clientPort
	id, err := c.memberID(ctx, first, m.url)
	if err != nil {
		return err
	}
	var refused error
	err = until(ctx, patience, promoteInterval, func() bool {
		// while it is behind, and while another one is on its way
		refused = exec.Run(ctx, c.Runner, etcdctl(first, "member", "promote", id)...)
		return refused == nil
	})
	return errors.Join(err, refused)
}

// The ports on which kubeadm lets etcd serve.
const (
	clientPort = ":2379"
	peerPort   = ":2380"
)

// promoteInterval is how often it is asked whether a member may vote: each time a
// program starts.
const promoteInterval = 100 * time.Millisecond

// memberID is the ID of the member whose peers find it at a URL, by another one.
func (c *controlPlane) memberID(ctx context.Context, endpoint, url string) (string, error) {
	list, err := c.members(ctx, endpoint)
	if err != nil {
		return "", err
	}
	for _, m := range list {
		if slices.Contains(m.PeerURLs, url) {
			return m.ID, nil
		}
	}
	return "", fmt.Errorf("no member of etcd is at %s", url)
}
