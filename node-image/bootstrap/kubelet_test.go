package bootstrap

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// TestInitKeepsTheKubeletCertificate looks for it where a kubelet would have
// put it, so that kubeadm points kubelet.conf there.
func TestInitKeepsTheKubeletCertificate(t *testing.T) {
	node, fake, _ := newNode(t, nodeimage.Plan{}, "")
	fake.put(kubeletConfPath, kubeconfigOf("kubelet"))
	if err := node.keepKubeletCertificate(time.Date(2026, 11, 20, 1, 2, 3, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	target, err := os.Readlink(node.path(kubeletClientPath))
	diff(t, "/var/lib/kubelet/pki/kubelet-client-2026-11-20-01-02-03.pem", target)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(node.path(target))
	diff(t, "cert of kubelet\nsecret of kubelet\n", string(data))
	info, statErr := os.Stat(node.path(target))
	if err != nil || statErr != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, %v", info.Mode(), err, statErr)
	}
}

// TestSelfSignKubelet: the certificate is one that a kubelet can serve with, and
// one that is there stays.
func TestSelfSignKubelet(t *testing.T) {
	now := time.Date(2026, 11, 20, 1, 2, 3, 0, time.UTC)
	node, _, _ := newNode(t, nodeimage.Plan{}, "")
	plan := nodeimage.Plan{Name: "A-worker"}
	if err := node.selfSignKubelet(plan, now); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(node.path(servingCertPath), node.path(servingKeyPath))
	if err != nil {
		t.Fatal(err)
	}
	if err := pair.Leaf.VerifyHostname("a-worker"); err != nil {
		t.Error(err)
	}
	if !pair.Leaf.NotBefore.Before(now) || !pair.Leaf.NotAfter.Equal(now.Add(servingValidity)) {
		t.Errorf("it holds from %s to %s", pair.Leaf.NotBefore, pair.Leaf.NotAfter)
	}
	if info, err := os.Stat(node.path(servingKeyPath)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	before, _ := os.ReadFile(node.path(servingCertPath))
	if err := node.selfSignKubelet(plan, now); err != nil {
		t.Fatal(err)
	}
	after, _ := os.ReadFile(node.path(servingCertPath))
	diff(t, string(before), string(after))
}

// TestNoSelfSigned: where the cluster signs such certificates there is none.
func TestNoSelfSigned(t *testing.T) {
	node, _, _ := newNode(t, nodeimage.Plan{}, "")
	if err := node.selfSignKubelet(nodeimage.Plan{ServingCertificates: true}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(node.path(servingKeyPath)); !os.IsNotExist(err) {
		t.Errorf("there is a key: %v", err)
	}
}

// TestKubeletAddress reads it from what kubeadm wrote.
func TestKubeletAddress(t *testing.T) {
	node, fake, _ := newNode(t, nodeimage.Plan{}, "")
	for conf, want := range map[string]string{
		"": "127.0.0.1:10248", "healthzPort: 1\n": "127.0.0.1:1", "healthzBindAddress: \"::1\"\n": "[::1]:10248",
	} {
		fake.put(kubeletConfigPath, conf)
		got, err := node.kubeletAddress()
		if err != nil {
			t.Fatal(err)
		}
		diff(t, want, got)
	}
	fake.put(kubeletConfigPath, "healthzPort: []\n")
	if _, err := node.kubeletAddress(); err == nil {
		t.Error("no error about a broken file")
	}
}

// TestKubeletThatIsNotSeen is not waited for all the time.
func TestKubeletThatIsNotSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, fake, _ := newNode(t, nodeimage.Plan{}, "")
		fake.put(kubeletConfigPath, "healthzPort: 1\n")
		began := time.Now()
		if err := node.waitKubelet(t.Context()); err != nil {
			t.Fatal(err)
		}
		diff(t, kubeletPatience, time.Since(began))
	})
}

// TestWaitPodGroup waits on cgroup v1 alone, and not for ever.
func TestWaitPodGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, fake, _ := newNode(t, nodeimage.Plan{}, "")
		began := time.Now()
		node.waitPodGroup(t.Context())
		diff(t, time.Duration(0), time.Since(began))
		fake.put("/sys/fs/cgroup/devices/tasks", "")
		node.waitPodGroup(t.Context())
		diff(t, groupPatience, time.Since(began))
		fake.put(filepath.Join(filepath.Dir(podGroups), "kubelet-kubepods-burstable-pod1.slice", "tasks"), "")
		node.waitPodGroup(t.Context())
		diff(t, groupPatience, time.Since(began))
	})
}
