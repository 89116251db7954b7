package boot

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestMounts(t *testing.T) {
	tests := map[string]struct {
		mounts string
		want   []string
	}{
		"privileged": {v2Mounts, []string{"share"}},
		"read-only":  {"sysfs /sys sysfs ro,nosuid 0 0\n", []string{"remount /sys", "share"}},
		"the last mount is the one seen": {
			"sysfs /sys sysfs ro,nosuid 0 0\nsysfs /sys sysfs rw,nosuid 0 0\n", []string{"share"}},
		"a mount below is another one": {
			"sysfs /sys sysfs ro,nosuid 0 0\ncgroup /sys/fs/cgroup cgroup2 rw 0 0\n", []string{"remount /sys", "share"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m, mounter := machine(t, map[string]string{"/proc/self/mounts": test.mounts})
			if err := mounts(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			diff(t, test.want, mounter.calls)
		})
	}
}

func TestMountsSaysWhatFailed(t *testing.T) {
	for call, want := range map[string]string{"remount /sys": "make /sys writable", "share": "share mounts"} {
		m, mounter := machine(t, map[string]string{"/proc/self/mounts": "sysfs /sys sysfs ro 0 0\n"})
		cause := errors.New("not permitted")
		mounter.fail[call] = cause
		if err := mounts(t.Context(), m); !errors.Is(err, cause) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", call, err, want)
		}
	}
}

const v1Mounts = `sysfs /sys sysfs ro,nosuid,nodev,noexec,relatime 0 0
tmpfs /sys/fs/cgroup tmpfs rw,nosuid,nodev,noexec,relatime,mode=755 0 0
cgroup /sys/fs/cgroup/memory cgroup ro,nosuid,memory 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,nosuid,cpuset 0 0
cgroup /sys/fs/cgroup/systemd cgroup ro,nosuid,name=systemd 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 ro,nosuid 0 0
`

func TestCgroupsV1(t *testing.T) {
	const dir = "/sys/fs/cgroup/"
	m, mounter := machine(t, map[string]string{
		"/proc/self/mounts": v1Mounts,
		dir + "memory/":     "", dir + "systemd/": "", dir + "unified/": "",
		dir + "cpuset/cpuset.cpus": "0-3\n", dir + "cpuset/cpuset.mems": "0\n",
	})
	m.CgroupV1 = true
	twice(t, m, cgroups)
	diff(t, []string{"remount " + dir + "memory bind", "remount " + dir + "systemd bind", "remount " + dir + "unified bind"}, mounter.calls[:3])
	for _, group := range []string{"kubelet", "kubelet.slice"} {
		for _, controller := range []string{"memory", "cpuset", "systemd"} {
			if !exists(m, dir+controller+"/"+group) {
				t.Errorf("no group %s in %s", group, controller)
			}
		}
		if exists(m, dir+"unified/"+group) {
			t.Errorf("group %s in the unified hierarchy, where kubelet on v1 has none", group)
		}
		if got := read(t, m, dir+"cpuset/"+group+"/cpuset.cpus"); got != "0-3\n" {
			t.Errorf("%s has CPUs %q: no process can enter it", group, got)
		}
		if got := read(t, m, dir+"cpuset/"+group+"/cpuset.mems"); got != "0\n" {
			t.Errorf("%s has memory nodes %q", group, got)
		}
		if exists(m, dir+"memory/"+group+"/cpuset.cpus") {
			t.Error("memory groups have no CPUs")
		}
	}
}

func TestCgroupsV1CpusetSharesItsMount(t *testing.T) {
	const dir = "/sys/fs/cgroup/cpuset,cpu,cpuacct"
	m, _ := machine(t, map[string]string{
		"/proc/self/mounts":  "cgroup " + dir + " cgroup rw,cpuset,cpu,cpuacct 0 0\n",
		dir + "/cpuset.cpus": "0\n", dir + "/cpuset.mems": "0\n",
	})
	m.CgroupV1 = true
	twice(t, m, cgroups)
	if got := read(t, m, dir+"/kubelet/cpuset.cpus"); got != "0\n" {
		t.Errorf("CPUs %q, want the parent's", got)
	}
}

func TestCgroupsV2(t *testing.T) {
	for name, test := range map[string]struct {
		mounts string
		want   []string
	}{
		"privileged": {v2Mounts, nil},
		"read-only":  {strings.ReplaceAll(v2Mounts, "rw,", "ro,"), []string{"remount /sys/fs/cgroup bind"}},
	} {
		t.Run(name, func(t *testing.T) {
			m, mounter := machine(t, map[string]string{"/proc/self/mounts": test.mounts, "/sys/fs/cgroup/": ""})
			if err := cgroups(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			diff(t, test.want, mounter.calls)
			if exists(m, "/sys/fs/cgroup/kubelet") {
				t.Error("groups were made before systemd")
			}
		})
	}
}

func TestCgroupsSaysWhatFailed(t *testing.T) {
	m, mounter := machine(t, map[string]string{"/proc/self/mounts": v1Mounts})
	cause := errors.New("busy")
	mounter.fail["remount /sys/fs/cgroup/memory"] = cause
	if err := cgroups(t.Context(), m); !errors.Is(err, cause) || !strings.Contains(err.Error(), "/sys/fs/cgroup/memory") {
		t.Errorf("got %v, want the group and the cause", err)
	}
}

func TestDevices(t *testing.T) {
	t.Run("made", func(t *testing.T) {
		m, mounter := machine(t, nil)
		twice(t, m, devices)
		diff(t, []string{"device kmsg 1:11", "device fuse 10:229", "device tun 10:200"}, mounter.calls)
	})
	t.Run("there already", func(t *testing.T) {
		m, mounter := machine(t, map[string]string{"/dev/kmsg": "host", "/dev/fuse": "", "/dev/net/tun": ""})
		twice(t, m, devices)
		diff(t, []string(nil), mounter.calls)
		if read(t, m, "/dev/kmsg") != "host" {
			t.Error("a device that was there was replaced")
		}
	})
	t.Run("not permitted", func(t *testing.T) {
		m, mounter := machine(t, nil)
		cause := errors.New("not permitted")
		mounter.fail["device kmsg"], mounter.fail["device tun"] = cause, cause
		// twice: the link must not be in the way of the next boot
		for range 2 {
			if err := devices(t.Context(), m); !errors.Is(err, cause) {
				t.Errorf("got %v, want the device that is missing", err)
			}
		}
		if target, err := os.Readlink(m.path("/dev/kmsg")); err != nil || target != "/dev/null" {
			t.Errorf("/dev/kmsg leads to %q, %v: kubelet does not start without it", target, err)
		}
	})
	t.Run("only kmsg not permitted", func(t *testing.T) {
		m, mounter := machine(t, nil)
		mounter.fail["device kmsg"] = errors.New("not permitted")
		if err := devices(t.Context(), m); err != nil {
			t.Errorf("got %v, though the fallback stands in", err)
		}
	})
}

func TestMachineID(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef\n"
	for name, test := range map[string]struct {
		files map[string]string
		kept  bool
	}{
		"kept":          {map[string]string{"/etc/machine-id": id}, true},
		"empty":         {map[string]string{"/etc/machine-id": ""}, false},
		"uninitialized": {map[string]string{"/etc/machine-id": "uninitialized\n"}, false},
		"missing":       {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := machine(t, test.files)
			if err := machineID(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			first := read(t, m, "/etc/machine-id")
			if (first == id) != test.kept {
				t.Errorf("machine ID %q, kept: want %v", first, test.kept)
			}
			if !regexp.MustCompile(`^[0-9a-f]{32}\n$`).MatchString(first) {
				t.Errorf("machine ID %q has another form than machine-id(5)", first)
			}
			if err := machineID(t.Context(), m); err != nil || read(t, m, "/etc/machine-id") != first {
				t.Errorf("a restart changed the machine ID (%v)", err)
			}
		})
	}
}

// The name of the file is journald's.
func TestJournal(t *testing.T) {
	m, _ := machine(t, nil)
	if err := journal(t.Context(), m); err != nil || !exists(m, "/run/systemd/journal/flushed") {
		t.Errorf("journald would keep the journal in memory (%v)", err)
	}
}

func TestProductUUID(t *testing.T) {
	const dmi = "/sys/class/dmi/id/product_uuid"
	m, mounter := machine(t, map[string]string{dmi: "the host's\n"})
	if err := productUUID(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	first := read(t, m, uuidFile)
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\n$`).MatchString(first) {
		t.Errorf("%q is no UUID of version 4", first)
	}
	if err := productUUID(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if got := read(t, m, uuidFile); got != first {
		t.Errorf("a restart changed the UUID from %q to %q", first, got)
	}
	// mounts do not outlive a restart
	diff(t, []string{"bind " + uuidFile + " " + dmi, "bind " + uuidFile + " " + dmi}, mounter.calls)

	other, _ := machine(t, map[string]string{dmi: "the host's\n"})
	if err := productUUID(t.Context(), other); err != nil || read(t, other, uuidFile) == first {
		t.Errorf("two nodes have the same UUID (%v)", err)
	}
}

func TestProductUUIDWithoutDMI(t *testing.T) {
	m, mounter := machine(t, nil)
	twice(t, m, productUUID)
	diff(t, []string(nil), mounter.calls)
}

func TestSysctls(t *testing.T) {
	const ipv4 = "/proc/sys/net/ipv4/"
	m, _ := machine(t, map[string]string{
		ipv4 + "ip_forward": "0", ipv4 + "conf/all/route_localnet": "0", ipv4 + "conf/all/rp_filter": "1",
	}) // no IPv6 in this kernel
	twice(t, m, sysctls)
	for name, want := range map[string]string{"ip_forward": "1", "conf/all/route_localnet": "1", "conf/all/rp_filter": "0"} {
		if got := read(t, m, ipv4+name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if exists(m, "/proc/sys/net/ipv6") {
		t.Error("a setting that the kernel does not have was written")
	}
}

func TestSysctlsGoesOnAfterAFailure(t *testing.T) {
	const localnet = "/proc/sys/net/ipv4/conf/all/route_localnet"
	m, _ := machine(t, map[string]string{
		"/proc/sys/net/ipv4/ip_forward/": "", // cannot be written
		localnet:                         "0",
	})
	if err := sysctls(t.Context(), m); err == nil || !strings.Contains(err.Error(), "ip_forward") {
		t.Errorf("got %v, want what could not be set", err)
	}
	if got := read(t, m, localnet); got != "1" {
		t.Errorf("the settings after it were not made: %q", got)
	}
}

func TestProxy(t *testing.T) {
	names := []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}
	const file = "/etc/systemd/system.conf.d/10-proxy.conf"
	tests := map[string]struct {
		env  map[string]string
		want string
	}{
		"none": {nil, ""},
		"two in a fixed order": {
			map[string]string{"no_proxy": "10.0.0.0/8,.svc", "HTTP_PROXY": "http://proxy:3128"},
			`"HTTP_PROXY=http://proxy:3128" "no_proxy=10.0.0.0/8,.svc"`},
		"percent signs are specifiers to systemd": {
			map[string]string{"HTTPS_PROXY": "http://user:p%40ss@proxy"}, `"HTTPS_PROXY=http://user:p%%40ss@proxy"`},
		"quotes and backslashes": {
			map[string]string{"HTTPS_PROXY": `a"b\c d`}, `"HTTPS_PROXY=a\"b\\c d"`},
		"a line break begins no line": {
			map[string]string{"NO_PROXY": "a\nLogLevel=debug"}, `"NO_PROXY=a\nLogLevel=debug"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, n := range names {
				t.Setenv(n, test.env[n])
			}
			m, _ := machine(t, nil)
			twice(t, m, proxy)
			want := ""
			if test.want != "" {
				want = "[Manager]\nDefaultEnvironment=" + test.want + "\n"
			}
			diff(t, want, read(t, m, file))
		})
	}
}
