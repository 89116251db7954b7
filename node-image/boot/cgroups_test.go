package boot

import (
	"strings"
	"testing"
)

// TestRootGroup: processes are moved where the groups are the node's own, and those of
// the machine stay where they are.
func TestRootGroup(t *testing.T) {
	for groups, moved := range map[string]bool{
		"0::/\n": true, "1:net_cls:/\n0::/\n": true, "0::/init.scope\n": true, "0::/system.slice/docker-1.scope\n": false, "1:net_cls:/\n": false,
	} {
		m, _ := machine(t, map[string]string{
			"/proc/1/cgroup": groups, "/sys/fs/cgroup/cgroup.controllers": "cpu memory\n", "/sys/fs/cgroup/cgroup.procs": "0\n17\n",
		})
		if err := rootGroup(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(read(t, m, "/sys/fs/cgroup/cgroup.subtree_control")); got != "+cpu +memory" {
			t.Errorf("%q: it passes on %q", groups, got)
		}
		if got := exists(m, "/sys/fs/cgroup/init.scope/cgroup.procs"); got != moved {
			t.Errorf("%q: moved is %v", groups, got)
		} else if moved && read(t, m, "/sys/fs/cgroup/init.scope/cgroup.procs") != "17" {
			t.Errorf("%q: another process was moved", groups)
		}
	}
	m, _ := machine(t, nil)
	m.CgroupV1 = true
	if err := rootGroup(t.Context(), m); err != nil || exists(m, cgroupRoot) {
		t.Errorf("on cgroup v1: %v", err)
	}
}

func TestKubeletCgroup(t *testing.T) {
	t.Run("v2", func(t *testing.T) {
		m, _ := machine(t, map[string]string{
			"/sys/fs/cgroup/cgroup.controllers": "cpuset cpu memory pids\n", "/sys/fs/cgroup/cgroup.procs": "", "/proc/1/cgroup": "0::/init.scope\n",
		})
		for range 2 {
			if err := KubeletCgroup(m.Root); err != nil {
				t.Fatal(err)
			}
		}
		for _, group := range []string{"", "/kubelet", "/kubelet.slice"} {
			got := read(t, m, "/sys/fs/cgroup"+group+"/cgroup.subtree_control")
			if strings.TrimSpace(got) != "+cpuset +cpu +memory +pids" {
				t.Errorf("group %q passes on %q", group, got)
			}
		}
	})
	t.Run("v1", func(t *testing.T) {
		m, _ := machine(t, map[string]string{"/sys/fs/cgroup/memory/": ""})
		if err := KubeletCgroup(m.Root); err != nil {
			t.Fatal(err)
		}
		if exists(m, "/sys/fs/cgroup/kubelet") {
			t.Error("a group was made where v1 has its controllers")
		}
	})
	t.Run("refused", func(t *testing.T) {
		m, _ := machine(t, map[string]string{
			"/sys/fs/cgroup/cgroup.controllers":              "cpu",
			"/sys/fs/cgroup/cgroup.procs":                    "",
			"/proc/1/cgroup":                                 "0::/init.scope\n",
			"/sys/fs/cgroup/kubelet/cgroup.subtree_control/": "",
		})
		if err := KubeletCgroup(m.Root); err == nil || !strings.Contains(err.Error(), "/sys/fs/cgroup/kubelet") {
			t.Errorf("got %v, want the group that could not be set up", err)
		}
	})
}
