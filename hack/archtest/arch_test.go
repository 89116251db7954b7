// Package archtest holds the architecture: which package may import which,
// where heavy libraries stay, and the house rules that a parser can see. It
// reads source with go/parser, so that the test cache sees what it depends on.
package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/petri-cluster/petri/"

// floors lists every package; one may import only what is on floors below.
var floors = [][]string{
	0: {"hack/cis", "pkg/errdefs", "pkg/hostnet", "pkg/nodeimage", "pkg/podnet", "pkg/selfsigned", "pkg/version", "pkg/progress", "pkg/redact", "pkg/logsummary", "pkg/internal/atomicfile", "pkg/internal/jsonpatch", "node-image"},
	1: {"pkg/diagnosis", "pkg/exec", "pkg/nodehelper", "pkg/internal/lockfile", "pkg/netguard", "pkg/config/v1alpha1", "pkg/config/kindv1alpha4", "pkg/containerdconf", "pkg/image", "pkg/image/imagetest"},
	2: {"pkg/bench/engine", "pkg/config", "pkg/kubeconfig", "pkg/node", "pkg/release", "pkg/kube", "node-image/approver", "node-image/boot", "node-image/balancer", "node-image/gate", "node-image/resolver", "node-image/settle", "node-image/shutdown"},
	3: {"node-image/bootstrap", "pkg/balancer", "pkg/kubeadm", "pkg/nodeimage/build", "pkg/nodestore", "pkg/provider", "pkg/registry"},
	4: {"pkg/bench", "pkg/imageload", "pkg/noderelease", "pkg/nodestore/storetest", "pkg/provider/container", "pkg/provider/fake", "pkg/provider/providertest", "pkg/bootstrap", "pkg/doctor", "pkg/health", "node-image/imageserver"},
	5: {"pkg/bench/report", "pkg/cluster", "pkg/cluster/clustertest", "pkg/provider/all"},
	6: {"cmd/petri/command"},
	7: {"cmd/petri", "cmd/gendocs", "node-image/petri-images", "node-image/petri-node", "images/cni", "images/pause", "hack/archtest", "hack/release", "e2e"},
}

// homes are the only packages that may import a heavy library.
var homes = map[string][]string{
	"os/exec":                                {"pkg/exec"},
	"github.com/docker/docker":               {"pkg/provider/container"},
	"k8s.io/client-go":                       {"pkg/kube", "images/cni"},
	"github.com/containerd/containerd":       {"pkg/nodeimage/build", "pkg/nodestore", "pkg/nodestore/storetest"},
	"github.com/google/go-containerregistry": {"pkg/image", "pkg/nodeimage/build", "pkg/provider/providertest"},
	"github.com/vishvananda/netlink":         {"pkg/netguard", "images/cni"},
	"github.com/spf13/cobra":                 {"cmd/petri/command", "cmd/gendocs"},
}

type source struct {
	path string // from the root, with slashes
	pkg  string // directory of it
	file *ast.File
}

// sources parses every Go file of the product that is not a test.
func sources(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	root := filepath.Join("..", "..")
	fset := token.NewFileSet()
	var out []source
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git" || d.Name() == "tools") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		out = append(out, source{path: rel, pkg: path.Dir(rel), file: f})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 50 {
		t.Fatalf("only %d source files were found", len(out))
	}
	return fset, out
}

func floorOf(pkg string) int {
	return slices.IndexFunc(floors, func(f []string) bool { return slices.Contains(f, pkg) })
}

func TestFloors(t *testing.T) {
	_, files := sources(t)
	for _, s := range files {
		own := floorOf(s.pkg)
		if own < 0 {
			t.Errorf("%s: package %s is on no floor; put it on one in hack/archtest", s.path, s.pkg)
			continue
		}
		for _, i := range s.file.Imports {
			name, _ := strconv.Unquote(i.Path.Value)
			below, ok := strings.CutPrefix(name, module)
			if !ok {
				continue
			}
			if f := floorOf(below); f >= own {
				t.Errorf("%s: %s (floor %d) imports %s (floor %d); imports run downwards", s.path, s.pkg, own, below, f)
			}
		}
	}
}

func TestHeavyLibrariesStayHome(t *testing.T) {
	_, files := sources(t)
	for _, s := range files {
		for _, i := range s.file.Imports {
			name, _ := strconv.Unquote(i.Path.Value)
			for library, allowed := range homes {
				if (name == library || strings.HasPrefix(name, library+"/")) && !slices.Contains(allowed, s.pkg) {
					t.Errorf("%s imports %s, which only %v may", s.path, name, allowed)
				}
			}
		}
	}
}

func TestHouseRules(t *testing.T) {
	fset, files := sources(t)
	banned := map[string]string{
		"os.Exit":            "return an error; the command line decides the exit code",
		"log.Fatal":          "return an error",
		"log.Fatalf":         "return an error",
		"context.Background": "take a context; clean-up uses context.WithoutCancel",
		"context.TODO":       "take a context",
	}
	for _, s := range files {
		if !strings.HasPrefix(s.pkg, "pkg/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if call, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := call.X.(*ast.Ident); ok {
					if why, bad := banned[x.Name+"."+call.Sel.Name]; bad {
						t.Errorf("%s: %s.%s: %s", fset.Position(n.Pos()), x.Name, call.Sel.Name, why)
					}
				}
			}
			if f, ok := n.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: func init: register nothing behind the reader's back", fset.Position(n.Pos()))
			}
			return true
		})
	}
}

// What a shell is given is a text of petri's own: nothing is put into it when it
// runs. Names and paths come as arguments behind it, which it does not read.
func TestShellScriptsAreConstant(t *testing.T) {
	fset, files := sources(t)
	found := 0
	for _, s := range files {
		ast.Inspect(s.file, func(n ast.Node) bool {
			list, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			for i := 0; i+2 < len(list.Elts); i++ {
				if !isText(list.Elts[i], "sh", "/bin/sh", "bash") || !isText(list.Elts[i+1], "-c") {
					continue
				}
				found++
				ast.Inspect(list.Elts[i+2], func(n ast.Node) bool {
					if call, ok := n.(*ast.CallExpr); ok {
						t.Errorf("%s: the script of a shell is put together", fset.Position(call.Pos()))
					}
					return true
				})
			}
			return true
		})
	}
	if found == 0 {
		t.Error("no shell was found")
	}
}

func isText(e ast.Expr, texts ...string) bool {
	literal, ok := e.(*ast.BasicLit)
	if !ok {
		return false
	}
	text, err := strconv.Unquote(literal.Value)
	return err == nil && slices.Contains(texts, text)
}

// maxFunction is the length in lines that no function may pass.
const maxFunction = 90

func TestFunctionsAreShort(t *testing.T) {
	fset, files := sources(t)
	for _, s := range files {
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if lines := fset.Position(f.End()).Line - fset.Position(f.Pos()).Line + 1; lines > maxFunction {
				t.Errorf("%s: %s has %d lines; %d are the most", fset.Position(f.Pos()), f.Name.Name, lines, maxFunction)
			}
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	fset, files := sources(t)
	documented := map[string]bool{} // packages with a comment
	for _, s := range files {
		documented[s.pkg] = documented[s.pkg] || s.file.Doc != nil
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && exportedReceiver(d) && d.Doc == nil {
					t.Errorf("%s: %s has no comment", fset.Position(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				checkGenDecl(t, fset, d)
			}
		}
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment", pkg)
		}
	}
}

func exportedReceiver(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	typ := f.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if generic, ok := typ.(*ast.IndexExpr); ok {
		typ = generic.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}

func checkGenDecl(t *testing.T, fset *token.FileSet, d *ast.GenDecl) {
	t.Helper()
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if spec.Name.IsExported() && d.Doc == nil && spec.Doc == nil {
				t.Errorf("%s: %s has no comment", fset.Position(spec.Pos()), spec.Name.Name)
			}
		case *ast.ValueSpec:
			for _, name := range spec.Names {
				if name.IsExported() && d.Doc == nil && spec.Doc == nil && spec.Comment == nil {
					t.Errorf("%s: %s has no comment", fset.Position(name.Pos()), name.Name)
				}
			}
		}
	}
}

// allowedTop is the whole top level, dot files aside.
var allowedTop = []string{"cmd", "pkg", "images", "node-image", "site", "e2e", "hack", "go.mod", "go.sum", "Makefile", "README.md", "LICENSE", "bin", "dist"}

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(allowedTop, e.Name()) {
			t.Errorf("%s is not of the top level %v", e.Name(), allowedTop)
		}
	}
}
