package image

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"io"
	"path"
	"strings"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// scan reads a tar archive to its end, and notes its files. visit sees the
// content of each, from which it need not read, and may complete its entry.
func scan(r io.Reader, visit func(name string, e *entry, content io.Reader) error) (*catalogue, error) {
	c := newCatalogue()
	tr := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return c, nil
		}
		if err != nil {
			return nil, unreadable(err)
		}
		if n == maxEntries {
			return nil, broken("the archive has more than %d files", maxEntries)
		}
		name, err := cleanName(h.Name)
		if err != nil {
			return nil, err
		}
		e, err := entryOf(h, name)
		if err != nil {
			return nil, err
		}
		if e == nil {
			continue
		}
		if e.link == "" {
			if err := visit(name, e, content{tr}); err != nil {
				return nil, err
			}
		}
		if err := c.add(name, e); err != nil {
			return nil, err
		}
	}
}

// scanUnpacked scans what is unpacked on the way, and closes it: only then is it
// known that what was packed ends too early.
func scanUnpacked(r io.ReadCloser, visit func(name string, e *entry, content io.Reader) error) (*catalogue, error) {
	c, err := scan(r, visit)
	closeErr := r.Close()
	if err == nil && closeErr != nil {
		closeErr = unreadable(closeErr)
	}
	return c, errors.Join(err, closeErr)
}

// entryOf is the entry of a header; nil of what has no content.
func entryOf(h *tar.Header, name string) (*entry, error) {
	switch h.Typeflag {
	case tar.TypeDir, tar.TypeXGlobalHeader:
		return nil, nil
	case tar.TypeReg:
		for record := range h.PAXRecords {
			if strings.HasPrefix(record, "GNU.sparse.") {
				return nil, broken("the archive has %s as a sparse file", name)
			}
		}
		return &entry{size: h.Size}, nil
	case tar.TypeSymlink:
		to, err := cleanName(path.Join(path.Dir(name), h.Linkname))
		if path.IsAbs(h.Linkname) {
			_, err = cleanName(h.Linkname)
		}
		return &entry{link: to}, err
	case tar.TypeLink:
		to, err := cleanName(h.Linkname)
		return &entry{link: to}, err
	}
	return nil, broken("the archive has %s, which is neither a file nor a link", name)
}

// peek reads the beginning of a file, and all of it when it may be a document.
// What it returns reads the file from its beginning.
func (e *entry) peek(content io.Reader) (io.Reader, error) {
	r := bufio.NewReaderSize(content, 4096)
	head, err := r.Peek(headSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, unreadable(err)
	}
	e.packed = compressionOf(head)
	if len(head) == 0 || head[0] != '{' && head[0] != '[' || e.size > maxDocument {
		return r, nil
	}
	if e.document, err = io.ReadAll(r); err != nil {
		return nil, unreadable(err)
	}
	return strings.NewReader(string(e.document)), nil
}

// content is the content of a file in an archive that may be cut short.
type content struct{ r io.Reader }

func (c content) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = unreadable(err)
	}
	return n, err
}

func unreadable(err error) error {
	if e, ok := errors.AsType[*errdefs.Error](err); ok {
		return e // that was said already
	}
	return broken("read the archive: %w", err)
}

// interruptible is a reader that ends with its context.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i interruptible) Read(b []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, context.Cause(i.ctx)
	}
	return i.r.Read(b)
}
