package kubeadm

import (
	"strings"
	"testing"

	"github.com/petri-cluster/petri/pkg/config"
)

// What is wrong in a document is kubeadm's to say: merging neither panics nor
// loses it.
func TestOverlayOfWrongTypes(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"names that are objects": {"apiServer: {certSANs: [{a: b}, {a: b}]}", "- a: b\n  - a: b\n"},
		"names that are lists":   {"apiServer: {certSANs: [[x]]}", "- - x\n"},
		"arguments by name":      {"controllerManager: {extraArgs: {v: '4'}}", "extraArgs:\n    v: \"4\"\n"},
		"arguments as text":      {"controllerManager: {extraArgs: [v=4]}", "- v=4\n"},
		"text for an object":     {"networking: here", "networking: here\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster(0)
			c.Kubeadm = []config.RawDocument{{Kind: "ClusterConfiguration", YAML: "kind: ClusterConfiguration\n" + test.text}}
			out, err := Render(input(c, 0))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(out), test.want) {
				t.Errorf("%q is not in\n%s", test.want, out)
			}
		})
	}
}

// An argument may be there several times: each of a document's stays.
func TestOverlayKeepsRepeatedArguments(t *testing.T) {
	c := cluster(0)
	c.Kubeadm = []config.RawDocument{{Kind: "ClusterConfiguration", YAML: `kind: ClusterConfiguration
controllerManager: {extraArgs: [{name: kube-api-qps, value: "1"}, {name: kube-api-qps, value: "2"}]}`}}
	out, err := Render(input(c, 0))
	if err != nil {
		t.Fatal(err)
	}
	const want = "- name: kube-api-qps\n    value: \"1\"\n  - name: kube-api-qps\n    value: \"2\"\n"
	if !strings.Contains(string(out), want) || !strings.Contains(string(out), `"500"`) {
		t.Errorf("want both arguments, and petri's burst:\n%s", out)
	}
}
