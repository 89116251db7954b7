package boot

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// mounts makes writable what an engine mounts read-only for a container that
// is not privileged, and lets mounts travel from the node into its pods.
func mounts(_ context.Context, m *Machine) error {
	if !m.writable("/sys") {
		if err := m.Mounts.Remount("/sys", false); err != nil {
			return fmt.Errorf("make /sys writable: %w", err)
		}
	}
	if err := m.Mounts.Share(); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	return nil
}

// cgroups makes the cgroup mounts writable and, on v1, makes the groups that
// kubelet expects to find. On v2 that waits until systemd has said which
// controllers it wants (see rootGroup and KubeletCgroup).
func cgroups(_ context.Context, m *Machine) error {
	groups, err := m.cgroupMounts()
	if err != nil {
		return err
	}
	for _, g := range groups {
		if m.writable(g) {
			continue
		}
		// a plain remount changes the superblock, which others hold busy
		if err := m.Mounts.Remount(g, true); err != nil {
			return fmt.Errorf("make %s writable: %w", g, err)
		}
	}
	if !m.CgroupV1 {
		return nil
	}
	for _, g := range groups {
		if strings.HasSuffix(g, "/unified") {
			continue
		}
		for _, name := range []string{"kubelet", "kubelet.slice"} {
			if err := os.MkdirAll(m.path(filepath.Join(g, name)), 0o755); err != nil {
				return fmt.Errorf("make cgroup: %w", err)
			}
		}
		if err := m.inheritCpuset(g, "kubelet", "kubelet.slice"); err != nil {
			return fmt.Errorf("give cgroups their CPUs: %w", err)
		}
	}
	return nil
}

// devices makes the device nodes that a privileged container has and others
// lack. Without /dev/kmsg kubelet does not start.
func devices(_ context.Context, m *Machine) error {
	var errs []error
	for _, d := range []struct {
		path         string
		major, minor uint32 // Documentation/admin-guide/devices.txt of Linux
	}{
		{"/dev/kmsg", 1, 11},
		{"/dev/fuse", 10, 229},
		{"/dev/net/tun", 10, 200},
	} {
		path := m.path(d.path)
		if _, err := os.Stat(path); err == nil {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			errs = append(errs, err)
			continue
		}
		err := m.Mounts.MakeDevice(path, d.major, d.minor)
		if err != nil && d.path == "/dev/kmsg" {
			err = os.Symlink("/dev/null", path) // readable, and says nothing
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// inheritCpuset gives new groups their parent's CPUs and memory nodes: a v1
// cpuset group begins empty, and no process can enter it. The controller may
// share its mount with others; a mount without it is left alone.
func (m *Machine) inheritCpuset(mount string, names ...string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(m.path(filepath.Join(mount, file)))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := os.WriteFile(m.path(filepath.Join(mount, name, file)), value, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// cgroupMounts lists the mount points of all cgroup file systems.
func (m *Machine) cgroupMounts() ([]string, error) {
	f, err := os.Open(m.path("/proc/self/mounts"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) > 2 && (fields[2] == "cgroup" || fields[2] == "cgroup2") {
			out = append(out, fields[1])
		}
	}
	return out, nil
}

// writable reports whether the mount at path is mounted read-write.
func (m *Machine) writable(path string) bool {
	data, err := os.ReadFile(m.path("/proc/self/mounts"))
	if err != nil {
		return false
	}
	rw := false
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) > 3 && fields[1] == path {
			rw = strings.HasPrefix(fields[3], "rw") // the last mount is the one seen
		}
	}
	return rw
}

// machineID gives the node an identity of its own: images share the file.
func machineID(_ context.Context, m *Machine) error {
	old, err := os.ReadFile(m.path("/etc/machine-id"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(strings.TrimSpace(string(old))) == 32 {
		return nil
	}
	var id [16]byte
	rand.Read(id[:])
	return m.write("/etc/machine-id", fmt.Sprintf("%x\n", id))
}

// journal has journald write to disk from its first line on, as if the command
// that tells it to (journalctl --flush, a unit of its own) had run. What a node
// said is then there when it has stopped.
func journal(_ context.Context, m *Machine) error {
	return m.write("/run/systemd/journal/flushed", "")
}

const uuidFile = "/kind/product_uuid"

// productUUID hides the host's hardware identity, which all nodes of a host
// would share and report to Kubernetes as their SystemUUID.
func productUUID(_ context.Context, m *Machine) error {
	const dmi = "/sys/class/dmi/id/product_uuid"
	if _, err := os.Stat(m.path(uuidFile)); errors.Is(err, fs.ErrNotExist) {
		var u [16]byte
		rand.Read(u[:])
		u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80 // RFC 9562, version 4
		text := fmt.Sprintf("%x-%x-%x-%x-%x\n", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
		if err := m.write(uuidFile, text); err != nil {
			return err
		}
	}
	if _, err := os.Stat(m.path(dmi)); errors.Is(err, fs.ErrNotExist) {
		return nil // no DMI on this hardware, as on most ARM boards
	}
	return m.Mounts.Bind(uuidFile, dmi)
}

// sysctls sets what routing between pods, nodes and the engine's resolver
// needs. Each is of the node's own network namespace.
func sysctls(_ context.Context, m *Machine) error {
	var errs []error
	for _, s := range [][2]string{
		{"net/ipv4/ip_forward", "1"},
		// the engine's resolver listens on a loopback address: see resolver
		{"net/ipv4/conf/all/route_localnet", "1"},
		// replies may come by another interface than the request went out; the
		// kernel takes the stricter of "all" and the interface's own
		{"net/ipv4/conf/all/rp_filter", "0"},
		{"net/ipv4/conf/default/rp_filter", "0"},
		{"net/ipv4/conf/eth0/rp_filter", "0"},
		{"net/ipv6/conf/all/forwarding", "1"},
		// refusals of what has nowhere to go are ICMP messages, which the kernel
		// holds back after a few: their senders would wait
		{"net/ipv4/icmp_ratelimit", "0"},
		{"net/ipv6/icmp/ratelimit", "0"},
	} {
		path := m.path("/proc/sys/" + s[0])
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.WriteFile(path, []byte(s[1]), 0o644); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// proxy passes the container's proxy variables on to every service.
func proxy(_ context.Context, m *Machine) error {
	var env strings.Builder
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"} {
		if value := os.Getenv(name); value != "" {
			quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "\n", `\n`).Replace(value)
			fmt.Fprintf(&env, " \"%s=%s\"", name, quoted)
		}
	}
	if env.Len() == 0 {
		return nil
	}
	return m.write("/etc/systemd/system.conf.d/10-proxy.conf", "[Manager]\nDefaultEnvironment="+env.String()[1:]+"\n")
}
