package build

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
)

// programs returns the part of a root file system that the named programs
// need to run: the files, what they link to, their interpreter and shared
// libraries. Plug-ins that a program opens by itself must be named too.
func programs(root tree, names ...string) (tree, error) {
	c := closure{root: root, out: newTree()}
	for _, name := range names {
		if err := c.add(clean(name)); err != nil {
			return nil, fmt.Errorf("program %s: %w", name, err)
		}
	}
	return c.out, nil
}

type closure struct {
	root tree
	out  tree
}

// maxLinks bounds a chain of symbolic links.
const maxLinks = 40

// resolve follows the links on the way to name, and gives the real path.
func (c closure) resolve(name string) (string, error) {
	for range maxLinks {
		next, linked := c.step(name)
		if !linked {
			if c.root[name] == nil {
				return "", fmt.Errorf("%s is not in the base", name)
			}
			return name, nil
		}
		name = next
	}
	return "", fmt.Errorf("%s: too many links", name)
}

// step replaces the first path element that is a link by what it names.
func (c closure) step(name string) (string, bool) {
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		e := c.root[name[:i]]
		if e == nil || e.header.Typeflag != tar.TypeSymlink {
			continue
		}
		target := e.header.Linkname
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(name[:i]), target)
		}
		return clean(path.Join(target, name[i:])), true
	}
	return name, false
}

// add adds a file under its own name and what it needs.
func (c closure) add(name string) error {
	real, err := c.resolve(name)
	if err != nil {
		return err
	}
	if name != real {
		c.out.addLink(name, "/"+real)
	}
	if c.out[real] != nil {
		return nil
	}
	e := c.root[real]
	if e.header.Typeflag == tar.TypeLink {
		if e = c.root[e.header.Linkname]; e == nil {
			return fmt.Errorf("%s is a link to a file that is not in the base", real)
		}
	}
	c.out.put(real, e)
	return c.addNeeded(real, e)
}

func (c closure) addNeeded(name string, e *entry) error {
	file, interpreter, err := parseELF(e)
	if err != nil || file == nil {
		return err
	}
	if interpreter != "" {
		if err := c.add(clean(interpreter)); err != nil {
			return err
		}
	}
	needed, err := file.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, lib := range needed {
		found := slices.IndexFunc(libraryDirs, func(dir string) bool {
			_, err := c.resolve(path.Join(dir, lib))
			return err == nil
		})
		if found < 0 {
			return fmt.Errorf("%s needs %s, which is not in the base", name, lib)
		}
		if err := c.add(path.Join(libraryDirs[found], lib)); err != nil {
			return err
		}
	}
	return nil
}

// libraryDirs are the default directories of Debian's dynamic linker.
var libraryDirs = []string{
	"usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib", "usr/lib64",
}

// parseELF returns nil for what is not an ELF file.
func parseELF(e *entry) (*elf.File, string, error) {
	r, err := e.open()
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, "", err
	}
	file, err := elf.NewFile(bytes.NewReader(data))
	if _, bad := errors.AsType[*elf.FormatError](err); bad || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			text, err := io.ReadAll(p.Open())
			return file, string(bytes.TrimRight(text, "\x00")), err
		}
	}
	return file, "", nil
}
