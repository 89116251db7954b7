package bootstrap

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// creation is an object of the API that is to be made.
type creation struct {
	path string // of the collection that it is made in
	body []byte // JSON
}

// collections of the kinds of objects that a List to be made may have: the API's
// group, and what comes after the namespace, if there is one.
var collections = map[string]struct{ group, name string }{
	"ClusterRole":        {rbac, "clusterroles"},
	"ClusterRoleBinding": {rbac, "clusterrolebindings"},
	"Role":               {rbac, "roles"},
	"RoleBinding":        {rbac, "rolebindings"},
	"PriorityClass":      {"/apis/scheduling.k8s.io/v1/", "priorityclasses"},
}

const rbac = "/apis/rbac.authorization.k8s.io/v1/"

// parseObjects reads a List, in YAML or JSON.
func parseObjects(list []byte) ([]creation, error) {
	list, err := yaml.YAMLToJSON(list)
	if err != nil {
		return nil, err
	}
	var l struct{ Items []json.RawMessage }
	if err := json.Unmarshal(list, &l); err != nil {
		return nil, err
	}
	out := make([]creation, len(l.Items))
	for i, item := range l.Items {
		var o struct {
			Kind     string
			Metadata struct{ Namespace string }
		}
		if err := json.Unmarshal(item, &o); err != nil {
			return nil, err
		}
		in, ok := collections[o.Kind]
		if !ok {
			return nil, fmt.Errorf("item %d is of kind %q", i, o.Kind)
		}
		path := in.group + in.name
		if o.Metadata.Namespace != "" {
			path = in.group + "namespaces/" + o.Metadata.Namespace + "/" + in.name
		}
		out[i] = creation{path: path, body: item}
	}
	return out, nil
}

// madeAtOnce is how many objects are made at the same time: etcd syncs what comes
// together once.
const madeAtOnce = 8

// maker makes objects by an API server.
type maker struct {
	*http.Client
	server string
}

// admin asks the cluster's API, at the address that nodes know, as its administrator.
func (n *Node) admin() (*maker, error) {
	user, err := n.readKubeconfig(nodeimage.AdminConfPath)
	if err != nil {
		return nil, err
	}
	client, err := n.clientAs(nodeimage.AdminConfPath)
	if err != nil {
		return nil, err
	}
	return &maker{client, user.Server}, nil
}

// superuser makes objects that nobody else may make yet.
func (n *Node) superuser() (*maker, error) {
	client, err := n.clientAs(nodeimage.SuperAdminConfPath)
	if err != nil {
		return nil, err
	}
	if t, ok := client.Transport.(*http.Transport); ok {
		t.MaxIdleConnsPerHost = madeAtOnce
	}
	return &maker{client, "https://" + localAPI}, nil
}

// each makes objects, and passes over those that cannot be made.
func (m *maker) each(ctx context.Context, objects []creation) {
	var all errgroup.Group
	all.SetLimit(madeAtOnce)
	for _, o := range objects {
		all.Go(func() error {
			_, _ = m.ask(ctx, http.MethodPost, o.path, o.body)
			return nil
		})
	}
	_ = all.Wait()
}

// object is one of the API's, as JSON.
type object = map[string]any

// post makes an object, and gives it as the API has it.
func (m *maker) post(ctx context.Context, path string, o object) ([]byte, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	return m.ask(ctx, http.MethodPost, path, body)
}

// ask gives the API's answer to a request that it carried out.
func (m *maker) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, m.server+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "petri-node")
	response, err := m.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK && response.StatusCode != http.StatusCreated {
		err = fmt.Errorf("%s %s: status %d", method, path, response.StatusCode)
	}
	return answer, err
}
