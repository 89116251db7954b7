package container

import (
	"archive/tar"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

// pullAttempts is how often a pull is tried; the wait between two doubles from
// a second.
const pullAttempts = 4

// Image implements provider.ImageStore.
func (p *Provider) Image(ctx context.Context, ref string) (provider.Image, error) {
	found, err := p.engine.ImageInspect(ctx, ref)
	if cerrdefs.IsNotFound(err) {
		return provider.Image{}, errdefs.New(errdefs.ClassNotFound, "IMAGE-NOT-FOUND", "%s has no image %s", p.Name(), ref)
	}
	if err != nil {
		return provider.Image{}, p.engineError(err, "inspect image %s", ref)
	}
	img := provider.Image{ID: found.ID, Architecture: goArch(found.Architecture), Size: found.Size, Tags: found.RepoTags, DiffIDs: found.RootFS.Layers}
	if found.Config != nil {
		img.Labels = found.Config.Labels
	}
	return img, nil
}

// LoadImage implements provider.ImageStore.
func (p *Provider) LoadImage(ctx context.Context, archive io.Reader) error {
	response, err := p.engine.ImageLoad(ctx, archive)
	if err != nil {
		return p.engineError(err, "load an image archive")
	}
	defer response.Body.Close()
	if err := readMessages(response.Body, func(message) {}); err != nil {
		return fmt.Errorf("load an image archive: %w", err)
	}
	return nil
}

// PullImage implements provider.ImageStore. Registries that lose a connection
// get another chance; those that say no do not.
func (p *Provider) PullImage(ctx context.Context, ref string, t *progress.Task) error {
	auth, err := p.registryAuth(ref)
	if err != nil {
		return err
	}
	for attempt, delay := 1, time.Second; ; attempt, delay = attempt+1, 2*delay {
		err := p.pullOnce(ctx, ref, auth, t)
		if err == nil {
			return nil
		}
		if attempt == pullAttempts || ctx.Err() != nil || finalPullError(err) {
			return err
		}
		t.Update(fmt.Sprintf("pull of %s failed, trying again", ref))
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return fmt.Errorf("pull image %s: %w", ref, context.Cause(ctx))
		}
	}
}

func (p *Provider) pullOnce(ctx context.Context, ref, auth string, t *progress.Task) error {
	stream, err := p.engine.ImagePull(ctx, ref, image.PullOptions{RegistryAuth: auth})
	if cerrdefs.IsNotFound(err) {
		return errdefs.New(errdefs.ClassNotFound, "IMAGE-NOT-FOUND", "pull image %s: %w", ref, err)
	}
	if err != nil {
		return p.engineError(err, "pull image %s", ref)
	}
	defer stream.Close()
	layers := map[string][2]int64{}
	last := ""
	err = readMessages(stream, func(m message) {
		if m.Status != "Downloading" {
			return
		}
		layers[m.ID] = [2]int64{m.Detail.Current, m.Detail.Total}
		if now := pullState(layers); now != last {
			last = now
			t.Update(now)
		}
	})
	if err != nil {
		return fmt.Errorf("pull image %s: %w", ref, err)
	}
	return nil
}

// pullState is how far the layers that are known so far have come.
func pullState(layers map[string][2]int64) string {
	var current, total int64
	for _, l := range layers {
		current, total = current+l[0], total+l[1]
	}
	return fmt.Sprintf("%d of %d MB", current/1e6, total/1e6)
}

func finalPullError(err error) bool {
	return errdefs.Is(err, errdefs.ClassNotFound) || errdefs.Is(err, errdefs.ClassUnavailable) ||
		cerrdefs.IsInvalidArgument(err) || cerrdefs.IsUnauthorized(err) || cerrdefs.IsPermissionDenied(err)
}

// message is one line of the progress that engines stream.
type message struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Error  string `json:"error"`
	Detail struct {
		Current int64 `json:"current"`
		Total   int64 `json:"total"`
	} `json:"progressDetail"`
}

// readMessages reads a stream of messages to its end. An error in the stream
// is the only sign that what was asked for did not happen.
func readMessages(stream io.Reader, each func(message)) error {
	decoder := json.NewDecoder(stream)
	for {
		var m message
		err := decoder.Decode(&m)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the engine's progress: %w", err)
		}
		if m.Error != "" {
			return errors.New(m.Error)
		}
		each(m)
	}
}

// registryAuth is what Docker's configuration file says about the registry of
// an image, as the API wants it; empty when it says nothing. Credential
// helpers are not asked.
func (p *Provider) registryAuth(ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", errdefs.New(errdefs.ClassUsage, "IMAGE-NAME", "pull image %s: %w", ref, err)
	}
	domain := reference.Domain(named)
	key := domain
	if domain == "docker.io" {
		key = "https://index.docker.io/v1/"
	}
	auths := readDockerConfig(dockerConfigDir(p.opts.Getenv)).Auths
	entry, ok := auths[key]
	if !ok {
		entry, ok = auths["https://"+domain]
	}
	if !ok {
		return "", nil
	}
	decoded, err := base64.StdEncoding.DecodeString(entry.Auth)
	if err != nil {
		return "", errdefs.New(errdefs.ClassUsage, "REGISTRY-AUTH", "read Docker's credentials for %s: %w", domain, err)
	}
	user, password, _ := strings.Cut(string(decoded), ":")
	return registry.EncodeAuthConfig(registry.AuthConfig{
		Username: user, Password: password, IdentityToken: entry.IdentityToken, ServerAddress: key,
	})
}

// ReadImageFile implements provider.ImageStore.
func (p *Provider) ReadImageFile(ctx context.Context, ref, path string) ([]byte, error) {
	var data []byte
	err := p.ReadImageFiles(ctx, ref, []string{path}, func(_ string, archive io.Reader) (err error) {
		data, err = readTarredFile(archive, ref, path)
		return err
	})
	return data, err
}

// ReadImageFiles implements provider.ImageFiles.
func (p *Provider) ReadImageFiles(ctx context.Context, ref string, paths []string, take func(path string, archive io.Reader) error) error {
	config := &container.Config{Image: ref, Entrypoint: []string{"none"}, Labels: map[string]string{labelPurpose: "read-image-file"}}
	return p.withImage(ctx, config, func(id string) error {
		for _, path := range paths {
			if err := p.readFiles(ctx, id, ref, path, take); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *Provider) readFiles(ctx context.Context, id, ref, path string, take func(path string, archive io.Reader) error) error {
	stream, _, err := p.engine.CopyFromContainer(ctx, id, path)
	if cerrdefs.IsNotFound(err) {
		return errdefs.New(errdefs.ClassNotFound, "FILE-NOT-FOUND", "image %s has no file %s", ref, path)
	}
	if err != nil {
		return p.engineError(err, "read %s of image %s", path, ref)
	}
	defer stream.Close()
	return take(path, stream)
}

// withImage calls fn with a container that is never started, because engines
// only give files out of containers, and take them into these.
func (p *Provider) withImage(ctx context.Context, config *container.Config, fn func(id string) error) (err error) {
	ref := config.Image
	settled, cancel := settle(ctx)
	defer cancel()
	made, err := p.engine.ContainerCreate(settled, config, &container.HostConfig{NetworkMode: "none"}, nil, nil, "")
	if cerrdefs.IsNotFound(err) {
		return errdefs.New(errdefs.ClassNotFound, "IMAGE-NOT-FOUND", "%s has no image %s", p.Name(), ref)
	}
	if err != nil {
		return p.engineError(err, "make a container of image %s", ref)
	}
	defer func() {
		// Also when ctx has ended: it would stay for ever.
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, p.removeContainer(cleanup, made.ID))
	}()
	return fn(made.ID)
}

// ExtendImage implements provider.ImageStore. The engine makes the layer of
// what the files have changed.
func (p *Provider) ExtendImage(ctx context.Context, base, ref string, files io.Reader) error {
	// with the image's own configuration, and nothing that the new one would get
	return p.withImage(ctx, &container.Config{Image: base}, func(id string) error {
		if err := p.engine.CopyToContainer(ctx, id, "/", files, container.CopyToContainerOptions{CopyUIDGID: true}); err != nil {
			return p.engineError(err, "add files to image %s", base)
		}
		_, err := p.engine.ContainerCommit(ctx, id, container.CommitOptions{Reference: ref, Comment: "petri build add-image"})
		return p.engineError(err, "make image %s", ref)
	})
}

// SaveImage implements provider.ImageSource.
func (p *Provider) SaveImage(ctx context.Context, ref, platform string) (io.ReadCloser, error) {
	var opts []client.ImageSaveOption
	if platform != "" && versions.GreaterThanOrEqualTo(p.engine.ClientVersion(), savesPlatforms) {
		wanted, err := platforms.Parse(platform)
		if err != nil {
			return nil, errdefs.New(errdefs.ClassUsage, "IMAGE-PLATFORM", "platform %q: %w", platform, err)
		}
		opts = append(opts, client.ImageSaveWithPlatforms(wanted))
	}
	stream, err := p.engine.ImageSave(ctx, []string{ref}, opts...)
	if cerrdefs.IsNotFound(err) {
		return nil, errdefs.New(errdefs.ClassNotFound, "IMAGE-NOT-FOUND", "%s has no image %s", p.Name(), ref)
	}
	if err != nil {
		return nil, p.engineError(err, "save image %s", ref)
	}
	return stream, nil
}

// savesPlatforms is the API version that can choose a platform of an image.
const savesPlatforms = "1.48"

// readTarredFile reads the one file that is in a tar stream.
func readTarredFile(stream io.Reader, ref, path string) ([]byte, error) {
	r := tar.NewReader(stream)
	header, err := r.Next()
	if err != nil {
		return nil, fmt.Errorf("read %s of image %s: %w", path, ref, err)
	}
	if header.Typeflag != tar.TypeReg {
		return nil, fmt.Errorf("read %s of image %s: not a regular file", path, ref)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read %s of image %s: %w", path, ref, err)
	}
	return data, nil
}
