package release

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDefaultRoles(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, filepath.Base(name)) }
	for _, name := range roleFiles {
		text := "apiVersion: v1\nitems:\n- kind: " + strings.TrimSuffix(filepath.Base(name), ".yaml") + "\n  metadata:\n    name: a\nkind: List\n"
		if err := os.WriteFile(path(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := defaultRoles(path)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"apiVersion":"v1","kind":"List","items":[` +
		`{"kind":"cluster-roles","metadata":{"name":"a"}},{"kind":"controller-roles","metadata":{"name":"a"}},` +
		`{"kind":"cluster-role-bindings","metadata":{"name":"a"}},{"kind":"controller-role-bindings","metadata":{"name":"a"}},` +
		`{"kind":"namespace-roles","metadata":{"name":"a"}},{"kind":"namespace-role-bindings","metadata":{"name":"a"}}]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(path("cluster-roles.yaml"), []byte("\tno"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := defaultRoles(path); err == nil || !strings.Contains(err.Error(), "cluster-roles.yaml") {
		t.Errorf("the error does not name the file: %v", err)
	}
	if err := os.Remove(path("cluster-roles.yaml")); err != nil {
		t.Fatal(err)
	}
	if got, err := defaultRoles(path); got != nil || err != nil {
		t.Errorf("without a file: %s, %v", got, err)
	}
}
