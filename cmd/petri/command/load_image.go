package command

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/petri-cluster/petri/pkg/cluster"
)

type loadOptions struct {
	name         string
	fromRegistry bool
	format       string
	to           cluster.LoadOptions
}

// loadFlags are those of every kind of load.
func (a *App) loadFlags(cmd *cobra.Command, o *loadOptions) *pflag.FlagSet {
	a.nameFlag(cmd, &o.name)
	f := cmd.Flags()
	f.StringSliceVar(&o.to.Nodes, "nodes", nil, "names of nodes to load to, separated by commas (default: all)")
	f.StringVar(&o.to.Platform, "platform", "", "platform to take of an image for several, as linux/arm64 (default: that of the nodes)")
	outputFlag(cmd, &o.format)
	return f
}

func (a *App) loadImage() *cobra.Command {
	o := &loadOptions{}
	cmd := &cobra.Command{
		Use:     "image NAME...",
		Aliases: []string{"docker-image"},
		Short:   "Load images of the engine, or of a registry, into the nodes",
		Long: `Load images of the engine, or of a registry, into the nodes of a cluster.

Only the layers that a node lacks are sent to it. Pods find the image by its
name, and by its name with the digest that is printed. If a node fails, the
others have the image all the same, the error names the node, and the exit
code is not 0.`,
		Example: `  petri load image app:dev
  petri load image app:dev sidecar:dev --name dev --nodes dev-worker,dev-worker2
  petri load image --from-registry registry.example.com/app:1.2`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("%s takes the names of images", cmd.CommandPath())
			}
			return a.runLoadImage(cmd.Context(), o, args)
		},
	}
	if a.kind {
		cmd.Use, cmd.Aliases = "docker-image IMAGE...", []string{"image"}
		cmd.Example = "  kind load docker-image app:dev --name dev"
	}
	a.loadFlags(cmd, o).BoolVar(&o.fromRegistry, "from-registry", false, "read the images from their registry instead of the engine")
	return cmd
}

func (a *App) runLoadImage(ctx context.Context, o *loadOptions, refs []string) error {
	return a.load(ctx, o, func(m *cluster.Manager) ([]cluster.Loaded, error) {
		if !o.fromRegistry {
			return m.LoadImages(ctx, o.name, refs, o.to)
		}
		return eachOf(refs, func(ref string) ([]cluster.Loaded, error) {
			return m.LoadFromRegistry(ctx, o.name, ref, o.to)
		})
	})
}

func (a *App) loadImageArchive() *cobra.Command {
	o := &loadOptions{}
	cmd := &cobra.Command{
		Use:   "image-archive FILE...",
		Short: "Load image archives into the nodes",
		Long: `Load image archives into the nodes of a cluster.

FILE is an archive as "docker save" writes it or with an OCI layout, as it is
or packed by gzip or zstd; or the directory of an OCI layout; or - for standard
input. A file is read where it is needed: layers that all nodes have are
skipped. A pipe is read once and as it comes, without a copy on disk.`,
		Example: `  petri load image-archive app.tar
  docker buildx build --output type=oci,dest=- . | petri load image-archive - --as app:dev`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("%s takes files", cmd.CommandPath())
			}
			return a.load(cmd.Context(), o, func(m *cluster.Manager) ([]cluster.Loaded, error) {
				return eachOf(args, func(path string) ([]cluster.Loaded, error) {
					return m.LoadArchive(cmd.Context(), o.name, path, a.In, o.to)
				})
			})
		},
	}
	a.loadFlags(cmd, o).StringVar(&o.to.As, "as", "", "name and tag for the only image of an archive")
	return cmd
}

// eachOf loads one after the other, also when one fails.
func eachOf(items []string, load func(string) ([]cluster.Loaded, error)) ([]cluster.Loaded, error) {
	var out []cluster.Loaded
	var errs []error
	for _, item := range items {
		loaded, err := load(item)
		out, errs = append(out, loaded...), append(errs, err)
	}
	return out, errors.Join(errs...)
}

// load prints what was loaded, also when something else was not.
func (a *App) load(ctx context.Context, o *loadOptions, fn func(*cluster.Manager) ([]cluster.Loaded, error)) error {
	if err := checkFormat(o.format); err != nil {
		return err
	}
	manager, printer, err := a.manager(ctx)
	if err != nil {
		return err
	}
	defer printer.Close()
	loaded, err := fn(manager)
	printer.Close()
	if len(loaded) == 0 || a.kind && o.format == "" {
		return err // kind prints nothing
	}
	t := table{columns: []string{"IMAGE", "DIGEST", "SENT", "NODES"}, narrow: 3, value: loaded}
	for _, l := range loaded {
		t.rows = append(t.rows, []string{l.Name, l.Digest, sentBytes(l.Sent), strings.Join(slices.Sorted(maps.Keys(l.Sent)), ",")})
	}
	return errors.Join(err, a.print(o.format, t))
}

// sentBytes is what went to all nodes together.
func sentBytes(sent map[string]int64) string {
	var total int64
	for _, n := range sent {
		total += n
	}
	return bytesText(total)
}

// bytesText is a size as people read it.
func bytesText(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	default:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
}
