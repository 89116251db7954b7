package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"sigs.k8s.io/yaml"
)

// roleFiles are where the source of Kubernetes lists what its API server makes of
// roles and bindings by default, in the order in which it makes them. Its own tests
// compare them with the code (policy_test.go beside them).
var roleFiles = []string{
	rolesDir + "/cluster-roles.yaml", rolesDir + "/controller-roles.yaml",
	rolesDir + "/cluster-role-bindings.yaml", rolesDir + "/controller-role-bindings.yaml",
	rolesDir + "/namespace-roles.yaml", rolesDir + "/namespace-role-bindings.yaml",
}

const rolesDir = "plugin/pkg/auth/authorizer/rbac/bootstrappolicy/testdata"

// defaultRoles makes one List, in JSON, of these files, which are at path(name).
// Without one of them it is nil.
func defaultRoles(path func(name string) string) ([]byte, error) {
	list := struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Items      []json.RawMessage `json:"items"`
	}{APIVersion: "v1", Kind: "List"}
	for _, name := range roleFiles {
		data, err := os.ReadFile(path(name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the default roles: %w", err)
		}
		var some struct{ Items []json.RawMessage }
		if err := yaml.Unmarshal(data, &some); err != nil {
			return nil, fmt.Errorf("read the default roles: %s: %w", name, err)
		}
		list.Items = append(list.Items, some.Items...)
	}
	return json.Marshal(list)
}
