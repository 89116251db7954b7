package bootstrap

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// nodeRoles lets nodes read the configuration of the system's own pods, which has no
// secrets, before the API server has understood that a pod is theirs. A kubelet hears
// of its pod at the same moment as the server's authorizer does (Node,
// k8s.io/kubernetes plugin/pkg/auth/authorizer/node), asks at once, and when it is
// the first it is refused, and asks again after a second or two.
//
//go:embed roles.yaml
var nodeRoles []byte

// rolesAtOnce is how many roles are made at the same time: etcd syncs what comes
// together once.
const rolesAtOnce = 8

// makeRoles makes the default roles and bindings of this version of Kubernetes,
// which the image has from its source, and those that petri adds. The API server
// makes what is missing of its own a second after it serves, one after the other, and
// is not ready before that; until then it has little to do. What cannot be made
// here is left to it.
func (n *Node) makeRoles(ctx context.Context) error {
	roles, err := n.roles()
	if err != nil {
		return err
	}
	client, err := n.clientAs(nodeimage.SuperAdminConfPath)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	defer n.Events.phase("node/roles")()
	makeEach(ctx, client, "https://"+localAPI, roles)
	return nil
}

// roles are those to be made. The API server takes nothing away that it finds in its
// defaults, so they are left to one of another version than the image's, and to one
// that was told of feature gates or to behave like another version: it has others.
func (n *Node) roles() ([]role, error) {
	own, err := yaml.YAMLToJSON(nodeRoles)
	if err != nil {
		return nil, err
	}
	out, err := parseRoles(own)
	if err != nil {
		return nil, fmt.Errorf("roles of petri: %w", err)
	}
	ours, err := n.serverIsOfImage()
	if err != nil || !ours {
		return out, err
	}
	defaults, err := os.ReadFile(n.path(nodeimage.RolesPath))
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	more, err := parseRoles(defaults)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", nodeimage.RolesPath, err)
	}
	return slices.Concat(out, more), nil
}

// serverIsOfImage reports whether the API server is the one that the image has, and
// behaves as it does by default.
func (n *Node) serverIsOfImage() (bool, error) {
	manifest, err := os.ReadFile(filepath.Join(n.path(manifestsDir), "kube-apiserver.yaml"))
	if err != nil {
		return false, err
	}
	for _, flag := range []string{"--feature-gates", "--emulat", "--min-compatibility-version"} {
		if bytes.Contains(manifest, []byte(flag)) {
			return false, nil
		}
	}
	version, err := os.ReadFile(n.path(nodeimage.VersionPath))
	if err != nil {
		return false, err
	}
	tag := strings.ReplaceAll(strings.TrimSpace(string(version)), "+", "_") // as kubeadm does
	return bytes.Contains(manifest, []byte("image: registry.k8s.io/kube-apiserver:"+tag+"\n")), nil
}

// role is a role or a binding.
type role struct {
	path string // of the collection that it is made in
	body []byte // JSON
}

// collections of the objects that a List of roles may have.
var collections = map[string]string{
	"ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings",
	"Role": "roles", "RoleBinding": "rolebindings",
}

// parseRoles reads a List in JSON.
func parseRoles(list []byte) ([]role, error) {
	var l struct{ Items []json.RawMessage }
	if err := json.Unmarshal(list, &l); err != nil {
		return nil, err
	}
	out := make([]role, len(l.Items))
	for i, item := range l.Items {
		var o struct {
			Kind     string
			Metadata struct{ Namespace string }
		}
		if err := json.Unmarshal(item, &o); err != nil {
			return nil, err
		}
		path, ok := collections[o.Kind]
		if !ok {
			return nil, fmt.Errorf("item %d is of kind %q", i, o.Kind)
		}
		if o.Metadata.Namespace != "" {
			path = "namespaces/" + o.Metadata.Namespace + "/" + path
		}
		out[i] = role{path: "/apis/rbac.authorization.k8s.io/v1/" + path, body: item}
	}
	return out, nil
}

// makeEach makes objects, and passes over those that cannot be made.
func makeEach(ctx context.Context, client *http.Client, server string, roles []role) {
	if t, ok := client.Transport.(*http.Transport); ok {
		t.MaxIdleConnsPerHost = rolesAtOnce
	}
	var all errgroup.Group
	all.SetLimit(rolesAtOnce)
	for _, r := range roles {
		all.Go(func() error {
			r.make(ctx, client, server)
			return nil
		})
	}
	_ = all.Wait()
}

// make makes the object, if that can be.
func (r role) make(ctx context.Context, client *http.Client, server string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server+r.path, bytes.NewReader(r.body))
	if err != nil {
		return
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "petri-node")
	response, err := client.Do(request)
	if err != nil {
		return
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body) // so that the connection is used again
}
