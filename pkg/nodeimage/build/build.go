package build

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sync/errgroup"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/release"
)

// Options say what node image is wanted.
type Options struct {
	Source   release.Source
	Versions release.Versions
	Builder  *release.Builder
	// Petri is the source of petri's own programs, and PetriVersion the tag
	// of its images.
	Petri        release.Petri
	PetriVersion string
	Arch         string
	// Base is a Debian suite ("trixie"), or a reference of an image in a
	// registry that has everything a node needs.
	Base     string
	Layout   Layout   // empty: LayoutPetri
	Packages []string // of a Debian base
	RootFS   fs.FS
	Cache    string // directory for what later builds use again
	Scratch  string // directory for the image's layers
	Runner   exec.Runner
	Reporter progress.Reporter
}

// Result is a built image, whose layers are in the scratch directory.
type Result struct {
	Image    v1.Image
	Manifest nodeimage.Manifest
	Tag      string // the Kubernetes version in the form of a tag
}

// Build builds everything and assembles it. The base, Kubernetes and the
// other components are built at once where cores allow.
func Build(ctx context.Context, o Options) (Result, error) {
	var (
		base       baseArchive
		kubernetes release.Kubernetes
		others     release.Artifacts
	)
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		base, err = o.base(gctx)
		return err
	})
	group.Go(func() (err error) {
		// what Kubernetes prescribes is known when it is built; its compiler
		// uses all cores by itself
		if kubernetes, err = o.Source.Fetch(gctx, o.Arch, o.Reporter); err != nil {
			return err
		}
		others, err = o.components(gctx, kubernetes.Prescribed)
		return err
	})
	if err := group.Wait(); err != nil {
		return Result{}, err
	}
	task := progress.Start(o.Reporter, "assemble", "Assembling the image", "")
	image, manifest, err := Assemble(ctx, o.inputs(base, kubernetes, kubernetes.Merge(others)))
	return Result{Image: image, Manifest: manifest, Tag: kubernetes.ImageTag()}, task.Done(err)
}

func (o Options) components(ctx context.Context, p release.Prescribed) (release.Artifacts, error) {
	env, err := o.cgoEnv(ctx)
	if err != nil {
		return release.Artifacts{}, err
	}
	steps := release.Plan(o.Versions, p, release.PlanOptions{Petri: o.Petri, Env: map[string][]string{"runc": env}})
	return o.Builder.BuildAll(ctx, o.Arch, steps, 0, o.Reporter)
}

func (o Options) inputs(base baseArchive, k release.Kubernetes, a release.Artifacts) Inputs {
	return Inputs{
		Arch: o.Arch, Layout: o.Layout, Kubernetes: k.Version, KubernetesTag: k.ImageTag(),
		EtcdTag: k.Prescribed.EtcdTag, CoreDNSTag: k.Prescribed.CoreDNS, PauseTag: k.Prescribed.Pause,
		PetriVersion:     imageTag(o.PetriVersion),
		LocalPathVersion: o.Versions.Components["local-path-provisioner"].Version,
		Base:             base.name, BaseArchive: base.path,
		Programs: a.Programs, Licenses: a.Licenses,
		Components: append(base.components, a.Components...),
		Roles:      k.Roles,
		RootFS:     o.RootFS, Scratch: o.Scratch,
	}
}

// imageTag makes a tag of a version: build metadata is not allowed in one.
func imageTag(version string) string { return strings.ReplaceAll(version, "+", "_") }

// cgoEnv names the C compiler and the libraries for the one program that is
// linked with C: runc. Another architecture needs a cross compiler and that
// architecture's libraries.
func (o Options) cgoEnv(ctx context.Context) ([]string, error) {
	if o.Arch == hostArch {
		return nil, nil
	}
	triplet := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[o.Arch]
	if triplet == "" {
		return nil, fmt.Errorf("architecture %q: node images are built for amd64 and arm64", o.Arch)
	}
	compiler := triplet + "-gcc"
	if _, err := exec.Look(compiler); err != nil {
		return nil, missing("gcc-"+strings.ReplaceAll(triplet, "_", "-"), compiler, err)
	}
	sysroot, err := o.sysroot(ctx)
	if err != nil {
		return nil, err
	}
	return []string{
		"CC=" + compiler + " --sysroot=" + sysroot,
		"PKG_CONFIG_SYSROOT_DIR=" + sysroot,
		"PKG_CONFIG_LIBDIR=" + filepath.Join(sysroot, "usr/lib", triplet, "pkgconfig"),
	}, nil
}

// sysroot is the headers and static libraries of another architecture, taken
// out of Debian's packages and not installed.
func (o Options) sysroot(ctx context.Context) (string, error) {
	dir := filepath.Join(o.Cache, "sysroot-"+o.Versions.Debian.Suite+"-"+o.Arch)
	if _, err := os.Stat(filepath.Join(dir, "usr/include/seccomp.h")); err == nil {
		return dir, nil
	}
	if _, err := exec.Look("mmdebstrap"); err != nil {
		return "", missing("mmdebstrap", "mmdebstrap", err)
	}
	task := progress.Start(o.Reporter, "sysroot", "Fetching C libraries for "+o.Arch, "")
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return "", task.Done(err)
	}
	err := exec.Run(ctx, o.Runner, "mmdebstrap", "--variant=extract", "--architectures="+o.Arch,
		"--include=libseccomp-dev,libc6-dev,linux-libc-dev", o.Versions.Debian.Suite, partial)
	if err != nil {
		return "", task.Done(fmt.Errorf("fetch C libraries: %w", err))
	}
	return dir, task.Done(os.Rename(partial, dir))
}

// Write writes the image as an archive in docker-save form, named image.
func (r Result) Write(image string, w io.Writer) error {
	tag, err := name.NewTag(image)
	if err != nil {
		return fmt.Errorf("name of the image: %w", err)
	}
	return tarball.Write(tag, r.Image, w)
}

// CheckName says whether an image may have this name.
func CheckName(image string) error {
	_, err := name.NewTag(image)
	return err
}
