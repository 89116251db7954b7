package doctest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// classes are the exit codes of errors by the name of their class.
var classes = map[string]int{
	"ClassFailed":      errdefs.ClassFailed.ExitCode(),
	"ClassUsage":       errdefs.ClassUsage.ExitCode(),
	"ClassNotFound":    errdefs.ClassNotFound.ExitCode(),
	"ClassExists":      errdefs.ClassExists.ExitCode(),
	"ClassUnavailable": errdefs.ClassUnavailable.ExitCode(),
	"ClassTimeout":     errdefs.ClassTimeout.ExitCode(),
}

const catalogue = "site/content/docs/troubleshooting.md"

// TestErrorsAreExplained holds the catalogue of errors to those that the code
// makes: each has a section with its exit codes, and there are no others.
func TestErrorsAreExplained(t *testing.T) {
	explained := sections(t)
	have := errorIDs(t)
	if len(have) < 40 {
		t.Fatalf("only %d error IDs were found in the code", len(have))
	}
	for _, id := range slices.Sorted(maps.Keys(have)) {
		text, ok := explained[id]
		if !ok {
			t.Errorf("%s makes error %s, which %s does not explain", have[id].place, id, catalogue)
			continue
		}
		first, _, _ := strings.Cut(strings.TrimSpace(text), ".*")
		for _, code := range have[id].codes {
			if !strings.Contains(first, strconv.Itoa(code)) {
				t.Errorf("%s: error %s can have exit code %d, and its section begins with %q", catalogue, id, code, first)
			}
		}
		if !strings.Contains(text, "**Do:**") {
			t.Errorf("%s: the section of %s does not say what to do", catalogue, id)
		}
	}
	for id := range explained {
		if _, ok := have[id]; !ok {
			t.Errorf("%s explains %s, which nothing makes", catalogue, id)
		}
	}
	checkPages(t, have)
}

// checkPages wants a page for each ID at its address, and no other page.
func checkPages(t *testing.T, have map[string]madeError) {
	t.Helper()
	wanted := map[string]bool{"_index.md": true}
	for id := range have {
		address := errdefs.Page(id)
		wanted[path.Base(address)] = true
		if _, file, ok := strings.Cut(address, "/main/"); !ok {
			t.Errorf("the address %s is of no file", address)
		} else if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(file))); err != nil {
			t.Errorf("%s has no page: %v", id, err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(root, "site", "content", "docs", "errors"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !wanted[e.Name()] {
			t.Errorf("errors/%s is the page of no ID", e.Name())
		}
	}
}

// sections are the texts of the catalogue by ID.
func sections(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(catalogue)))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, part := range regexp.MustCompile(`(?m)^##+ `).Split(string(data), -1) {
		id, text, _ := strings.Cut(part, "\n")
		if regexp.MustCompile(`^[A-Z][A-Z0-9-]+$`).MatchString(id) {
			out[id] = text
		}
	}
	return out
}

// madeError is where an error is made, and with which exit codes.
type madeError struct {
	place string
	codes []int
}

// errorIDs finds the calls of errdefs.New, and those that make doctor's findings,
// the problems of a cluster and what is known of logs. Providers for tests are left out: nobody meets
// their errors.
func errorIDs(t *testing.T) map[string]madeError {
	t.Helper()
	out := map[string]madeError{}
	constants := map[string]string{} // of all packages: names of IDs are few
	type call struct {
		place     string
		id, class ast.Expr
	}
	var calls []call
	fset := token.NewFileSet()
	for _, file := range goFiles(t) {
		f, err := parser.ParseFile(fset, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				for i, name := range n.Names {
					if i < len(n.Values) {
						constants[name.Name] = literal(n.Values[i])
					}
				}
			case *ast.CallExpr:
				class, id := n.Fun, ast.Expr(nil)
				switch name, ok := n.Fun.(*ast.Ident); {
				case len(n.Args) < 2:
				case selects(n.Fun, "errdefs", "New"), f.Name.Name == "doctor" && ok && name.Name == "fatal":
					class, id = n.Args[0], n.Args[1]
				case f.Name.Name == "diagnosis" && ok && name.Name == "known":
					class, id = n.Args[1], n.Args[0]
				case f.Name.Name == "doctor" && ok && (name.Name == "warning" || name.Name == "note"):
					id = n.Args[0] // it ends nothing
				case f.Name.Name == "health" && ok && name.Name == "problem":
					id = n.Args[0] // status ends with NOT-USABLE
				}
				if id != nil {
					calls = append(calls, call{fset.Position(n.Pos()).String(), id, class})
				}
			}
			return true
		})
	}
	for _, c := range calls {
		id := literal(c.id)
		if name, ok := c.id.(*ast.Ident); ok {
			id = constants[name.Name]
		}
		if id == "" {
			t.Errorf("%s: the ID of an error is neither a string nor a constant", c.place)
			continue
		}
		e := out[id]
		e.place = strings.TrimPrefix(c.place, root+string(filepath.Separator))
		if s, ok := c.class.(*ast.SelectorExpr); ok {
			e.codes = append(e.codes, classes[s.Sel.Name])
		}
		out[id] = e
	}
	return out
}

func goFiles(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, dir := range []string{"cmd", "pkg"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(name string, d fs.DirEntry, err error) error {
			if d != nil && d.IsDir() && slices.Contains([]string{"testdata", "fake", "providertest"}, d.Name()) {
				return filepath.SkipDir
			}
			if err == nil && strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
				out = append(out, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func selects(e ast.Expr, pkg, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg
}

// literal is the value of a string literal; "" for anything else.
func literal(e ast.Expr) string {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(l.Value)
	if err != nil {
		return ""
	}
	return s
}
