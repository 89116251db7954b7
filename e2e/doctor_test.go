//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/petri-cluster/petri/pkg/image/imagetest"
)

// examined is what "petri doctor -o json" prints.
type examined struct {
	Works    bool
	Findings []struct{ Check, Severity, ID, Seen, Fix, Page string }
}

func (c *cluster) doctor(t *testing.T, code int, args ...string) examined {
	t.Helper()
	r := c.petri(t.Context(), withImage(append([]string{"doctor", "-o", "json"}, args...))...)
	var out examined
	if err := json.Unmarshal([]byte(r.stdout), &out); err != nil || r.code != code || out.Works != (code == 0) {
		t.Fatalf("petri doctor %v: exit code %d, want %d, %v\n%s%s", args, r.code, code, err, r.stdout, r.stderr)
	}
	return out
}

func (e examined) has(severity, id string) bool {
	for _, f := range e.Findings {
		if f.Severity == severity && f.ID == id && f.Seen != "" && f.Page != "" {
			return true
		}
	}
	return false
}

// On a machine where tests make clusters a cluster can be made, and doctor says
// so to people and to programs.
func TestDoctor(t *testing.T) {
	t.Parallel()
	c := &cluster{name: testName(t), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	report := c.doctor(t, 0)
	if len(report.Findings) < 20 {
		t.Errorf("only %d findings", len(report.Findings))
	}
	if r := c.petri(t.Context(), withImage([]string{"doctor"})...); r.code != 0 || !strings.Contains(r.stdout, "CHECK") {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// What is in the way is planted, found by doctor, and stops a creation by the
// same ID before any container exists.
func TestDoctorFindsWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	c := &cluster{name: testName(t), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	bridge := docker(t, "network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Subnet}}")
	for name, test := range map[string]struct{ id, networking, names string }{
		"port":   {"PORT-TAKEN", fmt.Sprintf("apiServerPort: %d", l.Addr().(*net.TCPAddr).Port), "e2e.test (process"},
		"subnet": {"SUBNET-TAKEN", "nodeSubnet: " + bridge, "network bridge"},
	} {
		t.Run(name, func(t *testing.T) {
			config := filepath.Join(t.TempDir(), "cluster.yaml")
			text := "apiVersion: petri.dev/v1alpha1\nkind: Cluster\nname: " + c.name + "\nnetworking:\n  " + test.networking + "\n"
			if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if report := c.doctor(t, 1, "--config", config); !report.has("fatal", test.id) {
				t.Errorf("doctor did not find %s: %+v", test.id, report.Findings)
			}
			c.refused(t, test.id, test.names, "--config", config)
		})
	}
	t.Run("name", func(t *testing.T) {
		node := c.name + "-control-plane"
		docker(t, "create", "--name", node, "--entrypoint", "none", nodeImage(t))
		defer docker(t, "rm", "-f", node)
		if report := c.doctor(t, 1, "--name", c.name); !report.has("fatal", "NODE-NAME-TAKEN") {
			t.Errorf("doctor did not find it: %+v", report.Findings)
		}
		c.refused(t, "NODE-NAME-TAKEN", node, "--name", c.name)
	})
	t.Run("leftover", func(t *testing.T) {
		old := c.name + "-old"
		docker(t, "create", "--name", old+"-worker", "--label", "dev.petri.cluster="+old, "--label", "io.x-k8s.kind.cluster="+old,
			"--label", "io.x-k8s.kind.role=worker", "--entrypoint", "none", nodeImage(t))
		defer c.petri(t.Context(), "delete", "cluster", "--name", old)
		if report := c.doctor(t, 0); !report.has("warning", "LEFTOVERS") {
			t.Errorf("doctor did not find it: %+v", report.Findings)
		}
	})
	t.Run("architecture", func(t *testing.T) {
		ref := "petri/node:" + c.name
		archive := filepath.Join(t.TempDir(), "image.tar")
		foreign := imagetest.Image{Name: ref, Arch: "s390x", Layers: [][]byte{imagetest.Layer("file", []byte("x"))}}
		if err := os.WriteFile(archive, imagetest.Tar(foreign.Saved()), 0o644); err != nil {
			t.Fatal(err)
		}
		docker(t, "load", "-i", archive)
		defer docker(t, "rmi", ref)
		if report := c.doctor(t, 1, "--image", ref); !report.has("fatal", "NODE-IMAGE-ARCH") {
			t.Errorf("doctor did not find it: %+v", report.Findings)
		}
		c.refused(t, "NODE-IMAGE-ARCH", "s390x", "--name", c.name, "--image", ref)
	})
}

// refused wants a creation to fail with an ID in no time, and nothing of the
// cluster to be there.
func (c *cluster) refused(t *testing.T, id, names string, args ...string) {
	t.Helper()
	before := owned(t, c.name)
	start := time.Now()
	r := c.petri(t.Context(), withImage(append([]string{"create", "cluster", "--progress", "json"}, args...))...)
	took := time.Since(start)
	lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
	var last struct {
		Error struct {
			ID, Message, Hint, Page string
			ExitCode                int
		}
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatalf("the last line is no error: %v\n%s", err, r.stderr)
	}
	if e := last.Error; e.ID != id || e.ExitCode != r.code || e.Hint == "" || e.Page == "" || !strings.Contains(e.Message, names) {
		t.Errorf("exit code %d, error %+v, want %s that names %s", r.code, e, id, names)
	}
	if left := owned(t, c.name); len(left) > len(before) || strings.Contains(r.stderr, `"phase":"container"`) {
		t.Errorf("something was made: %v\n%s", left, r.stderr)
	}
	if took > 20*time.Second { // a second or two, and machines may be busy
		t.Errorf("it took %s", took)
	}
}

// A flag that the API server does not know is named, with the last lines that
// it wrote, long before kubeadm would give up.
func TestBadFlagIsNamed(t *testing.T) {
	t.Parallel()
	c := &cluster{name: testName(t), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	config := filepath.Join(t.TempDir(), "cluster.yaml")
	text := "apiVersion: petri.dev/v1alpha1\nkind: Cluster\nname: " + c.name + `
kubeadmConfigPatches:
- |
  kind: ClusterConfiguration
  apiServer:
    extraArgs:
    - name: no-such-flag
      value: "1"
`
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	r := c.petri(t.Context(), withImage([]string{"create", "cluster", "--config", config})...)
	for _, want := range []string{
		"petri: error COMPONENT-FLAG: kube-apiserver does not know its flag --no-such-flag", "--- kube-apiserver ---", "\nError: unknown flag: --no-such-flag", "hint: correct it in the configuration",
	} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	t.Logf("after %s: %s", time.Since(start), r.stderr)
	if took := time.Since(start); r.code != 2 || took > 2*time.Minute {
		t.Errorf("exit code %d after %s", r.code, took)
	}
	if left := owned(t, c.name); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
