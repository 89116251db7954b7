package nodehelper

import (
	"testing"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// TestProgram asks for an architecture that no build has; e2e runs the others.
func TestProgram(t *testing.T) {
	if _, err := Program("sparc"); !errdefs.Is(err, errdefs.ClassUsage) {
		t.Errorf("got %v, want an error of class usage", err)
	}
}
