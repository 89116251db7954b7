package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petri-cluster/petri/pkg/exec"
)

// machine is a directory that scripts of an upgrade take for a node's.
type machine string

func newMachine(t *testing.T) machine {
	t.Helper()
	m := machine(t.TempDir())
	for _, dir := range []string{"/etc/kubernetes/manifests", "/var/lib/kubelet", "/var/lib/petri"} {
		if err := os.MkdirAll(string(m)+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m machine) run(t *testing.T, s nodeScript) {
	t.Helper()
	text := strings.NewReplacer("/etc/kubernetes", string(m)+"/etc/kubernetes", "/var/lib/", string(m)+"/var/lib/").Replace(s.text)
	if err := exec.Run(t.Context(), exec.Host{}, "sh", "-c", text, s.does, "v1.36.3"); err != nil {
		t.Fatalf("%s: %v", s.does, err)
	}
}

func (m machine) write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(string(m), path), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (m machine) wants(t *testing.T, path, text string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(string(m), path))
	if err != nil || string(got) != text {
		t.Errorf("%s is %q (%v), want %q", path, got, err, text)
	}
}

const (
	apiServer     = "/etc/kubernetes/manifests/kube-apiserver.yaml"
	kubeletConfig = "/var/lib/kubelet/config.yaml"
)

// A kubeadm that fails is taken back to what ran before it; after one that had
// succeeded, in a run whose kubelet failed, that is what the first one made.
func TestRestoreManifests(t *testing.T) {
	for _, succeeded := range []bool{false, true} {
		m := newMachine(t)
		m.write(t, apiServer, "old")
		m.write(t, kubeletConfig, "old")
		m.run(t, keepBefore)
		want := "old"
		if succeeded {
			want = "new"
			m.write(t, apiServer, "new")
			m.write(t, kubeletConfig, "new")
			m.run(t, keepManifests)
			m.run(t, keepManifests) // as after it was cut short
			m.run(t, keepBefore)    // of the second run
		}
		m.write(t, apiServer, "half")
		m.write(t, kubeletConfig, "half")
		m.run(t, restoreManifests)
		m.wants(t, apiServer, want)
		m.wants(t, kubeletConfig, "old") // the kubelet is the old one
		if _, err := os.Stat(string(m) + "/var/lib/petri/before-upgrade"); !os.IsNotExist(err) {
			t.Errorf("what was kept is there still: %v", err)
		}
	}
}
