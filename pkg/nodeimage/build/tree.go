package build

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// epoch is the modification time of every file in a node image: the same
// inputs must give the same bytes, whenever they are put together.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// entry is one file of a tree. Content is in data, or in the file at source.
type entry struct {
	header tar.Header
	data   []byte
	source string
}

// tree is a set of files by clean relative path ("usr/bin/kubeadm"), of which
// a layer is written in order of path. The zero value is not ready; use
// newTree.
type tree map[string]*entry

func newTree() tree { return tree{} }

func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// parents adds the directories above name that are missing.
func (t tree) parents(name string) {
	for dir := path.Dir(name); dir != "." && dir != "/"; dir = path.Dir(dir) {
		if t[dir] == nil {
			t[dir] = &entry{header: tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}}
		}
	}
}

func (t tree) put(name string, e *entry) {
	name = clean(name)
	t.parents(name)
	t[name] = e
}

func (t tree) addBytes(name string, mode int64, data []byte) {
	t.put(name, &entry{header: tar.Header{Typeflag: tar.TypeReg, Mode: mode}, data: data})
}

func (t tree) addFile(name string, mode int64, source string) {
	t.put(name, &entry{header: tar.Header{Typeflag: tar.TypeReg, Mode: mode}, source: source})
}

func (t tree) addLink(name, target string) {
	t.put(name, &entry{header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}})
}

func (t tree) addDir(name string, mode int64) {
	t.put(name, &entry{header: tar.Header{Typeflag: tar.TypeDir, Mode: mode}})
}

// addFS adds every file of fsys; files below a bin directory are executable.
func (t tree) addFS(fsys fs.FS) error {
	return fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		mode := int64(0o644)
		if strings.Contains(name, "/bin/") || strings.Contains(name, "/sbin/") {
			mode = 0o755
		}
		t.addBytes(name, mode, data)
		return nil
	})
}

// addTree adds the files of other below prefix.
func (t tree) addTree(prefix string, other tree) {
	for name, e := range other {
		t.put(path.Join(prefix, name), e)
	}
}

// split parts the tree into the files that are in base too, as the same entry,
// and everything else.
func (t tree) split(base tree) (shared, own tree) {
	inBase := map[*entry]bool{}
	for _, e := range base {
		inBase[e] = e.header.Typeflag == tar.TypeReg
	}
	shared, own = newTree(), newTree()
	for name, e := range t {
		if inBase[e] {
			shared.put(name, e)
		} else {
			own.put(name, e)
		}
	}
	return shared, own
}

// linked is the tree in which a file that was there several times, as the same
// entry or from the same source, is there once and has hard links: an engine
// stores it once, and the kernel keeps its pages once.
func (t tree) linked() tree {
	type content struct {
		entry  *entry
		source string
		mode   int64
	}
	first, moved := map[content]string{}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		e := t[name]
		if e.header.Typeflag != tar.TypeReg {
			continue
		}
		c := content{entry: e}
		if e.source != "" {
			c = content{source: e.source, mode: e.header.Mode}
		}
		if at, ok := first[c]; ok {
			moved[name] = at
		} else {
			first[c] = name
		}
	}
	out := maps.Clone(t)
	for name, e := range t {
		to := moved[name]
		if e.header.Typeflag == tar.TypeLink {
			to = moved[e.header.Linkname]
		}
		if to != "" {
			// with mode and owner: engines apply those of a link to the file
			h := e.header
			h.Typeflag, h.Linkname = tar.TypeLink, to
			out[name] = &entry{header: h}
		}
	}
	return out
}

// size is the sum of all file sizes.
func (t tree) size() (int64, error) {
	var total int64
	for name, e := range t {
		n, err := e.size()
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		total += n
	}
	return total, nil
}

func (e *entry) size() (int64, error) {
	switch {
	case e.header.Typeflag != tar.TypeReg:
		return 0, nil
	case e.source == "":
		return int64(len(e.data)), nil
	}
	info, err := os.Stat(e.source)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// open gives the content of a regular file.
func (e *entry) open() (io.ReadCloser, error) {
	if e.source == "" {
		return io.NopCloser(bytes.NewReader(e.data)), nil
	}
	return os.Open(e.source)
}

// write writes the tree as a tar archive: sorted, with fixed times and
// numeric owners only. A hard link follows the file it names.
func (t tree) write(w io.Writer) error {
	tw := tar.NewWriter(w)
	if err := t.writeEntries(tw, epoch); err != nil {
		return err
	}
	return tw.Close()
}

func (t tree) writeEntries(tw *tar.Writer, modified time.Time) error {
	names := slices.SortedFunc(maps.Keys(t), func(a, b string) int {
		la, lb := t[a].header.Typeflag == tar.TypeLink, t[b].header.Typeflag == tar.TypeLink
		if la != lb {
			if lb {
				return -1
			}
			return 1
		}
		return cmp.Compare(a, b)
	})
	for _, name := range names {
		if err := t[name].write(tw, name, modified); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

func (e *entry) write(tw *tar.Writer, name string, modified time.Time) error {
	size, err := e.size()
	if err != nil {
		return err
	}
	h := tar.Header{
		Typeflag: e.header.Typeflag, Name: name, Linkname: e.header.Linkname, Mode: e.header.Mode,
		Uid: e.header.Uid, Gid: e.header.Gid, Size: size, ModTime: modified,
		Devmajor: e.header.Devmajor, Devminor: e.header.Devminor,
		PAXRecords: e.header.PAXRecords, Format: tar.FormatPAX,
	}
	if h.Typeflag == tar.TypeDir {
		h.Name += "/"
	}
	if err := tw.WriteHeader(&h); err != nil || size == 0 {
		return err
	}
	content, err := e.open()
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = io.Copy(tw, content)
	return err
}

// spillSize is the size above which the content of an archive's file is left
// in the archive's spill directory instead of memory.
const spillSize = 1 << 20

// readTar reads a tar archive into a tree. Large files go to spill. Extended
// attributes are kept (file capabilities), times are not.
func readTar(r io.Reader, spill string) (tree, error) {
	t := newTree()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		name := clean(h.Name)
		if name == "" {
			continue
		}
		e := &entry{header: tar.Header{
			Typeflag: h.Typeflag, Linkname: h.Linkname, Mode: h.Mode & 0o7777,
			Uid: h.Uid, Gid: h.Gid, Devmajor: h.Devmajor, Devminor: h.Devminor,
			PAXRecords: xattrs(h.PAXRecords),
		}}
		if h.Typeflag == tar.TypeLink {
			e.header.Linkname = clean(h.Linkname)
		}
		if h.Typeflag == tar.TypeReg {
			if err := e.take(tr, h.Size, spill); err != nil {
				return nil, fmt.Errorf("read %s: %w", name, err)
			}
		}
		t.put(name, e)
	}
}

// take reads the content of a file into memory or, when it is large, into a
// new file in the directory spill.
func (e *entry) take(r io.Reader, size int64, spill string) error {
	if size < spillSize {
		data, err := io.ReadAll(r)
		e.data = data
		return err
	}
	f, err := os.CreateTemp(spill, "file-")
	if err != nil {
		return err
	}
	e.source = f.Name()
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

func xattrs(records map[string]string) map[string]string {
	var out map[string]string
	for k, v := range records {
		if strings.HasPrefix(k, "SCHILY.xattr.") {
			if out == nil {
				out = map[string]string{}
			}
			out[k] = v
		}
	}
	return out
}

// fileOf returns the content of one file of an archive on disk, nil when it
// has none of that name.
func fileOf(archive, name string) ([]byte, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if clean(h.Name) == name {
			return io.ReadAll(tr)
		}
	}
}
