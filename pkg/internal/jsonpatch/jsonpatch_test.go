package jsonpatch

import (
	"slices"
	"strings"
	"testing"
)

func TestApply(t *testing.T) {
	for name, test := range map[string]struct{ patch, want string }{
		"JSON":    {`[{"op": "add", "path": "/a/b", "value": 2}]`, `{"a":{"b":2}}`},
		"YAML":    {"- op: replace\n  path: /a\n  value: [x]\n", `{"a":["x"]}`},
		"null":    {"[{op: add, path: /b, value: null}]", `{"a":{"b":1},"b":null}`},
		"move":    {"[{op: move, from: /a/b, path: /c}]", `{"a":{},"c":1}`},
		"test":    {"[{op: test, path: /a/b, value: 1}, {op: remove, path: /a}]", `{}`},
		"nothing": {"[]", `{"a":{"b":1}}`},
	} {
		t.Run(name, func(t *testing.T) {
			patch, err := Parse(test.patch)
			if err != nil {
				t.Fatal(err)
			}
			got, err := patch.Apply([]byte(`{"a":{"b":1}}`))
			if err != nil || string(got) != test.want {
				t.Errorf("got %s, %v; want %s", got, err, test.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, test := range map[string]struct{ patch, want string }{
		"no YAML":     {"a: b: c", "is neither YAML nor JSON"},
		"empty":       {"", "must be a list of operations"},
		"an object":   {"{op: add}", "must be a list of operations"},
		"a text":      {"[add]", "must be a list of operations"},
		"operation":   {"[{op: add, path: /a, value: 1}, {op: insert, path: /a}]", `operation 1 is "insert"`},
		"path":        {"[{op: remove, path: a}]", "does not begin with a slash"},
		"no value":    {"[{op: replace, path: /a}]", "is replace, and has no value"},
		"no from":     {"[{op: copy, path: /a}]", "is copy, and has no from"},
		"another key": {"[{op: add, path: /a, vlaue: 1}]", "has no value"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse(test.patch); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestApplyToWhatIsNotThere(t *testing.T) {
	patch, err := Parse("[{op: remove, path: /b}]")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := patch.Apply([]byte("{}")); err == nil {
		t.Errorf("no error, but %s", got)
	}
}

func TestPointer(t *testing.T) {
	for pointer, want := range map[string][]string{
		"": nil, "/": {""}, "/a/b": {"a", "b"}, "/a~1b/~0c~01": {"a/b", "~c~1"}, "/io.x.y/-": {"io.x.y", "-"},
	} {
		if got := Tokens(pointer); !slices.Equal(got, want) {
			t.Errorf("%q is %q, want %q", pointer, got, want)
		}
		if got := Pointer(want); got != pointer {
			t.Errorf("%q becomes %q, want %q", want, got, pointer)
		}
	}
}
