//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Delete leaves no container, network, volume or kubeconfig entry, and keeps
// what others wrote into the kubeconfig.
func TestDeleteLeavesNothing(t *testing.T) {
	t.Parallel()
	c := &cluster{name: testName(t), kubeconfig: t.TempDir() + "/kubeconfig"}
	const foreign = `# mine
apiVersion: v1
kind: Config
clusters:
- name: other # keep
  cluster: {server: https://other.example}
contexts: []
users: []
current-context: ""
`
	if err := os.WriteFile(c.kubeconfig, []byte(foreign), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.remove(t) })
	if r := c.petri(t.Context(), withImage([]string{"create", "cluster", "--name", c.name})...); r.code != 0 {
		t.Fatalf("create: exit code %d\n%s", r.code, r.stderr)
	}
	if n := len(owned(t, c.name)); n < 2 {
		t.Fatalf("only %d objects are labelled, a container and a network at least are expected", n)
	}
	volumes := strings.Fields(docker(t, "inspect", "-f", `{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}} {{end}}{{end}}`, c.name+"-control-plane"))
	if len(volumes) == 0 {
		t.Fatal("the node has no volume")
	}
	freeze(t, c.name+"-control-plane")
	if r := c.petri(t.Context(), "delete", "cluster", "--name", c.name); r.code != 0 {
		t.Fatalf("delete: exit code %d\n%s", r.code, r.stderr)
	}
	if left := owned(t, c.name); len(left) > 0 {
		t.Errorf("delete left %v", left)
	}
	all := docker(t, "volume", "ls", "-q")
	for _, v := range volumes {
		if strings.Contains(all, v) {
			t.Errorf("delete left the volume %s", v)
		}
	}
	data, err := os.ReadFile(c.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), c.name) {
		t.Errorf("the kubeconfig still names the cluster:\n%s", data)
	}
	for _, kept := range []string{"# mine", "name: other # keep", "https://other.example"} {
		if !strings.Contains(string(data), kept) {
			t.Errorf("the kubeconfig lost %q:\n%s", kept, data)
		}
	}
	if r := c.petri(t.Context(), "delete", "cluster", "--name", c.name); r.code != 0 {
		t.Errorf("a second delete: exit code %d\n%s", r.code, r.stderr)
	}
}

// freeze leaves a pod of a node frozen, as runc does for a moment when it
// changes a pod's group: a node that is killed then does not end by itself on
// a host with cgroup v1, and must be deleted all the same.
func freeze(t *testing.T, node string) {
	t.Helper()
	id := docker(t, "inspect", "-f", "{{.Id}}", node)
	groups, err := filepath.Glob("/sys/fs/cgroup/freezer/docker/" + id + "/kubelet/kubepods/*/pod*/*/freezer.state")
	if err != nil {
		t.Fatal(err)
	}
	if len(groups) == 0 {
		t.Log("nothing was frozen: this is no host with cgroup v1 under /docker, or not one that may be written")
		return
	}
	if err := os.WriteFile(groups[0], []byte("FROZEN"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("frozen: %s", groups[0])
}

// owned lists everything of a cluster that the engine has.
func owned(t *testing.T, name string) []string {
	t.Helper()
	label := "label=dev.petri.cluster=" + name
	var out []string
	for _, args := range [][]string{
		{"ps", "-aq", "--filter", label},
		{"network", "ls", "-q", "--filter", label},
		{"volume", "ls", "-q", "--filter", label},
	} {
		out = append(out, strings.Fields(docker(t, args...))...)
	}
	return out
}
