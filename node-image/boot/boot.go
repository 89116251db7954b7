// Package boot is what a node does before its init system starts: an ordered
// list of short steps that turn a container into a machine that systemd,
// containerd and kubelet can run on, on cgroup v1 and v2, privileged or not.
// Every step can run again after a restart and leaves a booted node alone. It
// runs inside a node only and knows nothing of the host.
package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// Machine is the node that is being booted. Files are below Root, which is "/"
// except in tests.
type Machine struct {
	Root   string
	Mounts Mounter
	Runner exec.Runner
	Log    *slog.Logger
	// Plan is what petri wrote for this node; nil when another tool made it.
	Plan *nodeimage.Plan
	// CgroupV1 and ResourceCap are what the machine was found to be: they
	// are set by Inspect.
	CgroupV1    bool
	ResourceCap bool // CAP_SYS_RESOURCE is held

	// nil, except in tests: the addresses of this network namespace, and the
	// guard of its ranges
	addrs func() ([]net.Addr, error)
	guard func(ctx context.Context, pods, services []netip.Prefix) error
}

// Mounter changes mounts; the real one is Kernel.
type Mounter interface {
	// Remount makes the mount at path writable, as a bind mount when bind.
	Remount(path string, bind bool) error
	// Share makes / and everything below it a shared mount.
	Share() error
	// Bind mounts source over target, read-only.
	Bind(source, target string) error
	// MakeDevice makes a character device node that all may use.
	MakeDevice(path string, major, minor uint32) error
}

// Step is one part of booting. An error of a Required step stops the boot; of
// any other it is logged, because a node that half works can be looked at.
type Step struct {
	Name     string
	Required bool
	// Beside: it mostly waits for another program, and no later step needs it.
	Beside bool
	Run    func(context.Context, *Machine) error
}

// Steps is booting, in order.
func Steps() []Step {
	return []Step{
		{Name: "mounts", Required: true, Run: mounts},
		{Name: "cgroups", Required: true, Run: cgroups},
		{Name: "root-group", Run: rootGroup},
		{Name: "devices", Run: devices},
		{Name: "sysctls", Run: sysctls},
		{Name: "address", Run: address},
		{Name: "resolver", Beside: true, Run: resolver},
		{Name: "endpoint", Required: true, Run: endpoint},
		{Name: "guard", Beside: true, Run: guard},
		{Name: "api-service", Beside: true, Run: apiService},
		{Name: "pod-network", Run: podNetwork},
		{Name: "pod-routes", Beside: true, Run: podRoutes},
		{Name: "machine-id", Required: true, Run: machineID},
		{Name: "journal", Run: journal},
		{Name: "product-uuid", Run: productUUID},
		{Name: "proxy", Run: proxy},
		{Name: "image-store", Required: true, Run: imageStore},
		{Name: "containerd", Required: true, Run: containerd},
		{Name: "kubelet", Required: true, Run: kubelet},
	}
}

// Run inspects the machine and takes every step.
func Run(ctx context.Context, m *Machine) error {
	if err := m.Inspect(); err != nil {
		return err
	}
	var beside sync.WaitGroup
	defer beside.Wait()
	for _, s := range Steps() {
		if s.Beside {
			beside.Go(func() { m.log(s, s.Run(ctx, m)) })
			continue
		}
		err := s.Run(ctx, m)
		if err != nil && s.Required {
			return fmt.Errorf("boot step %s: %w", s.Name, err)
		}
		m.log(s, err)
	}
	return nil
}

func (m *Machine) log(s Step, err error) {
	if err != nil {
		m.Log.Warn("boot step failed, going on", "step", s.Name, "error", err)
	}
}

// capSysResource is the number of CAP_SYS_RESOURCE in linux/capability.h.
const capSysResource = 24

// Inspect finds out what kind of machine this is.
func (m *Machine) Inspect() error {
	if _, err := os.Stat(m.path("/sys/fs/cgroup/cgroup.controllers")); errors.Is(err, fs.ErrNotExist) {
		m.CgroupV1 = true
	}
	status, err := os.ReadFile(m.path("/proc/self/status"))
	if err != nil {
		return fmt.Errorf("read own capabilities: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			var caps uint64
			if _, err := fmt.Sscanf(strings.TrimSpace(hex), "%x", &caps); err != nil {
				return fmt.Errorf("read own capabilities: %w", err)
			}
			m.ResourceCap = caps&(1<<capSysResource) != 0
		}
	}
	if err := m.AwaitFiles(); err != nil {
		return err
	}
	return m.readPlan()
}

// filesLimit bounds the waiting for files; filesInterval is how often they are
// looked for.
const (
	filesLimit    = 5 * time.Minute
	filesInterval = 10 * time.Millisecond
)

// AwaitFiles waits until the host has put this node's files in place, when it
// does so after the start: it could not know the node's address before. It
// fails when they do not come in time.
func (m *Machine) AwaitFiles() error {
	if os.Getenv(nodeimage.EnvAwaitFiles) == "" {
		return nil
	}
	for began := time.Now(); ; time.Sleep(filesInterval) {
		_, err := os.Stat(m.path(nodeimage.CompletePath))
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if time.Since(began) > filesLimit {
			return fmt.Errorf("no files came in %s: %w", filesLimit, err)
		}
	}
}

func (m *Machine) readPlan() error {
	data, err := os.ReadFile(m.path(nodeimage.PlanPath))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	m.Plan = new(nodeimage.Plan)
	if err := json.Unmarshal(data, m.Plan); err != nil {
		return fmt.Errorf("%s: %w", nodeimage.PlanPath, err)
	}
	return nil
}

// path is where an absolute path of the node is for this process.
func (m *Machine) path(p string) string { return filepath.Join(m.Root, p) }

// write makes a file and the directories on the way.
func (m *Machine) write(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(m.path(path)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(m.path(path), []byte(content), 0o644)
}

// writeSecret is write for a file that nobody but root may read, also when it was
// there before.
func (m *Machine) writeSecret(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(m.path(path)), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(m.path(path)+".new", []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(m.path(path)+".new", m.path(path))
}

// dropIn writes a file that only some machines need, and removes what an
// earlier boot wrote on a machine that needed it.
func (m *Machine) dropIn(needed bool, path, content string) error {
	if needed {
		return m.write(path, content)
	}
	if err := os.Remove(m.path(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
