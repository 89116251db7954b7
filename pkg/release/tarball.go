package release

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
)

// Tarball is an official kubernetes-server-linux-ARCH.tar.gz on disk. The
// versions that it prescribes are read from the source archive in it; without
// one, its own kubeadm is asked, if this machine can run it.
type Tarball struct {
	Path     string
	Checksum string // "sha256:..." or "sha512:..."; empty is not verified
	// Origin is where it came from, for the manifest; Path's base name when
	// empty.
	Origin  string
	Builder *Builder
}

// String implements Source.
func (t Tarball) String() string { return "archive " + t.Path }

// Fetch implements Source: it unpacks the programs, once for each content.
func (t Tarball) Fetch(ctx context.Context, arch string, r progress.Reporter) (Kubernetes, error) {
	task := progress.Start(r, "unpack-kubernetes", "Unpacking Kubernetes", "")
	k, cached, err := t.fetch(ctx, arch, task)
	if err != nil {
		return Kubernetes{}, task.Done(fmt.Errorf("unpack %s: %w", t.Path, err))
	}
	if cached {
		task.Skip("unpacked before")
		return k, nil
	}
	return k, task.Done(nil)
}

func (t Tarball) fetch(ctx context.Context, arch string, task *progress.Task) (Kubernetes, bool, error) {
	want, err := parseChecksum(t.Checksum)
	if err != nil {
		return Kubernetes{}, false, err
	}
	if want.algorithm == "" {
		task.Update("no checksum was given: the archive is used as it is")
	}
	sum, err := want.verifyFile(t.Path)
	if err != nil {
		return Kubernetes{}, false, err
	}
	dir := filepath.Join(t.Builder.Cache, arch, "kubernetes-archive-"+sum[:12])
	unlock, err := lock(ctx, dir)
	if err != nil {
		return Kubernetes{}, false, err
	}
	defer unlock()
	o, cached := openOutput(dir)
	if !cached {
		o, err = makeOutput(dir, func(o *output) error { return t.unpack(ctx, arch, sum, o) })
		if err != nil {
			return Kubernetes{}, false, err
		}
	}
	o.Component.Source = t.origin()
	k, err := kubernetesFrom(o.Component.Version, o.file(constantsPath), o.artifacts())
	return k, cached, err
}

func (t Tarball) origin() string {
	if t.Origin != "" {
		return t.Origin
	}
	return filepath.Base(t.Path)
}

// unpack fills an output from the archive.
func (t Tarball) unpack(ctx context.Context, arch, sum string, o *output) error {
	found, err := extractServer(ctx, t.Path, filepath.Join(o.dir, binDir))
	if err != nil {
		return err
	}
	o.Programs = KubernetesPrograms()
	for _, name := range o.Programs {
		if err := checkELF(o.program(name), arch); err != nil {
			return err
		}
	}
	if found.version == "" {
		if found.version, err = t.askVersion(ctx, arch, o.program("kubeadm")); err != nil {
			return err
		}
	}
	if !semver.IsValid(found.version) {
		return fmt.Errorf("its version %.80q is not one of Kubernetes", found.version)
	}
	if found.constants == nil {
		if found.constants, err = t.askConstants(ctx, arch, found.version, o.program("kubeadm")); err != nil {
			return err
		}
	}
	o.Component = nodeimage.Component{Name: "kubernetes", Version: found.version, Source: t.origin(), Checksum: "sha256:" + sum}
	if found.licence != nil {
		if err := o.keepData(licence, found.licence); err != nil {
			return err
		}
	}
	return o.keepData(constantsPath, found.constants)
}

// ask runs the archive's kubeadm, if this machine can.
func (t Tarball) ask(ctx context.Context, arch, kubeadm, missing string, args ...string) (string, error) {
	if runtime.GOOS != "linux" || runtime.GOARCH != arch {
		return "", errdefs.New(errdefs.ClassUsage, "ARCHIVE-INCOMPLETE", "the archive has no %s, and its kubeadm for linux/%s cannot be asked on %s/%s", missing, arch, runtime.GOOS, runtime.GOARCH).
			WithHint("Use the complete official archive, build on a machine of that architecture, or build the release from its module.")
	}
	out, err := exec.Output(ctx, t.Builder.runner(), append([]string{kubeadm}, args...)...)
	if err != nil {
		return "", fmt.Errorf("ask the archive's kubeadm: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func (t Tarball) askVersion(ctx context.Context, arch, kubeadm string) (string, error) {
	return t.ask(ctx, arch, kubeadm, "version", "version", "--output=short")
}

var listedImage = regexp.MustCompile(`(?m)/(etcd|coredns|pause):(\S+)$`)

// askConstants has kubeadm list its images, and writes what it says in the
// form of the source file, which the cache keeps.
func (t Tarball) askConstants(ctx context.Context, arch, version, kubeadm string) ([]byte, error) {
	// the version is named so that kubeadm does not look for one on the net
	out, err := t.ask(ctx, arch, kubeadm, "source of kubeadm", "config", "images", "list", "--kubernetes-version="+version)
	if err != nil {
		return nil, err
	}
	tags := map[string]string{}
	for _, m := range listedImage.FindAllStringSubmatch(out, -1) {
		tags[m[1]] = m[2]
	}
	for _, name := range []string{"etcd", "coredns", "pause"} {
		if tags[name] == "" {
			return nil, fmt.Errorf("ask the archive's kubeadm: it lists no image %s", name)
		}
	}
	return fmt.Appendf(nil, "package constants\n\nconst (\n\tDefaultEtcdVersion = %q\n\tCoreDNSVersion = %q\n\tPauseVersion = %q\n)\n",
		tags["etcd"], tags["coredns"], tags["pause"]), nil
}
