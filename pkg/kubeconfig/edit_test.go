package kubeconfig

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the golden files")

var dev = Entry{
	Name:                 "petri-dev",
	Server:               "https://127.0.0.1:40001",
	CertificateAuthority: []byte("ca"),
	ClientCertificate:    []byte("certificate"),
	ClientKey:            []byte("key"),
}

// work is a kubeconfig with one foreign entry, as kubectl writes it.
const work = `apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: d29yaw==
    server: https://work.example:6443
  name: work
contexts:
- context:
    cluster: work
    namespace: payments
    user: me
  name: work
current-context: work
kind: Config
users:
- name: me
  user:
    token: secret
`

const commented = `# my clusters
apiVersion: v1
kind: Config
preferences: {colors: true}   # odd spacing stays

users:   # people first
  # that is me
  - name: me
    user:
      exec: &tool
        apiVersion: client.authentication.k8s.io/v1
        command: "get-token"
        args: [ 'a',  "b" ]   # quoted both ways
        env: ~
  # the last word

contexts:

  - name: work
    context: { cluster: work, user: me }

  # - name: retired
  #   context: { cluster: retired }
current-context:    "work" # was: home
x-vendor:
  notes: |
    clusters:
    - name: petri-dev
  copy: *tool
clusters:
  - # one of two
    name: work
    cluster:
      server: https://work.example:6443
      x-unknown: {deep: [1, 2,
        3]}
  -
    name: other
    cluster: {server: "https://other.example"}
# end`

// TestAddAndDrop holds the layouts seen in the wild against golden files: what
// add makes of each, and what drop leaves of that.
func TestAddAndDrop(t *testing.T) {
	cases := map[string]string{
		"empty":         "",
		"comments-only": "# to be filled\n\n# really\n",
		"kubectl":       work,
		"commented":     commented,
		"no-last-eol":   strings.TrimSuffix(work, "\n"),
		"crlf":          strings.ReplaceAll(commented, "\n", "\r\n"),
		"bom":           byteOrderMark + work,
		"markers":       "---\n" + work + "...\n",
		"indented":      "  apiVersion: v1\n  clusters: null # none\n  users: []\n  contexts:\n  kind: Config\n",
		"no-lists":      "kind: Config\n# nothing yet\n",
		"flow-list":     "clusters: [{name: work, cluster: {server: s}}]\ncontexts: []\nusers: []\n",
		"json":          "{\n\t\"kind\": \"Config\",\n\t\"clusters\": [{\"name\": \"work\", \"cluster\": {\"server\": \"s\"}}],\n\t\"users\": null\n}\n",
		"block-scalar":  "clusters:\n- name: work\n  cluster:\n    note: |+\n      text\n\n\nusers: []\ncontexts: []\n",
		"first-of-two":  replaceEntry,
		"twice":         strings.ReplaceAll(work, "work", "petri-dev") + "- name: petri-dev\n  user: {token: a}\n- name: petri-dev\n  user: {token: b}\n",
	}
	for name, in := range cases {
		t.Run(name, func(t *testing.T) {
			merged, err := add([]byte(in), dev)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".merged", merged)
			again, err := add(merged, dev)
			if err != nil || !bytes.Equal(again, merged) {
				t.Errorf("adding again changes the file (%v):\n%s", err, cmp.Diff(string(merged), string(again)))
			}
			left, err := drop(merged, dev.Name)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".removed", left)
			if json.Valid([]byte(in)) && !(json.Valid(merged) && json.Valid(left)) {
				t.Error("the file is not JSON any more")
			}
		})
	}
}

// replaceEntry has an older entry of ours between foreign ones.
const replaceEntry = `clusters:
# before
- cluster:
    server: https://127.0.0.1:1 # gone with the entry
    # so is this
  name: petri-dev
# between

- cluster: {server: b}
  name: b
contexts:
- {name: petri-dev, context: {cluster: petri-dev, user: petri-dev, namespace: x}}
- {name: b}
current-context: b
users:
- name: b
- name: petri-dev
  user:
    token: old
extensions: []
`

// TestRoundTrip adds to files that say nothing of petri, takes it out again,
// and expects the very bytes back.
func TestRoundTrip(t *testing.T) {
	for name, in := range map[string]string{
		"kubectl": work, "commented": commented + "\n",
		"crlf": strings.ReplaceAll(commented+"\n", "\n", "\r\n"), "bom": byteOrderMark + work,
	} {
		merged, err := add([]byte(in), dev)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// Only the value of current-context may differ.
		merged = bytes.Replace(merged, []byte("current-context: petri-dev"), []byte("current-context: work"), 1)
		in = strings.Replace(in, `current-context:    "work"`, "current-context: work", 1)
		left, err := drop(merged, dev.Name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(in, string(left)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"broken":         {"clusters:\n- name: [", "line"},
		"a list":         {"- a\n", "not a mapping"},
		"a word":         {"hello\n", "not a mapping"},
		"two documents":  {"kind: Config\n---\nkind: Config\n", "more than one document"},
		"null":           {"null\n", "empty"},
		"wrong list":     {"clusters: {a: b}\n", "clusters is not a list"},
		"wrong item":     {"users: [a]\n", "item of users"},
		"wrong current":  {"current-context: [a]\n", "not a string"},
		"a key twice":    {"users: []\nusers: []\n", "there twice"},
		"an alias to us": {"users:\n- &a\n  name: petri-dev\nx: *a\n", "alias *a"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := add([]byte(tc.in), dev)
			if err == nil {
				t.Fatalf("want an error, got\n%s", out)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %q, want it to say %q", err, tc.want)
			}
		})
	}
}

func TestDropNothing(t *testing.T) {
	for _, in := range []string{"", "# c\n", work, "current-context: petri-dev2\n", "{}"} {
		out, err := drop([]byte(in), dev.Name)
		if err != nil || string(out) != in {
			t.Errorf("%q: got %q, %v", in, out, err)
		}
	}
}

// FuzzMerge holds the promise for any file: either an error, or a file that
// parses, has the entry, and has every foreign item as it was, also after the
// entry is taken out again.
func FuzzMerge(f *testing.F) {
	for _, seed := range []string{"", work, commented, replaceEntry, "{}", "a: &a [1]\nb: *a\nusers: !!seq []", "? users\n: - name: x\n",
		"clusters:\n- name: x\n  a: >+\n   b\n\nusers: # c", "- - -", "{\"users\":[{\"name\":\"x\"}]}", "contexts:\n  - name: x\r  - name: petri-dev"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		merged, err := add([]byte(in), dev)
		if err != nil {
			return
		}
		before, _ := parse([]byte(in))
		after := mustParse(t, merged)
		for _, key := range []string{"clusters", "contexts", "users"} {
			n := 0
			for _, item := range list(after.root, key) {
				if itemName(item) == dev.Name {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%d entries of ours in %s", n, key)
			}
		}
		if got := value(after.root, currentContext); got == nil || got.Value != dev.Name {
			t.Errorf("current-context is %v", got)
		}
		sameForeign(t, before, after)
		left, err := drop(merged, dev.Name)
		if errors.Is(err, errLayout) {
			return
		}
		if err != nil {
			t.Fatalf("drop what was added: %v", err)
		}
		sameForeign(t, before, mustParse(t, left))
	})
}

func mustParse(t *testing.T, content []byte) *document {
	t.Helper()
	d, err := parse(content)
	if err != nil || d.root == nil {
		t.Fatalf("no document (%v) in:\n%q", err, content)
	}
	return d
}

func list(root *yaml.Node, key string) []*yaml.Node {
	if root == nil || value(root, key) == nil {
		return nil
	}
	return value(root, key).Content
}

func sameForeign(t *testing.T, before, after *document) {
	t.Helper()
	for _, key := range []string{"clusters", "contexts", "users"} {
		if !equal(foreign(before.root, key), foreign(after.root, key)) {
			t.Errorf("foreign items of %s changed", key)
		}
	}
	if before.root == nil {
		return
	}
	for i := 0; i+1 < len(before.root.Content); i += 2 {
		key := before.root.Content[i].Value
		switch key {
		case "clusters", "contexts", "users", currentContext:
			continue
		}
		if got := value(after.root, key); got == nil || !same(got, value(before.root, key)) {
			t.Errorf("key %q changed", key)
		}
	}
}

func foreign(root *yaml.Node, key string) (items []*yaml.Node) {
	for _, item := range list(root, key) {
		if itemName(item) != dev.Name {
			items = append(items, item)
		}
	}
	return items
}

func equal(a, b []*yaml.Node) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !same(a[i], b[i]) {
			return false
		}
	}
	return true
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
