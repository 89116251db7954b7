package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strconv"
	"strings"
)

// object is one type of the file format.
type object struct {
	name   string
	prose  string
	fields []field
}

// field is one field of a type, as its comment has it: a text, then a list of
// facts.
type field struct {
	name  string // in files
	typ   string // in Go
	prose string
	facts []fact
}

// fact is one entry of the list: "Default", "none".
type fact struct{ name, text string }

func (f field) fact(name string) string {
	for _, one := range f.facts {
		if one.name == name {
			return one.text
		}
	}
	return ""
}

// factNames are the facts in the order that comments have them; required are
// those that every field has but an object, whose fields have their own.
var (
	factNames = []string{"Unit", "Allowed", "Default", "Example"}
	required  = []string{"Default", "Example"}
)

// readObjects reads the struct types of a Go file.
func readObjects(path string) ([]object, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	var out []object
	for _, declaration := range file.Decls {
		general, ok := declaration.(*ast.GenDecl)
		if !ok || general.Tok != token.TYPE {
			continue
		}
		for _, spec := range general.Specs {
			typ := spec.(*ast.TypeSpec)
			body, ok := typ.Type.(*ast.StructType)
			if !ok {
				continue
			}
			o := object{name: typ.Name.Name, prose: strings.TrimSpace(general.Doc.Text())}
			for _, f := range body.Fields.List {
				one, err := readField(f)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", fset.Position(f.Pos()), err)
				}
				o.fields = append(o.fields, one)
			}
			out = append(out, o)
		}
	}
	return out, nil
}

func readField(f *ast.Field) (field, error) {
	if len(f.Names) != 1 || f.Tag == nil {
		return field{}, fmt.Errorf("a field has one name and a tag")
	}
	tag, err := strconv.Unquote(f.Tag.Value)
	if err != nil {
		return field{}, err
	}
	name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
	out := field{name: name, typ: typeName(f.Type)}
	prose, list, _ := strings.Cut(f.Doc.Text(), "\n\n  - ")
	// a comment begins with the name in Go; people know the one in files
	prose = strings.Join(strings.Fields(prose), " ")
	rest, ok := strings.CutPrefix(prose, f.Names[0].Name+" ")
	if !ok {
		return field{}, fmt.Errorf("the comment of %s does not begin with its name", f.Names[0].Name)
	}
	out.prose = "`" + name + "` " + rest
	for _, line := range strings.Split(strings.TrimSpace(list), "\n  - ") {
		key, text, ok := strings.Cut(line, ": ")
		if !ok {
			return field{}, fmt.Errorf("the comment of %s has %q where a fact belongs", f.Names[0].Name, line)
		}
		out.facts = append(out.facts, fact{key, strings.TrimSpace(text)})
	}
	return out, out.check()
}

// check wants the facts that each field must have, in their order.
func (f field) check() error {
	next := 0
	for _, one := range f.facts {
		for next < len(factNames) && factNames[next] != one.name {
			next++
		}
		if next == len(factNames) {
			return fmt.Errorf("%s: %q is none of %s, or is out of order", f.name, one.name, strings.Join(factNames, ", "))
		}
		next++
	}
	for _, name := range required {
		if f.fact(name) == "" {
			return fmt.Errorf("%s: the comment does not say %s", f.name, name)
		}
	}
	if !strings.HasPrefix(f.fact("Example"), f.name+": ") {
		return fmt.Errorf("%s: the example is not a line of a file", f.name)
	}
	return nil
}

// typeName writes a type as Go does.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.ArrayType:
		return "[]" + typeName(e.Elt)
	case *ast.MapType:
		return "map[" + typeName(e.Key) + "]" + typeName(e.Value)
	}
	return fmt.Sprintf("%T", e)
}
