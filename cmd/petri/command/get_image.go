package command

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

func (a *App) getImage() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "image [IMAGE]",
		Short: "List what a node image consists of",
		Args:  oneArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			ref := defaultImage()
			if len(args) > 0 {
				ref = args[0]
			}
			return a.runGetImage(cmd.Context(), ref, format)
		},
	}
	outputFlag(cmd, &format)
	return cmd
}

func (a *App) runGetImage(ctx context.Context, ref, format string) error {
	if err := checkFormat(format); err != nil {
		return err
	}
	p, err := a.Detect(ctx, a.providerName)
	if err != nil {
		return err
	}
	manifest, err := imageManifest(ctx, p, ref)
	if err != nil {
		return err
	}
	t := table{columns: []string{"NAME", "VERSION", "SOURCE", "CHECKSUM"}, narrow: 3, value: manifest}
	for _, c := range manifest.Components {
		t.rows = append(t.rows, []string{c.Name, c.Version, c.Source, c.Checksum})
	}
	for _, i := range manifest.Images {
		t.rows = append(t.rows, []string{i.Name, fmt.Sprintf("%.1f MB", float64(i.Size)/1e6), "preloaded image", i.Digest})
	}
	return a.print(format, t)
}

func imageManifest(ctx context.Context, p provider.Provider, ref string) (nodeimage.Manifest, error) {
	var manifest nodeimage.Manifest
	store, ok := p.(provider.ImageStore)
	if !ok {
		return manifest, errdefs.New(errdefs.ClassUnavailable, "NO-IMAGE-STORE", "provider %s keeps no images", p.Name())
	}
	if _, err := store.Image(ctx, ref); err != nil {
		return manifest, err
	}
	data, err := store.ReadImageFile(ctx, ref, nodeimage.ManifestPath)
	if err != nil {
		return manifest, errdefs.New(errdefs.ClassUsage, "NOT-A-PETRI-IMAGE", "image %s has no %s: %w", ref, nodeimage.ManifestPath, err)
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		return manifest, fmt.Errorf("%s of %s: %w", nodeimage.ManifestPath, ref, err)
	}
	return manifest, nil
}
