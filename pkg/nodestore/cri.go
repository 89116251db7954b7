package nodestore

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// cri is the CRI of a node, which is served on containerd's socket as well.
type cri struct{ images runtime.ImageServiceClient }

func newCRI(conn grpc.ClientConnInterface) CRI {
	return cri{runtime.NewImageServiceClient(conn)}
}

// snapshotterDir is how containerd names the directory of a snapshotter.
const snapshotterDir = "io.containerd.snapshotter.v1."

// Snapshotter is read off the place of the file system that CRI counts its
// images on: the only answer of its API that names the snapshotter.
func (c cri) Snapshotter(ctx context.Context) (string, error) {
	info, err := c.images.ImageFsInfo(ctx, &runtime.ImageFsInfoRequest{})
	if err != nil {
		return "", err
	}
	for _, fs := range info.ImageFilesystems {
		if _, name, ok := strings.Cut(fs.GetFsId().GetMountpoint(), snapshotterDir); ok {
			return name, nil
		}
	}
	return "", fmt.Errorf("CRI names no snapshotter in %v", info.ImageFilesystems)
}

func (c cri) Image(ctx context.Context, ref string) (*Image, error) {
	status, err := c.images.ImageStatus(ctx, &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: ref}})
	if err != nil || status.GetImage() == nil {
		return nil, err
	}
	return new(fromCRI(status.Image)), nil
}

func (c cri) Images(ctx context.Context) ([]Image, error) {
	list, err := c.images.ListImages(ctx, &runtime.ListImagesRequest{})
	if err != nil {
		return nil, err
	}
	var out []Image
	for _, i := range list.Images {
		out = append(out, fromCRI(i))
	}
	return out, nil
}

func fromCRI(i *runtime.Image) Image {
	return Image{ID: i.Id, Tags: i.RepoTags, Digests: i.RepoDigests, Size: int64(i.Size), Pinned: i.Pinned}
}
