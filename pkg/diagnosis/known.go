package diagnosis

import (
	"regexp"
	"sync"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// Commands that more than one hint names.
const (
	moreInotify = "sudo sysctl -w fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=524288"
	moreDisk    = "see what takes it (docker system df) and remove what is not needed: docker image prune, docker builder prune"
	ownSettings = "correct it in the configuration: kubeadm documents, kubeadmConfigPatches, featureGates or runtimeConfig"
)

// All is what is known. What is said more precisely comes first: a log may hold
// several of these, one because of another. The patterns are compiled at the
// first call: most processes need none.
var All = sync.OnceValue(func() []Known {
	return []Known{
		// inotify borrows the words of full disks and of open files
		known("INOTIFY-LOW", errdefs.ClassUnavailable,
			`(?i)(inotify|fsnotify)[^\n]*(too many open files|no space left on device)|(too many open files|no space left on device)[^\n]*(inotify|fsnotify)|Failed to (allocate manager|create control group inotify) object: Too many open files`,
			"the machine is out of inotify instances or watches", moreInotify),
		known("FILES-LOW", errdefs.ClassUnavailable, `(?i)too many open files in system`,
			"the machine is out of open files", "sudo sysctl -w fs.file-max=2097152"),
		known("KEYS-LOW", errdefs.ClassUnavailable, `(?i)(session key|keyctl|create keyring)[^\n]*disk quota exceeded`,
			"the kernel gives this user no more keys", "sudo sysctl -w kernel.keys.maxkeys=20000 kernel.keys.maxbytes=400000"),
		known("DISK-FULL", errdefs.ClassUnavailable, `(?i)no space left on device|disk quota exceeded`,
			"a disk is full", moreDisk),
		known("PROCESSES-LOW", errdefs.ClassUnavailable, `(?i)(fork|clone|pthread_create)[^\n]*resource temporarily unavailable`,
			"no more processes can be started", "sudo sysctl -w kernel.pid_max=4194304 kernel.threads-max=1048576"),

		known("CGROUP-CONTROLLERS", errdefs.ClassUnavailable,
			`some missing controllers: [a-z, ]+|Following Cgroup subsystem not mounted: \[[a-z ]+\]|missing required cgroups: [a-z ]+`,
			"the kernel does not offer all cgroup controllers", "add cgroup_enable=memory cgroup_memory=1 to the kernel's command line and reboot"),
		known("CGROUP-DRIVER", errdefs.ClassUsage, `expected cgroupsPath to be of format|kubelet cgroup driver: "?\w+"? is different from`,
			"kubelet and the container runtime have different cgroup drivers", "leave cgroupDriver out of the configuration: the node image sets it for both"),
		known("CGROUP-V1", errdefs.ClassUsage, `configured to not run on a host using cgroup v1`,
			"kubelet refuses the host's cgroup v1", "leave failCgroupV1 out of the configuration, or boot with systemd.unified_cgroup_hierarchy=1"),
		known("KUBELET-SWAP", errdefs.ClassUsage, `running with swap on is not supported`,
			"kubelet refuses the host's swap", "leave failSwapOn out of the configuration, or sudo swapoff -a"),

		known("COMPONENT-FLAG", errdefs.ClassUsage, `(?m)(unknown (?:shorthand )?flag|flag provided but not defined): '?(?P<flag>-[\w.-]+)`,
			"$who does not know its flag ${flag}", ownSettings),
		known("COMPONENT-FLAG", errdefs.ClassUsage, `invalid (argument|value) "(?P<value>[^"]*)" for "?(?:-\w, )?(?P<flag>--?[\w.-]+)"?(?: flag)?: (?P<why>[^\n]*)`,
			"$who refuses its flag ${flag}=${value}: ${why}", ownSettings),
		known("COMPONENT-FLAG", errdefs.ClassUsage, `unrecognized feature gate: (?P<gate>\w+)`,
			"$who does not know feature gate ${gate}", ownSettings),
		known("COMPONENT-FLAG", errdefs.ClassUsage, `err="(?P<flag>[a-z]+(?:-[a-z]+)+) (?P<why>(?:plugin )?\\"[^\n]*)"`,
			"$who refuses its flag --${flag}: ${flag} ${why}", ownSettings),
		known("COMPONENT-FLAG", errdefs.ClassUsage, `(?m)(?:strict decoding error|failed to load kubelet config file)[^\n]*?(?P<why>unknown field \\?"[^"\\]+)`,
			"$who refuses its configuration: ${why}\"", ownSettings),

		known("ENGINE-FIREWALL", errdefs.ClassUnavailable, `No chain/target/match by that name|iptables failed: iptables`,
			"the engine's firewall rules are gone", "let the engine write them anew: sudo systemctl restart docker"),
		known("PORT-TAKEN", errdefs.ClassFailed, `(?i)port is already allocated|listen (?:tcp|udp)\S* \S+: bind: address already in use|ports are not available`,
			"a port of the host is taken", "stop what listens there, or choose another port"),
		known("NO-FREE-SUBNET", errdefs.ClassUnavailable, `(?i)non-overlapping IPv4 address pool|address pools have been fully subnetted`,
			"the engine has no subnet left", "remove networks that nobody uses (docker network prune), or choose networking.nodeSubnet"),
		known("STORAGE-DRIVER", errdefs.ClassUnavailable, `does not support d_type|snapshotter "?\w+"? (?:was )?not (?:found|supported)|failed to mount overlay|overlayfs is not supported`,
			"the file system below a node does not carry the overlays of containers", `set "storage-driver": "overlay2" in /etc/docker/daemon.json on an ext4 or xfs (ftype=1) disk, and restart Docker`),
		known("NODE-IMAGE-ARCH", errdefs.ClassUsage, `(?i)exec format error`,
			"a program is for another architecture than the machine", "use images for the machine's architecture: petri build node-image --arch, docker pull --platform"),
		known("CLOCK-SKEW", errdefs.ClassUnavailable, `x509: certificate has expired or is not yet valid: current time \S+ is before`,
			"certificates are not valid yet: clocks differ", "set the clock: sudo timedatectl set-ntp true"),
		known("OUT-OF-MEMORY", errdefs.ClassUnavailable, `(?i)OOMKilled|Out of memory: Killed process|Memory cgroup out of memory|oom-kill:`,
			"the kernel killed a program because memory ran out", "make fewer nodes, or give the machine, or Docker Desktop, more memory"),
		known("DISK-SLOW", errdefs.ClassUnavailable, `slow fdatasync|etcdserver: request timed out|etcdserver: leader changed`,
			"the disk is too slow for etcd", "petri create cluster --ephemeral keeps etcd's data in memory"),
		known("KERNEL-FEATURE", errdefs.ClassUnavailable, `(?:Failed to initialize nft|can't initialize ip6?tables table)[^\n]*|modprobe: FATAL: Module \w+ not found`,
			"the kernel lacks what kube-proxy or the network needs", "use the distribution's full kernel, or set networking.kubeProxyMode to what it has"),
		known("IMAGE-PULL", errdefs.ClassFailed,
			`(?i)failed to pull (?:and unpack )?image "?\S+|pull access denied for \S+|toomanyrequests|x509: certificate signed by unknown authority`,
			"an image could not be pulled", "look whether the name is right and the registry answers; with no network, load it: petri load image"),

		known("KUBEADM-PREFLIGHT", errdefs.ClassFailed, `\[ERROR (?P<check>[\w-]+(?:--[\w.-]+)?)\]: (?P<why>[^\n]*)`,
			"kubeadm's check ${check} failed: ${why}", "mend that; or tell kubeadm to ignore it: nodeRegistration.ignorePreflightErrors in InitConfiguration and JoinConfiguration"),
		known("COMPONENT-FAILED", errdefs.ClassFailed, `"command failed" err="(?P<why>[^\n]*)"`,
			"$who gave up: ${why}", "if that is about its settings, "+ownSettings),
	}
})

func known(id string, class errdefs.Class, pattern, what, hint string) Known {
	return Known{ID: id, Class: class, Pattern: regexp.MustCompile(pattern), What: what, Hint: hint}
}
