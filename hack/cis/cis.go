// Package cis holds the checks of the CIS Kubernetes Benchmark as petri sees
// them: how each is looked at in a cluster, and what comes of it in both
// profiles. The page of the site is made from it, and a test on real clusters
// holds it against what is so. Numbers are those of the benchmark as kube-bench
// 0.15 has them for version 1.12 (cfg/cis-1.12); titles are petri's own words.
package cis

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Result is what comes of a check.
type Result string

// The results. Stated are those that no program can tell, with the reason.
const (
	Pass   Result = "pass"
	Fail   Result = "fail"
	Stated Result = "-"
)

// Check is one recommendation of the benchmark.
type Check struct {
	ID, Title string
	// Look finds out what is so in a cluster; nil: nobody can, see Why.
	Look Look
	// Default and Hardened are the results in the two profiles.
	Default, Hardened Result
	// Why says why it is not passed, or what is so instead.
	Why string
}

// View is a node of a cluster, as far as checks look at it.
type View interface {
	// Files are those that match a pattern of the shell's.
	Files(pattern string) []File
	// Flags are the arguments of a static pod's program, by name.
	Flags(component string) map[string]string
	// Kubelet is the configuration that the kubelet runs with, a value by its
	// name as text; "" when it is not there.
	Kubelet(field string) string
	// Read is the content of a file; "" when there is none.
	Read(path string) string
}

// File is a file, its permissions and "user:group".
type File struct {
	Path  string
	Mode  int
	Owner string
}

// Look returns what is wrong; nil when the check is passed.
type Look func(View) error

// Mode wants files to have no more permissions than the most. Where there is
// none, nothing is wrong.
func Mode(most int, patterns ...string) Look {
	return each(patterns, func(f File) error {
		if f.Mode&^most != 0 {
			return fmt.Errorf("%s has mode %o", f.Path, f.Mode)
		}
		return nil
	})
}

// Owner wants files to belong to somebody.
func Owner(owner string, patterns ...string) Look {
	return each(patterns, func(f File) error {
		if f.Owner != owner {
			return fmt.Errorf("%s belongs to %s", f.Path, f.Owner)
		}
		return nil
	})
}

func each(patterns []string, check func(File) error) Look {
	return func(v View) error {
		for _, pattern := range patterns {
			for _, f := range v.Files(pattern) {
				if err := check(f); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// Set wants a program to have arguments, whatever their values.
func Set(component string, names ...string) Look {
	return func(v View) error {
		for _, name := range names {
			if v.Flags(component)[name] == "" {
				return fmt.Errorf("--%s is not set", name)
			}
		}
		return nil
	}
}

// Is wants an argument to have one of some values; "" means that it may be
// missing.
func Is(component, name string, values ...string) Look {
	return func(v View) error {
		if got := v.Flags(component)[name]; !slices.Contains(values, got) {
			return fmt.Errorf("--%s is %q", name, got)
		}
		return nil
	}
}

// Has wants a list of an argument to hold something.
func Has(component, name, value string) Look {
	return func(v View) error {
		if got := v.Flags(component)[name]; !slices.Contains(strings.Split(got, ","), value) {
			return fmt.Errorf("--%s is %q", name, got)
		}
		return nil
	}
}

// Lacks wants a list of an argument not to hold something.
func Lacks(component, name, value string) Look {
	return func(v View) error {
		if Has(component, name, value)(v) == nil {
			return fmt.Errorf("--%s has %s", name, value)
		}
		return nil
	}
}

// AtLeast wants an argument to be a number that is large enough.
func AtLeast(component, name string, least int) Look {
	return func(v View) error {
		got := v.Flags(component)[name]
		if n, err := strconv.Atoi(got); err != nil || n < least {
			return fmt.Errorf("--%s is %q", name, got)
		}
		return nil
	}
}

// Kubelet wants a value of the kubelet's configuration to be one of some.
func Kubelet(field string, values ...string) Look {
	return func(v View) error {
		if got := v.Kubelet(field); !slices.Contains(values, got) {
			return fmt.Errorf("%s is %q", field, got)
		}
		return nil
	}
}

// KubeletNot wants a value of the kubelet's configuration to be none of some.
func KubeletNot(field string, values ...string) Look {
	return func(v View) error {
		if got := v.Kubelet(field); slices.Contains(values, got) {
			return fmt.Errorf("%s is %q", field, got)
		}
		return nil
	}
}

// Strong wants a list of cipher suites, all with forward secrecy and
// authenticated encryption.
func Strong(list func(View) string) Look {
	return func(v View) error {
		got := list(v)
		for suite := range strings.FieldsFuncSeq(got, func(r rune) bool { return strings.ContainsRune("[], ", r) }) {
			if !strings.Contains(suite, "_GCM_") && !strings.Contains(suite, "_POLY1305") || !strings.HasPrefix(suite, "TLS_ECDHE_") && !strings.HasPrefix(suite, "TLS_AES_") {
				return fmt.Errorf("%s is allowed", suite)
			}
		}
		if got == "" {
			return fmt.Errorf("the program's own list is used")
		}
		return nil
	}
}

// Holds wants a file to contain a text.
func Holds(path string, texts ...string) Look {
	return func(v View) error {
		content := v.Read(path)
		for _, text := range texts {
			if !strings.Contains(content, text) {
				return fmt.Errorf("%s does not have %q", path, text)
			}
		}
		return nil
	}
}

// All wants several to be passed.
func All(looks ...Look) Look {
	return func(v View) error {
		for _, look := range looks {
			if err := look(v); err != nil {
				return err
			}
		}
		return nil
	}
}

// Table is the checks in Markdown.
func Table() string {
	var out strings.Builder
	out.WriteString("| check | | default | hardened | why not, or what instead |\n|---|---|---|---|---|\n")
	for _, c := range Checks {
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s |\n", c.ID, c.Title, c.Default, c.Hardened, c.Why)
	}
	return out.String()
}

// Count is how many checks have a result in a profile.
func Count(of func(Check) Result, want Result) int {
	n := 0
	for _, c := range Checks {
		if of(c) == want {
			n++
		}
	}
	return n
}
