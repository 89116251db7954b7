// Release makes what a release of petri consists of: for each platform an
// archive with the program, its licence and those of what is linked into it, a
// bill of materials, and one file of checksums. The same commit and Go
// toolchain give the same bytes, on any machine and in any directory: times and
// owners are fixed, paths are trimmed, and nothing is random. hack/release.sh
// calls it.
package main

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
)

// options are what a release is made from.
type options struct {
	version   string
	commit    string
	made      time.Time // of the commit
	platforms []string  // "linux/amd64"
	out       string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var o options
	var platforms string
	var epoch int64
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.StringVar(&o.version, "version", "", "version of petri")
	flags.StringVar(&o.commit, "commit", "", "commit that it is built from")
	flags.Int64Var(&epoch, "epoch", 0, "time of everything, in seconds since 1970")
	flags.StringVar(&platforms, "platforms", "", "platforms to build for, with commas")
	flags.StringVar(&o.out, "out", "dist", "directory to write to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.version == "" || epoch <= 0 || platforms == "" {
		return fmt.Errorf("a version, an epoch and platforms are needed: make release")
	}
	o.made, o.platforms = time.Unix(epoch, 0).UTC(), strings.Split(platforms, ",")
	return o.release(ctx)
}

// release builds for all platforms, one after the other: each build uses every
// processor.
func (o *options) release(ctx context.Context) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	var sums strings.Builder
	for _, platform := range o.platforms {
		fmt.Fprintln(os.Stderr, "release: building for", platform)
		files, err := o.platform(ctx, platform)
		if err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
		for _, f := range files {
			if err := os.WriteFile(filepath.Join(o.out, f.name), f.data, 0o644); err != nil {
				return err
			}
			fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(f.data), f.name)
		}
	}
	return os.WriteFile(filepath.Join(o.out, "checksums.txt"), []byte(sums.String()), 0o644)
}

// file is a file of a release, or in an archive of one.
type file struct {
	name string
	data []byte
	mode int64
}

// platform makes the files for one platform.
func (o *options) platform(ctx context.Context, platform string) ([]file, error) {
	goos, goarch, ok := strings.Cut(platform, "/")
	if !ok {
		return nil, fmt.Errorf("it is not of the form linux/amd64")
	}
	program, err := o.build(ctx, goos, goarch)
	if err != nil {
		return nil, err
	}
	linked, err := linkedInto(program.data)
	if err != nil {
		return nil, err
	}
	licences, err := licencesOf(ctx, linked)
	if err != nil {
		return nil, err
	}
	own := []file{*program, {"THIRD-PARTY-LICENSES.txt", licences, 0o644}}
	for _, name := range []string{"LICENSE", "README.md"} {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		own = append(own, file{name, data, 0o644})
	}
	base := fmt.Sprintf("petri_%s_%s_%s", o.version, goos, goarch)
	archive, err := o.pack(goos, base, own)
	if err != nil {
		return nil, err
	}
	bill, err := o.bill(platform, linked)
	return []file{archive, {base + ".cdx.json", bill, 0o644}}, err
}

// build links petri for a platform.
func (o *options) build(ctx context.Context, goos, goarch string) (*file, error) {
	dir, err := os.MkdirTemp("", "petri-release-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	name := "petri"
	if goos == "windows" {
		name += ".exe"
	}
	path := filepath.Join(dir, name)
	err = exec.Host{}.Run(ctx, exec.Cmd{
		Args: []string{
			"go", "build", "-trimpath", "-buildvcs=false", "-o", path,
			"-ldflags", "-s -w -buildid= -X github.com/petri-cluster/petri/pkg/version.release=" + o.version, "./cmd/petri",
		},
		// GOFLAGS of the machine must not get into a release
		Env: []string{"GOOS=" + goos, "GOARCH=" + goarch, "CGO_ENABLED=0", "GOFLAGS=", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOWORK=off"},
	})
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	return &file{name, data, 0o755}, err
}
