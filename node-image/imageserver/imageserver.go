// Package imageserver serves an engine's images to the nodes of one cluster, as
// a registry would: manifests by tag or digest, and blobs, to be read only. The
// nodes' containerd asks it before the registry that an image's name leads to,
// and goes on there when the engine has no image of that name. An image is
// written to a directory while nodes read it, because engines give images away
// whole.
package imageserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/image"
	"github.com/petri-cluster/petri/pkg/provider"
)

// Server answers requests. It is made by New.
type Server struct {
	engine provider.ImageSource
	arch   string
	dir    string
	log    *slog.Logger

	saving sync.Mutex // one image at a time: the engine's disk is the bound
	mu     sync.Mutex
	kept   map[string]*kept // by the engine's ID
}

// kept is an image that was written to a directory.
type kept struct {
	dir       string
	target    ocispec.Descriptor
	documents map[digest.Digest]image.Document
	layers    map[digest.Digest]string // paths
	used      time.Time
}

// New serves the images of an engine for nodes of an architecture. What it
// writes is below dir, which is its own.
func New(engine provider.ImageSource, arch, dir string, log *slog.Logger) *Server {
	return &Server{engine: engine, arch: arch, dir: dir, log: log, kept: map[string]*kept{}}
}

// object is the path of a manifest or a blob.
var object = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs)/([^/]+)$`)

// ServeHTTP implements http.Handler: the part of the OCI distribution API by
// which images are read.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "images are read here, and not changed", http.StatusMethodNotAllowed)
		return
	}
	if r.URL.Path == "/v2/" {
		return
	}
	parts := object.FindStringSubmatch(r.URL.Path)
	if parts == nil {
		http.NotFound(w, r)
		return
	}
	var err error
	switch name, kind, ref := parts[1], parts[2], parts[3]; {
	case kind == "blobs":
		err = s.blob(w, r, digest.Digest(ref))
	case digest.Digest(ref).Validate() == nil:
		err = s.manifest(w, digest.Digest(ref))
	default:
		err = s.tagged(w, r, name, ref)
	}
	if errdefs.Is(err, errdefs.ClassNotFound) || errdefs.Is(err, errdefs.ClassUsage) {
		http.NotFound(w, r)
		return
	}
	if err != nil {
		s.log.Error("request failed", "path", r.URL.Path, "error", err)
		http.Error(w, "the engine could not be asked", http.StatusBadGateway)
	}
}

// tagged answers with what the engine has under a name. The registry is that
// which containerd would ask otherwise: it says so for mirrors.
func (s *Server) tagged(w http.ResponseWriter, r *http.Request, name, tag string) error {
	full, err := image.FullName(r.URL.Query().Get("ns") + "/" + name + ":" + tag)
	if err != nil {
		return err
	}
	k, err := s.keep(r.Context(), full)
	if err != nil {
		return err
	}
	return s.manifest(w, k.target.Digest)
}

func notKept(d digest.Digest) error {
	return errdefs.New(errdefs.ClassNotFound, "IMAGE-NOT-FOUND", "nothing with digest %s is kept", d)
}

// manifest answers with a manifest or an index.
func (s *Server) manifest(w http.ResponseWriter, d digest.Digest) error {
	k := s.with(d)
	if k == nil {
		return notKept(d)
	}
	doc := k.documents[d]
	w.Header().Set("Content-Type", doc.MediaType)
	w.Header().Set("Docker-Content-Digest", d.String())
	w.Header().Set("Content-Length", strconv.Itoa(len(doc.Content)))
	_, err := w.Write(doc.Content)
	return err
}

// blob answers with a config or a layer.
func (s *Server) blob(w http.ResponseWriter, r *http.Request, d digest.Digest) error {
	k := s.with(d)
	if k == nil {
		return notKept(d)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", d.String())
	if doc, ok := k.documents[d]; ok {
		_, err := w.Write(doc.Content)
		return err
	}
	f, err := os.Open(k.layers[d])
	if err != nil {
		return err
	}
	defer f.Close()
	http.ServeContent(w, r, "", time.Time{}, f)
	s.with(d) // it was used until now
	return nil
}

// with is the kept image that a digest is of, which counts as a use.
func (s *Server) with(d digest.Digest) *kept {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kept {
		_, document := k.documents[d]
		if _, layer := k.layers[d]; document || layer {
			k.used = time.Now()
			return k
		}
	}
	return nil
}

// keep makes sure that what the engine has under a name is kept. An engine gives
// images away by name: one that gets the name of another meanwhile is begun with
// anew.
func (s *Server) keep(ctx context.Context, name string) (*kept, error) {
	s.saving.Lock()
	defer s.saving.Unlock()
	found, err := s.engine.Image(ctx, name)
	if err != nil {
		return nil, err
	}
	for {
		if k := s.known(found.ID); k != nil {
			return k, nil
		}
		k, err := s.save(ctx, name)
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(k.dir))
		}
		before := found.ID
		if found, err = s.engine.Image(ctx, name); err != nil {
			return nil, errors.Join(err, os.RemoveAll(k.dir))
		}
		if found.ID == before {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.kept[before] = k
			return k, nil
		}
		if err := os.RemoveAll(k.dir); err != nil {
			return nil, err
		}
	}
}

// known is the kept image of an ID, which counts as a use; nil: there is none.
func (s *Server) known(id string) *kept {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.kept[id]
	if k != nil {
		k.used = time.Now()
	}
	return k
}

// save writes the layers of an image into a directory of its own, which it
// returns on error too.
func (s *Server) save(ctx context.Context, name string) (*kept, error) {
	k := &kept{documents: map[digest.Digest]image.Document{}, layers: map[digest.Digest]string{}, used: time.Now()}
	var err error
	if k.dir, err = os.MkdirTemp(s.dir, "image-"); err != nil {
		return k, err
	}
	archive, err := s.engine.SaveImage(ctx, name, "linux/"+s.arch)
	if err != nil {
		return k, err
	}
	src, err := image.ReadArchive(archive, image.ForNodes(s.arch), name)
	if err != nil {
		return k, errors.Join(err, archive.Close())
	}
	err = src.Layers(ctx, func(image.Blob) bool { return true }, func(_ image.Blob, r io.Reader) error {
		return k.addLayer(r)
	})
	if err = errors.Join(err, src.Close()); err != nil {
		return k, err
	}
	images, err := src.Images()
	if err != nil {
		return k, err
	}
	for _, doc := range images[0].Documents {
		k.documents[doc.Digest] = doc
	}
	k.target = images[0].Target()
	for _, l := range images[0].Layers {
		if _, ok := k.layers[l.Digest]; !ok {
			return k, fmt.Errorf("image %s came without layer %s", name, l.Digest)
		}
	}
	return k, nil
}

// addLayer writes a layer to a file.
func (k *kept) addLayer(r io.Reader) error {
	f, err := os.Create(filepath.Join(k.dir, strconv.Itoa(len(k.layers))))
	if err != nil {
		return err
	}
	sum := digest.SHA256.Digester()
	_, err = io.Copy(io.MultiWriter(f, sum.Hash()), r)
	k.layers[sum.Digest()] = f.Name()
	return errors.Join(err, f.Close())
}

// Sweep forgets images that nobody has read for a time, until ctx ends.
func (s *Server) Sweep(ctx context.Context, idle time.Duration) {
	for tick := time.NewTicker(idle / 4); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case now := <-tick.C:
			s.forget(now.Add(-idle))
		}
	}
}

func (s *Server) forget(before time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, k := range s.kept {
		if k.used.After(before) {
			continue
		}
		delete(s.kept, id)
		if err := os.RemoveAll(k.dir); err != nil {
			s.log.Error("forget an image", "error", err)
		}
	}
}
