package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/node-image/gate"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// initPhases are all phases of "kubeadm init", in its own order. They are run
// in groups, each as soon as what it needs is there: in one go kubeadm would
// start the kubelet after all that could be done before, wait in steps of half
// a second, and restart the kubelet at the end.
var initPhases = []string{
	"preflight", "certs", "kubeconfig", "etcd", "control-plane", "kubelet-start", "wait-control-plane",
	"upload-config", "upload-certs", "mark-control-plane", "bootstrap-token", "kubelet-finalize", "addon",
	"show-join-command",
}

// Init makes the first control plane. The host reads the manifests of the
// default addons, the credentials and what joining nodes must know from the
// events as soon as each is there, and goes on with them while kubeadm works. Init may be called
// while the node boots.
func (n *Node) Init(ctx context.Context) error {
	if err := n.init(ctx); err != nil {
		return n.fail(context.WithoutCancel(ctx), err)
	}
	n.Events.Send(nodeimage.NodeEvent{Kind: nodeimage.Finished})
	return nil
}

func (n *Node) init(ctx context.Context) error {
	plan, err := n.plan()
	if err != nil {
		return err
	}
	// the kubelet starts beside the checks, and a new node has nobody else
	plan.IgnorePreflight = append(slices.Clone(plan.IgnorePreflight), "Port-10250")
	c := &controlPlane{phased: phased{Node: n, plan: plan, verb: "init", phases: initPhases}}
	if c.skip, err = n.skippedPhases("InitConfiguration"); err != nil {
		return err
	}
	n.announceManifests()
	go n.warm()
	if err := n.makeEncryptionKey(plan); err != nil {
		return err
	}
	gates := n.holdConnections(ctx, plan)
	defer gates.leave()
	if err := c.prepare(ctx); err != nil {
		return err
	}
	if err := n.waitBooted(ctx, plan); err != nil {
		return err
	}
	if err := c.startKubelet(ctx); err != nil {
		return err
	}
	if err := c.serve(ctx, gates); err != nil {
		return err
	}
	if err := os.Remove(n.path(nodeimage.SuperAdminConfPath)); err != nil {
		return err
	}
	return n.secure(ctx, plan)
}

// phased is a verb of kubeadm's that is run in groups of phases.
type phased struct {
	*Node
	plan   nodeimage.Plan
	verb   string   // "init" or "join"
	phases []string // all that kubeadm has for the verb
	skip   []string // phases that the configuration leaves out
}

// controlPlane is a control plane on its way.
type controlPlane struct {
	phased
	held *heldManifests
}

// run runs some phases of kubeadm's verb as one command.
func (c *phased) run(ctx context.Context, env []string, phases ...string) error {
	skip := slices.Clone(c.skip)
	for _, p := range c.phases {
		if !slices.Contains(phases, p) {
			skip = append(skip, p)
		}
	}
	args := []string{"kubeadm", c.verb, "--config=" + nodeimage.KubeadmConfigPath}
	if len(skip) > 0 {
		args = append(args, "--skip-phases="+strings.Join(skip, ","))
	}
	return c.kubeadm(ctx, append(args, flags(c.plan)...), env)
}

// prepare does what needs no running container runtime: keys, credentials, the
// kubelet's configuration and the manifests of the static pods. The manifests
// are put aside, to be given to the kubelet in order.
func (c *controlPlane) prepare(ctx context.Context) error {
	if err := c.run(ctx, nil, "certs", "kubeconfig", "etcd", "control-plane"); err != nil {
		return err
	}
	if err := c.announceCredentials(); err != nil {
		return err
	}
	if err := c.keepKubeletCertificate(time.Now()); err != nil {
		return err
	}
	if err := c.selfSignKubelet(c.plan, time.Now()); err != nil {
		return err
	}
	var err error
	if c.held, err = c.holdManifests(); err != nil {
		return err
	}
	// With its configuration the kubelet may start. kubelet-finalize points
	// kubelet.conf to the certificate.
	return c.run(ctx, withoutInit, "kubelet-start", "kubelet-finalize")
}

// withoutInit is an environment in which kubeadm finds no init system. A new node has
// no kubelet to stop, start or restart yet, with a reload of systemd each time.
var withoutInit = []string{"PATH="}

// startKubelet checks the machine while the kubelet starts, if the boot has not
// started it yet. The kubelet then gets the manifests of etcd and the API
// server: they have the machine's cores to themselves. The checks find no manifest
// and no port in use.
func (c *controlPlane) startKubelet(ctx context.Context) error {
	group, checking := errgroup.WithContext(ctx)
	group.Go(func() error { return c.run(checking, nil, "preflight") })
	group.Go(func() error {
		if err := exec.Run(checking, c.Runner, "systemctl", "start", "kubelet"); err != nil {
			return err
		}
		return c.waitKubelet(checking)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if c.plan.Foreign && c.held.has(etcdManifest) {
		if err := c.held.release(isEtcd); err != nil {
			return err
		}
		c.waitPodGroup(ctx)
	}
	return c.held.release(func(name string) bool { return !needsAPI(name) })
}

// isEtcd tells the static pod of etcd.
func isEtcd(manifest string) bool { return manifest == etcdManifest }

// needsAPI tells the static pods that are clients of the API.
func needsAPI(manifest string) bool {
	return manifest == "kube-controller-manager.yaml" || manifest == "kube-scheduler.yaml"
}

// patience is how long the API may take before kubeadm is asked to wait for
// it: it knows best what to say when something is wrong.
const patience = 20 * time.Second

// serve follows the API server's start, and does each thing at the first
// moment at which it can succeed.
func (c *controlPlane) serve(ctx context.Context, gates *gateway) error {
	ready := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	unready, begin := context.WithCancel(ctx) // until the controllers can begin
	defer begin()
	group.Go(func() error { return c.watchComponents(watching) })
	group.Go(func() error {
		end := c.Events.phase("node/api-server")
		return c.follow(ctx, nodeimage.SuperAdminConfPath, func(s apiState) error {
			switch s {
			case apiAnswers:
				end()
				end = c.Events.phase("node/api-server-hooks")
				return c.held.releaseAll()
			case apiHasNamespaces:
				group.Go(func() error {
					if err := c.admitPods(ctx, gates); err != nil {
						return err
					}
					return c.makeRoles(ctx)
				})
				group.Go(func() error { return c.publish(ctx, unready) })
			case apiTakesPods:
				gates.tell(gate.Pods)
			case apiReady:
				begin()
				gates.tell(gate.Ready)
				end()
				close(ready)
			}
			return nil
		})
	})
	group.Go(func() error {
		defer stop()
		if err := c.waitReady(ctx, ready); err != nil && !errors.Is(err, errSlow) {
			return err
		}
		// kubeadm reads what it waits for from the manifests
		if err := c.held.releaseAll(); err != nil {
			return err
		}
		if err := c.run(ctx, nil, "wait-control-plane", "mark-control-plane"); err != nil {
			return err
		}
		return c.waitReady(ctx, ready) // kubeadm found it ready, so it will be seen
	})
	return group.Wait()
}

var errSlow = errors.New("the API server has not said that it is ready")

func (c *controlPlane) waitReady(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
		return nil
	case <-time.After(patience):
		return errSlow
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// publish puts what kubeadm keeps in the cluster there. The roles of the API
// server do not exist yet: only the superuser may do it. What would come in the way of
// the controllers is done until unready ends.
func (c *controlPlane) publish(ctx, unready context.Context) error {
	if err := c.announceEtcdPeers(ctx); err != nil {
		return err
	}
	kubeconfig, remove, err := c.superuserHere()
	if err != nil {
		return err
	}
	defer remove()
	var beside errgroup.Group
	defer func() { _ = beside.Wait() }()
	for _, phase := range [][]string{{"addon", "all"}, {"upload-config", "all"}, {"bootstrap-token"}} {
		args := slices.Concat([]string{"kubeadm", "init", "phase"}, phase,
			[]string{"--config=" + nodeimage.KubeadmConfigPath, "--kubeconfig=" + kubeconfig})
		if slices.Contains(c.skip, phase[0]) {
			continue
		}
		if err := c.kubeadm(ctx, args, nil); err != nil {
			return err
		}
		if phase[0] == "addon" {
			beside.Go(func() error {
				c.startDNS(unready)
				return nil
			})
		}
	}
	if err := c.startApprover(ctx); err != nil {
		return err
	}
	return c.announceJoin()
}

// skippedPhases are those that the configuration of a kind leaves out.
func (n *Node) skippedPhases(kind string) ([]string, error) {
	var conf struct{ SkipPhases []string }
	err := n.kubeadmDocument(kind, &conf)
	return conf.SkipPhases, err
}

// kubeadmDocument reads the document of a kind in kubeadm's configuration. One that
// is not there says nothing.
func (n *Node) kubeadmDocument(kind string, into any) error {
	conf, err := os.ReadFile(n.path(nodeimage.KubeadmConfigPath))
	if err != nil {
		return err
	}
	for document := range strings.SplitSeq(string(conf), "\n---\n") {
		var d struct{ Kind string }
		err := yaml.Unmarshal([]byte(document), &d)
		if err == nil && d.Kind == kind {
			err = yaml.Unmarshal([]byte(document), into)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", nodeimage.KubeadmConfigPath, err)
		}
		if d.Kind == kind {
			return nil
		}
	}
	return nil
}

// manifestsDir is where the kubelet finds static pods.
const manifestsDir = "/etc/kubernetes/manifests"

// etcdManifest is the name of etcd's there.
const etcdManifest = "etcd.yaml"

// heldManifests are manifests of static pods that the kubelet does not see. It
// is safe for concurrent use.
type heldManifests struct {
	aside, dir string

	mu    sync.Mutex
	names []string
}

// holdManifests moves all manifests aside, in the same file system.
func (n *Node) holdManifests() (*heldManifests, error) {
	h := &heldManifests{dir: n.path(manifestsDir)}
	h.aside = h.dir + ".held"
	if err := os.Mkdir(h.aside, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(h.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(h.dir, e.Name()), filepath.Join(h.aside, e.Name())); err != nil {
			return nil, err
		}
		h.names = append(h.names, e.Name())
	}
	return h, nil
}

// has reports whether a manifest is held.
func (h *heldManifests) has(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Contains(h.names, name)
}

// release gives the kubelet the manifests that which wants. The last one that
// goes takes the place aside with it.
func (h *heldManifests) release(which func(name string) bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var rest []string
	for _, name := range h.names {
		if !which(name) {
			rest = append(rest, name)
			continue
		}
		if err := os.Rename(filepath.Join(h.aside, name), filepath.Join(h.dir, name)); err != nil {
			return err
		}
	}
	h.names = rest
	if len(rest) > 0 {
		return nil
	}
	return os.RemoveAll(h.aside)
}

// releaseAll gives the kubelet what is still held, if anything is.
func (h *heldManifests) releaseAll() error {
	return h.release(func(string) bool { return true })
}
