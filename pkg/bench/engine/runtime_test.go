package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petri-cluster/petri/pkg/exec"
)

// TestRuntime runs the wrapper with a runc that prints its arguments, and
// looks at what is left of the capabilities.
func TestRuntime(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "runtime")
	write(t, script, string(wrapper), 0o755)
	write(t, filepath.Join(dir, "runc"), "#!/bin/sh\necho \"$@\"\n", 0o755)
	for name, test := range map[string]struct {
		file string
		args []string
	}{
		"create":        {"bundle/config.json", []string{"--root", "/r", "create", "--bundle", "{dir}/bundle", "id"}},
		"create joined": {"bundle/config.json", []string{"create", "--bundle={dir}/bundle", "id"}},
		"exec":          {"process.json", []string{"exec", "--process", "{dir}/process.json", "--detach", "id"}},
		"exec short":    {"process.json", []string{"exec", "-p", "{dir}/process.json", "id"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, test.file)
			write(t, file, `{"bounding":["CAP_SYS_RESOURCE","CAP_KILL"],"effective":["CAP_KILL","CAP_SYS_RESOURCE"]}`, 0o600)
			args := []string{script}
			for _, a := range test.args {
				args = append(args, strings.ReplaceAll(a, "{dir}", dir))
			}
			var out strings.Builder
			path := "PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH")
			if err := (exec.Host{}).Run(t.Context(), exec.Cmd{Args: args, Env: []string{path}, Stdout: &out}); err != nil {
				t.Fatal(err)
			}
			if got, want := strings.TrimSpace(out.String()), strings.Join(args[1:], " "); got != want {
				t.Errorf("runc was called with %q, want %q", got, want)
			}
			left, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := string(left), `{"bounding":["CAP_KILL"],"effective":["CAP_KILL"]}`; got != want {
				t.Errorf("capabilities are %s, want %s", got, want)
			}
		})
	}
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}
