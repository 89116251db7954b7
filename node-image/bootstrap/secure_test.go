package bootstrap

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// modeOf is the mode of a file of a node; 0 when there is none.
func modeOf(node *Node, path string) fs.FileMode {
	info, err := os.Stat(node.path(path))
	if err != nil {
		return 0
	}
	return info.Mode().Perm()
}

// loose puts a file that everybody can read.
func loose(t *testing.T, fake *fakeNode, path string) {
	t.Helper()
	fake.put(path, "{}")
	if err := os.Chmod(filepath.Join(fake.root, path), 0o644); err != nil {
		t.Error(err)
	}
}

// Whatever the profile, no superuser is left behind, and files that others can
// read need not be.
func TestInitLeavesNoSuperuser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, fake, _ := initNode(t, nodeimage.Plan{}, "")
		node.probe = answers(map[apiState]time.Duration{apiReady: 0})
		fake.onKubeadm = func(context.Context, exec.Cmd, []string) error {
			loose(t, fake, "/var/lib/kubelet/config.yaml")
			loose(t, fake, "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf")
			loose(t, fake, nodeimage.CertificatesDir+"/ca.crt")
			return nil
		}
		if err := node.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]fs.FileMode{
			nodeimage.SuperAdminConfPath: 0, nodeimage.AdminConfPath: 0o600,
			"/var/lib/kubelet/config.yaml": 0o600, "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf": 0o600,
			nodeimage.CertificatesDir + "/ca.crt": 0o644, nodeimage.EncryptionPath: 0,
		} {
			if got := modeOf(node, path); got != want {
				t.Errorf("%s has mode %o, want %o", path, got, want)
			}
		}
		if slices.ContainsFunc(fake.commands, func(c string) bool { return strings.Contains(c, "approver") }) {
			t.Errorf("an approver is started in %q", fake.commands)
		}
	})
}

// A hardened control plane makes a key before its API server starts, has
// certificates approved, and is done when its kubelet has one.
func TestInitHardened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, fake, sent := initNode(t, nodeimage.Plan{Hardened: true, ServingCertificates: true}, "")
		node.probe = answers(map[apiState]time.Duration{apiReady: 0})
		var key []byte
		fake.onKubeadm = func(_ context.Context, _ exec.Cmd, phases []string) error {
			loose(t, fake, nodeimage.CertificatesDir+"/etcd/ca.crt")
			if slices.Contains(phases, "control-plane") {
				key, _ = os.ReadFile(node.path(nodeimage.EncryptionPath))
			}
			return nil
		}
		began := time.Now()
		go func() {
			time.Sleep(30 * time.Second)
			fake.put(kubeletPKIDir+"/kubelet-server-current.pem", "certificate")
		}()
		if err := node.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		if time.Since(began) < 30*time.Second {
			t.Error("it did not wait for the kubelet's certificate")
		}
		if !bytes.Contains(key, []byte("secretbox")) || modeOf(node, nodeimage.EncryptionPath) != 0o600 {
			t.Errorf("the key is there as %o: %s", modeOf(node, nodeimage.EncryptionPath), key)
		}
		if got := modeOf(node, nodeimage.CertificatesDir+"/etcd/ca.crt"); got != 0o600 {
			t.Errorf("a certificate has mode %o", got)
		}
		unit, err := os.ReadFile(node.path("/etc/systemd/system/multi-user.target.wants/petri-approver.service"))
		if err != nil || !strings.Contains(string(unit), "petri-node approver") || !slices.Contains(fake.commands, "systemctl start petri-approver.service") {
			t.Errorf("the approver is not started now and at each boot: %v, %q", err, fake.commands)
		}
		for _, line := range strings.Split(string(key), "\n") {
			for _, e := range sent() {
				if value, ok := strings.CutPrefix(strings.TrimLeft(line, " -"), "secret: "); ok && strings.Contains(e.Data+e.Log, value) {
					t.Errorf("event %s tells the key", e.Kind)
				}
			}
		}
	})
}

// Two clusters have two keys.
func TestEncryptionKeysDiffer(t *testing.T) {
	var keys [2][]byte
	for i := range keys {
		node, _, _ := newNode(t, nodeimage.Plan{}, "")
		if err := node.makeEncryptionKey(nodeimage.Plan{Hardened: true}); err != nil {
			t.Fatal(err)
		}
		keys[i], _ = os.ReadFile(node.path(nodeimage.EncryptionPath))
	}
	if bytes.Equal(keys[0], keys[1]) {
		t.Errorf("both have %s", keys[0])
	}
}

// The key comes to further control planes as it is, with their certificates.
func TestJoinTakesTheEncryptionKey(t *testing.T) {
	from, fake, _ := newNode(t, nodeimage.Plan{}, "")
	fake.put(nodeimage.CertificatesDir+"/ca.crt", "public")
	if err := from.makeEncryptionKey(nodeimage.Plan{Hardened: true}); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(from.path(nodeimage.EncryptionPath))
	if err != nil {
		t.Fatal(err)
	}
	var shared bytes.Buffer
	if err := from.Certificates(&shared); err != nil {
		t.Fatal(err)
	}
	to, _, _ := newNode(t, nodeimage.Plan{}, "")
	if _, err := to.keepInput(strings.NewReader(`{"discovery": "clusters: [{}]", "certificates": ` + shared.String() + "}")); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(to.path(nodeimage.EncryptionPath))
	if err != nil || !bytes.Equal(want, got) || modeOf(to, nodeimage.EncryptionPath) != 0o600 {
		t.Errorf("%v, mode %o: %s", err, modeOf(to, nodeimage.EncryptionPath), got)
	}
}

// A kubelet that gets no certificate is not a node that is ready.
func TestJoinWithoutServingCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, fake, _ := newNode(t, nodeimage.Plan{ServingCertificates: true}, "")
		fake.kubeadm = func(context.Context, exec.Cmd) error { return nil }
		err := node.Join(t.Context(), joinInput(t, discovery, nil))
		if !errors.Is(err, errServing) || !strings.Contains(err.Error(), "the kubelet's serving certificate") {
			t.Errorf("got %v", err)
		}
	})
}
