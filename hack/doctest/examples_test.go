package doctest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/config/kindv1alpha4"
	"github.com/petri-cluster/petri/pkg/config/v1alpha1"
)

// TestConfigurations loads every configuration in the pages.
func TestConfigurations(t *testing.T) {
	count := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			own, ofKind := "apiVersion: "+v1alpha1.APIVersion, "apiVersion: "+kindv1alpha4.APIVersion
			if b.language != "yaml" || (!strings.Contains(b.text, own) && !strings.Contains(b.text, ofKind)) {
				continue
			}
			count++
			image := func(string) string { return "petri/node:example" }
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "data"), 0o755); err != nil { // examples mount it
				t.Fatal(err)
			}
			if _, err := config.Load([]byte(b.text), p.path, config.Options{DefaultImage: image, Dir: dir}); err != nil {
				t.Errorf("%s: the example after line %d: %v", p.path, b.line, err)
			}
		}
	}
	if count < 8 {
		t.Errorf("only %d configurations were found", count)
	}
}
