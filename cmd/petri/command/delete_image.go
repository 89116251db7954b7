package command

import (
	"context"

	"github.com/spf13/cobra"
)

type deleteImageOptions struct {
	name  string
	nodes []string
}

func (a *App) deleteImage() *cobra.Command {
	o := &deleteImageOptions{}
	cmd := &cobra.Command{
		Use:   "image NAME...",
		Short: "Remove images from the nodes of a cluster",
		Long: `Remove names of images from the nodes of a cluster, and the images that have
none left then. NAME may also be an ID (sha256:...), which stands for all names
of its image. Containers that run go on. The images that a node is made with
are not removed.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("%s takes the names of images", cmd.CommandPath())
			}
			return a.runDeleteImage(cmd.Context(), o, args)
		},
	}
	a.nameFlag(cmd, &o.name)
	cmd.Flags().StringSliceVar(&o.nodes, "nodes", nil, "names of nodes, separated by commas (default: all)")
	return cmd
}

func (a *App) runDeleteImage(ctx context.Context, o *deleteImageOptions, refs []string) error {
	manager, printer, err := a.manager(ctx)
	if err != nil {
		return err
	}
	defer printer.Close()
	return manager.DeleteImages(ctx, o.name, refs, o.nodes)
}
