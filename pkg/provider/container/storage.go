package container

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/vbatts/tar-split/tar/asm"
	tarstorage "github.com/vbatts/tar-split/tar/storage"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/provider"
)

// The engine's API gives images as a whole only, and takes seconds for a large
// one of which a few kilobytes have changed. Docker's own storage has every
// layer as a directory of files, and beside it all that is needed to put its
// tar archive together again as it was. Root can read it on the machine that
// the engine runs on.

// layeredDrivers are storage drivers that keep a layer's files in a directory
// "diff" of their own.
var layeredDrivers = []string{"overlay2", "fuse-overlayfs"}

// OpenImage implements provider.ImageSource.
func (p *Provider) OpenImage(ctx context.Context, id string) (provider.StoredImage, error) {
	if !p.local() {
		return provider.StoredImage{}, noStorage(errors.New("the engine is not on this machine"))
	}
	info, err := p.engineInfo(ctx)
	if err != nil {
		return provider.StoredImage{}, err
	}
	if !slices.Contains(layeredDrivers, info.Driver) {
		return provider.StoredImage{}, noStorage(fmt.Errorf("the storage driver %s keeps layers in another way", info.Driver))
	}
	s := storage{dir: info.DockerRootDir, driver: info.Driver}
	image, err := s.image(digest.Digest(id))
	if err != nil {
		return provider.StoredImage{}, noStorage(err)
	}
	return image, nil
}

// noStorage has no ID: there is another way to an image, and nobody sees it.
func noStorage(err error) error {
	return &errdefs.Error{Class: errdefs.ClassUnavailable, Err: fmt.Errorf("read the engine's storage: %w", err)}
}

// storage is the directory in which Docker keeps its images, laid out as since
// version 1.10.
type storage struct{ dir, driver string }

// image reads the parts of an image. The config is checked against its digest,
// which also shows that this is the storage of the engine that was asked.
func (s storage) image(id digest.Digest) (provider.StoredImage, error) {
	var out provider.StoredImage
	if err := id.Validate(); err != nil {
		return out, err
	}
	config, err := os.ReadFile(s.path("imagedb", "content", id))
	if err != nil {
		return out, err
	}
	if digest.FromBytes(config) != id {
		return out, fmt.Errorf("the config of image %s is not what it is to be", id)
	}
	var c ocispec.Image
	if err := json.Unmarshal(config, &c); err != nil {
		return out, fmt.Errorf("config of image %s: %w", id, err)
	}
	out.Config = config
	for _, chain := range identity.ChainIDs(slices.Clone(c.RootFS.DiffIDs)) {
		l, err := s.layer(chain)
		if err != nil {
			return out, err
		}
		out.Layers = append(out.Layers, l)
	}
	return out, nil
}

// path is a file of Docker's records, of which each kind has a directory.
func (s storage) path(kind, of string, d digest.Digest, more ...string) string {
	parts := []string{s.dir, "image", s.driver, kind}
	if of != "" {
		parts = append(parts, of)
	}
	return filepath.Join(append(append(parts, d.Algorithm().String(), d.Encoded()), more...)...)
}

// layer finds the files of a layer, and counts the bytes of its archive.
func (s storage) layer(chain digest.Digest) (provider.StoredLayer, error) {
	cache, err := os.ReadFile(s.path("layerdb", "", chain, "cache-id"))
	if err != nil {
		return provider.StoredLayer{}, err
	}
	name := strings.TrimSpace(string(cache))
	if name == "" || name != filepath.Base(name) {
		return provider.StoredLayer{}, fmt.Errorf("layer %s is in a directory %q", chain, name)
	}
	l := storedLayer{
		recipe: s.path("layerdb", "", chain, "tar-split.json.gz"),
		files:  filepath.Join(s.dir, s.driver, name, "diff"),
	}
	size, err := l.size()
	return provider.StoredLayer{Size: size, Open: l.open}, err
}

// storedLayer is a layer's files, and the recipe for its archive: everything
// of it that is not the content of a file.
type storedLayer struct{ recipe, files string }

// unpacker reads the recipe.
func (l storedLayer) unpacker() (tarstorage.Unpacker, io.Closer, error) {
	f, err := os.Open(l.recipe)
	if err != nil {
		return nil, nil, err
	}
	unzipped, err := gzip.NewReader(bufio.NewReaderSize(f, 64<<10))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s: %w", l.recipe, err), f.Close())
	}
	return tarstorage.NewJSONUnpacker(unzipped), f, nil
}

// size adds up the parts of the archive.
func (l storedLayer) size() (int64, error) {
	recipe, f, err := l.unpacker()
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var total int64
	for {
		part, err := recipe.Next()
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", l.recipe, err)
		}
		switch part.Type {
		case tarstorage.SegmentType:
			total += int64(len(part.Payload))
		case tarstorage.FileType:
			total += part.Size
		}
	}
}

// streamBuffer is how much of an archive is put together ahead of its reader.
const streamBuffer = 1 << 20

// open puts the archive together. What is read ends with an error when a file
// has changed since.
func (l storedLayer) open() (io.ReadCloser, error) {
	recipe, f, err := l.unpacker()
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(l.files)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r, w := io.Pipe()
	go func() {
		buffered := bufio.NewWriterSize(w, streamBuffer)
		err := asm.WriteOutputTarStream(layerFiles{root}, recipe, buffered)
		w.CloseWithError(errors.Join(err, buffered.Flush(), root.Close(), f.Close()))
	}()
	return r, nil
}

// layerFiles are the files of a layer. No name of the archive leads out of the
// layer's directory.
type layerFiles struct{ root *os.Root }

// Get implements the getter of tar-split.
func (l layerFiles) Get(name string) (io.ReadCloser, error) {
	name = strings.TrimPrefix(filepath.Clean("/"+name), "/")
	f, err := l.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the engine has removed %s of a layer: %w", name, err)
	}
	return f, err
}
