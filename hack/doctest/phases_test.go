package doctest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/bootstrap"
)

const phasesPage = "site/content/docs/design/phases.md"

// TestPhases holds the table of phases to the list of the code: the same IDs
// in the same order, each after the same ones.
func TestPhases(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(phasesPage)))
	if err != nil {
		t.Fatal(err)
	}
	var explained []string
	_, table, _ := strings.Cut(string(data), "|---|---|---|\n")
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			break
		}
		explained = append(explained, unquoted(cells[1])+": "+unquoted(cells[2]))
	}
	var want []string
	for _, p := range bootstrap.Phases() {
		want = append(want, p.ID+": "+strings.Join(p.After, ", "))
	}
	if diff := cmp.Diff(want, explained); diff != "" {
		t.Errorf("%s: phases (-code +page):\n%s", phasesPage, diff)
	}
}

func unquoted(cell string) string {
	return strings.TrimSpace(strings.ReplaceAll(cell, "`", ""))
}
