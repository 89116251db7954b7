package cluster

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/image"
	"github.com/petri-cluster/petri/pkg/imageload"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodestore"
	"github.com/petri-cluster/petri/pkg/provider"
)

// LoadOptions say where images go, and for which platform.
type LoadOptions struct {
	// Nodes are names of nodes; empty: all nodes that run pods.
	Nodes []string
	// Platform is the one that is chosen of an image for several
	// ("linux/arm64"); empty: that of the nodes.
	Platform string
	// As names the only image of an archive; empty: the archive does.
	As string
}

// Loaded is an image that nodes have.
type Loaded struct {
	Name   string `json:"name"`   // full, with a tag
	Digest string `json:"digest"` // Name@Digest is on the nodes, too
	ID     string `json:"id"`
	// Sent is how many bytes of layers went to each node that has the image
	// now, by name: 0 where it was there.
	Sent map[string]int64 `json:"sent"`
}

// LoadImages brings images of the engine to nodes of a cluster. Only what a
// node lacks is sent. An error names each node that failed, the others have
// the images all the same; class not found means that the engine, the cluster
// or a node of that name is not there, and that nothing was done.
func (m *Manager) LoadImages(ctx context.Context, cluster string, refs []string, o LoadOptions) ([]Loaded, error) {
	engine, ok := m.provider.(provider.ImageSource)
	if !ok {
		return nil, errdefs.New(errdefs.ClassUnavailable, "NO-IMAGE-STORE", "provider %s keeps no images", m.provider.Name())
	}
	nodes, err := m.chooseNodes(ctx, cluster, o.Nodes)
	if err != nil {
		return nil, err
	}
	var wanted []engineImage
	var errs []error
	for _, ref := range refs {
		i, err := findImage(ctx, engine, ref)
		errs, wanted = append(errs, err), append(wanted, i)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return m.withStores(ctx, nodes, func(stores []*nodestore.Store) ([]Loaded, error) {
		var out []Loaded
		var errs []error
		for _, i := range wanted {
			loaded, err := m.loadFromEngine(ctx, engine, i, stores, o)
			out, errs = append(out, loaded...), append(errs, err)
		}
		return out, errors.Join(errs...)
	})
}

// engineImage is an image of the engine's, and the full names it gets.
type engineImage struct {
	provider.Image
	ref   string
	names []string
}

func findImage(ctx context.Context, engine provider.ImageSource, ref string) (engineImage, error) {
	full, err := image.FullName(ref)
	if err != nil {
		return engineImage{}, err
	}
	found, err := engine.Image(ctx, ref)
	if errdefs.Is(err, errdefs.ClassNotFound) {
		return engineImage{}, errdefs.New(errdefs.ClassNotFound, "IMAGE-NOT-FOUND", "image %q is not present locally: %w", ref, err).
			WithHint("Build or pull it first, or read it from its registry: petri load image --from-registry %s", ref)
	}
	if err != nil {
		return engineImage{}, err
	}
	out := engineImage{Image: found, ref: ref}
	for _, tag := range found.Tags {
		name, err := image.FullName(tag)
		if err == nil && !slices.Contains(out.names, name) {
			out.names = append(out.names, name)
		}
	}
	// what was asked for by an ID, or by a name that the engine completed in its
	// own way, gets all the names that the engine has
	if slices.Contains(out.names, full) || len(out.names) == 0 && image.HasTag(full) && !strings.HasPrefix(strings.TrimPrefix(found.ID, "sha256:"), strings.TrimPrefix(ref, "sha256:")) {
		out.names = []string{full}
	}
	if len(out.names) == 0 {
		return out, errdefs.New(errdefs.ClassUsage, "IMAGE-NAMELESS", "image %s has no name that pods could use", ref).
			WithHint("Give it one: docker tag %s NAME:TAG", ref)
	}
	return out, nil
}

// loadFromEngine loads one image. The engine is asked for layers only when a
// node lacks any.
func (m *Manager) loadFromEngine(ctx context.Context, engine provider.ImageSource, i engineImage, stores []*nodestore.Store, o LoadOptions) ([]Loaded, error) {
	diffIDs := make([]digest.Digest, len(i.DiffIDs))
	for n, d := range i.DiffIDs {
		diffIDs[n] = digest.Digest(d)
	}
	there, err := allHave(ctx, stores, i, diffIDs)
	if there || err != nil {
		return present(ctx, stores, i), err
	}
	want, err := m.want(ctx, o.Platform)
	if err != nil {
		return nil, err
	}
	src, err := openStored(ctx, engine, i, want)
	if errdefs.Is(err, errdefs.ClassUnavailable) {
		src, err = saveImage(ctx, engine, i, want, o.Platform)
	}
	if err != nil {
		return nil, err
	}
	loaded, err := m.load(ctx, src, stores, imageload.Options{Title: "Loading " + i.ref, DiffIDs: diffIDs})
	return loaded, errors.Join(err, src.Close())
}

// allHave reports whether all nodes have the image under all its names. A node
// that cannot say lacks it: loading shows what is wrong with it.
func allHave(ctx context.Context, stores []*nodestore.Store, i engineImage, diffIDs []digest.Digest) (bool, error) {
	var mu sync.Mutex
	all := true
	err := eachStore(stores, func(s *nodestore.Store) error {
		for _, name := range i.names {
			has, err := s.Has(ctx, name, i.ID, diffIDs)
			mu.Lock()
			all = all && has && err == nil
			mu.Unlock()
		}
		return context.Cause(ctx)
	})
	return all, err
}

// present describes an image that all nodes have.
func present(ctx context.Context, stores []*nodestore.Store, i engineImage) []Loaded {
	var out []Loaded
	for _, name := range i.names {
		l := Loaded{Name: name, Sent: map[string]int64{}}
		for _, s := range stores {
			l.Sent[s.Node()] = 0
		}
		if found, err := stores[0].Find(ctx, name); err == nil && found != nil {
			l.ID = found.ID
			l.Digest = found.DigestOf(name)
		}
		out = append(out, l)
	}
	return out
}

// openStored reads single layers from the engine's storage.
func openStored(ctx context.Context, engine provider.ImageSource, i engineImage, want image.Want) (image.Source, error) {
	stored, err := engine.OpenImage(ctx, i.ID)
	if err != nil {
		return nil, err
	}
	s := image.Stored{Names: i.names, Config: stored.Config}
	for _, l := range stored.Layers {
		s.Layers = append(s.Layers, image.StoredLayer(l))
	}
	return image.FromStored(s, want, i.ref)
}

// saveImage reads the whole image through the engine's API.
func saveImage(ctx context.Context, engine provider.ImageSource, i engineImage, want image.Want, platform string) (image.Source, error) {
	archive, err := engine.SaveImage(ctx, i.ref, platform)
	if err != nil {
		return nil, err
	}
	as := ""
	if len(i.names) == 1 {
		as = i.names[0]
	}
	return image.ReadArchive(archive, want, as)
}

// LoadArchive brings the images of an archive to nodes of a cluster, as
// LoadImages does. The archive is the file or directory at path or, when that
// is "-", what in reads.
func (m *Manager) LoadArchive(ctx context.Context, cluster, path string, in io.Reader, o LoadOptions) ([]Loaded, error) {
	return m.loadFrom(ctx, cluster, path, o, func(want image.Want, as string) (image.Source, error) {
		if path == "-" {
			return image.ReadArchive(in, want, as)
		}
		return image.OpenArchive(path, want, as)
	})
}

// LoadFromRegistry brings an image of a registry to nodes of a cluster, as
// LoadImages does, without the engine.
func (m *Manager) LoadFromRegistry(ctx context.Context, cluster, ref string, o LoadOptions) ([]Loaded, error) {
	return m.loadFrom(ctx, cluster, ref, o, func(want image.Want, _ string) (image.Source, error) {
		return image.FromRegistry(ctx, ref, want)
	})
}

func (m *Manager) loadFrom(ctx context.Context, cluster, what string, o LoadOptions, open func(image.Want, string) (image.Source, error)) ([]Loaded, error) {
	if o.As != "" {
		full, err := image.FullName(o.As)
		if err != nil {
			return nil, err
		}
		o.As = full
	}
	nodes, err := m.chooseNodes(ctx, cluster, o.Nodes)
	if err != nil {
		return nil, err
	}
	want, err := m.want(ctx, o.Platform)
	if err != nil {
		return nil, err
	}
	src, err := open(want, o.As)
	if err != nil {
		return nil, err
	}
	loaded, err := m.withStores(ctx, nodes, func(stores []*nodestore.Store) ([]Loaded, error) {
		return m.load(ctx, src, stores, imageload.Options{Title: "Loading " + what})
	})
	return loaded, errors.Join(err, src.Close())
}

// want is the platform that is asked for, else the engine's: nodes run on it.
func (m *Manager) want(ctx context.Context, platform string) (image.Want, error) {
	info, err := m.provider.Check(ctx)
	if err != nil {
		return image.Want{}, err
	}
	if platform == "" {
		return image.ForNodes(info.Architecture), nil
	}
	return image.ParsePlatform(platform, info.Architecture)
}

// load loads a source, and says what has become of it.
func (m *Manager) load(ctx context.Context, src image.Source, stores []*nodestore.Store, o imageload.Options) ([]Loaded, error) {
	o.Reporter = m.reporter
	result, err := imageload.Load(ctx, src, stores, o)
	var out []Loaded
	if len(result.Sent) == 0 {
		return nil, err
	}
	for _, i := range result.Images {
		for _, name := range i.Names {
			out = append(out, Loaded{Name: name, Digest: i.Target().Digest.String(), ID: i.ID().String(), Sent: result.Sent})
		}
	}
	return out, err
}

// chooseNodes are the nodes with these names, all when there are none.
func (m *Manager) chooseNodes(ctx context.Context, cluster string, names []string) ([]node.Node, error) {
	nodes, err := m.Nodes(ctx, cluster)
	if err != nil {
		return nil, err
	}
	var missing, have []string
	for _, name := range names {
		if !slices.ContainsFunc(nodes, func(n node.Node) bool { return n.Name == name }) {
			missing = append(missing, name)
		}
	}
	for _, n := range nodes {
		have = append(have, n.Name)
	}
	if len(missing) > 0 {
		return nil, errdefs.New(errdefs.ClassNotFound, "NODE-NOT-FOUND", "cluster %q has no node %s", cluster, strings.Join(missing, ", ")).
			WithHint("these are there: %s", strings.Join(have, ", "))
	}
	if len(names) > 0 {
		nodes = slices.DeleteFunc(nodes, func(n node.Node) bool { return !slices.Contains(names, n.Name) })
	}
	return nodes, nil
}

// withStores connects to the image stores of nodes, at once, and calls fn with
// those that answer. The error names the others.
func (m *Manager) withStores(ctx context.Context, nodes []node.Node, fn func([]*nodestore.Store) ([]Loaded, error)) ([]Loaded, error) {
	stores, failed := m.dialStores(ctx, nodes)
	defer func() {
		for _, s := range stores {
			s.Close()
		}
	}()
	if len(stores) == 0 {
		return nil, failed
	}
	out, err := fn(stores)
	return out, errors.Join(err, failed)
}

func (m *Manager) dialStores(ctx context.Context, nodes []node.Node) ([]*nodestore.Store, error) {
	dialed := make([]*nodestore.Store, len(nodes))
	errs := make([]error, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { dialed[i], errs[i] = m.dialStore(ctx, n) })
	}
	all.Wait()
	return slices.DeleteFunc(dialed, func(s *nodestore.Store) bool { return s == nil }), errors.Join(errs...)
}

func (m *Manager) dialStore(ctx context.Context, n node.Node) (*nodestore.Store, error) {
	if n.State != node.Running {
		return nil, errdefs.New(errdefs.ClassFailed, "NODE-NOT-RUNNING", "node %s is %s: its images cannot be reached", n.Name, n.State)
	}
	if m.OpenStore != nil {
		return m.OpenStore(ctx, n)
	}
	return nodestore.Dial(ctx, n)
}

// eachStore calls fn for all stores, at once.
func eachStore(stores []*nodestore.Store, fn func(*nodestore.Store) error) error {
	errs := make([]error, len(stores))
	var all sync.WaitGroup
	for i, s := range stores {
		all.Go(func() { errs[i] = fn(s) })
	}
	all.Wait()
	return errors.Join(errs...)
}
