package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/image"
	"github.com/petri-cluster/petri/pkg/nodeimage/build"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

type buildAddImageOptions struct{ image, out string }

func (a *App) buildAddImage() *cobra.Command {
	o := &buildAddImageOptions{}
	cmd := &cobra.Command{
		Use:   "add-image --out NEW IMAGE...",
		Short: "Make a node image that has more images preloaded",
		Long: `Make a node image of another one and of images of the engine: they are there,
unpacked, in every node from its start, and take no disk in the nodes.`,
		Example: `  petri build add-image --out petri/node:with-app app:1.2 postgres:18
  petri create cluster --image petri/node:with-app`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("%s takes the names of images", cmd.CommandPath())
			}
			return a.runBuildAddImage(cmd.Context(), o, args)
		},
	}
	cmd.Flags().StringVar(&o.image, "image", "", "node image to start from (default "+defaultImage()+")")
	cmd.Flags().StringVar(&o.out, "out", "", "name of the new node image")
	return cmd
}

func (a *App) runBuildAddImage(ctx context.Context, o *buildAddImageOptions, refs []string) error {
	if err := build.CheckName(o.out); err != nil {
		return usagef("--out: %w", err)
	}
	base := o.image
	if base == "" {
		base = defaultImage()
	}
	p, err := a.Detect(ctx, a.providerName)
	if err != nil {
		return err
	}
	engine, ok := p.(provider.ImageSource)
	if !ok {
		return errdefs.New(errdefs.ClassUnavailable, "NO-IMAGE-STORE", "provider %s keeps no images", p.Name())
	}
	if err := haveImages(ctx, engine, append([]string{base}, refs...)); err != nil {
		return err
	}
	printer, err := a.printer()
	if err != nil {
		return err
	}
	defer printer.Close()
	task := progress.Start(printer, "add-image", "Adding images to "+base, "")
	if err := task.Done(addImages(ctx, engine, base, o.out, refs)); err != nil {
		return err
	}
	printer.Close()
	fmt.Fprintln(a.Out, o.out)
	return nil
}

// haveImages names all images that are not there, before anything is made.
func haveImages(ctx context.Context, engine provider.ImageSource, refs []string) error {
	var errs []error
	for _, ref := range refs {
		_, err := engine.Image(ctx, ref)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func addImages(ctx context.Context, engine provider.ImageSource, base, out string, refs []string) error {
	scratch, err := os.MkdirTemp("", "petri-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	opts := build.AddOptions{Scratch: scratch, Read: func(ctx context.Context, path string) ([]byte, error) {
		return engine.ReadImageFile(ctx, base, path)
	}}
	for i, ref := range refs {
		archive, err := saveArchive(ctx, engine, ref, filepath.Join(scratch, fmt.Sprintf("image-%d.tar", i)))
		if err != nil {
			return err
		}
		opts.Archives = append(opts.Archives, archive)
	}
	r, w := io.Pipe()
	made := make(chan error, 1)
	go func() {
		err := build.AddImages(ctx, opts, w)
		w.CloseWithError(err)
		made <- err
	}()
	err = engine.ExtendImage(ctx, base, out, r)
	r.CloseWithError(errors.Join(err, io.ErrClosedPipe))
	if madeErr := <-made; madeErr != nil && !errors.Is(madeErr, io.ErrClosedPipe) {
		return madeErr // what the engine says of it is less
	}
	return err
}

// saveArchive writes an image of the engine to a file.
func saveArchive(ctx context.Context, engine provider.ImageSource, ref, path string) (build.Archive, error) {
	full, err := image.FullName(ref)
	if err != nil {
		return build.Archive{}, err
	}
	saved, err := engine.SaveImage(ctx, ref, "")
	if err != nil {
		return build.Archive{}, err
	}
	defer saved.Close()
	f, err := os.Create(path)
	if err != nil {
		return build.Archive{}, err
	}
	_, err = io.Copy(f, saved)
	if err := errors.Join(err, f.Close()); err != nil {
		return build.Archive{}, fmt.Errorf("save image %s: %w", ref, err)
	}
	return build.Archive{Path: path, Name: full}, nil
}
