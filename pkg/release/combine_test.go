package release

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// combineTree makes a step and the workplace of a module with these files.
func combineTree(t *testing.T, files map[string]string) (Step, workplace) {
	t.Helper()
	dir := t.TempDir()
	writeTree(t, dir, files)
	s := Step{Module: "example.com/m", Programs: map[string]string{}}
	for _, name := range []string{"a", "b", "c"} {
		s.Programs[name] = "example.com/m/cmd/" + name
		s.Combine = append(s.Combine, name)
	}
	scratch := t.TempDir()
	return s, workplace{dir: dir, module: s.Module, source: dir, scratch: scratch}
}

func TestCombine(t *testing.T) {
	s, w := combineTree(t, map[string]string{
		"cmd/a/a.go":         "// Package main is a.\npackage main\n\nimport \"os\"\n\nfunc main() { os.Exit(domain()) }\n",
		"cmd/a/domain.go":    "package main\n\nfunc domain() int { return 1 }\n",
		"cmd/a/a_test.go":    "package main\n",
		"cmd/a/a_windows.go": "package main\n",
		"cmd/b/b.go":         "package main\n\ntype t struct{}\n\nfunc (t) main() {}\n\nfunc main() { t{}.main() }\n",
		"cmd/c/c.go":         "package main\n\nimport _ \"embed\"\n\n//go:embed c.txt\nvar text string\n\nfunc main() { println(text) }\n",
		"cmd/c/c.txt":        "text",
	})
	c, err := s.combine(w, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, c.programs); diff != "" {
		t.Errorf("a program with a file of data was combined: %s", diff)
	}
	data, err := os.ReadFile(c.overlay)
	if err != nil {
		t.Fatal(err)
	}
	var overlay struct{ Replace map[string]string }
	if err := json.Unmarshal(data, &overlay); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for at, from := range overlay.Replace {
		rel, err := filepath.Rel(w.dir, at)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		got[rel] = string(text)
	}
	main := got["petri/combined/main.go"]
	delete(got, "petri/combined/main.go")
	want := map[string]string{
		"petri/combined/a/a.go":       "// Package main is a.\npackage Main\n\nimport \"os\"\n\nfunc Main() { os.Exit(domain()) }\n",
		"petri/combined/a/domain.go":  "package Main\n\nfunc domain() int { return 1 }\n",
		"petri/combined/heap/heap.go": heapSource,
		"petri/combined/b/b.go":       "package Main\n\ntype t struct{}\n\nfunc (t) main() {}\n\nfunc Main() { t{}.main() }\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, line := range []string{`"example.com/m/petri/combined/a"`, `_ "example.com/m/petri/combined/heap"`, `case "b":`} {
		if !strings.Contains(main, line) {
			t.Errorf("the dispatcher lacks %s:\n%s", line, main)
		}
	}
}

func TestCombineNeedsTwo(t *testing.T) {
	embeds := "package main\n\nimport _ \"embed\"\n\n//go:embed x\nvar text string\n\nfunc main() {}\n"
	s, w := combineTree(t, map[string]string{"cmd/a/a.go": "package main\n", "cmd/b/b.go": embeds, "cmd/c/c.go": embeds})
	if c, err := s.combine(w, "amd64"); err != nil || c != nil {
		t.Errorf("got %v, %v; a single program need not be combined", c, err)
	}
}

// One program that is alone in its step is still a file of petri's form: it may
// let its heap grow while it starts.
func TestCombineOne(t *testing.T) {
	s, w := combineTree(t, map[string]string{"cmd/a/a.go": "package main\n", "cmd/b/b.go": "package main\n", "cmd/c/c.go": "package main\n"})
	s.Combine = []string{"a"}
	c, err := s.combine(w, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a"}, c.programs); diff != "" {
		t.Error(diff)
	}
}

// A program may stay apart after a change of the tree that it is built of.
func TestCombinedProgramGoesApart(t *testing.T) {
	b, fake := newFakeBuilder(t)
	s, w := combineTree(t, map[string]string{"cmd/a/a.go": "package main\n", "cmd/b/b.go": "package main\n", "cmd/c/c.go": "package main\n"})
	s.Name, s.Version, s.Dir = "m", "v1.0.0", w.dir
	together, err := b.Build(t.Context(), "amd64", s, nil)
	if err != nil {
		t.Fatal(err)
	}
	writeTree(t, w.dir, map[string]string{"cmd/c/c.go": "package main\n\nimport _ \"embed\"\n\n//go:embed c.go\nvar text string\n"})
	apart, err := b.Build(t.Context(), "amd64", s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if together.Programs["c"] != together.Programs["a"] || apart.Programs["c"] == apart.Programs["a"] {
		t.Errorf("first %v, then %v", together.Programs, apart.Programs)
	}
	for name, want := range map[string]string{"a": "example.com/m/petri/combined", "c": "example.com/m/cmd/c"} {
		if got, err := os.ReadFile(apart.Programs[name]); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
	if args := fake.builds[1].Args; !slices.Contains(args, "example.com/m/cmd/c") || slices.Contains(args, "example.com/m/cmd/a") {
		t.Errorf("built as %q", args)
	}
}
