// Package jsonpatch reads JSON patches (RFC 6902) as people write them, YAML or
// JSON text, and applies them. It checks their form when they are read, so that
// what is wrong is said before anything is made.
package jsonpatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"sigs.k8s.io/yaml"
)

// Patch is a list of operations.
type Patch []Operation

// Operation is one step of a patch. Value is nil when it has none.
type Operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	From  string          `json:"from,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// Parse reads a patch and checks that each operation is one that there is and
// has what it needs.
func Parse(text string) (Patch, error) {
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("is neither YAML nor JSON: %w", err)
	}
	var patch Patch
	if err := json.Unmarshal(data, &patch); err != nil || patch == nil {
		return nil, errors.New("must be a list of operations such as {op: add, path: /a/b, value: c}")
	}
	for i, one := range patch {
		if err := one.check(); err != nil {
			return nil, fmt.Errorf("operation %d %w", i, err)
		}
	}
	return patch, nil
}

var operations = []string{"add", "remove", "replace", "move", "copy", "test"}

func (o Operation) check() error {
	pointer := func(p string) bool { return p == "" || strings.HasPrefix(p, "/") }
	switch {
	case !slices.Contains(operations, o.Op):
		return fmt.Errorf("is %q, and not one of %s", o.Op, strings.Join(operations, ", "))
	case !pointer(o.Path) || !pointer(o.From):
		return fmt.Errorf("has a path that does not begin with a slash: %q", o.Path+o.From)
	case o.Value == nil && slices.Contains([]string{"add", "replace", "test"}, o.Op):
		return fmt.Errorf("is %s, and has no value", o.Op)
	case o.From == "" && slices.Contains([]string{"move", "copy"}, o.Op):
		return fmt.Errorf("is %s, and has no from", o.Op)
	}
	return nil
}

// Apply returns a document, in JSON, with the patch applied.
func (p Patch) Apply(document []byte) ([]byte, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.DecodePatch(data)
	if err != nil {
		return nil, err
	}
	return patch.Apply(document)
}

// Tokens splits a pointer such as "/a~1b/c" into "a/b" and "c".
func Tokens(pointer string) []string {
	if pointer == "" {
		return nil
	}
	tokens := strings.Split(pointer[1:], "/")
	for i, t := range tokens {
		tokens[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(t)
	}
	return tokens
}

// Pointer joins tokens to a pointer.
func Pointer(tokens []string) string {
	var out strings.Builder
	for _, t := range tokens {
		out.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(t))
	}
	return out.String()
}
