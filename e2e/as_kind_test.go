//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/petri-cluster/petri/cmd/petri/command"
)

// asKind is petri under the name kind.
func asKind(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kind")
	if err := os.Symlink(petriBinary(), path); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestAsKind makes, reads and deletes a cluster with kind's commands on the
// machine's own engine: names, labels, network and kubeconfig are kind's.
func TestAsKind(t *testing.T) {
	t.Parallel()
	kind, name := asKind(t), testName(t)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	call := func(args ...string) result {
		return run(t.Context(), kubeconfig, "", append([]string{kind}, args...)...)
	}
	networks := docker(t, "network", "ls", "--format", "{{.Name}}")
	t.Cleanup(func() {
		run(cleanupContext(t), kubeconfig, "", kind, "delete", "cluster", "--name", name)
		if !slices.Contains(strings.Fields(networks), "kind") { // it outlives clusters
			run(cleanupContext(t), "", "", "docker", "network", "rm", "kind")
		}
	})
	r := call(withImage([]string{"create", "cluster", "-n", name, "--kubeconfig", kubeconfig, "--workers", "1"})...)
	t.Log(r.stderr)
	if r.code != 0 || r.stdout != "" || !strings.Contains(r.stderr, "Set kubectl context to \"kind-"+name+"\"\n") {
		t.Fatalf("exit code %d, standard output %q", r.code, r.stdout)
	}
	if got := docker(t, "ps", "--filter", "label=io.x-k8s.kind.cluster="+name, "--filter", "network=kind",
		"--format", `{{.Names}} {{.Label "io.x-k8s.kind.role"}}`); !sameLines(got, name+"-control-plane control-plane\n"+name+"-worker worker") {
		t.Errorf("by kind's labels, on kind's network, there are\n%s", got)
	}
	if r := call("get", "clusters"); !slices.Contains(strings.Fields(r.stdout), name) {
		t.Errorf("clusters: %q", r.stdout)
	}
	if r := call("get", "nodes", "--name", name); !sameLines(r.stdout, name+"-control-plane\n"+name+"-worker") {
		t.Errorf("nodes: %q", r.stdout)
	}
	c := &cluster{name: name, kubeconfig: kubeconfig}
	if got := c.must(t, "config", "current-context"); got != "kind-"+name {
		t.Errorf("the context is %s", got)
	}
	c.must(t, "wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s") // kind's default does not wait
	c.must(t, "config", "unset", "contexts")
	if r := call("export", "kubeconfig", "--name", name, "--kubeconfig", kubeconfig); r.code != 0 || c.must(t, "get", "nodes", "-o", "name") == "" {
		t.Errorf("export kubeconfig: exit code %d\n%s", r.code, r.stderr)
	}
	if r := call("get", "kubeconfig", "--name", name); r.code != 0 || !strings.Contains(r.stdout, "current-context: kind-"+name) {
		t.Errorf("get kubeconfig: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	logs := filepath.Join(t.TempDir(), "logs")
	if r := call("export", "logs", logs, "--name", name); r.code != 0 || r.stdout != logs+"\n" {
		t.Errorf("export logs: exit code %d, %q\n%s", r.code, r.stdout, r.stderr)
	}
	if r := call("delete", "clusters", name, "--kubeconfig", kubeconfig); r.code != 0 || !strings.Contains(r.stderr, `Deleted clusters: ["`+name+`"]`) {
		t.Errorf("delete clusters: exit code %d\n%s", r.code, r.stderr)
	}
	if got := docker(t, "ps", "-a", "--filter", "label=io.x-k8s.kind.cluster="+name, "--format", "{{.Names}}"); got != "" {
		t.Errorf("left: %s", got)
	}
	docker(t, "network", "inspect", "kind") // kept, as kind keeps it
	if got := c.must(t, "config", "get-contexts", "-o", "name"); got != "" {
		t.Errorf("contexts left: %s", got)
	}
}

func sameLines(a, b string) bool {
	sorted := func(s string) []string {
		lines := strings.Split(strings.TrimSpace(s), "\n")
		slices.Sort(lines)
		return lines
	}
	return slices.Equal(sorted(a), sorted(b))
}

// TestAsKindCommandLine asks unmodified kind for all of its commands and flags:
// the surface that petri's page and help are made of has just these, and petri
// has every one of them that it says to have.
func TestAsKindCommandLine(t *testing.T) {
	t.Parallel()
	theirs := commandLine(t, installKind(t))
	ours := commandLine(t, asKind(t))
	var listed []string
	for _, item := range command.KindSurface() {
		if item.Kind == "command" || item.Kind == "flag" {
			listed = append(listed, item.Name)
		}
	}
	for _, name := range theirs {
		if !slices.Contains(listed, name) {
			t.Errorf("kind has %q, and the surface does not", name)
		}
		if !slices.Contains(ours, name) {
			t.Errorf("kind has %q, and petri does not", name)
		}
	}
	for _, name := range listed {
		if !slices.Contains(theirs, name) {
			t.Errorf("the surface has %q, and kind does not", name)
		}
	}
	for _, args := range [][]string{{"version", "-q"}, {"--version"}, {"version", "--quiet", "-v", "2"}} {
		a := run(t.Context(), "", "", append([]string{installKind(t)}, args...)...)
		b := run(t.Context(), "", "", append([]string{asKind(t)}, args...)...)
		if a != b {
			t.Errorf("%s: kind has %+v, petri %+v", args, a, b)
		}
	}
	for _, args := range [][]string{{"get", "clusters", "-q"}, {"get", "nodes", "--name", "none-such", "-v", "1"}} {
		r := run(t.Context(), "", "", append([]string{asKind(t)}, args...)...)
		if r.code != 0 || r.stdout != "" && args[1] == "nodes" {
			t.Errorf("%s: %+v", args, r)
		}
	}
	r := run(t.Context(), "", "", asKind(t), "build", "node-image", "--type", "floppy", "--arch", "amd64", "--base-image", "trixie", "--image", "kindest/node:x", ".")
	if r.code != 1 || !strings.HasPrefix(r.stderr, "ERROR: error building node image: ") {
		t.Errorf("build node-image with a wrong type: %+v", r)
	}
}

var (
	helpCommand = regexp.MustCompile(`^  ([a-z-]+) +`)
	helpFlag    = regexp.MustCompile(`^ {2,}(?:-[a-zA-Z], )?--([a-z-]+)`)
)

// commandLine lists the commands and flags that a program's help names, as
// KindSurface writes them. What every cobra program has is left out.
func commandLine(t *testing.T, program string) []string {
	t.Helper()
	var all []string
	var ask func(path []string)
	ask = func(path []string) {
		r := run(t.Context(), "", "", append(append([]string{program}, path...), "--help")...)
		if r.code != 0 {
			t.Fatalf("%s --help: %s", path, r.stderr)
		}
		section, leaf := "", true
		for line := range strings.Lines(r.stdout) {
			if !strings.HasPrefix(line, " ") {
				section = strings.TrimSpace(line)
			}
			if m := helpCommand.FindStringSubmatch(line); m != nil && section == "Available Commands:" && m[1] != "help" {
				leaf = false
				if m[1] == "completion" {
					all = append(all, m[1])
					continue
				}
				ask(append(slices.Clone(path), m[1]))
			}
			if m := helpFlag.FindStringSubmatch(line); m != nil && section == "Flags:" && m[1] != "help" {
				all = append(all, strings.TrimSpace(strings.Join(path, " ")+" --"+m[1]))
			}
		}
		if leaf && len(path) > 0 {
			all = append(all, strings.Join(path, " "))
		}
	}
	ask(nil)
	return all
}
