package kubeadm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/diff"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/petri-cluster/petri/pkg/config"
)

// Configurations of kind as people have them: what each is in petri's format,
// what is said of it, and what it changes in the documents of its nodes.
func TestKindConfigurations(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("testdata", "kind", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 25 {
		t.Errorf("there are only %d", len(paths))
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			archive.Files = append(archive.Files[:1], outcome(t, archive.Files[0].Data)...)
			got := txtar.Format(archive)
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s differs; -update writes it (-want +got):\n%s", path, diff)
			}
		})
	}
}

// outcome is all that comes of a configuration.
func outcome(t *testing.T, text []byte) []txtar.File {
	t.Helper()
	var notes strings.Builder
	c, err := config.Load(text, "kind.yaml", config.Options{Note: func(line string) { fmt.Fprintln(&notes, line) }})
	if err != nil {
		t.Fatal(err)
	}
	own, err := config.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	out := []txtar.File{{Name: "petri.yaml", Data: own}}
	if notes.Len() > 0 {
		out = append(out, txtar.File{Name: "notes", Data: []byte(notes.String())})
	}
	plain := plainKind(t, c)
	for i, n := range c.Nodes {
		change := diff.Diff("default", rendered(t, plain, i), n.Name, rendered(t, c, i))
		if len(change) > 0 {
			out = append(out, txtar.File{Name: n.Name + ".diff", Data: change})
		}
	}
	return out
}

// plainKind is a cluster of the same nodes with all of kind's defaults.
func plainKind(t *testing.T, c *config.Cluster) *config.Cluster {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nname: %s\nnodes:\n", c.Name)
	for _, n := range c.Nodes {
		fmt.Fprintf(&text, "- role: %s\n", n.Role)
	}
	out, err := config.Load([]byte(text.String()), "kind.yaml", config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func rendered(t *testing.T, c *config.Cluster, i int) []byte {
	t.Helper()
	in := input(c, i)
	in.ControlPlaneEndpoint = c.Nodes[0].Name + ":6443"
	out, err := Render(in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
