//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/hack/cis"
)

// The checks of the CIS benchmark have the results that are published for the
// default profile.
func TestCISDefault(t *testing.T) {
	t.Parallel()
	checkCIS(t, shared.get(t).cluster, func(c cis.Check) cis.Result { return c.Default })
}

// checkCIS looks at a control plane, and at a worker for what concerns kubelets.
func checkCIS(t *testing.T, c *cluster, want func(cis.Check) cis.Result) {
	t.Helper()
	nodes := map[string]*nodeView{}
	for _, name := range []string{c.name + "-control-plane", c.name + "-worker"} {
		nodes[name] = viewOf(t, c, name)
	}
	passed := 0
	for _, check := range cis.Checks {
		for name, v := range nodes {
			if check.Look == nil || strings.HasSuffix(name, "-worker") && !strings.HasPrefix(check.ID, "4.") {
				continue
			}
			err := check.Look(v)
			if got := map[bool]cis.Result{true: cis.Pass, false: cis.Fail}[err == nil]; got != want(check) {
				t.Errorf("%s, %s: %s, published is %s: %v", name, check.ID, got, want(check), err)
			} else if got == cis.Pass {
				passed++
			}
		}
	}
	t.Logf("%d passed", passed)
}

// nodeView is a cis.View of a real node.
type nodeView struct {
	t       *testing.T
	node    string
	flags   map[string]map[string]string
	kubelet map[string]any
}

func viewOf(t *testing.T, c *cluster, node string) *nodeView {
	t.Helper()
	v := &nodeView{t: t, node: node, flags: map[string]map[string]string{}}
	var configz struct{ Kubeletconfig map[string]any }
	raw := c.must(t, "get", "--raw", "/api/v1/nodes/"+node+"/proxy/configz")
	if err := json.Unmarshal([]byte(raw), &configz); err != nil {
		t.Fatal(err)
	}
	v.kubelet = configz.Kubeletconfig
	if !strings.HasSuffix(node, "-control-plane") {
		return v
	}
	for _, component := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"} {
		v.flags[component] = flagsOf(t, v.Read("/etc/kubernetes/manifests/"+component+".yaml"))
	}
	return v
}

// flagsOf are the arguments in the manifest of a static pod.
func flagsOf(t *testing.T, manifest string) map[string]string {
	t.Helper()
	var pod struct {
		Spec struct{ Containers []struct{ Command []string } }
	}
	if err := yaml.Unmarshal([]byte(manifest), &pod); err != nil || len(pod.Spec.Containers) != 1 {
		t.Fatalf("%v: no static pod\n%s", err, manifest)
	}
	flags := map[string]string{}
	for _, arg := range pod.Spec.Containers[0].Command[1:] {
		name, value, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		flags[name] = value
	}
	return flags
}

func (v *nodeView) Files(pattern string) []cis.File {
	// the pattern is the test's own
	out := docker(v.t, "exec", v.node, "sh", "-c", `for f in `+pattern+`; do [ ! -f "$f" ] && [ ! -d "$f" ] || stat -L -c '%a %U:%G %n' "$f"; done`)
	var files []cis.File
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		mode, err := strconv.ParseUint(fields[0], 8, 32)
		if err != nil {
			v.t.Fatal(err)
		}
		if strings.HasSuffix(fields[2], "/etcd") && strings.Contains(pattern, "*") || strings.HasSuffix(fields[2], "/pki/petri") {
			continue // a directory among files
		}
		files = append(files, cis.File{Path: fields[2], Mode: int(mode), Owner: fields[1]})
	}
	return files
}

func (v *nodeView) Flags(component string) map[string]string { return v.flags[component] }

func (v *nodeView) Kubelet(field string) string {
	var at any = v.kubelet
	for name := range strings.SplitSeq(field, ".") {
		below, _ := at.(map[string]any)
		at = below[name]
	}
	if at == nil {
		return ""
	}
	return fmt.Sprint(at)
}

func (v *nodeView) Read(path string) string {
	r := run(v.t.Context(), "", "", "docker", "exec", v.node, "cat", path)
	if r.code != 0 {
		return ""
	}
	return r.stdout
}
