package container

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/api/types/versions"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/provider"
)

// minAPIVersion is that of Docker 20.10, the first with private cgroup
// namespaces on every host.
const minAPIVersion = "1.41"

// Check implements provider.Provider. The engine is asked once: it stays the
// same while a connection to it lasts.
func (p *Provider) Check(ctx context.Context) (provider.Info, error) {
	info, err := p.engineInfo(ctx)
	if err != nil {
		return provider.Info{}, err
	}
	return p.describe(info), nil
}

// engineInfo is what the engine says of itself, if it can be used.
func (p *Provider) engineInfo(ctx context.Context) (system.Info, error) {
	p.mu.Lock()
	known := p.info
	p.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	info, err := p.askEngine(ctx)
	if err != nil {
		return system.Info{}, err
	}
	p.mu.Lock()
	p.info = &info
	p.mu.Unlock()
	return info, nil
}

func (p *Provider) askEngine(ctx context.Context) (system.Info, error) {
	info, err := p.engine.Info(ctx)
	if err != nil {
		return system.Info{}, p.engineError(err, "ask the %s engine who it is", p.Name())
	}
	if v := p.engine.ClientVersion(); versions.LessThan(v, minAPIVersion) {
		return system.Info{}, errdefs.New(errdefs.ClassUnavailable, "ENGINE-TOO-OLD",
			"%s %s speaks API %s, %s is needed", p.Name(), info.ServerVersion, v, minAPIVersion).
			WithHint("Upgrade to Docker 20.10 or later.")
	}
	if info.OSType != "" && info.OSType != "linux" {
		return system.Info{}, errdefs.New(errdefs.ClassUnavailable, "ENGINE-NOT-LINUX",
			"the %s engine runs %s containers, nodes are Linux", p.Name(), info.OSType).
			WithHint("Switch Docker to Linux containers.")
	}
	return info, nil
}

func (p *Provider) describe(info system.Info) provider.Info {
	cgroup, _ := strconv.Atoi(info.CgroupVersion) // 0: the engine did not say
	return provider.Info{
		Name:          p.Name(),
		Version:       info.ServerVersion,
		APIVersion:    p.engine.ClientVersion(),
		OS:            info.OSType,
		Architecture:  goArch(info.Architecture),
		CgroupVersion: cgroup,
		CgroupDriver:  info.CgroupDriver,
		StorageDriver: info.Driver,
		CPUs:          info.NCPU,
		MemoryBytes:   info.MemTotal,
		Rootless:      hasSecurityOption(info, "rootless"),
		KernelVersion: info.KernelVersion,
		ID:            info.ID,
		Local:         p.local(),
		Root:          info.DockerRootDir,
		Time:          systemTime(info.SystemTime),
		Privileges:    p.knownMode(info.ID),
		Lacks:         lackingControllers(info),
	}
}

// systemTime reads the engine's clock, which costs no call of its own.
func systemTime(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return t
}

// lackingControllers are the cgroup controllers that kubelet wants and the
// engine could not find. One that names no cgroup version says nothing of them.
func lackingControllers(info system.Info) []string {
	if info.CgroupVersion == "" {
		return nil
	}
	var lacks []string
	for _, c := range []struct {
		name string
		has  bool
	}{
		{"cpu", info.CPUCfsQuota || info.CPUShares},
		{"cpuset", info.CPUSet},
		{"memory", info.MemoryLimit},
		{"pids", info.PidsLimit},
	} {
		if !c.has {
			lacks = append(lacks, c.name)
		}
	}
	return lacks
}

// checkIPv6 fails when nodes are to have IPv6 and the host's kernel has none.
// What an engine makes of it is known when the network is made, which is the
// first thing to be made.
func (p *Provider) checkIPv6(spec provider.Spec) error {
	if !spec.IPv6 || !p.local() {
		return nil
	}
	// not there when the kernel was built or started without IPv6
	if _, err := os.Stat(ipv6Sysctls); errors.Is(err, fs.ErrNotExist) {
		return noIPv6("there is no %s: the kernel of this host has no IPv6", ipv6Sysctls)
	}
	return nil
}

const ipv6Sysctls = "/proc/sys/net/ipv6"

// noIPv6 says why nodes can have no IPv6 address.
func noIPv6(format string, args ...any) error {
	return errdefs.New(errdefs.ClassUnavailable, "NO-IPV6", "networking.ipFamily needs IPv6: "+format, args...).
		WithHint("Set networking.ipFamily to ipv4. Or let the host have IPv6: no ipv6.disable=1 on the kernel's command line, and an engine that can make networks with it (docker network create --ipv6).")
}

// goArch translates the kernel's name of an architecture into Go's.
func goArch(machine string) string {
	switch machine {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "armv7l", "armv6l":
		return "arm"
	case "i686", "i386":
		return "386"
	}
	return machine
}

// hasSecurityOption reports whether the engine runs with an option such as
// "rootless", which it lists as "name=rootless" and perhaps more fields.
func hasSecurityOption(info system.Info, name string) bool {
	return slices.ContainsFunc(info.SecurityOptions, func(option string) bool {
		return slices.Contains(strings.Split(option, ","), "name="+name)
	})
}
