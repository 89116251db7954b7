package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// OpenArchive opens an image archive: a file as "docker save" writes it or
// with an OCI layout, as it is or packed by gzip or zstd, or the directory of
// an OCI layout. as names the only image in it; empty: the archive does. It
// fails with class not found when there is no such file, and with class usage
// when an image has no name.
func OpenArchive(path string, want Want, as string) (Source, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errdefs.New(errdefs.ClassNotFound, "IMAGE-ARCHIVE-NOT-FOUND", "there is no image archive %s", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open image archive: %w", err)
	}
	if info.IsDir() {
		return openDir(path, want, as)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open image archive: %w", err)
	}
	source, err := ReadArchive(f, want, as)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("image archive %s: %w", path, err), f.Close())
	}
	return source, nil
}

// ReadArchive is OpenArchive for an archive that is open. What cannot be read
// at any place, as a pipe, becomes a sequential source. It is closed with the
// source when it can be.
func ReadArchive(r io.Reader, want Want, as string) (Source, error) {
	closer, _ := r.(io.Closer)
	f, ok := r.(*os.File)
	if !ok {
		return &stream{r: r, closer: closer, want: want, as: as}, nil
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open image archive: %w", err)
	}
	if !info.Mode().IsRegular() {
		return &stream{r: r, closer: closer, want: want, as: as}, nil
	}
	return openFile(f, want, as)
}

// archive is a source whose files were all seen before its layers are read.
type archive struct {
	contents
	// each calls take for every one of the files.
	each  func(ctx context.Context, files []layerFile, take func(layerFile, io.Reader) error) error
	close func() error
}

// Images implements Source.
func (a *archive) Images() ([]*Image, error) { return a.images, nil }

// Sequential implements Source.
func (a *archive) Sequential() bool { return false }

// Close implements Source.
func (a *archive) Close() error { return a.close() }

// Layers implements Source.
func (a *archive) Layers(ctx context.Context, want func(Blob) bool, take func(Blob, io.Reader) error) error {
	var files []layerFile
	for _, f := range a.layers {
		if want(f.Blob) {
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		return nil
	}
	return a.each(ctx, files, func(f layerFile, r io.Reader) error { return take(f.Blob, interruptible{ctx, r}) })
}

// openFile reads the list of a file's files.
func openFile(f *os.File, want Want, as string) (*archive, error) {
	head := make([]byte, headSize)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, unreadable(err)
	}
	kind := compressionOf(head[:n])
	var c *catalogue
	if kind == none {
		c, err = scan(f, func(_ string, e *entry, content io.Reader) (err error) {
			if e.offset, err = f.Seek(0, io.SeekCurrent); err != nil {
				return err
			}
			return e.learn(content)
		})
	} else {
		c, err = scanPacked(f, kind, func(_ string, e *entry, content io.Reader) error { return e.learn(content) })
	}
	if err != nil {
		return nil, err
	}
	a := &archive{close: f.Close}
	a.each = func(ctx context.Context, files []layerFile, take func(layerFile, io.Reader) error) error {
		if kind == none {
			return c.eachAt(f, files, take)
		}
		return eachPacked(ctx, f, kind, files, take)
	}
	a.contents, err = c.describe(want, as)
	return a, err
}

// learn completes the entry of a file. What is packed has a digest that nobody
// can know without reading it.
func (e *entry) learn(content io.Reader) error {
	r, err := e.peek(content)
	if err != nil || e.packed == none {
		return err
	}
	hash := digest.SHA256.Digester()
	if _, err := io.Copy(hash.Hash(), r); err != nil {
		return unreadable(err)
	}
	e.digest = hash.Digest()
	return nil
}

// eachAt reads files where they are in the archive.
func (c *catalogue) eachAt(f *os.File, files []layerFile, take func(layerFile, io.Reader) error) error {
	for _, file := range files {
		e := c.entries[file.name]
		if err := take(file, io.NewSectionReader(f, e.offset, e.size)); err != nil {
			return err
		}
	}
	return nil
}

// scanPacked scans a file that is packed, from its beginning.
func scanPacked(f *os.File, kind compression, visit func(string, *entry, io.Reader) error) (*catalogue, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, unreadable(err)
	}
	r, err := decompress(f, kind)
	if err != nil {
		return nil, unreadable(err)
	}
	return scanUnpacked(r, visit)
}

// errEnough ends a scan that has seen what it is for.
var errEnough = errors.New("nothing more is needed")

// eachPacked reads a packed archive once more, up to the last of the files: it
// cannot be read at any place.
func eachPacked(ctx context.Context, f *os.File, kind compression, files []layerFile, take func(layerFile, io.Reader) error) error {
	left := slices.Clone(files)
	_, err := scanPacked(f, kind, func(name string, _ *entry, content io.Reader) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		i := slices.IndexFunc(left, func(file layerFile) bool { return file.name == name })
		if i < 0 {
			return nil
		}
		if err := take(left[i], content); err != nil {
			return err
		}
		if left = slices.Delete(left, i, i+1); len(left) == 0 {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// openDir reads the list of a directory's files. Nothing outside of it is
// read, whatever links are in it.
func openDir(path string, want Want, as string) (*archive, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open image directory: %w", err)
	}
	c, err := scanDir(root)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("image directory %s: %w", path, err), root.Close())
	}
	a := &archive{close: root.Close, each: func(_ context.Context, files []layerFile, take func(layerFile, io.Reader) error) error {
		for _, file := range files {
			if err := withFile(root, file.name, func(r io.Reader) error { return take(file, r) }); err != nil {
				return err
			}
		}
		return nil
	}}
	if a.contents, err = c.describe(want, as); err != nil {
		return nil, errors.Join(fmt.Errorf("image directory %s: %w", path, err), root.Close())
	}
	return a, nil
}

func scanDir(root *os.Root) (*catalogue, error) {
	c := newCatalogue()
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := root.Stat(name) // of what a link leads to
		if err != nil {
			return broken("%s: %w", name, err)
		}
		if !info.Mode().IsRegular() {
			return broken("the directory has %s, which is no file", name)
		}
		e := &entry{size: info.Size()}
		err = withFile(root, name, func(r io.Reader) error {
			_, err := e.peek(r)
			return err
		})
		return errors.Join(err, c.add(name, e))
	})
	return c, err
}

func withFile(root *os.Root, name string, read func(io.Reader) error) error {
	f, err := root.Open(name)
	if err != nil {
		return unreadable(err)
	}
	return errors.Join(read(f), f.Close())
}
