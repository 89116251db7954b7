package doctor

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
)

// What kubeadm wants of the machine of a control plane.
const (
	kubeadmCPUs   = 2
	kubeadmMemory = 1700 << 20
)

// What nodes that run nothing of the user's come to need.
const (
	controlPlaneMemory = 600 << 20
	workerMemory       = 200 << 20
)

// insists makes what kubeadm refuses fatal, unless the configuration tells it
// to ignore some of its checks: which, kubeadm knows best.
func insists(c *config.Cluster, f Finding) Finding {
	text, err := config.Encode(c)
	if err == nil && bytes.Contains(text, []byte("ignorePreflightErrors")) {
		f.Severity = Warning
	}
	return f
}

func checkCPU(f *Facts) []Finding {
	if f.Engine.CPUs > 0 && f.Engine.CPUs < kubeadmCPUs {
		return []Finding{insists(f.Cluster, fatal(errdefs.ClassUnavailable, "CPU-LOW", "the engine has %d CPU, and kubeadm wants %d", f.Engine.CPUs, kubeadmCPUs).
			because("kubeadm refuses to make a control plane").
			fix("give the machine, or Docker Desktop in its settings, another CPU"))}
	}
	return fine("%d", f.Engine.CPUs)
}

func checkMemory(f *Facts) []Finding {
	total := f.Engine.MemoryBytes
	if total > 0 && total < kubeadmMemory {
		return []Finding{insists(f.Cluster, fatal(errdefs.ClassUnavailable, "MEMORY-LOW", "the engine has %s of memory, and kubeadm wants %s", size(total), size(kubeadmMemory)).
			because("kubeadm refuses to make a control plane").
			fix("give the machine, or Docker Desktop in its settings, more memory"))}
	}
	need := int64(len(f.Cluster.ControlPlanes()))*controlPlaneMemory + int64(len(f.Cluster.Workers()))*workerMemory
	free := total
	if f.Engine.Local {
		free = f.Host.availableMemory(total)
	}
	if free > 0 && free < need {
		return []Finding{warning("MEMORY-LOW", "%s of memory are free, and the nodes come to need %s", size(free), size(need)).
			because("when memory runs out, the kernel kills the API server or etcd").
			fix("stop what is not needed (petri pause cluster frees no memory, petri stop cluster does), or make fewer nodes")}
	}
	return fine("%s, %s of them free", size(total), size(free))
}

// availableMemory is what programs can have without pushing others out.
func (h Host) availableMemory(otherwise int64) int64 {
	for line := range strings.Lines(h.text("proc/meminfo")) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "MemAvailable:" {
			continue
		}
		if kib, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
			return kib << 10
		}
	}
	return otherwise
}

// size is a number of bytes for people.
func size[T int | int64 | uint64](bytes T) string {
	if bytes >= 10<<30 {
		return fmt.Sprintf("%d GiB", bytes>>30)
	}
	if bytes >= 1<<30 {
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}

// How much of the engine's disk must be free: what one node fills while it
// starts, and what leaves room to work.
const (
	diskLeast  = 500 << 20
	diskEnough = 4 << 30
	fewInodes  = 20000
)

func checkDisk(f *Facts) []Finding {
	if f.Engine.Root == "" {
		return skipped("the engine does not say where it keeps its files")
	}
	left, err := f.Host.Space(f.Engine.Root)
	const fix = "see what takes it (docker system df), and remove what is not needed: docker image prune, docker builder prune"
	const why = "nodes do not run pods on a full disk, and etcd stops"
	switch {
	case err != nil:
		return skipped(err.Error())
	case left.Bytes < diskLeast:
		return []Finding{fatal(errdefs.ClassUnavailable, "DISK-FULL", "%s are free below %s", size(left.Bytes), f.Engine.Root).because(why).fix(fix)}
	case left.Bytes < diskEnough:
		return []Finding{warning("DISK-FULL", "only %s are free below %s", size(left.Bytes), f.Engine.Root).because(why).fix(fix)}
	case left.Inodes > 0 && left.Inodes < fewInodes:
		return []Finding{warning("DISK-FULL", "only %d more files can be made below %s", left.Inodes, f.Engine.Root).because(why).fix(fix)}
	}
	return fine("%s free below %s", size(left.Bytes), f.Engine.Root)
}

// slowSync is what etcd can no longer work with: it counts on 10 ms.
const slowSync = 50 * time.Millisecond

func checkDiskSpeed(f *Facts) []Finding {
	if f.Survey == nil {
		return nil // it takes too long for a creation
	}
	took, err := f.Host.Sync()
	switch {
	case err != nil:
		return skipped(err.Error())
	case took > slowSync:
		return []Finding{warning("DISK-SLOW", "a write takes %s to reach the disk", took.Round(time.Millisecond)).
			because("etcd waits for the disk at each change: requests time out and leaders are lost").
			fix("petri create cluster --ephemeral keeps etcd's data in memory")}
	}
	return fine("a write reaches the disk in %s", took.Round(100*time.Microsecond))
}

// What nodes take of the inotify instances that the kernel gives a user: at
// most, and at least to boot. And how many are enough for a day's work.
const (
	instancesPerNode = 14
	instancesToBoot  = 8
	enoughInstances  = 512
	enoughWatches    = 65536
)

func checkInotify(f *Facts) []Finding {
	instances, ok := f.Host.number("proc/sys/fs/inotify/max_user_instances")
	watches, _ := f.Host.number("proc/sys/fs/inotify/max_user_watches")
	wanted := instancesToBoot * len(f.Cluster.Nodes)
	const why = "a node that gets no inotify instance does not boot, and says \"too many open files\""
	const fix = "sudo sysctl -w fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=524288 (and in /etc/sysctl.d/99-petri.conf, to keep it)"
	switch {
	case !ok:
		return skipped("the kernel does not say")
	case f.Host.Inotify(wanted) < wanted:
		return []Finding{fatal(errdefs.ClassUnavailable, "INOTIFY-LOW", "root may have %d inotify instances, and has fewer than %d left", instances, wanted).because(why).fix(fix)}
	case instances < enoughInstances:
		return []Finding{warning("INOTIFY-LOW", "a user may have %d inotify instances, and each node takes some %d", instances, instancesPerNode).because(why).fix(fix)}
	case watches < enoughWatches:
		return []Finding{warning("INOTIFY-LOW", "a user may have %d inotify watches", watches).
			because("kubelet and programs in pods miss changes of files when there are no more").fix(fix)}
	}
	return fine("%d instances, %d watches", instances, watches)
}

// filesPerNode is how many open files of the whole machine a node may come to.
const filesPerNode = 20000

func checkFiles(f *Facts) []Finding {
	open := f.Host.numbers("proc/sys/fs/file-nr") // open, free, most
	if len(open) != 3 {
		return skipped("the kernel does not say")
	}
	if left, need := int64(open[2])-int64(open[0]), int64(filesPerNode*len(f.Cluster.Nodes)); open[2] < 1<<62 && left < need {
		return []Finding{warning("FILES-LOW", "%d of %d files are open on this machine", open[0], open[2]).
			because("programs in nodes fail with \"too many open files in system\"").
			fix("sudo sysctl -w fs.file-max=2097152")}
	}
	return fine("%d of %d open", open[0], open[2])
}

// threadsPerNode is how many threads a node may come to.
const threadsPerNode = 2000

func checkProcesses(f *Facts) []Finding {
	most, ok := f.Host.number("proc/sys/kernel/threads-max")
	ids, okIDs := f.Host.number("proc/sys/kernel/pid_max")
	running, okNow := threads(f.Host.text("proc/loadavg"))
	if !ok || !okIDs || !okNow {
		return skipped("the kernel does not say")
	}
	limit := min(most, ids)
	if running+uint64(threadsPerNode*len(f.Cluster.Nodes)) > limit {
		return []Finding{warning("PROCESSES-LOW", "%d threads run on this machine, and %d may", running, limit).
			because("programs in nodes fail to start, with \"resource temporarily unavailable\"").
			fix("sudo sysctl -w kernel.pid_max=4194304 kernel.threads-max=1048576")}
	}
	return fine("%d of %d threads", running, limit)
}

// threads reads how many there are from a line such as "0.1 0.2 0.3 1/523 99".
func threads(loadavg string) (uint64, bool) {
	fields := strings.Fields(loadavg)
	if len(fields) < 4 {
		return 0, false
	}
	_, all, _ := strings.Cut(fields[3], "/")
	n, err := strconv.ParseUint(all, 10, 64)
	return n, err == nil
}

// Clocks that differ by more than skewFatal break certificates, which kubeadm
// dates back by as much; less breaks what people read.
const (
	skewFatal   = 5 * time.Minute
	skewWarning = 30 * time.Second
)

func checkClock(f *Facts) []Finding {
	if f.Engine.Time.IsZero() {
		return skipped("the engine does not say what time it is")
	}
	ahead := f.Engine.Time.Sub(f.Host.Now()).Round(time.Second)
	const fix = "set the clock (sudo timedatectl set-ntp true); after a laptop slept, restart Docker Desktop"
	switch {
	case ahead > skewFatal:
		return []Finding{fatal(errdefs.ClassUnavailable, "CLOCK-SKEW", "the engine's clock is %s ahead of this machine's", ahead).
			because("the cluster's certificates would not be valid yet").fix(fix)}
	case ahead.Abs() > skewWarning:
		return []Finding{warning("CLOCK-SKEW", "the engine's clock and this machine's are %s apart", ahead.Abs()).
			because("certificates and tokens are valid by another time than yours").fix(fix)}
	}
	return fine("the engine's is this machine's")
}
