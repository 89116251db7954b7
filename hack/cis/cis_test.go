package cis

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table into the page of the site")

// The published page has the table of the checks, and its sums.
func TestPage(t *testing.T) {
	const begin, end = "<!-- the table is made by hack/cis -->\n", "<!-- end of the table -->\n"
	path := filepath.Join("..", "..", "site", "content", "docs", "security", "cis.md")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), begin)
	_, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s has no place for the table", path)
	}
	want := before + begin + "\n" + sums() + "\n" + Table() + "\n" + end + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(data) != want {
		t.Errorf("%s has another table; -update writes it", path)
	}
}

func sums() string {
	var out strings.Builder
	for _, profile := range []struct {
		name string
		of   func(Check) Result
	}{{"default", func(c Check) Result { return c.Default }}, {"hardened", func(c Check) Result { return c.Hardened }}} {
		fmt.Fprintf(&out, "Profile %s: %d of %d checks that a program can tell are passed.\n",
			profile.name, Count(profile.of, Pass), Count(profile.of, Pass)+Count(profile.of, Fail))
	}
	return out.String()
}

// A check says why it is not passed, and can be told where it says a result.
func TestChecks(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Checks {
		stated := c.Default == Stated
		switch {
		case seen[c.ID]:
			t.Errorf("%s is there twice", c.ID)
		case stated != (c.Look == nil) || stated != (c.Hardened == Stated):
			t.Errorf("%s: stated %v, and looked at %v", c.ID, stated, c.Look != nil)
		case (stated || c.Default == Fail) && c.Why == "":
			t.Errorf("%s does not say why", c.ID)
		case c.Default == Pass && c.Hardened == Fail:
			t.Errorf("%s is worse when hardened", c.ID)
		}
		seen[c.ID] = true
	}
	if len(seen) < 130 {
		t.Errorf("only %d checks", len(seen))
	}
}

// view is a node of a test.
type view struct {
	files   []File
	flags   map[string]string
	kubelet map[string]string
	text    string
}

func (v view) Files(string) []File            { return v.files }
func (v view) Flags(string) map[string]string { return v.flags }
func (v view) Kubelet(field string) string    { return v.kubelet[field] }
func (v view) Read(string) string             { return v.text }

// Each kind of look can find something wrong.
func TestLooks(t *testing.T) {
	suites := func(v View) string { return v.Kubelet("suites") }
	good := view{
		files:   []File{{"/a", 0o600, "root:root"}},
		flags:   map[string]string{"a": "1", "list": "x,y", "n": "30"},
		kubelet: map[string]string{"on": "true", "suites": "[TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]"},
		text:    "level: Metadata",
	}
	bad := view{
		files:   []File{{"/a", 0o640, "root:daemon"}},
		flags:   map[string]string{"list": "z", "n": "3"},
		kubelet: map[string]string{"on": "false", "suites": "[TLS_RSA_WITH_AES_128_CBC_SHA]"},
	}
	for name, look := range map[string]Look{
		"mode": Mode(0o600, "/a"), "owner": Owner("root:root", "/a"), "set": Set("p", "a"), "is": Is("p", "a", "1"),
		"has": Has("p", "list", "x"), "lacks": Lacks("p", "list", "z"), "number": AtLeast("p", "n", 10),
		"kubelet": Kubelet("on", "true"), "kubelet, not": KubeletNot("on", "false"), "ciphers": Strong(suites),
		"text": Holds("/a", "Metadata"), "all": All(Set("p", "n"), Set("p", "a")),
	} {
		if err := look(good); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if look(bad) == nil {
			t.Errorf("%s finds nothing", name)
		}
	}
}
