package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/node-image/gate"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// joinPhases are all phases of "kubeadm join", in its own order. They are run in
// groups. In one go the kubelet of a worker would start before it has a certificate,
// and the API server of a control plane before its etcd, and back off until that is
// there.
var joinPhases = []string{
	"preflight", "control-plane-prepare", "check-etcd", "kubelet-start", "etcd-join", "kubelet-wait-bootstrap",
	"control-plane-join", "wait-control-plane",
}

// Join makes the node a member of the cluster that the input tells: a
// nodeimage.JoinInput. It may be called while the node boots.
func (n *Node) Join(ctx context.Context, input io.Reader) error {
	if err := n.join(ctx, input); err != nil {
		return n.fail(context.WithoutCancel(ctx), err)
	}
	n.Events.Send(nodeimage.NodeEvent{Kind: nodeimage.Finished})
	return nil
}

func (n *Node) join(ctx context.Context, input io.Reader) error {
	plan, err := n.plan()
	if err != nil {
		return err
	}
	discovery, err := n.keepInput(input)
	if err != nil {
		return err
	}
	if err := n.selfSignKubelet(plan, time.Now()); err != nil {
		return err
	}
	if err := n.waitBooted(ctx, plan); err != nil {
		return err
	}
	if plan.Balanced != "" {
		if err := n.waitEndpoint(ctx, discovery); err != nil {
			return err
		}
	}
	return n.withPodNetwork(ctx, plan, discovery, func() error {
		if plan.Role == nodeimage.RoleControlPlane {
			return n.joinControlPlane(ctx, plan)
		}
		return n.joinWorker(ctx, plan, discovery)
	})
}

// joinWorker starts the kubelet when it has its configuration and its certificate,
// which come at the same time. A kubeadm that waits for the kubelet in the phase that
// makes its configuration runs as a whole, when the certificate is there.
func (n *Node) joinWorker(ctx context.Context, plan nodeimage.Plan, discovery cluster) error {
	w := &phased{Node: n, plan: plan, verb: "join", phases: joinPhases}
	var err error
	if w.skip, err = n.skippedPhases("JoinConfiguration"); err != nil {
		return err
	}
	if !plan.KubeletApart {
		if err := n.awaitIdentity(ctx, plan, discovery); err != nil {
			return err
		}
		if err := w.run(ctx, nil, joinPhases...); err != nil {
			return err
		}
		return n.secure(ctx, plan)
	}
	group, both := errgroup.WithContext(ctx)
	group.Go(func() error { return n.awaitIdentity(both, plan, discovery) })
	group.Go(func() error {
		if err := w.run(both, nil, "preflight"); err != nil {
			return err
		}
		return w.run(both, withoutInit, "kubelet-start")
	})
	if err := group.Wait(); err != nil {
		return err
	}
	// again, if the boot has started it in the midst of kubeadm's writing
	if err := exec.Run(ctx, n.Runner, "systemctl", "restart", "kubelet"); err != nil {
		return err
	}
	// kubeadm, when it comes too early, asks again after half a second
	if err := n.waitKubelet(ctx); err != nil {
		return err
	}
	if err := w.run(ctx, nil, "kubelet-wait-bootstrap"); err != nil {
		return err
	}
	return n.secure(ctx, plan)
}

// keepInput puts what the host says of the cluster where kubeadm looks for it.
func (n *Node) keepInput(from io.Reader) (discovery cluster, err error) {
	var input nodeimage.JoinInput
	if err := json.NewDecoder(from).Decode(&input); err != nil {
		return discovery, fmt.Errorf("read what to join: %w", err)
	}
	var conf kubeconfig
	if err := yaml.Unmarshal([]byte(input.Discovery), &conf); err != nil {
		return discovery, fmt.Errorf("read what to join: %w", err)
	}
	if len(conf.Clusters) == 0 {
		return discovery, errors.New("nobody said what to join")
	}
	if err := n.keepCertificates(input.Certificates); err != nil {
		return discovery, err
	}
	return conf.Clusters[0].Cluster, os.WriteFile(n.path(nodeimage.DiscoveryPath), []byte(input.Discovery), 0o644)
}

// waitEndpoint returns when the node's own balancer leads to an API server, or
// when it should have: kubeadm, which would ask once and then every five
// seconds, knows best what to say then.
func (n *Node) waitEndpoint(ctx context.Context, c cluster) error {
	client, err := clientOf(c.CA)
	if err != nil {
		return fmt.Errorf("what to join: %w", err)
	}
	defer client.CloseIdleConnections()
	defer n.Events.phase("node/endpoint")()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Server+"/readyz", nil)
	if err != nil {
		return err
	}
	return until(ctx, patience, apiInterval, func() bool {
		response, err := client.Do(request)
		if err != nil {
			return false
		}
		response.Body.Close()
		return true
	})
}

// joinControlPlane makes one more control plane: the kubelet gets the manifest
// of the API server when etcd is a member, and those of the API's clients when
// the API answers.
func (n *Node) joinControlPlane(ctx context.Context, plan nodeimage.Plan) error {
	c := &controlPlane{phased: phased{Node: n, plan: plan, verb: "join", phases: joinPhases}}
	var err error
	if c.skip, err = n.skippedPhases("JoinConfiguration"); err != nil {
		return err
	}
	if err := c.run(ctx, nil, "preflight", "control-plane-prepare"); err != nil {
		return err
	}
	etcd := c.announcedMember(ctx)
	if c.held, err = c.holdManifests(); err != nil {
		return err
	}
	gates := n.holdConnections(ctx, plan)
	defer gates.leave()
	if err := c.startKubeletToo(ctx, etcd); err != nil {
		return err
	}
	if err := c.joinEtcd(ctx, etcd); err != nil {
		return err
	}
	if err := c.held.release(func(name string) bool { return !needsAPI(name) }); err != nil {
		return err
	}
	if err := c.serveToo(ctx, gates); err != nil {
		return err
	}
	if err := c.startApprover(ctx); err != nil {
		return err
	}
	return n.secure(ctx, plan)
}

// serveToo follows the start of an API server that is not the first, and lets
// kubeadm do the rest when it is ready. When it is slow, kubeadm is asked to
// wait for it: it knows best what to say when something is wrong.
func (c *controlPlane) serveToo(ctx context.Context, gates *gateway) error {
	ready := make(chan struct{})
	watching, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(watching)
	group.Go(func() error { return c.watchComponents(ctx) })
	group.Go(func() error {
		defer c.Events.phase("node/api-server")()
		return c.follow(ctx, nodeimage.AdminConfPath, func(s apiState) error {
			switch s {
			case apiAnswers:
				return c.held.releaseAll()
			case apiTakesPods:
				gates.tell(gate.Pods)
			case apiReady:
				gates.tell(gate.Ready)
				close(ready)
			}
			return nil
		})
	})
	group.Go(func() error {
		defer stop() // kubeadm has the last word
		if err := c.waitReady(ctx, ready); err != nil && !errors.Is(err, errSlow) {
			return err
		}
		if err := c.held.releaseAll(); err != nil {
			return err
		}
		gates.tell(gate.Ready)
		return c.run(ctx, nil, "kubelet-wait-bootstrap", "control-plane-join", "wait-control-plane")
	})
	return group.Wait()
}
