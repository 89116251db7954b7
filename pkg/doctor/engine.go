package doctor

import (
	"slices"
	"strings"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

func checkEngine(f *Facts) []Finding {
	if f.EngineErr != nil {
		return []Finding{failed(f.EngineErr)}
	}
	return fine("%s %s, API %s, %s/%s", f.Engine.Name, f.Engine.Version, f.Engine.APIVersion, f.Engine.OS, f.Engine.Architecture)
}

func checkPrivileges(f *Facts) []Finding {
	if f.Engine.Rootless {
		return []Finding{warning("ENGINE-ROOTLESS", "the engine runs without root").
			because("nodes need kernel features that a user has only where systemd delegates them, and clusters on such engines are not tested").
			fix("use an engine that runs as root: docker context use default")}
	}
	switch f.Engine.Privileges {
	case "":
		return fine("the first node will find out what the engine allows")
	case "privileged":
		return fine("nodes are privileged")
	}
	return []Finding{note("PRIVILEGES-REDUCED", "the engine refuses privileged containers; nodes get their capabilities one by one").
		because("without CAP_SYS_RESOURCE nodes cannot protect their processes from the kernel when memory runs out")}
}

// slowDrivers copy whole images for each container.
var slowDrivers = []string{"vfs"}

// goneDrivers are those that engines have given up, and on which a node's own
// container runtime finds no snapshotter that works.
var goneDrivers = []string{"aufs", "devicemapper", "overlay"}

func checkStorageDriver(f *Facts) []Finding {
	driver := f.Engine.StorageDriver
	switch {
	case slices.Contains(slowDrivers, driver):
		return []Finding{warning("STORAGE-DRIVER", "the engine's storage driver is %s", driver).
			because("it copies the whole node image for each node, which takes minutes and gigabytes").
			fix(`set "storage-driver": "overlay2" in /etc/docker/daemon.json and restart Docker`)}
	case slices.Contains(goneDrivers, driver):
		return []Finding{warning("STORAGE-DRIVER", "the engine's storage driver is %s, which engines no longer support", driver).
			because("containers in a node may not find a file system that they can use").
			fix(`set "storage-driver": "overlay2" in /etc/docker/daemon.json and restart Docker`)}
	}
	return fine("%s", driver)
}

// controllers are the cgroup controllers that kubelet insists on.
var controllers = []string{"cpu", "cpuset", "memory", "pids"}

func checkCgroups(f *Facts) []Finding {
	lacks := f.Engine.Lacks
	if f.Engine.Local {
		lacks = f.Host.lackingControllers()
	}
	if len(lacks) > 0 {
		return []Finding{fatal(errdefs.ClassUnavailable, "CGROUP-CONTROLLERS", "the kernel does not offer the cgroup controllers %s", strings.Join(lacks, ", ")).
			because("kubelet does not start without them").
			fix("add cgroup_enable=memory cgroup_memory=1 to the kernel's command line (on a Raspberry Pi: /boot/firmware/cmdline.txt) and reboot")}
	}
	if f.Engine.CgroupVersion == 1 {
		return []Finding{note("CGROUP-V1", "the host has cgroup v1, with the driver %s", f.Engine.CgroupDriver).
			because("Kubernetes is giving it up; petri tells kubelet to accept it").
			fix("boot with systemd.unified_cgroup_hierarchy=1, or a newer system")}
	}
	return fine("v%d, driver %s", f.Engine.CgroupVersion, f.Engine.CgroupDriver)
}

// lackingControllers are those that this machine's kernel does not offer; none
// when it does not say.
func (h Host) lackingControllers() []string {
	offered := strings.Fields(h.text("sys/fs/cgroup/cgroup.controllers")) // v2
	if len(offered) == 0 {
		for line := range strings.Lines(h.text("proc/cgroups")) { // v1
			if fields := strings.Fields(line); len(fields) == 4 && fields[3] == "1" {
				offered = append(offered, fields[0])
			}
		}
	}
	if len(offered) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(controllers), func(c string) bool { return slices.Contains(offered, c) })
}
