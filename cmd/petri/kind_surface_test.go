package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/petri-cluster/petri/cmd/petri/command"
	"github.com/petri-cluster/petri/pkg/config/kindv1alpha4"
)

// TestKindSurface holds the list of what kind has against the commands that
// petri has as kind, and against the tests that the list names.
func TestKindSurface(t *testing.T) {
	tests := testFunctions(t, filepath.Join("..", ".."))
	root := kindRoot(t)
	seen := map[string]bool{}
	for _, item := range command.KindSurface() {
		id := item.Kind + " " + item.Name
		if seen[id] {
			t.Errorf("%s is there twice", id)
		}
		seen[id] = true
		if (item.How == "") != (item.State == command.Same) {
			t.Errorf("%s is %s, and how is %q", id, item.State, item.How)
		}
		if len(item.Tests) == 0 {
			t.Errorf("%s: no test shows it", id)
		}
		for _, name := range item.Tests {
			if !tests[name] {
				t.Errorf("%s: there is no %s", id, name)
			}
		}
		words := strings.Fields(item.Name)
		switch item.Kind {
		case "command":
			if c, rest, err := root.Find(words); err != nil || len(rest) > 0 || c == root {
				t.Errorf("there is no command %q", item.Name)
			}
		case "flag":
			c, _, err := root.Find(words[:len(words)-1])
			name := strings.TrimPrefix(words[len(words)-1], "--")
			if err != nil || c.Flags().Lookup(name) == nil && c.PersistentFlags().Lookup(name) == nil && name != "version" {
				t.Errorf("there is no flag %q", item.Name)
			}
		}
	}
}

// The list has every field of kind's configuration.
func TestKindSurfaceFields(t *testing.T) {
	var got []string
	for _, item := range command.KindSurface() {
		if item.Kind == "field" {
			got = append(got, item.Name)
		}
	}
	want := fieldsOf(reflect.TypeFor[kindv1alpha4.Cluster](), "")
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

// fieldsOf are the places of a type's fields, and of the fields of those that
// are objects; not of those that say which document, and for which one.
func fieldsOf(typ reflect.Type, above string) []string {
	var out []string
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		path, below := above+name, f.Type
		if below.Kind() == reflect.Slice {
			below = below.Elem()
		}
		switch {
		case name == "apiVersion" || name == "kind":
		case below.Kind() == reflect.Struct && below != reflect.TypeFor[kindv1alpha4.PatchJSON6902]():
			if f.Type.Kind() == reflect.Slice {
				path += "[]"
			}
			out = append(out, fieldsOf(below, path+".")...)
		default:
			out = append(out, path)
		}
	}
	return out
}

// kindRoot is the command tree that petri has when it is called kind.
func kindRoot(t *testing.T) *cobra.Command {
	t.Helper()
	app := &command.App{Program: "/usr/local/bin/kind"}
	root, err := app.Tree(nil)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// testFunctions are the names of all tests below a directory.
func testFunctions(t *testing.T, dir string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		for _, m := range testFunction.FindAllStringSubmatch(string(data), -1) {
			names[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
