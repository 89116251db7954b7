package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/spf13/cobra"

	nodeimagefiles "github.com/petri-cluster/petri/node-image"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage/build"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/release"
	"github.com/petri-cluster/petri/pkg/version"
)

type buildNodeImageOptions struct {
	source, sourceType, kubernetes, arch, base string
	layout                                     string
	asKind                                     bool
	image, checksum, petriSource               string
}

func (a *App) buildNodeImage() *cobra.Command {
	o := &buildNodeImageOptions{}
	cmd := &cobra.Command{
		Use:   "node-image [SOURCE]",
		Short: "Build a node image: Kubernetes from a release, a source tree or an archive",
		Long: `Build a node image and load it into the engine.

SOURCE is a Kubernetes version (built from its Go module), a directory with a
Kubernetes checkout, the file or URL of an official server archive, or a marker
of Kubernetes' own CI (ci/latest, ci/latest-1.36); --type says which where it is
not clear. Everything else is built from Go modules and
Debian's packages; nothing is pulled from a container registry unless --base
names an image. Needs Go, a C compiler and mmdebstrap.`,
		Example: `  petri build node-image
  petri build node-image v1.35.4
  petri build node-image ~/src/kubernetes --image petri/node:head
  petri build node-image kubernetes-server-linux-amd64.tar.gz --checksum sha256:...`,
		Args: oneArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.source = args[0]
			}
			return a.runBuildNodeImage(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.sourceType, "type", "", "what SOURCE is: module, source, file, url or ci (default: found out)")
	f.StringVar(&o.kubernetes, "kubernetes-version", "", "Kubernetes version to build from its module (default "+defaultVersion()+")")
	f.StringVar(&o.arch, "arch", runtime.GOARCH, "architecture of the image: amd64 or arm64")
	f.StringVar(&o.base, "base", "", "what the image starts from: a Debian suite, or an image in a registry (default "+versions().Debian.Suite+")")
	f.StringVar(&o.image, "image", "", "name of the image (default petri/node:VERSION)")
	f.StringVar(&o.layout, "layout", string(build.LayoutPetri), "petri, or kind: images packed below /var as in those that kind publishes, for tests")
	f.StringVar(&o.checksum, "checksum", "", "with a file or URL: its sha256:... or sha512:...")
	if o.asKind = a.kind; a.kind {
		f.StringVar(&o.base, "base-image", "", "the same as --base")
		f.Lookup("image").DefValue = kindNodeImage
		o.image = kindNodeImage
	}
	f.StringVar(&o.petriSource, "petri-source", "", "directory of petri's own source (default: the checkout around the working directory, else this version's module)")
	return cmd
}

// versions is versions.yaml, which a test holds to be readable.
var versions = sync.OnceValue(func() release.Versions {
	v, err := release.LoadVersions(nodeimagefiles.Versions)
	if err != nil {
		return release.Versions{}
	}
	return v
})

func defaultVersion() string { return versions().Kubernetes.Version }

// defaultImage is the node image that "build node-image" makes by default.
func defaultImage() string { return imageFor("") }

// imageFor names the image of a Kubernetes version; "" is the default one.
func imageFor(kubernetes string) string {
	if kubernetes == "" {
		kubernetes = defaultVersion()
	}
	return "petri/node:" + kubernetes
}

func (a *App) runBuildNodeImage(ctx context.Context, o *buildNodeImageOptions) error {
	start := time.Now()
	if o.image != "" {
		if err := build.CheckName(o.image); err != nil {
			return usagef("--image: %w", err)
		}
	}
	p, err := a.Detect(ctx, a.providerName)
	if err != nil {
		return err
	}
	store, ok := p.(provider.ImageStore)
	if !ok {
		return errdefs.New(errdefs.ClassUnavailable, "NO-IMAGE-STORE", "provider %s keeps no images", p.Name())
	}
	printer, err := a.printer()
	if err != nil {
		return err
	}
	defer printer.Close()
	scratch, err := os.MkdirTemp("", "petri-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	opts, err := o.resolve(ctx, scratch, printer)
	if err != nil {
		return err
	}
	result, err := build.Build(ctx, opts)
	if err != nil {
		return err
	}
	image := o.image
	if image == "" {
		image = imageFor(result.Tag)
		if opts.Layout == build.LayoutKind {
			image = "kindest/node:" + result.Tag
		}
	}
	task := progress.Start(printer, "load", "Loading the image into "+p.Name(), "")
	if err := task.Done(load(ctx, store, image, result)); err != nil {
		return err
	}
	printer.Report(progress.Event{Time: time.Now(), Status: progress.Note, Message: fmt.Sprintf("Built %s (Kubernetes %s, %s) in %.0fs", image, result.Manifest.Kubernetes, opts.Arch, time.Since(start).Seconds())})
	printer.Close()
	fmt.Fprintln(a.Out, image)
	return nil
}

// resolve turns flags into what the builder takes, with every default filled.
func (o *buildNodeImageOptions) resolve(ctx context.Context, scratch string, r progress.Reporter) (build.Options, error) {
	var none build.Options
	v, err := release.LoadVersions(nodeimagefiles.Versions)
	if err != nil {
		return none, err
	}
	if o.arch != "amd64" && o.arch != "arm64" {
		return none, usagef("--arch %q: node images are built for amd64 and arm64", o.arch)
	}
	layout := build.Layout(o.layout)
	if layout != build.LayoutPetri && layout != build.LayoutKind {
		return none, usagef("--layout %q: node images are laid out as petri's or as kind's", o.layout)
	}
	cache, err := release.DefaultCache()
	if err != nil {
		return none, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return none, err
	}
	builder := &release.Builder{Cache: cache}
	if o.source != "" && o.kubernetes != "" {
		return none, usagef("give SOURCE or --kubernetes-version, not both")
	}
	if o.asKind && o.source == "" && o.kubernetes == "" {
		if o.source, err = kindSource(); err != nil {
			return none, err
		}
	}
	source, err := release.Detect(o.source+o.kubernetes, o.sourceType, release.Options{Builder: builder, Versions: v, Checksum: o.checksum})
	if err != nil {
		return none, err
	}
	petri, err := builder.FindPetri(ctx, o.petriSource, version.String())
	if err != nil {
		return none, err
	}
	rootfs, err := nodeimagefiles.RootFS()
	if err != nil {
		return none, err
	}
	base := o.base
	if base == "" {
		base = v.Debian.Suite
	}
	return build.Options{
		Source: source, Versions: v, Builder: builder, Petri: petri, PetriVersion: version.String(),
		Arch: o.arch, Base: base, Layout: layout, Packages: nodeimagefiles.Packages(), RootFS: rootfs,
		Cache: filepath.Clean(cache), Scratch: scratch, Runner: exec.Host{}, Reporter: r,
	}, nil
}

// load streams the image into the engine as it is written.
func load(ctx context.Context, store provider.ImageStore, image string, result build.Result) error {
	r, w := io.Pipe()
	go func() { w.CloseWithError(result.Write(image, w)) }()
	err := store.LoadImage(ctx, r)
	r.CloseWithError(err)
	return err
}
