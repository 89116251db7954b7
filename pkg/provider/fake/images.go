package fake

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

// Image is an image, and what its parts are for those who read it.
type Image struct {
	provider.Image
	Files map[string][]byte // by absolute path, for ReadImageFile
	// Archive is what SaveImage streams, and Stored what OpenImage finds; with
	// no config it finds nothing, as where the engine's storage is not to be read.
	Archive []byte
	Stored  provider.StoredImage
}

// AddImage puts an image on the engine. An empty ID and architecture get the
// usual ones.
func (p *Provider) AddImage(ref string, img Image) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.local[ref] = p.completeImage(ref, img)
}

// AddRemoteImage makes an image one that can be pulled.
func (p *Provider) AddRemoteImage(ref string, img Image) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remote[ref] = p.completeImage(ref, img)
}

func (p *Provider) completeImage(ref string, img Image) Image {
	if img.ID == "" {
		img.ID = fmt.Sprintf("sha256:%064x", []byte(ref))
	}
	if img.Architecture == "" {
		img.Architecture = p.info.Architecture
	}
	return img
}

// Image implements provider.ImageStore.
func (p *Provider) Image(ctx context.Context, ref string) (provider.Image, error) {
	var found provider.Image
	err := p.call(ctx, "inspect image "+ref, func() error {
		img, ok := p.local[ref]
		if !ok {
			return noImage(ref)
		}
		found = img.Image
		return nil
	})
	return found, err
}

func noImage(ref string) error {
	return errdefs.New(errdefs.ClassNotFound, "IMAGE-NOT-FOUND", "fake has no image %s", ref)
}

// LoadImage implements provider.ImageStore: what the archive names is there
// afterwards, without files.
func (p *Provider) LoadImage(ctx context.Context, archive io.Reader) error {
	refs, err := archiveRefs(archive)
	if err != nil {
		return fmt.Errorf("load an image archive: %w", err)
	}
	return p.call(ctx, "load images "+strings.Join(refs, " "), func() error {
		for _, ref := range refs {
			p.local[ref] = p.completeImage(ref, Image{})
		}
		return nil
	})
}

// archiveRefs are the references of the images in a docker-save archive.
func archiveRefs(archive io.Reader) ([]string, error) {
	r := tar.NewReader(archive)
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("no manifest.json in it")
		}
		if err != nil {
			return nil, err
		}
		if header.Name != "manifest.json" {
			continue
		}
		var images []struct{ RepoTags []string }
		if err := json.NewDecoder(r).Decode(&images); err != nil {
			return nil, fmt.Errorf("read manifest.json: %w", err)
		}
		var refs []string
		for _, img := range images {
			refs = append(refs, img.RepoTags...)
		}
		return refs, nil
	}
}

// PullImage implements provider.ImageStore.
func (p *Provider) PullImage(ctx context.Context, ref string, t *progress.Task) error {
	err := p.call(ctx, "pull image "+ref, func() error {
		img, ok := p.remote[ref]
		if !ok {
			return errdefs.New(errdefs.ClassNotFound, "IMAGE-NOT-FOUND", "pull image %s: not in any registry", ref)
		}
		p.local[ref] = img
		return nil
	})
	if err == nil && t != nil {
		t.Update("1 of 1 MB")
	}
	return err
}

// ReadImageFile implements provider.ImageStore.
func (p *Provider) ReadImageFile(ctx context.Context, ref, path string) ([]byte, error) {
	var data []byte
	err := p.call(ctx, "read "+path+" of image "+ref, func() error {
		img, ok := p.local[ref]
		if !ok {
			return noImage(ref)
		}
		content, ok := img.Files[path]
		if !ok {
			return errdefs.New(errdefs.ClassNotFound, "FILE-NOT-FOUND", "image %s has no file %s", ref, path)
		}
		data = bytes.Clone(content)
		return nil
	})
	return data, err
}

// ReadImageFiles implements provider.ImageFiles. It is one call for each path.
func (p *Provider) ReadImageFiles(ctx context.Context, ref string, paths []string, take func(path string, archive io.Reader) error) error {
	for _, path := range paths {
		var archive []byte
		err := p.call(ctx, "read "+path+" of image "+ref, func() (err error) {
			img, ok := p.local[ref]
			if !ok {
				return noImage(ref)
			}
			archive, err = tarOf(img.Files, path)
			if err == nil && archive == nil {
				err = errdefs.New(errdefs.ClassNotFound, "FILE-NOT-FOUND", "image %s has no file %s", ref, path)
			}
			return err
		})
		if err != nil {
			return err
		}
		if err := take(path, bytes.NewReader(archive)); err != nil {
			return err
		}
	}
	return nil
}

// tarOf is an archive of the file at a path or of those below it; nil when
// there are none.
func tarOf(files map[string][]byte, at string) ([]byte, error) {
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	found := false
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if name != at && !strings.HasPrefix(name, at+"/") {
			continue
		}
		found = true
		header := &tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(name, path.Dir(at)+"/"), Mode: 0o755, Size: int64(len(files[name]))}
		if err := tw.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := tw.Write(files[name]); err != nil {
			return nil, err
		}
	}
	if !found {
		return nil, nil
	}
	err := tw.Close()
	return out.Bytes(), err
}

// ExtendImage implements provider.ImageStore.
func (p *Provider) ExtendImage(ctx context.Context, base, ref string, files io.Reader) error {
	added := map[string][]byte{}
	for r := tar.NewReader(files); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("add files to image %s: %w", base, err)
		}
		if added["/"+header.Name], err = io.ReadAll(r); err != nil {
			return fmt.Errorf("add files to image %s: %w", base, err)
		}
	}
	return p.call(ctx, "extend image "+base, func() error {
		img, ok := p.local[base]
		if !ok {
			return noImage(base)
		}
		img.ID, img.Files = "", maps.Clone(img.Files)
		if img.Files == nil {
			img.Files = map[string][]byte{}
		}
		maps.Copy(img.Files, added)
		p.local[ref] = p.completeImage(ref, img)
		return nil
	})
}

// SaveImage implements provider.ImageSource.
func (p *Provider) SaveImage(ctx context.Context, ref, _ string) (io.ReadCloser, error) {
	var archive []byte
	err := p.call(ctx, "save image "+ref, func() error {
		img, ok := p.local[ref]
		if !ok {
			return noImage(ref)
		}
		archive = img.Archive
		return nil
	})
	return io.NopCloser(bytes.NewReader(archive)), err
}

// OpenImage implements provider.ImageSource.
func (p *Provider) OpenImage(ctx context.Context, id string) (provider.StoredImage, error) {
	var found provider.StoredImage
	err := p.call(ctx, "open image "+id, func() error {
		for _, img := range p.local {
			if img.ID == id && img.Stored.Config != nil {
				found = img.Stored
				return nil
			}
		}
		return &errdefs.Error{Class: errdefs.ClassUnavailable, Err: fmt.Errorf("fake keeps image %s where it cannot be read", id)}
	})
	return found, err
}

// Console implements provider.LogCollector.
func (p *Provider) Console(ctx context.Context, n node.Node, lines int, w io.Writer) error {
	var out []string
	err := p.call(ctx, "logs "+n.Name, func() error {
		m, ok := p.machines[n.Name]
		if !ok {
			return noNode(n.Name)
		}
		out = m.console
		if lines > 0 && len(out) > lines {
			out = out[len(out)-lines:]
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, strings.Join(out, "\n")+"\n")
	return err
}

// Inspect implements provider.LogCollector.
func (p *Provider) Inspect(ctx context.Context, n node.Node) (provider.Inspection, error) {
	var i provider.Inspection
	err := p.call(ctx, "inspect "+n.Name, func() error {
		m, ok := p.machines[n.Name]
		if !ok {
			return noNode(n.Name)
		}
		i.Started = m.node.Created
		if m.node.State == node.Stopped {
			i.Finished, i.ExitCode = m.node.Created.Add(time.Minute), 137
		}
		var err error
		i.Raw, err = json.Marshal(map[string]any{"Name": m.node.Name, "Image": m.node.Image, "State": m.node.State, "Env": m.env})
		return err
	})
	return i, err
}

// ReadNodeFiles implements provider.LogCollector.
func (p *Provider) ReadNodeFiles(ctx context.Context, n node.Node, name string) (map[string][]byte, error) {
	out := map[string][]byte{}
	err := p.call(ctx, "read "+name+" of "+n.Name, func() error {
		m, ok := p.machines[n.Name]
		if !ok {
			return noNode(n.Name)
		}
		for at, f := range m.files {
			if at == name || strings.HasPrefix(at, name+"/") {
				out[at] = slices.Clone(f.Data)
			}
		}
		if len(out) == 0 {
			return errdefs.New(errdefs.ClassNotFound, "FILE-NOT-FOUND", "node %s has no file %s", n.Name, name)
		}
		return nil
	})
	return out, err
}

// Remains implements provider.LogCollector.
func (p *Provider) Remains(ctx context.Context, n node.Node) (exec.Runner, func() error, error) {
	err := p.call(ctx, "remains of "+n.Name, func() error {
		if _, ok := p.machines[n.Name]; !ok {
			return noNode(n.Name)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	release := func() error { return p.call(ctx, "forget remains of "+n.Name, func() error { return nil }) }
	return &runner{p: p, name: n.Name, remains: true}, release, nil
}

func noNode(name string) error {
	return errdefs.New(errdefs.ClassNotFound, "NODE-NOT-FOUND", "there is no node %s", name)
}
