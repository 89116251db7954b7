package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

var now = time.Date(2026, time.January, 2, 3, 4, 5, 0, time.UTC)

// machine is what is changed of a healthy machine, engine and configuration.
type machine struct {
	*Facts
	files fstest.MapFS
	env   map[string]string
	space Space
	sync  time.Duration
	free  int // inotify instances
	taken map[string]bool
}

func (m *machine) write(path, content string) { m.files[path] = &fstest.MapFile{Data: []byte(content)} }

// healthy is a machine with cgroup v2 on which nothing is to be found.
func healthy(t *testing.T) *machine {
	t.Helper()
	c, err := config.Load(nil, "test", config.Options{
		DefaultName: "dev", DefaultImage: func(string) string { return "petri/node:v1.36.3" }, Dir: "/",
	})
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{
		files: fstest.MapFS{}, env: map[string]string{}, taken: map[string]bool{},
		space: Space{Bytes: 100 << 30, Inodes: 1e6}, sync: time.Millisecond, free: 1000,
	}
	m.write("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc\n")
	m.write("proc/sys/fs/inotify/max_user_instances", "1024\n")
	m.write("proc/sys/fs/inotify/max_user_watches", "524288\n")
	m.write("proc/sys/fs/file-nr", "2000\t0\t9223372036854775807\n")
	m.write("proc/sys/kernel/threads-max", "190000\n")
	m.write("proc/sys/kernel/pid_max", "4194304\n")
	m.write("proc/loadavg", "0.10 0.20 0.30 1/523 4711\n")
	m.write("proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 12000000 kB\n")
	m.write("proc/filesystems", "nodev\toverlay\n\text4\n")
	m.write("lib/modules/6.12.1-amd64/modules.builtin", "kernel/net/netfilter/x_tables.ko\n")
	m.write("lib/modules/6.12.1-amd64/modules.dep", "kernel/net/netfilter/nf_tables.ko.xz: kernel/net/netfilter/nfnetlink.ko.xz\n")
	m.write("proc/net/route", "Iface\tDestination\n"+route("eth0", "00000000", "00000000")+route("eth0", "0001A8C0", "00FFFFFF"))
	m.write("etc/resolv.conf", "search corp\nnameserver 192.168.1.1\n")
	m.Facts = &Facts{
		Cluster: c,
		Host: Host{
			FS: m.files, Getenv: func(name string) string { return m.env[name] }, Now: func() time.Time { return now },
			Space:   func(string) (Space, error) { return m.space, nil },
			Inotify: func(n int) int { return min(n, m.free) },
			Sync:    func() (time.Duration, error) { return m.sync, nil },
			Listen: func(network, address string) error {
				if m.taken[network+" "+address] {
					return fmt.Errorf("listen: %w", syscall.EADDRINUSE)
				}
				return nil
			},
		},
		Engine: provider.Info{
			Name: "docker", Version: "28.1.0", APIVersion: "1.49", OS: "linux", Architecture: "amd64", Local: true, Root: "/var/lib/docker",
			CgroupVersion: 2, CgroupDriver: "systemd", StorageDriver: "overlay2", CPUs: 8, MemoryBytes: 16 << 30,
			KernelVersion: "6.12.1-amd64", Time: now, Privileges: "privileged",
		},
		Survey: &provider.Survey{Networks: []provider.Network{{Name: "bridge", Subnets: prefixes("172.17.0.0/16")}}},
		Images: map[string]Image{"petri/node:v1.36.3": {Image: provider.Image{
			Architecture: "amd64", Labels: map[string]string{nodeimage.LabelKubernetes: "v1.36.3"},
		}}},
		Kubectl: "v1.35.1",
	}
	return m
}

func route(device, destination, mask string) string {
	return device + "\t" + destination + "\t00000000\t0001\t0\t0\t0\t" + mask + "\t0\t0\t0\n"
}

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// TestHealthy wants every check to be made, and to find nothing.
func TestHealthy(t *testing.T) {
	report := Examine(healthy(t).Facts)
	for _, f := range report.Findings {
		if f.Severity != OK || f.Seen == "" || f.ID != "" {
			t.Errorf("%+v", f)
		}
	}
	if len(report.Findings) != len(checks()) || !report.Works || report.Err() != nil {
		t.Errorf("%d findings of %d checks, %v", len(report.Findings), len(checks()), report.Err())
	}
}

// TestFindings changes one thing of a healthy machine at a time, and wants that
// to be found and nothing else.
func TestFindings(t *testing.T) {
	stopped := provider.Container{Name: "old-worker", Cluster: "old", Role: nodeimage.RoleWorker, State: node.Stopped}
	for name, test := range map[string]struct {
		change func(*machine)
		want   string // severity, ID and what is said
	}{
		"no engine": {func(m *machine) {
			m.EngineErr = errdefs.New(errdefs.ClassUnavailable, "ENGINE-UNREACHABLE", "no such socket").WithHint("start it")
		}, "fatal ENGINE-UNREACHABLE no such socket"},
		"rootless":              {func(m *machine) { m.Engine.Rootless = true }, "warning ENGINE-ROOTLESS without root"},
		"fewer privileges":      {func(m *machine) { m.Engine.Privileges = "capabilities" }, "note PRIVILEGES-REDUCED refuses"},
		"a driver that copies":  {func(m *machine) { m.Engine.StorageDriver = "vfs" }, "warning STORAGE-DRIVER vfs"},
		"a driver given up":     {func(m *machine) { m.Engine.StorageDriver = "devicemapper" }, "warning STORAGE-DRIVER no longer"},
		"cgroup v1":             {func(m *machine) { m.v1("1"); m.Engine.CgroupVersion = 1 }, "note CGROUP-V1 systemd"},
		"no memory controller":  {func(m *machine) { m.v1("0"); m.Engine.CgroupVersion = 1 }, "fatal CGROUP-CONTROLLERS memory"},
		"v2 without pids":       {func(m *machine) { m.write("sys/fs/cgroup/cgroup.controllers", "cpuset cpu memory") }, "fatal CGROUP-CONTROLLERS pids"},
		"elsewhere, no cpuset":  {func(m *machine) { m.Engine.Local = false; m.Engine.Lacks = []string{"cpuset"} }, "fatal CGROUP-CONTROLLERS cpuset"},
		"an ancient kernel":     {func(m *machine) { m.kernel("4.15.0-1-generic") }, "fatal KERNEL-OLD 4.19"},
		"too old for nftables":  {func(m *machine) { m.kernel("5.10.0") }, "fatal KERNEL-OLD 5.13"},
		"no nf_tables":          {func(m *machine) { m.write("lib/modules/6.12.1-amd64/modules.dep", "") }, "warning KERNEL-FEATURE nf_tables"},
		"no overlay":            {func(m *machine) { m.write("proc/filesystems", "\text4\n") }, "warning KERNEL-FEATURE overlay"},
		"one CPU":               {func(m *machine) { m.Engine.CPUs = 1 }, "fatal CPU-LOW 1 CPU"},
		"little memory":         {func(m *machine) { m.Engine.MemoryBytes = 1 << 30 }, "fatal MEMORY-LOW 1.0 GiB"},
		"little memory left":    {func(m *machine) { m.write("proc/meminfo", "MemAvailable: 100000 kB\n") }, "warning MEMORY-LOW 97 MiB"},
		"a full disk":           {func(m *machine) { m.space.Bytes = 10 << 20 }, "fatal DISK-FULL 10 MiB are free below /var/lib/docker"},
		"a nearly full disk":    {func(m *machine) { m.space.Bytes = 2 << 30 }, "warning DISK-FULL 2.0 GiB"},
		"no inodes":             {func(m *machine) { m.space.Inodes = 100 }, "warning DISK-FULL 100 more files"},
		"a slow disk":           {func(m *machine) { m.sync = 80 * time.Millisecond }, "warning DISK-SLOW 80ms"},
		"few inotify instances": {func(m *machine) { m.write("proc/sys/fs/inotify/max_user_instances", "128") }, "warning INOTIFY-LOW 128"},
		"no inotify instances":  {func(m *machine) { m.free = 7 }, "fatal INOTIFY-LOW fewer than 8 left"},
		"few inotify watches":   {func(m *machine) { m.write("proc/sys/fs/inotify/max_user_watches", "8192") }, "warning INOTIFY-LOW 8192"},
		"few files":             {func(m *machine) { m.write("proc/sys/fs/file-nr", "99000 0 100000") }, "warning FILES-LOW 99000 of 100000"},
		"few threads":           {func(m *machine) { m.write("proc/sys/kernel/pid_max", "1000") }, "warning PROCESSES-LOW 523"},
		"an engine ahead":       {func(m *machine) { m.Engine.Time = now.Add(time.Hour) }, "fatal CLOCK-SKEW 1h0m0s ahead"},
		"an engine behind":      {func(m *machine) { m.Engine.Time = now.Add(-time.Hour) }, "warning CLOCK-SKEW 1h0m0s apart"},
		"the API's port": {func(m *machine) {
			m.Cluster.Networking.APIServerPort = 6443
			m.taken["tcp 127.0.0.1:6443"] = true
		}, "fatal PORT-TAKEN another program"},
		"a node's port, by a known program": {func(m *machine) {
			m.Cluster.Nodes[0].Ports = []config.PortMapping{{ContainerPort: 80, HostPort: 8080, ListenAddress: "127.0.0.1", Protocol: "tcp"}}
			m.taken["tcp 127.0.0.1:8080"] = true
			m.write("proc/net/tcp", "sl\n0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 4711 1\n")
			m.write("proc/812/comm", "nginx\n")
			m.files["proc/812/fd/3"] = &fstest.MapFile{Data: []byte("socket:[4711]"), Mode: fs.ModeSymlink}
		}, "fatal PORT-TAKEN nginx (process 812)"},
		"a port that a container publishes": {func(m *machine) {
			m.Cluster.Networking.APIServerPort = 6443
			m.Survey.Containers = []provider.Container{{Name: "web", Ports: []node.Port{{HostPort: 6443, Protocol: "tcp"}, {HostPort: 6443, Protocol: "tcp", ListenAddress: "::"}}}}
		}, "fatal PORT-TAKEN container web"},
		"a VPN":                    {func(m *machine) { m.write("proc/net/route", "Iface\n"+route("tun0", "0000600A", "0000F0FF")) }, "warning SUBNET-ROUTED serviceSubnet, 10.96.0.0/16, overlaps with the route to 10.96.0.0/12 by tun0"},
		"a name server among pods": {func(m *machine) { m.write("etc/resolv.conf", "nameserver 10.244.0.53") }, "warning SUBNET-ROUTED podSubnet"},
		"no name server":           {func(m *machine) { m.write("etc/resolv.conf", "search corp") }, "warning DNS-NONE"},
		"a proxy on loopback":      {func(m *machine) { m.env["https_proxy"] = "http://user:secret@127.0.0.1:3128" }, "warning PROXY-UNUSABLE HTTPS_PROXY is a proxy on 127.0.0.1"},
		"no proxy's address":       {func(m *machine) { m.env["HTTP_PROXY"] = "http://[" }, "warning PROXY-UNUSABLE HTTP_PROXY"},
		"a network of another's": {func(m *machine) {
			m.Cluster.Networking.NodeSubnets = []netip.Prefix{netip.MustParsePrefix("172.17.3.0/24")}
		}, "fatal SUBNET-TAKEN network bridge"},
		"a network among pods": {func(m *machine) { m.Survey.Networks[0].Subnets = prefixes("10.244.7.0/24") }, "warning SUBNET-ROUTED network bridge"},
		"no node image":        {func(m *machine) { m.image(Image{Err: missing}) }, "fatal NODE-IMAGE-MISSING v1.36.3"},
		"an image elsewhere": {func(m *machine) {
			m.Images = map[string]Image{"kindest/node:v1.36.0": {Err: missing}}
		}, "note NODE-IMAGE-MISSING will pull"},
		"an image for others": {func(m *machine) { m.image(Image{Image: provider.Image{Architecture: "arm64"}}) }, "fatal NODE-IMAGE-ARCH arm64"},
		"a cluster of the name": {func(m *machine) {
			m.Named = true
			m.Survey.Containers = []provider.Container{{Name: "dev-control-plane", Cluster: "dev", Role: nodeimage.RoleControlPlane}}
		}, "fatal CLUSTER-EXISTS dev"},
		"a container of a node's name": {func(m *machine) {
			m.Named = true
			m.Survey.Containers = []provider.Container{{Name: "dev-control-plane"}}
		}, "fatal NODE-NAME-TAKEN dev-control-plane"},
		"a part of a cluster":    {func(m *machine) { m.Survey.Containers = []provider.Container{stopped} }, "warning LEFTOVERS cluster old"},
		"a network of a cluster": {func(m *machine) { m.Survey.Networks[0].Cluster = "old" }, "warning LEFTOVERS cluster old"},
		"a forgotten container":  {func(m *machine) { m.Survey.Containers = []provider.Container{{Name: "x", Passing: true}} }, "warning LEFTOVERS container x"},
		"a broken kubeconfig": {func(m *machine) {
			m.KubeconfigErr = errdefs.New(errdefs.ClassUsage, "KUBECONFIG-UNUSABLE", "it is broken")
		}, "fatal KUBECONFIG-UNUSABLE broken"},
		"no kubectl":     {func(m *machine) { m.Kubectl = "" }, "note KUBECTL-MISSING"},
		"an old kubectl": {func(m *machine) { m.Kubectl = "v1.34.9" }, "warning KUBECTL-SKEW v1.34.9"},
		"a new kubectl":  {func(m *machine) { m.Kubectl = "v1.38.0" }, "warning KUBECTL-SKEW v1.38.0"},
	} {
		t.Run(name, func(t *testing.T) {
			m := healthy(t)
			test.change(m)
			report := Examine(m.Facts)
			var found []Finding
			for _, f := range report.Findings {
				if f.Severity != OK && f.Severity != Skipped {
					found = append(found, f)
				}
			}
			if len(found) != 1 {
				t.Fatalf("found %+v, want one", found)
			}
			f, want := found[0], strings.SplitN(test.want+" ", " ", 3)
			if string(f.Severity) != want[0] || f.ID != want[1] || !strings.Contains(f.Seen+f.Fix, strings.TrimSpace(want[2])) {
				t.Errorf("found %+v, want %s", f, test.want)
			}
			if strings.Contains(fmt.Sprint(report), "secret") {
				t.Errorf("a password is shown: %+v", report)
			}
			if f.Page == "" || f.Severity == Warning && (f.Fix == "" || f.Why == "") {
				t.Errorf("it does not say what to do: %+v", f)
			}
			if report.Works != (f.Severity != Fatal) || (report.Err() != nil) != (f.Severity == Fatal) {
				t.Errorf("works: %v, error: %v", report.Works, report.Err())
			}
		})
	}
}

var missing = errdefs.New(errdefs.ClassNotFound, "IMAGE-NOT-FOUND", "no such image")

func (m *machine) image(i Image) { m.Images["petri/node:v1.36.3"] = i }

// kernel changes which one runs, with the same modules.
func (m *machine) kernel(release string) {
	m.Engine.KernelVersion = release
	for _, file := range []string{"modules.builtin", "modules.dep"} {
		m.files["lib/modules/"+release+"/"+file] = m.files["lib/modules/6.12.1-amd64/"+file]
	}
}

// v1 makes it a machine with cgroup v1, whose memory controller is on or off.
func (m *machine) v1(memory string) {
	delete(m.files, "sys/fs/cgroup/cgroup.controllers")
	m.write("proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t3\t1\t1\ncpu\t1\t1\t1\nmemory\t0\t1\t"+memory+"\npids\t8\t1\t1\n")
}

// What creation looks at is known without a survey: it asks the engine nothing
// and leaves out what takes long.
func TestWithoutSurvey(t *testing.T) {
	m := healthy(t)
	m.Survey, m.Images, m.Kubectl = nil, nil, ""
	m.Host.Sync = func() (time.Duration, error) { t.Error("the disk was measured"); return 0, nil }
	report := Examine(m.Facts)
	var made []string
	for _, f := range report.Findings {
		made = append(made, f.Check)
		if f.Severity != OK {
			t.Errorf("%+v", f)
		}
	}
	for _, c := range checks() {
		if slices.Contains(made, c.name) != (c.needs != aSurvey && c.name != "disk-speed") {
			t.Errorf("check %s: made %v", c.name, slices.Contains(made, c.name))
		}
	}
}

// Nothing of this machine counts when the engine runs on another.
func TestElsewhere(t *testing.T) {
	m := healthy(t)
	m.Engine.Local = false
	clear(m.files)
	m.space, m.free = Space{}, 0
	for _, f := range Examine(m.Facts).Findings {
		if f.Severity != OK && f.Severity != Skipped {
			t.Errorf("%+v", f)
		}
	}
}

// A machine that says nothing is not a sick one.
func TestSilent(t *testing.T) {
	m := healthy(t)
	clear(m.files)
	m.write("etc/resolv.conf", "nameserver 192.168.1.1")
	m.Engine = provider.Info{Local: true}
	for _, f := range Examine(m.Facts).Findings {
		if f.Severity != OK && f.Severity != Skipped {
			t.Errorf("%+v", f)
		}
	}
}

// TestKubeadmMayBeTold leaves it to kubeadm what it may be told to ignore.
func TestKubeadmMayBeTold(t *testing.T) {
	m := healthy(t)
	m.Engine.CPUs, m.Engine.MemoryBytes = 1, 1<<30
	m.Cluster.KubeadmPatches = []string{"kind: InitConfiguration\nnodeRegistration: {ignorePreflightErrors: [NumCPU, Mem]}\n"}
	if report := Examine(m.Facts); !report.Works || len(report.Of(Warning)) != 2 {
		t.Errorf("%+v", report.Findings)
	}
}

func TestErr(t *testing.T) {
	m := healthy(t)
	m.Engine.CPUs, m.space.Bytes = 1, 0
	err := Examine(m.Facts).Err()
	e, ok := errors.AsType[*errdefs.Error](err)
	if !ok || e.ID != "CPU-LOW" || e.Class != errdefs.ClassUnavailable || !strings.Contains(err.Error(), "/var/lib/docker") || !strings.Contains(e.Hint, "docker image prune") {
		t.Errorf("got %+v", e)
	}
}

func TestJSON(t *testing.T) {
	m := healthy(t)
	m.Engine.CPUs = 1
	data, err := json.Marshal(Examine(m.Facts))
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Works    bool
		Findings []map[string]string
	}
	if err := json.Unmarshal(data, &report); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(report.Findings, func(f map[string]string) bool { return f["id"] == "CPU-LOW" })
	if report.Works || i < 0 {
		t.Fatalf("%s", data)
	}
	want := []string{"check", "fix", "id", "page", "seen", "severity", "why"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(report.Findings[i]))); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

// TestThisHost reads the real machine: whatever it is, nothing breaks.
func TestThisHost(t *testing.T) {
	m := healthy(t)
	m.Facts.Host = ThisHost(t.Context())
	if len(Examine(m.Facts).Findings) < len(checks()) {
		t.Error("checks are missing")
	}
	if err := m.Host.Listen("udp", "127.0.0.1:0"); err != nil {
		t.Error(err)
	}
	home := t.TempDir()
	for _, cache := range []string{home, filepath.Join(home, "new", "cache")} { // a new user has none
		t.Setenv("XDG_CACHE_HOME", cache)
		if took, err := syncTime(); err != nil || took <= 0 {
			t.Errorf("a write to %s took %s, %v", cache, took, err)
		}
	}
	if left, err := os.ReadDir(home); len(left) > 0 || err != nil {
		t.Errorf("it leaves %v, %v", left, err)
	}
}
