package config

import "go.yaml.in/yaml/v3"

// pair is one field of an object in a file, aliases followed.
type pair struct {
	key, value *yaml.Node
	path       string
}

// pairs are the fields of an object: its own in their order, then those that
// merge keys (<<) bring and that it does not have itself. Repeated keys are
// problems.
func (d *decoder) pairs(n *yaml.Node, path string) []pair {
	if n.Kind != yaml.MappingNode {
		d.refuse(path, "must be an object with fields, and is %s", describe(n))
		return nil
	}
	var out []pair
	var merged []*yaml.Node
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := followed(n.Content[i]), followed(n.Content[i+1])
		if key.ShortTag() == "!!merge" {
			merged = append(merged, value)
			continue
		}
		if key.Kind != yaml.ScalarNode {
			d.addAt(placeOf(key), path, "has %s where the name of a field belongs", describe(key))
			continue
		}
		below := key.Value
		if path != "" {
			below = path + "." + key.Value
		}
		if first, twice := seen[key.Value]; twice {
			d.addAt(placeOf(key), below, "is given twice, first in line %d", first)
			continue
		}
		seen[key.Value] = key.Line
		out = append(out, pair{key, value, below})
	}
	for _, source := range merged {
		out = d.inherit(out, source, path)
	}
	return out
}

// inherit adds the fields of a merge key's value, an object or a list of them,
// to those that are there. The first to name a field wins.
func (d *decoder) inherit(have []pair, source *yaml.Node, path string) []pair {
	sources := []*yaml.Node{source}
	if source.Kind == yaml.SequenceNode {
		sources = source.Content
	}
	known := map[string]bool{}
	for _, p := range have {
		known[p.key.Value] = true
	}
	for _, s := range sources {
		s = followed(s)
		if s.Kind != yaml.MappingNode {
			d.addAt(placeOf(s), path, "<< takes objects, and this is %s", describe(s))
			continue
		}
		if d.merging[s] {
			d.addAt(placeOf(s), path, "<< merges an object into itself")
			continue
		}
		d.merging[s] = true
		inherited := d.pairs(s, path)
		delete(d.merging, s)
		for _, p := range inherited {
			if !known[p.key.Value] {
				known[p.key.Value] = true
				have = append(have, p)
			}
		}
	}
	return have
}

// followed is what an alias stands for; the parser leaves none of an alias.
func followed(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func placeOf(n *yaml.Node) position { return position{n.Line, n.Column} }
