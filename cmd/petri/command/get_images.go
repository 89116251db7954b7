package command

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"
)

type getImagesOptions struct {
	name, node, format string
}

func (a *App) getImages() *cobra.Command {
	o := &getImagesOptions{}
	cmd := &cobra.Command{
		Use:   "images",
		Short: "List the images that the nodes of a cluster have",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runGetImages(cmd.Context(), o)
		},
	}
	a.nameFlag(cmd, &o.name)
	cmd.Flags().StringVar(&o.node, "node", "", "name of the only node to ask (default: all)")
	outputFlag(cmd, &o.format)
	return cmd
}

func (a *App) runGetImages(ctx context.Context, o *getImagesOptions) error {
	if err := checkFormat(o.format); err != nil {
		return err
	}
	manager, printer, err := a.manager(ctx)
	if err != nil {
		return err
	}
	defer printer.Close()
	images, err := manager.Images(ctx, o.name, o.node)
	if err != nil && len(images) == 0 {
		return err
	}
	t := table{columns: []string{"IMAGE", "ID", "SIZE", "NODES", "DIGEST", "PINNED"}, narrow: 4, value: images, empty: "There are no images."}
	for _, i := range images {
		names := i.Tags
		if len(names) == 0 {
			names = []string{i.Name()}
		}
		for _, name := range names {
			pinned := ""
			if i.Pinned {
				pinned = "yes"
			}
			t.rows = append(t.rows, []string{name, shortID(i.ID), bytesText(i.Size), strings.Join(i.Nodes, ","), strings.Join(i.Digests, ","), pinned})
		}
	}
	return errors.Join(err, a.print(o.format, t))
}

// shortID is the beginning of a digest, which is enough for people.
func shortID(id string) string {
	_, sum, _ := strings.Cut(id, ":")
	return sum[:min(len(sum), 12)]
}
