package release

import (
	"cmp"
	"path"
)

// PlanOptions are what a plan depends on besides versions.
type PlanOptions struct {
	// Petri is where petri's own programs come from.
	Petri Petri
	// Env adds to the environment of a component's build, by component name:
	// the C compiler and the place of libseccomp for "runc".
	Env map[string][]string
}

// recipe says how a component's programs are made.
type recipe struct {
	// module is set when Kubernetes prescribes the version.
	module string
	// of is the component whose version it has, when that is another one.
	of string
	// programs are package paths below the module by program name.
	programs map[string]string
	// set are linker variables, in which {version} is "v1.2.3", {bare}
	// "1.2.3" and {date} the time of the release.
	set map[string]string
	// link are more linker flags.
	link []string
	tags []string
	// mains are sources of programs, by program name, that are in place of the
	// module's own.
	mains map[string]string
	// combine are programs that become one file; one alone may be meant too.
	combine []string
	cgo     bool
	weight  int // seconds on two cores, roughly: the long ones start first
}

// recipes are the components of a node image, those of petri and Kubernetes
// left out. It is read, never written.
var recipes = map[string]recipe{
	"etcd": {
		module:   "go.etcd.io/etcd/server/v3",
		programs: map[string]string{"etcd": ""},
		combine:  []string{"etcd"}, // for the heap of its first seconds
		// etcd carries its version in its source
		weight: 25,
	},
	"etcdctl": {
		module:   "go.etcd.io/etcd/etcdctl/v3",
		programs: map[string]string{"etcdctl": ""},
		weight:   10,
	},
	"coredns": {
		module:   "github.com/coredns/coredns",
		programs: map[string]string{"coredns": ""},
		set: map[string]string{
			// without a tag it calls itself a development build
			"github.com/coredns/coredns/coremain.gitTag": "{version}",
		},
		tags:   []string{"grpcnotrace"}, // as in its releases
		weight: 140,
	},
	"containerd": {
		programs: map[string]string{
			"containerd": "cmd/containerd",
			"ctr":        "cmd/ctr",
		},
		// not the shim: there is one for each pod, and it is small
		combine: []string{"containerd", "ctr"},
		set: map[string]string{
			"github.com/containerd/containerd/v2/version.Version": "{version}",
		},
		tags:   []string{"urfave_cli_no_docs"}, // as in its releases
		weight: 60,
	},
	// apart from containerd, as in its releases: it speaks ttrpc alone
	"containerd-shim": {
		of:       "containerd",
		programs: map[string]string{"containerd-shim-runc-v2": "cmd/containerd-shim-runc-v2"},
		set: map[string]string{
			"github.com/containerd/containerd/v2/version.Version": "{version}",
		},
		tags:   []string{"urfave_cli_no_docs", "no_grpc"},
		weight: 20,
	},
	"runc": {
		programs: map[string]string{"runc": ""},
		// static: the base's libc and libseccomp may be of another release.
		// runc's version is in its source, and its libpathrs tag is left out
		// because Debian has no such library.
		link:   []string{"-linkmode", "external", "-extldflags", "-static"},
		tags:   []string{"seccomp", "urfave_cli_no_docs", "netgo", "osusergo"},
		cgo:    true,
		weight: 15,
	},
	"cni-plugins": {
		programs: map[string]string{
			"bridge":     "plugins/main/bridge",
			"host-local": "plugins/ipam/host-local",
			"loopback":   "plugins/main/loopback",
			"portmap":    "plugins/meta/portmap",
			"ptp":        "plugins/main/ptp",
		},
		combine: []string{"bridge", "host-local", "loopback", "portmap", "ptp"},
		set: map[string]string{
			"github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion": "{version}",
		},
		weight: 6,
	},
	"cri-tools": {
		programs: map[string]string{"crictl": "cmd/crictl"},
		set:      map[string]string{"sigs.k8s.io/cri-tools/pkg/version.Version": "{version}"},
		weight:   30,
	},
	"registry": {
		programs: map[string]string{"registry": "cmd/registry"},
		mains:    map[string]string{"registry": registrySource},
		set: map[string]string{
			"github.com/distribution/distribution/v3/version.version": "{version}",
		},
		weight: 60,
	},
	"local-path-provisioner": {
		programs: map[string]string{"local-path-provisioner": ""},
		set:      map[string]string{"main.VERSION": "{version}"},
		weight:   40,
	},
}

// registrySource is distribution's command with the one storage that a registry
// on this machine has. Those of three clouds are more than half of the program,
// and most of the time that it takes to build.
const registrySource = `// Command registry is CNCF distribution, with a directory as its storage.
package main

import (
	"os"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/proxy"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	if registry.RootCmd.Execute() != nil {
		os.Exit(1)
	}
}
`

// Plan lists the builds of everything in a node image but Kubernetes.
func Plan(v Versions, p Prescribed, o PlanOptions) []Step {
	prescribed := map[string]string{"etcd": p.Etcd, "etcdctl": p.Etcd, "coredns": p.CoreDNS}
	steps := []Step{o.Petri.step()}
	for name, recipe := range recipes {
		pin := v.Components[cmp.Or(recipe.of, name)]
		if recipe.module != "" {
			pin = Pin{Module: recipe.module, Version: prescribed[name]}
		}
		steps = append(steps, recipe.step(name, pin, o.Env[name]))
	}
	return steps
}

func (r recipe) step(name string, pin Pin, env []string) Step {
	programs := map[string]string{}
	for program, below := range r.programs {
		programs[program] = path.Join(pin.Module, below)
	}
	return Step{
		Name: name, Module: pin.Module, Version: pin.Version, Programs: programs,
		Mains: r.mains, Combine: r.combine, Set: r.set, Link: r.link, Tags: r.tags, Cgo: r.cgo, Env: env, Weight: r.weight,
	}
}
