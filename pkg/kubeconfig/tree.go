package kubeconfig

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// value is the value of a key of a mapping, nil when it is not there.
func value(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// put sets a key of a mapping, keeping the comment on its line.
func put(mapping *yaml.Node, key string, val *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			val.LineComment = mapping.Content[i+1].LineComment
			mapping.Content[i+1] = val
			return
		}
	}
	name := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}
	if mapping.Style&yaml.FlowStyle != 0 {
		name.Style = yaml.DoubleQuotedStyle
	}
	mapping.Content = append(mapping.Content, name, val)
}

func (d *document) str(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	if s == "" {
		n.Style = yaml.DoubleQuotedStyle
	}
	d.restyle(n)
	return n
}

// restyle quotes every string in n when the file is JSON.
func (d *document) restyle(n *yaml.Node) {
	if d.json && n.Kind == yaml.ScalarNode {
		n.Style = yaml.DoubleQuotedStyle
	}
	for _, c := range n.Content {
		d.restyle(c)
	}
}

// itemName is the name field of a list item.
func itemName(item *yaml.Node) string {
	if name := value(resolve(item), "name"); name != nil {
		return resolve(name).Value
	}
	return ""
}

func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// same says whether two trees mean the same and are built the same: aliases
// are compared by name, layout and comments not at all.
func same(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || a.Value != b.Value || a.Anchor != b.Anchor ||
		a.ShortTag() != b.ShortTag() || len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		if !same(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}

// checkAliases finds an alias whose anchor went away with an entry of ours.
// Somebody wrote that by hand, and only they know what it should become.
func checkAliases(root *yaml.Node) error {
	there := map[*yaml.Node]bool{}
	var aliases []*yaml.Node
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		there[n] = true
		if n.Kind == yaml.AliasNode {
			aliases = append(aliases, n)
		}
		for _, c := range n.Content {
			walk(c)
		}
	}
	walk(root)
	for _, alias := range aliases {
		if !there[alias.Alias] {
			return fmt.Errorf("line %d: alias *%s refers to an entry that must change", alias.Line, alias.Value)
		}
	}
	return nil
}
