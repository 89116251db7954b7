package health

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// commands puts scripts before all others in PATH.
func commands(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// TestReportWithoutSystemd wants what can be found out when systemd hangs.
func TestReportWithoutSystemd(t *testing.T) {
	commands(t, map[string]string{"systemctl": "exec sleep 60", "journalctl": "exec sleep 60"})
	r, err := Ask(t.Context(), exec.Host{})
	if err != nil || len(r.Units) > 0 || len(r.Disks) == 0 || r.Link == "" {
		t.Errorf("it says %+v, %v", r, err)
	}
}

// TestReportOfUnits wants the logs of those units alone that are not as they
// should be, and the rest when one hangs.
func TestReportOfUnits(t *testing.T) {
	const shown = `cat <<END
NRestarts=0
Id=kubelet.service
ActiveState=failed
SubState=failed

NRestarts=0
Id=containerd.service
ActiveState=active
SubState=running

NRestarts=12
Id=petri-balancer.service
ActiveState=active
SubState=running
END`
	commands(t, map[string]string{"systemctl": shown, "journalctl": `echo "$*"; case "$*" in *balancer*) exec sleep 60 ;; esac`})
	r, err := Ask(t.Context(), exec.Host{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"kubelet": "-u kubelet -n 12", "containerd": "", "petri-balancer": "-u petri-balancer -n 12"} {
		if log := r.Units[name].Log; !strings.HasPrefix(log, want) || (want == "") != (log == "") {
			t.Errorf("%s has the log %q, want %q", name, log, want)
		}
	}
	if len(r.Disks) == 0 || r.Units["petri-balancer"].Restarts != 12 {
		t.Errorf("it says %+v", r)
	}
}
