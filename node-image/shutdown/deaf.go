package shutdown

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// stopSignals are those by which images ask to be told to end: HUP, INT, QUIT,
// USR1, USR2, TERM and WINCH. In a mask of signals bit 0 is signal 1.
const stopSignals = 1<<0 | 1<<1 | 1<<2 | 1<<9 | 1<<11 | 1<<14 | 1<<27

// runtimeGroup finds the ID of a container at the end of its control group's name:
// of a plain group, of a scope of systemd's, or of the group that crun makes within
// such a scope on cgroup v2.
var runtimeGroup = regexp.MustCompile(`(?m)/(?:cri-containerd-)?([0-9a-f]{64})(?:\.scope)?(?:/container)?$`)

// deafContainers are those whose first process has no handler for any signal
// that says "end", as a shell has none. The kernel throws such a signal away
// when the process is the first of its process namespace
// (pid_namespaces(7)): waiting for it to act would be in vain.
func deafContainers(root string) map[string]bool {
	deaf := map[string]bool{}
	statuses, err := filepath.Glob(filepath.Join(root, "/proc/[0-9]*/status"))
	if err != nil {
		return deaf
	}
	for _, path := range statuses {
		status, err := os.ReadFile(path)
		if err != nil || !isDeaf(string(status)) {
			continue // it ended, or it listens
		}
		group, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cgroup"))
		if err != nil {
			continue
		}
		if id := runtimeGroup.FindSubmatch(group); id != nil {
			deaf[string(id[1])] = true
		}
	}
	return deaf
}

// isDeaf reads a process's status: it is the first of a namespace below this
// one, and catches none of the signals.
func isDeaf(status string) bool {
	first, caught := false, uint64(stopSignals)
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "NSpid":
			ids := strings.Fields(value)
			first = len(ids) > 1 && ids[len(ids)-1] == "1"
		case "SigCgt":
			if mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64); err == nil {
				caught = mask
			}
		}
	}
	return first && caught&stopSignals == 0
}
