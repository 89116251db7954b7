package kubeconfig

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiscovery(t *testing.T) {
	const admin = `apiVersion: v1
kind: Config
current-context: kubernetes-admin@dev
clusters: [{name: dev, cluster: {certificate-authority-data: Q0E=, server: "https://dev-control-plane:6443"}}]
contexts: [{name: kubernetes-admin@dev, context: {cluster: dev, user: kubernetes-admin}}]
users: [{name: kubernetes-admin, user: {client-certificate-data: Y2VydA==, client-key-data: c2VjcmV0}}]
`
	got, err := Discovery([]byte(admin))
	if err != nil {
		t.Fatal(err)
	}
	const want = `apiVersion: v1
kind: Config
clusters:
    - name: ""
      cluster:
        server: https://dev-control-plane:6443
        certificate-authority-data: Q0E=
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, text := range map[string]string{
		"no YAML":      "a: b: c2VjcmV0",
		"no cluster":   "clusters: []\nusers: [c2VjcmV0]",
		"two clusters": "clusters: [{cluster: {server: a, certificate-authority-data: c2VjcmV0}}, {cluster: {server: a, certificate-authority-data: c2VjcmV0}}]",
		"no CA":        "clusters: [{cluster: {server: c2VjcmV0}}]",
		"wrong types":  "clusters: c2VjcmV0",
	} {
		if _, err := Discovery([]byte(text)); err == nil || strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
