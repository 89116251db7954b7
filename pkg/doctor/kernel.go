package doctor

import (
	"io/fs"
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// The oldest kernels that kubeadm, and kube-proxy with nftables, accept.
var (
	oldest         = version.MustParseGeneric("4.19")
	oldestNftables = version.MustParseGeneric("5.13")
)

func checkKernel(f *Facts) []Finding {
	kernel, err := version.ParseGeneric(f.Engine.KernelVersion)
	switch {
	case err != nil:
		return skipped("the engine does not say which kernel it has")
	case kernel.LessThan(oldest):
		return []Finding{fatal(errdefs.ClassUnavailable, "KERNEL-OLD", "the kernel is %s, and Kubernetes needs %s", f.Engine.KernelVersion, oldest).
			because("kubelet and the container runtime use what older kernels do not have").fix("upgrade the system")}
	case kernel.LessThan(oldestNftables) && f.Cluster.Networking.KubeProxyMode == "nftables":
		return []Finding{fatal(errdefs.ClassUnavailable, "KERNEL-OLD", "the kernel is %s, and kube-proxy needs %s for nftables", f.Engine.KernelVersion, oldestNftables).
			because("kube-proxy would not start, and no Service would be reached").fix("set networking.kubeProxyMode: iptables in the configuration")}
	}
	return fine("%s", f.Engine.KernelVersion)
}

// feature is a part of the kernel that may be left out of it.
type feature struct {
	module string
	proof  string // a file that is there when the feature is in use; "" none
	when   func(*Facts) bool
	why    string
}

func features() []feature {
	mode := func(name string) func(*Facts) bool {
		return func(f *Facts) bool { return f.Cluster.Networking.KubeProxyMode == name }
	}
	return []feature{
		{"overlay", "", func(*Facts) bool { return true }, "containers in nodes would find no file system"},
		{"nf_tables", "", mode("nftables"), "kube-proxy could not write its rules"},
		{"ip_tables", "proc/net/ip_tables_names", mode("iptables"), "kube-proxy could not write its rules"},
		{"ip_vs", "proc/net/ip_vs", mode("ipvs"), "kube-proxy could not write its rules"},
	}
}

func checkKernelFeatures(f *Facts) []Finding {
	known := f.Host.modules(f.Engine.KernelVersion)
	if known == nil {
		return skipped("there is no list of this kernel's modules")
	}
	var found []Finding
	for _, want := range features() {
		if !want.when(f) || known[want.module] || want.proof != "" && f.Host.exists(want.proof) {
			continue
		}
		found = append(found, warning("KERNEL-FEATURE", "the kernel seems to lack %s", want.module).
			because(want.why).fix("modprobe %s; if there is no such module, use the distribution's full kernel", want.module))
	}
	return or(found, "all that nodes use")
}

// modules are those that the running kernel has, loads when asked, or holds
// built in, and its file systems; nil when it cannot be known.
func (h Host) modules(kernel string) map[string]bool {
	dir := path.Join("lib/modules", kernel)
	builtin, dep := h.text(path.Join(dir, "modules.builtin")), h.text(path.Join(dir, "modules.dep"))
	if builtin == "" && dep == "" {
		return nil
	}
	out := map[string]bool{}
	for line := range strings.Lines(builtin + "\n" + dep) {
		file, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		name, _, _ := strings.Cut(path.Base(file), ".ko")
		out[strings.ReplaceAll(name, "-", "_")] = true
	}
	loaded, _ := fs.ReadDir(h.FS, "sys/module")
	for _, m := range loaded {
		out[m.Name()] = true
	}
	for line := range strings.Lines(h.text("proc/filesystems")) {
		out[strings.TrimSpace(strings.TrimPrefix(line, "nodev"))] = true
	}
	return out
}
