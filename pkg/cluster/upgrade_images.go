package cluster

import (
	"cmp"
	"context"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/provider"
)

// checkImages wants the nodes on which nothing is done to be of the image that
// is asked for. Another image of the same Kubernetes may have other addons: they
// would be told to run images that these nodes do not get.
func (u *upgrade) checkImages(ctx context.Context) error {
	for i, n := range u.order {
		if len(u.plan.Nodes[i].Steps) > 0 {
			continue
		}
		has := cmp.Or(u.known[n.Name].Image, n.Image)
		same, err := u.isAskedFor(ctx, has)
		if err != nil {
			return err
		}
		if !same {
			return errdefs.New(errdefs.ClassUsage, "UPGRADE-VERSION", "node %s runs %s of image %s, and image %s has the same Kubernetes: nodes keep what they have",
				n.Name, u.plan.To, has, u.opts.Image).
				WithHint("name image %[1]s to go on: petri upgrade cluster --name %[2]s --image %[1]s; or make new nodes of the other: petri create node --name %[2]s --image %[3]s", has, u.name, u.opts.Image)
		}
	}
	return nil
}

// isAskedFor reports whether an image is the one that is upgraded to, which may
// have several names; podman gives others than people write.
func (u *upgrade) isAskedFor(ctx context.Context, image string) (bool, error) {
	engine, ok := u.provider.(provider.ImageStore)
	if image == u.opts.Image || !ok {
		return image == u.opts.Image, nil
	}
	has, err := engine.Image(ctx, image)
	if errdefs.Is(err, errdefs.ClassNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	asked, err := engine.Image(ctx, u.opts.Image)
	return has.ID == asked.ID, err
}
