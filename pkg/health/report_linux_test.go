package health

import (
	"slices"
	"testing"

	"github.com/petri-cluster/petri/pkg/exec"
)

// TestReportOnThisMachine runs the script where there is no node: it must end by
// itself, and print its sections.
func TestReportOnThisMachine(t *testing.T) {
	r, err := Ask(t.Context(), exec.Host{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Disks) == 0 || r.Link == "" || slices.ContainsFunc(r.Disks, func(d Disk) bool { return d.Path == "" }) {
		t.Errorf("it says %+v", r)
	}
}
