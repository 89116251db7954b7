package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder reads YAML nodes into the types of a file format, strictly, and
// remembers where each value stands.
type decoder struct {
	*problems
	left    int // values that may still be read
	merging map[*yaml.Node]bool
	// loose reads values as kind does: a number or a truth value where a string
	// belongs is its text, yes and no are truth values, and a key of a map
	// without a value has an empty one.
	loose bool
}

// decode reads a document; it reports false for one that is too large to go
// on with.
func decode(n *yaml.Node, into any, p *problems, loose bool) bool {
	d := &decoder{problems: p, left: maxValues, merging: map[*yaml.Node]bool{}, loose: loose}
	d.value(n, reflect.ValueOf(into).Elem(), "")
	if d.left < 0 {
		d.addAt(placeOf(n), "", "has more than %d values", maxValues)
	}
	return d.left >= 0
}

// maxValues is far more than a cluster needs. Aliases of aliases could ask for
// billions with a small file.
const maxValues = 100_000

func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	d.at[path] = placeOf(n)
	if d.left--; d.left < 0 {
		return // what ran out of values says so
	}
	if n.ShortTag() == "!!null" {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		if d.value(n, v.Elem(), path); d.unread[path] {
			v.SetZero()
		}
	case reflect.Struct:
		d.object(n, v, path)
	case reflect.Slice:
		d.list(n, v, path)
	case reflect.Map:
		d.mapping(n, v, path)
	default:
		d.scalar(n, v, path)
	}
}

// fields gives the fields of a struct by their name in files.
func fields(t reflect.Type) (map[string]int, []string) {
	index, names := map[string]int{}, []string{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		index[name] = i
		names = append(names, name)
	}
	return index, names
}

func (d *decoder) object(n *yaml.Node, v reflect.Value, path string) {
	index, names := fields(v.Type())
	for _, one := range d.pairs(n, path) {
		i, ok := index[one.key.Value]
		if !ok {
			hint := "known fields are " + strings.Join(names, ", ")
			if near := nearest(one.key.Value, names); near != "" {
				hint = fmt.Sprintf("did you mean %s?", near)
			}
			d.addAt(placeOf(one.key), one.path, "unknown field; %s", hint)
			continue
		}
		d.value(one.value, v.Field(i), one.path)
	}
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		d.refuse(path, "must be a list, and is %s", describe(n))
		return
	}
	if len(n.Content) == 0 {
		return // an empty list says as much as none
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		d.value(item, v.Index(i), index(path, i))
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	if v.Type().Elem().Kind() == reflect.Interface {
		d.free(n, v, path)
		return
	}
	for _, one := range d.pairs(n, path) {
		if one.value.ShortTag() == "!!null" && !d.loose {
			d.addAt(placeOf(one.key), one.path, "has no value")
			continue
		}
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(one.value, element, one.path)
		v.SetMapIndex(reflect.ValueOf(one.key.Value), element)
	}
}

// free reads an object of any form.
func (d *decoder) free(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.refuse(path, "must be an object with fields, and is %s", describe(n))
		return
	}
	object := map[string]any{}
	if err := n.Decode(&object); err != nil {
		d.refuse(path, "%s", plainYAML(err))
		return
	}
	v.Set(reflect.ValueOf(object).Convert(v.Type()))
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) {
	wrong := func(want string) { d.refuse(path, "must be %s, and is %s", want, describe(n)) }
	scalar := n.Kind == yaml.ScalarNode
	switch v.Kind() {
	case reflect.String:
		switch {
		case !scalar:
			wrong("a string")
		case n.ShortTag() != "!!str" && (!d.loose || n.ShortTag() == "!!binary"):
			d.refuse(path, "must be a string; write it in quotes: %q", n.Value)
		default:
			v.SetString(n.Value)
		}
	case reflect.Bool:
		var value bool
		if !scalar || (n.ShortTag() != "!!bool" && !d.loose) || n.Decode(&value) != nil {
			wrong("true or false")
			return
		}
		v.SetBool(value)
	case reflect.Int:
		var value int
		if !scalar || n.ShortTag() != "!!int" || n.Decode(&value) != nil {
			wrong("a whole number")
			return
		}
		v.SetInt(int64(value))
	}
}

// index is the path of an item of a list.
func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// describe says what a node is, in words.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	}
	return strconv.Quote(n.Value)
}
