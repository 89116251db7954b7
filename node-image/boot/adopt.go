package boot

import (
	"context"
	"fmt"

	"github.com/petri-cluster/petri/pkg/exec"
)

// Adopt does to a node that another image's entrypoint has booted what petri's
// own does at boot beside the common ground: the guard of the cluster's ranges,
// and the patches of containerd's configuration.
func Adopt(ctx context.Context, m *Machine) error {
	if err := m.readPlan(); err != nil {
		return err
	}
	if err := guard(ctx, m); err != nil {
		return fmt.Errorf("guard the cluster's ranges: %w", err)
	}
	if !m.patchesContainerd() {
		return nil
	}
	if err := m.patchContainerd(); err != nil {
		return fmt.Errorf("patch containerd's configuration: %w", err)
	}
	// it has read its configuration before
	return exec.Run(ctx, m.Runner, "systemctl", "restart", "containerd")
}
