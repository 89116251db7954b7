package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// fakeMounter records what is asked of it, as words.
type fakeMounter struct {
	calls []string
	fail  map[string]error // by the first word and path of a call
}

func (f *fakeMounter) call(key, rest string) error {
	f.calls = append(f.calls, strings.TrimSpace(key+" "+rest))
	return f.fail[key]
}

func (f *fakeMounter) Remount(path string, bind bool) error {
	return f.call("remount "+path, map[bool]string{true: "bind"}[bind])
}
func (f *fakeMounter) Share() error                     { return f.call("share", "") }
func (f *fakeMounter) Bind(source, target string) error { return f.call("bind "+source, target) }
func (f *fakeMounter) MakeDevice(path string, major, minor uint32) error {
	if err := f.call("device "+filepath.Base(path), fmt.Sprintf("%d:%d", major, minor)); err != nil {
		return err
	}
	return os.WriteFile(path, nil, 0o666)
}

// fakeRunner records commands and what they read.
type fakeRunner struct {
	commands []string
	stdin    []string
	err      error
}

func (f *fakeRunner) Run(_ context.Context, cmd exec.Cmd) error {
	f.commands = append(f.commands, strings.Join(cmd.Args, " "))
	var in []byte
	if cmd.Stdin != nil {
		in, _ = io.ReadAll(cmd.Stdin)
	}
	f.stdin = append(f.stdin, string(in))
	return f.err
}

// machine is a Machine below a new directory, with the given files.
func machine(t *testing.T, files map[string]string) (*Machine, *fakeMounter) {
	t.Helper()
	mounts := &fakeMounter{fail: map[string]error{}}
	m := &Machine{
		Root: t.TempDir(), Mounts: mounts, Runner: &fakeRunner{},
		Log: slog.New(slog.DiscardHandler),
		addrs: func() ([]net.Addr, error) {
			return []net.Addr{addr("127.0.0.1/8"), addr("fe80::1/64"), addr("172.18.0.2/16")}, nil
		},
		guard: func(context.Context, []netip.Prefix, []netip.Prefix) error { return nil },
	}
	lay(t, m, files)
	return m, mounts
}

func addr(prefix string) net.Addr {
	p := netip.MustParsePrefix(prefix)
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// lay writes files; a path that ends in "/" is a directory.
func lay(t *testing.T, m *Machine, files map[string]string) {
	t.Helper()
	for name, content := range files {
		var err error
		if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(m.path(name), 0o755)
		} else {
			err = m.write(name, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// read is the content of a file of the machine, "" when there is none.
func read(t *testing.T, m *Machine, name string) string {
	t.Helper()
	data, err := os.ReadFile(m.path(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

func exists(m *Machine, name string) bool {
	_, err := os.Lstat(m.path(name))
	return err == nil
}

// twice takes a step, and again as after a restart.
func twice(t *testing.T, m *Machine, step func(context.Context, *Machine) error) {
	t.Helper()
	for _, boot := range []string{"first", "second"} {
		if err := step(t.Context(), m); err != nil {
			t.Fatalf("%s boot: %v", boot, err)
		}
	}
}

func diff(t *testing.T, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// An ordinary host: cgroup v2, and a privileged container.
const v2Mounts = `sysfs /sys sysfs rw,nosuid,nodev,noexec,relatime 0 0
cgroup /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime,nsdelegate 0 0
`

func TestInspect(t *testing.T) {
	const all, without = "CapEff:\t000001ffffffffff\n", "CapEff:\t000001fffeffffff\n"
	tests := map[string]struct {
		files map[string]string
		want  Machine
		err   string
	}{
		"v2, privileged": {
			files: map[string]string{"/sys/fs/cgroup/cgroup.controllers": "cpu", "/proc/self/status": "Name:\tx\n" + all},
			want:  Machine{ResourceCap: true},
		},
		"v1 without CAP_SYS_RESOURCE": {
			files: map[string]string{"/proc/self/status": without},
			want:  Machine{CgroupV1: true},
		},
		"hybrid is v1": {
			files: map[string]string{"/sys/fs/cgroup/unified/cgroup.controllers": "", "/proc/self/status": all},
			want:  Machine{CgroupV1: true, ResourceCap: true},
		},
		"with a plan": {
			files: map[string]string{"/proc/self/status": without, nodeimage.PlanPath: `{"cluster":"demo","role":"worker"}`},
			want:  Machine{CgroupV1: true, Plan: &nodeimage.Plan{Cluster: "demo", Role: "worker"}},
		},
		"a broken plan": {
			files: map[string]string{"/proc/self/status": without, nodeimage.PlanPath: `{`},
			err:   nodeimage.PlanPath,
		},
		"broken capabilities": {
			files: map[string]string{"/proc/self/status": "CapEff:\tnone\n"},
			err:   "capabilities",
		},
		"no process information": {err: "capabilities"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m, _ := machine(t, test.files)
			err := m.Inspect()
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("got %v, want an error about %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			diff(t, test.want.Plan, m.Plan)
			if m.CgroupV1 != test.want.CgroupV1 || m.ResourceCap != test.want.ResourceCap {
				t.Errorf("v1 %v, resource capability %v; want %v, %v", m.CgroupV1, m.ResourceCap, test.want.CgroupV1, test.want.ResourceCap)
			}
		})
	}
}

func TestStepsAreInOrder(t *testing.T) {
	var names []string
	required := map[string]bool{}
	for _, s := range Steps() {
		names = append(names, s.Name)
		required[s.Name] = s.Required
	}
	before := func(a, b string) {
		t.Helper()
		i, j := slices.Index(names, a), slices.Index(names, b)
		if i < 0 || j < 0 || i > j {
			t.Errorf("%s must come before %s: %v", a, b, names)
		}
	}
	before("mounts", "cgroups")      // a read-only /sys hides the groups
	before("mounts", "product-uuid") // bound over a file of /sys
	before("sysctls", "resolver")    // packets to loopback need route_localnet
	for _, name := range []string{"mounts", "cgroups", "machine-id", "image-store", "containerd", "kubelet"} {
		if !required[name] {
			t.Errorf("a node cannot work without step %s, which is not required", name)
		}
	}
}

func TestRunOnAnOrdinaryHost(t *testing.T) {
	m, mounts := machine(t, map[string]string{
		"/proc/1/cgroup":                    "0::/\n",
		"/sys/fs/cgroup/cgroup.procs":       "1\n",
		"/sys/fs/cgroup/cgroup.controllers": "cpu memory pids",
		"/proc/self/mounts":                 v2Mounts,
		"/proc/self/status":                 "CapEff:\t000001ffffffffff\n",
		"/proc/sys/net/ipv4/ip_forward":     "0",
		"/etc/resolv.conf":                  "nameserver 192.0.2.53\n",
		"/dev/kmsg":                         "", "/dev/fuse": "", "/dev/net/tun": "",
	})
	var log bytes.Buffer
	m.Log = slog.New(slog.NewTextHandler(&log, nil))
	twice(t, m, Run)
	if log.Len() > 0 {
		t.Errorf("a plain host gives warnings:\n%s", &log)
	}
	diff(t, []string{"share", "share"}, mounts.calls)
	for _, name := range []string{nodeimage.KubeletDropInDir, containerdConfD, "/sys/fs/cgroup/kubelet"} {
		if exists(m, name) {
			t.Errorf("a plain host needs no %s", name)
		}
	}
}

func TestRunStopsAtARequiredStepOnly(t *testing.T) {
	files := map[string]string{
		"/proc/1/cgroup":                    "0::/\n",
		"/sys/fs/cgroup/cgroup.procs":       "1\n",
		"/sys/fs/cgroup/cgroup.controllers": "cpu",
		"/proc/self/mounts":                 v2Mounts,
		"/proc/self/status":                 "CapEff:\t000001ffffffffff\n",
	} // no resolv.conf and no devices
	t.Run("optional", func(t *testing.T) {
		m, mounts := machine(t, files)
		var log bytes.Buffer
		m.Log = slog.New(slog.NewTextHandler(&log, nil))
		mounts.fail["device fuse"] = errors.New("not permitted")
		if err := Run(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"step=devices", "not permitted", "step=resolver"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log lacks %q:\n%s", want, &log)
			}
		}
		if read(t, m, "/etc/machine-id") == "" {
			t.Error("the steps after a failed one were not taken")
		}
	})
	t.Run("required", func(t *testing.T) {
		m, mounts := machine(t, files)
		cause := errors.New("no")
		mounts.fail["share"] = cause
		err := Run(t.Context(), m)
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), "boot step mounts") {
			t.Errorf("got %v, want the step's name and cause", err)
		}
		if exists(m, "/etc/machine-id") {
			t.Error("steps were taken after a required one failed")
		}
	})
	t.Run("unknown machine", func(t *testing.T) {
		m, _ := machine(t, nil)
		if err := Run(t.Context(), m); err == nil {
			t.Error("a machine that cannot be inspected was booted")
		}
	})
}

// TestAwaitFiles boots a node whose files come after the start.
func TestAwaitFiles(t *testing.T) {
	t.Setenv(nodeimage.EnvAwaitFiles, "1")
	synctest.Test(t, func(t *testing.T) {
		m := &Machine{Root: t.TempDir()}
		began := time.Now()
		go func() {
			time.Sleep(3 * time.Second)
			if err := m.write(nodeimage.CompletePath, "\n"); err != nil {
				t.Error(err)
			}
		}()
		if err := m.AwaitFiles(); err != nil || time.Since(began) < 3*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		if err := (&Machine{Root: t.TempDir()}).AwaitFiles(); err == nil || !strings.Contains(err.Error(), "no files came in 5m0s") {
			t.Errorf("without files: %v", err)
		}
	})
}
