package kubeconfig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A file is edited twice: as a tree of YAML nodes, which always works but
// loses layout when written out, and as text, which keeps every other byte but
// may misjudge an unusual layout. The text wins when it parses to the same
// tree, which is nearly always; otherwise the tree is written.

// skeleton is what an empty file begins with, in kubectl's order.
const skeleton = `apiVersion: v1
clusters: []
contexts: []
current-context: ""
kind: Config
users: []
`

// add returns content with the entry in it and its context current.
func add(content []byte, e Entry) ([]byte, error) {
	doc, err := parse(content)
	if err != nil {
		return nil, err
	}
	if doc.root == nil {
		head := source(content).ended()
		if doc, err = parse([]byte(head + strings.ReplaceAll(skeleton, "\n", eol(head)))); err != nil {
			return nil, errors.New("it is no kubeconfig: the document is empty")
		}
	}
	cluster, context, user := e.items()
	return doc.apply([]change{
		{key: "clusters", name: e.Name, item: cluster},
		{key: "contexts", name: e.Name, item: context},
		{key: currentContext, name: e.Name},
		{key: "users", name: e.Name, item: user},
	})
}

// drop returns content without the entries called name.
func drop(content []byte, name string) ([]byte, error) {
	doc, err := parse(content)
	if err != nil {
		return nil, err
	}
	if doc.root == nil {
		return content, nil
	}
	changes := []change{{key: "clusters", name: name}, {key: "contexts", name: name}, {key: "users", name: name}}
	if current := value(doc.root, currentContext); current != nil && current.Value == name {
		changes = append(changes, change{key: currentContext})
	}
	return doc.apply(changes)
}

const currentContext = "current-context"

// change is one edit: of the list called key, where the items called name give
// way to item, which is empty to remove them; or of current-context, which
// becomes name.
type change struct{ key, name, item string }

// document is a kubeconfig as text and as the tree parsed from it. Root is nil
// when there is nothing but comments.
type document struct {
	content []byte // as it was given
	text    string // without byte order mark
	json    bool
	tree    *yaml.Node
	root    *yaml.Node
}

const byteOrderMark = "\uFEFF"

func parse(content []byte) (*document, error) {
	d := &document{content: content, text: strings.TrimPrefix(string(content), byteOrderMark)}
	input := []byte(d.text)
	if json.Valid(input) {
		// YAML forbids the tabs that JSON may be indented with.
		var compact bytes.Buffer
		if err := json.Compact(&compact, input); err != nil {
			return nil, err
		}
		d.json, input = true, compact.Bytes()
	}
	decoder := yaml.NewDecoder(bytes.NewReader(input))
	var tree yaml.Node
	err := decoder.Decode(&tree)
	if errors.Is(err, io.EOF) {
		return d, nil
	}
	if err != nil {
		return nil, err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("it holds more than one document, of which kubectl reads only the first")
	}
	d.tree = &tree
	if len(tree.Content) == 0 || isNull(tree.Content[0]) {
		return d, nil
	}
	d.root = tree.Content[0]
	return d, checkShape(d.root)
}

// checkShape makes sure of what the edits rely on.
func checkShape(root *yaml.Node) error {
	if root.Kind != yaml.MappingNode {
		return errors.New("it is no kubeconfig: the document is not a mapping")
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, val := root.Content[i].Value, root.Content[i+1]
		switch key {
		case "clusters", "contexts", "users":
			if !isNull(val) && val.Kind != yaml.SequenceNode {
				return fmt.Errorf("line %d: %s is not a list", val.Line, key)
			}
			for _, item := range val.Content {
				if resolve(item).Kind != yaml.MappingNode {
					return fmt.Errorf("line %d: an item of %s is not a mapping", item.Line, key)
				}
			}
		case currentContext:
			if val.Kind != yaml.ScalarNode {
				return fmt.Errorf("line %d: %s is not a string", val.Line, key)
			}
		default:
			continue
		}
		if seen[key] {
			return fmt.Errorf("line %d: %s is there twice", root.Content[i].Line, key)
		}
		seen[key] = true
	}
	return nil
}

// apply makes the changes and returns the new content, which is the old one
// when they change nothing.
func (d *document) apply(changes []change) ([]byte, error) {
	text, spliced, changed := d.text, true, false
	for _, c := range changes {
		done, err := c.inTree(d)
		if err != nil {
			return nil, err
		}
		if !done {
			continue
		}
		changed = true
		if spliced {
			text, spliced = c.inText(text)
		}
	}
	if !changed {
		return d.content, nil
	}
	if err := checkAliases(d.root); err != nil {
		return nil, err
	}
	if spliced {
		if again, err := parse([]byte(text)); err == nil && again.root != nil && same(again.root, d.root) {
			return []byte(d.mark() + text), nil
		}
	}
	return d.encode()
}

func (d *document) mark() string {
	if strings.HasPrefix(string(d.content), byteOrderMark) {
		return byteOrderMark
	}
	return ""
}

// inTree makes the change in d's tree and says whether it changed anything.
func (c change) inTree(d *document) (bool, error) {
	val := value(d.root, c.key)
	if c.key == currentContext {
		if val != nil && val.Value == c.name && !isNull(val) {
			return false, nil
		}
		put(d.root, c.key, d.str(c.name))
		return true, nil
	}
	var item *yaml.Node
	if c.item != "" {
		var parsed yaml.Node
		if err := yaml.Unmarshal([]byte(c.item), &parsed); err != nil {
			return false, fmt.Errorf("make entry for %s: %w", c.key, err)
		}
		item = parsed.Content[0].Content[0]
		d.restyle(item)
	}
	if val == nil || isNull(val) {
		if item != nil {
			put(d.root, c.key, &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{item}})
		}
		return item != nil, nil
	}
	if len(val.Content) == 0 {
		val.Style = 0 // "[]" says nothing of how the list should look
	}
	next := replaced(val.Content, c.name, item)
	changed := !slices.Equal(next, val.Content)
	val.Content = next
	return changed, nil
}

// replaced is items with the first one called name replaced by item, or item
// put at the end, and further ones of that name removed: client-go refuses a
// file with two. A nil item removes all. What need not change is kept as is.
func replaced(items []*yaml.Node, name string, item *yaml.Node) []*yaml.Node {
	var next []*yaml.Node
	for _, old := range items {
		switch {
		case itemName(old) != name:
			next = append(next, old)
		case item != nil:
			if same(old, item) {
				item = old
			} else {
				item.HeadComment, item.FootComment = old.HeadComment, old.FootComment
			}
			next = append(next, item)
			item = nil
		}
	}
	if item != nil {
		next = append(next, item)
	}
	return next
}

// encode writes the tree: as JSON if the file was, else as YAML with the
// file's line ends.
func (d *document) encode() ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := errors.Join(encoder.Encode(d.tree), encoder.Close()); err != nil {
		return nil, err
	}
	if d.json && json.Valid(out.Bytes()) {
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, bytes.TrimSpace(out.Bytes()), "", jsonIndent(d.text)); err != nil {
			return nil, err
		}
		pretty.WriteByte('\n')
		return append([]byte(d.mark()), pretty.Bytes()...), nil
	}
	text := d.mark() + strings.ReplaceAll(out.String(), "\n", eol(d.text))
	if again, err := parse([]byte(text)); err != nil || !same(again.root, d.root) {
		return nil, errLayout
	}
	return []byte(text), nil
}

// errLayout is for a tree that the YAML library cannot write so that it reads
// back the same, in a layout that cannot be spliced either. A person does not
// write such a file.
var errLayout = errors.New("it is laid out in a way that cannot be edited safely")

func jsonIndent(text string) string {
	_, rest, ok := strings.Cut(text, "\n")
	if indent := rest[:len(rest)-len(strings.TrimLeft(rest, " \t"))]; ok && indent != "" {
		return indent
	}
	return "    "
}
