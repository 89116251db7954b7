package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/config"
)

var root = filepath.Join("..", "..")

func TestPagesAreCurrent(t *testing.T) {
	if err := run(root, true); err != nil {
		t.Error(err)
	}
}

// Checking finds what differs, and writing puts it right.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	source, err := os.ReadFile(filepath.Join(root, configSource))
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, configSource, string(source))
	put(t, dir, "site/content/docs/reference/config.md", "old")
	put(t, dir, errorSource, "## One\n\nText.\n\n### A-B\n\nSee [C](#c-d), [x](#one) and [k](kind.md#k).\n\n## Two\n\n### C-D\n\nMore.\n")
	put(t, dir, errorDir+"/gone.md", "of an ID that is gone")
	if err := run(dir, true); err == nil || !strings.Contains(err.Error(), "config.md") {
		t.Errorf("an old page: %v", err)
	}
	if err := run(dir, false); err != nil {
		t.Fatal(err)
	}
	if err := run(dir, true); err != nil {
		t.Errorf("a page that was just written: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(errorDir), "gone.md")); err == nil {
		t.Error("the page of an ID that is gone is still there")
	}
	page, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(errorPage("A-B"))))
	if err != nil || !strings.Contains(string(page), "\n\nSee [C](c-d.md), [x](../troubleshooting.md#one) and [k](../kind.md#k).\n") {
		t.Errorf("%s, %v", page, err)
	}
	put(t, dir, errorDir+"/gone.md", "again")
	if err := run(dir, true); err == nil || !strings.Contains(err.Error(), "gone.md") {
		t.Errorf("a page too many: %v", err)
	}
}

func put(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestReadObjects(t *testing.T) {
	const good = "package p\n\n// T is it.\ntype T struct {\n\t// A is a.\n\t// More.\n\t//\n\t//   - Unit: bytes\n\t//   - Default: 1\n\t//   - Example: a: 2\n\tA *int `json:\"a,omitempty\"`\n}\n"
	objects, err := readObjects(write(t, good))
	if err != nil {
		t.Fatal(err)
	}
	want := []object{{name: "T", prose: "T is it.", fields: []field{{
		name: "a", typ: "int", prose: "`a` is a. More.", facts: []fact{{"Unit", "bytes"}, {"Default", "1"}, {"Example", "a: 2"}},
	}}}}
	if diff := cmp.Diff(want, objects, cmp.AllowUnexported(object{}, field{}, fact{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, edit := range map[string][2]string{
		"no default":          {"\t//   - Default: 1\n", ""},
		"no example":          {"\t//   - Example: a: 2\n", ""},
		"an unknown fact":     {"Unit", "Units"},
		"facts out of order":  {"- Unit: bytes\n\t//   - Default: 1", "- Default: 1\n\t//   - Unit: bytes"},
		"another field":       {"Example: a: 2", "Example: b: 2"},
		"another name":        {"// A is a.", "// It is a."},
		"a fact without text": {"- Default: 1", "- Default"},
		"no Go":               {"struct {", "struct"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := strings.Replace(good, edit[0], edit[1], 1)
			if bad == good {
				t.Fatal("the edit does nothing")
			}
			if _, err := readObjects(write(t, bad)); err == nil {
				t.Error("no error")
			}
		})
	}
}

func write(t *testing.T, source string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "types.go")
	if err := os.WriteFile(path, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func configPlaces(t *testing.T) []place {
	t.Helper()
	objects, err := readObjects(filepath.Join(root, configSource))
	if err != nil {
		t.Fatal(err)
	}
	places, err := walk(objects)
	if err != nil {
		t.Fatal(err)
	}
	return places
}

// siblings are the fields that an object, or a field of one, cannot be without.
var siblings = map[string]string{
	"nodes[]":                     "role: control-plane",
	"nodes[].taints[]":            "{key: k, effect: NoSchedule}",
	"nodes[].extraMounts[]":       "{hostPath: ./src, containerPath: /src}",
	"nodes[].extraPortMappings[]": "{containerPort: 80}",
	"registries[]":                "{host: registry.example}",

	"registries[].username":     "{passwordEnv: REGISTRY_TOKEN}",
	"registries[].passwordFile": "{username: puller}",
	"registries[].passwordEnv":  "{username: puller}",

	"kubeadmConfigPatchesJSON6902[]": `{group: kubelet.config.k8s.io, version: v1beta1, kind: KubeletConfiguration, patch: "[]"}`,
}

// Every example of the reference is a configuration that is accepted and that
// says something: the field has a value other than none.
func TestExamplesAreAccepted(t *testing.T) {
	count := 0
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "src"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"registry-ca.pem", "registry-token"} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range configPlaces(t) {
		for _, f := range p.fields {
			count++
			t.Run(join(p.path, f.name), func(t *testing.T) {
				file := nest(t, p.path, f)
				image := func(string) string { return "petri/node:example" }
				if _, err := config.Load(file, "example.yaml", config.Options{DefaultImage: image, Dir: dir}); err != nil {
					t.Errorf("%v\n%s", err, file)
				}
			})
		}
	}
	if count < 40 {
		t.Errorf("only %d fields were found", count)
	}
}

// nest makes a file in which the example of a field stands where it belongs.
func nest(t *testing.T, path string, f field) []byte {
	t.Helper()
	value := parse(t, siblings[path])
	maps.Copy(value, parse(t, siblings[join(path, f.name)]))
	for key, v := range parse(t, f.fact("Example")) {
		if v == nil {
			t.Errorf("the example of %s has no value", f.name)
		}
		value[key] = v
	}
	for path != "" {
		above, last, _ := cutLast(path)
		name, isList := strings.CutSuffix(last, "[]")
		outer := parse(t, siblings[above])
		if isList {
			outer[name] = []any{value}
		} else {
			outer[name] = value
		}
		if above == "" && name == "nodes" { // a worker's example needs a control plane
			outer[name] = []any{map[string]any{"role": "control-plane"}, value}
		}
		path, value = above, outer
	}
	value["apiVersion"], value["kind"] = "petri.dev/v1alpha1", "Cluster"
	data, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func cutLast(path string) (above, last string, found bool) {
	i := strings.LastIndex(path, ".")
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	out := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}

// The defaults that the reference names are those that are filled in.
func TestDefaultsAreTrue(t *testing.T) {
	const file = `{apiVersion: petri.dev/v1alpha1, kind: Cluster, nodes: [{
		extraMounts: [{hostPath: /src, containerPath: /src}], extraPortMappings: [{containerPort: 80}]}]}`
	c, err := config.Load([]byte(file), "defaults.yaml", config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	data, err := config.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	filled := map[string]string{}
	flatten(filled, "", parse(t, string(data)))
	count := 0
	for _, p := range configPlaces(t) {
		for _, f := range p.fields {
			path := join(p.path, f.name)
			got, ok := filled[path]
			if !ok || f.name == "apiVersion" || f.name == "kind" || strings.HasPrefix(f.fact("Default"), "none, it must") {
				continue
			}
			count++
			// "127.0.0.1, for ipFamily ipv6 ::1"
			if want, _, _ := strings.Cut(f.fact("Default"), ", for "); got != want {
				t.Errorf("the default of %s is %s, and the reference says %s", path, got, f.fact("Default"))
			}
		}
	}
	if count < 11 {
		t.Errorf("only %d defaults were compared", count)
	}
}

// flatten notes every single value by its path.
func flatten(out map[string]string, path string, value any) {
	switch value := value.(type) {
	case map[string]any:
		for key, v := range value {
			flatten(out, join(path, key), v)
		}
	case []any:
		for _, v := range value {
			flatten(out, path+"[]", v)
		}
	default:
		out[path] = fmt.Sprint(value)
	}
}
