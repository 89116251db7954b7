//go:build e2e

package e2e

import (
	"os"
	"strings"
	"testing"
	"time"
)

// A cluster that began with one control plane gets two more, loses the first
// one, and is left with one that it did not begin with, while a pod writes to a
// volume and two clients write to the API. The kubeconfig is the same all the
// while. No other test makes clusters beside it: see TestHighAvailability.
func TestControlPlanesComeAndGo(t *testing.T) {
	create(t, "--workers", "1").controlPlanesComeAndGo(t)
}

func (c *cluster) controlPlanesComeAndGo(t *testing.T) {
	t.Helper()
	kubeconfig, err := os.ReadFile(c.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	w := c.startWork(t)
	p := &planes{highlyAvailable{cluster: c, writer: startWriter(t, c)}}
	t.Run("from one to three", p.grow)
	t.Run("the first one goes", p.firstGoes)
	t.Run("a new one comes", p.comes)
	t.Run("back to one", p.shrink)
	t.Run("it stops and starts", func(t *testing.T) {
		c.timed(t, "restart", "cluster")
		c.usable(t)
		w.check(t)
	})
	p.writer.check(t)
	after, err := os.ReadFile(c.kubeconfig)
	if err != nil || string(after) != string(kubeconfig) {
		t.Errorf("the kubeconfig has changed (%v)", err)
	}
}

type planes struct{ highlyAvailable }

// consistsOf wants the engine, the API and etcd to have these nodes.
func (p *planes) consistsOf(t *testing.T, asked string, suffixes ...string) {
	t.Helper()
	p.wantNodes(t, suffixes...)
	controlPlanes := 0
	for _, s := range suffixes {
		if strings.HasPrefix(s, "control-plane") {
			controlPlanes++
		}
	}
	p.asked = p.name + "-" + asked
	p.membersAre(t, controlPlanes)
	p.usable(t)
}

func (p *planes) grow(t *testing.T) {
	p.writer.survives(t, "growth from one to three", func() { p.timed(t, "scale", "cluster", "--control-planes", "3") })
	p.consistsOf(t, "control-plane", "control-plane", "control-plane2", "control-plane3", "worker")
	if conf := p.kubeadmConfig(t); !strings.Contains(conf, "controlPlaneEndpoint: "+p.loadBalancer()+":6444") || strings.Contains(conf, "leader-elect") {
		t.Errorf("kubeadm keeps\n%s", conf)
	}
	for _, lease := range []string{"kube-scheduler", "kube-controller-manager"} {
		eventually(t, time.Minute, func() error {
			_, err := p.holder(t, lease)
			return err
		})
	}
	// the worker finds the API without the first node
	if server := docker(t, "exec", p.name+"-worker", "grep", "server:", "/etc/kubernetes/kubelet.conf"); !strings.Contains(server, p.loadBalancer()+":6444") {
		t.Errorf("the worker's kubelet goes to %s", server)
	}
}

func (p *planes) kubeadmConfig(t *testing.T) string {
	t.Helper()
	return p.must(t, "-n", "kube-system", "get", "configmap", "kubeadm-config", "-o", "jsonpath={.data.ClusterConfiguration}")
}

// holder is who leads.
func (p *planes) holder(t *testing.T, lease string) (string, error) {
	t.Helper()
	r := p.kubectl(t.Context(), t, "", "-n", "kube-system", "get", "lease", lease, "-o", "jsonpath={.spec.holderIdentity}")
	if r.code != 0 || r.stdout == "" {
		return "", &leaderless{lease, r.stderr}
	}
	return r.stdout, nil
}

type leaderless struct{ lease, why string }

func (l *leaderless) Error() string { return "nobody holds " + l.lease + ": " + l.why }

// firstGoes deletes the node that the cluster began with, and on which the
// host's port was.
func (p *planes) firstGoes(t *testing.T) {
	p.writer.survives(t, "the end of the first control plane", func() { p.timed(t, "delete", "node", p.name+"-control-plane") })
	p.timed(t, "delete", "node", p.name+"-control-plane") // it is gone already
	p.consistsOf(t, "control-plane3", "control-plane2", "control-plane3", "worker")
	p.leasesAreRenewed(t, p.name+"-worker")
}

// comes lets a dead control plane be replaced, by the name that is free.
func (p *planes) comes(t *testing.T) {
	if r := p.timed(t, "create", "node", "--role", "control-plane"); r.stdout != p.name+"-control-plane\n" {
		t.Errorf("the new node is %q", r.stdout)
	}
	p.consistsOf(t, "control-plane3", "control-plane", "control-plane2", "control-plane3", "worker")
	docker(t, "kill", p.name+"-control-plane2")
	r := p.petri(t.Context(), "delete", "node", p.name+"-control-plane3", "--name", p.name)
	if r.code != 1 || !strings.Contains(r.stderr, "QUORUM-LOST") {
		t.Errorf("a control plane was deleted that etcd needs: exit code %d\n%s", r.code, r.stderr)
	}
	p.timed(t, "delete", "node", p.name+"-control-plane2")
	p.consistsOf(t, "control-plane3", "control-plane", "control-plane3", "worker")
}

func (p *planes) shrink(t *testing.T) {
	p.writer.survives(t, "the way back to one", func() { p.timed(t, "scale", "cluster", "--control-planes", "1") })
	p.consistsOf(t, "control-plane", "control-plane", "worker")
	r := p.petri(t.Context(), "delete", "node", p.name+"-control-plane", "--name", p.name)
	if r.code != 2 || !strings.Contains(r.stderr, "LAST-CONTROL-PLANE") {
		t.Errorf("the last control plane was deleted: exit code %d\n%s", r.code, r.stderr)
	}
}
