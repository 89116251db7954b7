package kubeadm

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// document is the ClusterConfiguration among the documents of a node.
func document(t *testing.T, in Input) object {
	t.Helper()
	rendered, err := Render(in)
	if err != nil {
		t.Fatal(err)
	}
	for text := range strings.SplitSeq(string(rendered), "---\n") {
		var d object
		if err := yaml.Unmarshal([]byte(text), &d); err != nil {
			t.Fatal(err)
		}
		if d["kind"] == "ClusterConfiguration" {
			return d
		}
	}
	t.Fatal("no ClusterConfiguration")
	return nil
}

// TestExtend wants a cluster that has grown to say what one says that was made
// with several control planes.
func TestExtend(t *testing.T) {
	one := document(t, input(cluster(0), 0))
	several := input(twoControlPlanes(), 0)
	several.ControlPlaneEndpoint = "dev-external-load-balancer:6444"
	want := document(t, several)
	local := want["etcd"].(object)["local"].(object)
	local[extraArgs] = slices.DeleteFunc(local[extraArgs].([]any), func(a any) bool { return a.(object)["name"] == "max-learners" }) // they are announced one by one
	for range 2 {
		data, err := yaml.Marshal(one)
		if err != nil {
			t.Fatal(err)
		}
		if data, err = Extend(data, several.ControlPlaneEndpoint); err != nil {
			t.Fatal(err)
		}
		one = nil
		if err := yaml.Unmarshal(data, &one); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, one); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// TestExtendKeepsWhatIsNotItsOwn leaves arguments that somebody chose.
func TestExtendKeepsWhatIsNotItsOwn(t *testing.T) {
	const mine = `controllerManager:
  extraArgs:
  - name: leader-elect
    value: "true"
  - name: v
    value: "5"
etcd:
  external:
    endpoints: [https://elsewhere:2379]
kubernetesVersion: v1.37.0
`
	got, err := Extend([]byte(mine), "dev-external-load-balancer:6444")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`value: "true"`, `value: "5"`, "https://elsewhere:2379", "v1.37.0", "dev-external-load-balancer:6444"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%q is gone from\n%s", want, got)
		}
	}
	if _, err := Extend([]byte("[]"), ""); err == nil {
		t.Error("a list was taken for a document")
	}
}
