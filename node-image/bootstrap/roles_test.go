package bootstrap

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// posts is an API server that has everything, and would take more.
type posts struct {
	mu    sync.Mutex
	made  []string  // path and body of each request
	first time.Time // when the first came
}

func (p *posts) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.made == nil {
		p.first = time.Now()
	}
	p.made = append(p.made, r.Method+" "+strings.TrimPrefix(r.URL.Path, "/apis/rbac.authorization.k8s.io/v1")+" "+string(body))
	code := http.StatusConflict
	if r.URL.RawQuery == "dryRun=All" {
		code = http.StatusCreated
	}
	return &http.Response{StatusCode: code, Body: http.NoBody}, nil
}

// names are what was made, without the bodies.
func (p *posts) names() []string {
	out := make([]string, len(p.made))
	for i, m := range p.made {
		out[i], _, _ = strings.Cut(m, " {")
	}
	slices.Sort(out)
	return out
}

var ownRoles = []string{"POST /namespaces/kube-system/rolebindings", "POST /namespaces/kube-system/roles"}

// TestMakeRoles makes the image's roles and petri's, and passes over those that are
// there.
func TestMakeRoles(t *testing.T) {
	const defaults = `{"kind":"List","items":[{"kind":"ClusterRole","metadata":{"name":"a"}},{"kind":"ClusterRoleBinding","metadata":{"name":"b"}},` +
		`{"kind":"Role","metadata":{"name":"c","namespace":"kube-public"}}]}`
	const server = "image: registry.k8s.io/kube-apiserver:v1.36.3_1\n"
	for name, test := range map[string]struct {
		manifest, roles string
		want            []string
	}{
		"of a release":       {"- --authorization-mode=Node,RBAC\n" + server, defaults, slices.Concat([]string{"POST /clusterrolebindings", "POST /clusterroles", "POST /namespaces/kube-public/roles"}, ownRoles)},
		"of no release":      {server, "", ownRoles},
		"with feature gates": {"- --feature-gates=A=true\n" + server, defaults, ownRoles},
		"as another version": {"- --emulated-version=1.35\n" + server, defaults, ownRoles},
		"of another version": {"image: registry.k8s.io/kube-apiserver:v1.36.1\n", defaults, ownRoles},
		"of somebody's":      {"image: example.com/kube-apiserver:v1.36.3_1\n", defaults, ownRoles},
	} {
		t.Run(name, func(t *testing.T) {
			node, fake, _ := newNode(t, nodeimage.Plan{}, "")
			fake.put(manifestsDir+"/kube-apiserver.yaml", test.manifest)
			fake.put(nodeimage.VersionPath, "v1.36.3+1\n")
			if test.roles != "" {
				fake.put(nodeimage.RolesPath, test.roles)
			}
			api := new(posts)
			node.as = func(string) *http.Client { return &http.Client{Transport: api} }
			if err := node.makeRoles(t.Context()); err != nil {
				t.Fatal(err)
			}
			diff(t, test.want, api.names())
			if test.roles == defaults && len(test.want) > len(ownRoles) && !slices.Contains(api.made, `POST /clusterroles {"kind":"ClusterRole","metadata":{"name":"a"}}`) {
				t.Errorf("made %q", api.made)
			}
		})
	}
}

// TestRolesThatAreNone are refused: the image is broken.
func TestRolesThatAreNone(t *testing.T) {
	for _, roles := range []string{"{", `{"items":[{"kind":"Secret"}]}`, `{"items":[1]}`} {
		node, fake, _ := newNode(t, nodeimage.Plan{}, "")
		fake.put(manifestsDir+"/kube-apiserver.yaml", "image: registry.k8s.io/kube-apiserver:v1.36.3\n")
		fake.put(nodeimage.VersionPath, "v1.36.3\n")
		fake.put(nodeimage.RolesPath, roles)
		if err := node.makeRoles(t.Context()); err == nil || !strings.Contains(err.Error(), nodeimage.RolesPath) {
			t.Errorf("%s: the error is %v", roles, err)
		}
	}
}
