package build

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
)

// hostArch is the architecture of this machine, as Go names it.
const hostArch = runtime.GOARCH

// baseArchive is the root file system that a node image starts from.
type baseArchive struct {
	name       string // for the manifest
	path       string // tar archive
	components []nodeimage.Component
}

// base makes the base: from Debian's packages when it is a suite's name, else
// from an image in a registry.
func (o Options) base(ctx context.Context) (baseArchive, error) {
	if isSuite(o.Base) {
		return o.debianBase(ctx)
	}
	return o.registryBase(ctx)
}

// isSuite tells the name of a Debian suite from a reference of an image.
func isSuite(base string) bool {
	return base != "" && !strings.ContainsAny(base, "/:@.")
}

// missing is the error for a program that the build needs on this machine.
func missing(pkg, program string, err error) error {
	return errdefs.New(errdefs.ClassUnavailable, "BUILD-TOOL-MISSING", "%s is not installed: %w", program, err).
		WithHint("on Debian and Ubuntu: apt-get install %s; elsewhere: build in a container of Debian, or start from an image with --base", pkg)
}

// documentation is what of Debian's packages a node does without; licences
// stay.
var documentation = []string{
	"path-exclude=/usr/share/man/*", "path-exclude=/usr/share/info/*", "path-exclude=/usr/share/locale/*",
	"path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright",
}

// baseAge is how long a base is used again: Debian mends its packages.
const baseAge = 14 * 24 * time.Hour

// debianBase installs the packages with mmdebstrap, once for each list of
// packages: the archive is kept.
func (o Options) debianBase(ctx context.Context) (baseArchive, error) {
	task := progress.Start(o.Reporter, "base", "Installing Debian "+o.Base+" for "+o.Arch, "")
	path := filepath.Join(o.Cache, "base-"+o.Base+"-"+o.Arch+"-"+o.baseHash()+".tar")
	if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) < baseAge {
		task.Skip("built before")
		return describeBase("debian "+o.Base, path)
	}
	if _, err := exec.Look("mmdebstrap"); err != nil {
		return baseArchive{}, task.Done(missing("mmdebstrap", "mmdebstrap", err))
	}
	if err := o.foreignArch(); err != nil {
		return baseArchive{}, task.Done(err)
	}
	partial := path + ".partial"
	args := []string{"mmdebstrap", "--variant=minbase", "--format=tar", "--architectures=" + o.Arch,
		"--include=" + strings.Join(o.Packages, ","), "--aptopt=APT::Install-Recommends \"false\""}
	for _, d := range documentation {
		args = append(args, "--dpkgopt="+d)
	}
	args = append(args, o.Base, partial)
	err := o.Runner.Run(ctx, exec.Cmd{Args: args, Env: []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", epoch.Unix())}})
	if err != nil {
		return baseArchive{}, task.Done(fmt.Errorf("install Debian %s: %w", o.Base, errors.Join(err, os.RemoveAll(partial))))
	}
	if err := task.Done(os.Rename(partial, path)); err != nil {
		return baseArchive{}, err
	}
	return describeBase("debian "+o.Base, path)
}

// foreignArch makes sure that programs of another architecture can run, as
// Debian's packages run their own while they are installed.
func (o Options) foreignArch() error {
	if o.Arch == hostArch {
		return nil
	}
	machine := map[string]string{"arm64": "aarch64", "amd64": "x86_64"}[o.Arch]
	if _, err := os.Stat("/proc/sys/fs/binfmt_misc/qemu-" + machine); err != nil {
		return errdefs.New(errdefs.ClassUnavailable, "NO-EMULATION", "this machine does not run programs for %s: %w", o.Arch, err).
			WithHint("on Debian and Ubuntu: apt-get install qemu-user-static binfmt-support")
	}
	return nil
}

func (o Options) baseHash() string {
	h := sha256.New()
	for _, text := range slices.Concat(o.Packages, documentation) {
		fmt.Fprintln(h, text)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// registryBase flattens an image of a registry. What a node needs must be in
// it: that is checked when its parts are used.
func (o Options) registryBase(ctx context.Context) (baseArchive, error) {
	task := progress.Start(o.Reporter, "base", "Fetching base image "+o.Base, "")
	ref, err := name.ParseReference(o.Base)
	if err != nil {
		return baseArchive{}, task.Done(errdefs.New(errdefs.ClassUsage, "BASE-IMAGE", "--base %q is neither a Debian suite nor an image: %w", o.Base, err))
	}
	image, err := remote.Image(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: o.Arch}))
	if err != nil {
		return baseArchive{}, task.Done(fmt.Errorf("fetch base image %s: %w", o.Base, err))
	}
	digest, err := image.Digest()
	if err != nil {
		return baseArchive{}, task.Done(err)
	}
	if err := checkArch(image, o.Base, o.Arch); err != nil {
		return baseArchive{}, task.Done(err)
	}
	path := filepath.Join(o.Cache, "base-"+digest.Hex+".tar")
	if err := flatten(image, path); err != nil {
		return baseArchive{}, task.Done(fmt.Errorf("unpack base image %s: %w", o.Base, err))
	}
	task.Done(nil)
	return describeBase(o.Base+"@"+digest.String(), path)
}

// checkArch refuses an image that exists for one architecture, and another one.
func checkArch(image v1.Image, ref, arch string) error {
	config, err := image.ConfigFile()
	if err != nil {
		return fmt.Errorf("read base image %s: %w", ref, err)
	}
	if config.Architecture != "" && config.Architecture != arch {
		return errdefs.New(errdefs.ClassUsage, "BASE-IMAGE-ARCH", "base image %s is for %s, and the node image for %s", ref, config.Architecture, arch)
	}
	return nil
}

func flatten(image v1.Image, path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	files := mutate.Extract(image)
	defer files.Close()
	f, err := os.Create(path + ".partial")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, files)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".partial", path)
}

// describeBase reads the package list of a Debian root file system; another
// system has none, which is no error.
func describeBase(name, path string) (baseArchive, error) {
	b := baseArchive{name: name, path: path}
	data, err := fileOf(path, "var/lib/dpkg/status")
	if err != nil {
		return b, fmt.Errorf("read base %s: %w", path, err)
	}
	b.components = debianPackages(data)
	return b, nil
}

// debianPackages reads dpkg's status file (deb-status, RFC 822 paragraphs).
func debianPackages(status []byte) []nodeimage.Component {
	var out []nodeimage.Component
	var current nodeimage.Component
	lines := bufio.NewScanner(bytes.NewReader(status))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "Package":
			current = nodeimage.Component{Name: "debian/" + value, Source: "debian"}
		case "Status":
			if !strings.HasSuffix(value, " installed") {
				current = nodeimage.Component{} // removed, and known by its settings only
			}
		case "Version":
			if current.Name != "" {
				current.Version = value
				out = append(out, current)
			}
		}
	}
	return out
}
