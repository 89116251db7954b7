package build

import (
	"archive/tar"
	"debug/elf"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// realRoot is a root file system, with a merged /usr, that holds a program of
// this machine and what it is linked with.
func realRoot(t *testing.T) (root tree, interpreter string, libraries []string) {
	t.Helper()
	const program = "/bin/true"
	if runtime.GOOS != "linux" {
		t.Skip("programs of this system are not ELF files")
	}
	root = newTree()
	for _, dir := range []string{"bin", "lib", "lib64"} {
		root.addLink(dir, "usr/"+dir)
	}
	root.addFile("usr/bin/true", 0o755, program)
	f, err := elf.Open(program)
	if err != nil {
		t.Skipf("%s is not a program to try with: %v", program, err)
	}
	defer f.Close()
	libraries, err = f.ImportedLibraries()
	if err != nil || len(libraries) == 0 {
		t.Skipf("%s needs no libraries (%v)", program, err)
	}
	e := root["usr/bin/true"]
	if _, interpreter, err = parseELF(e); err != nil || !strings.HasPrefix(interpreter, "/lib") {
		t.Skipf("the interpreter of %s is %q (%v)", program, interpreter, err)
	}
	root.addFile("usr"+interpreter, 0o755, interpreter)
	for _, lib := range libraries {
		found := slices.IndexFunc(libraryDirs, func(dir string) bool {
			_, err := os.Stat(filepath.Join("/", dir, lib))
			return err == nil
		})
		if found < 0 {
			t.Skipf("this machine keeps %s in another place than Debian", lib)
		}
		dir := libraryDirs[found]
		root.addFile(dir+"/"+lib+".real", 0o644, filepath.Join("/", dir, lib))
		root.addLink(dir+"/"+lib, lib+".real")
	}
	root.addBytes("usr/lib/unneeded.so", 0o644, []byte("x"))
	return root, interpreter, libraries
}

func TestProgramsAndTheirLibraries(t *testing.T) {
	root, interpreter, libraries := realRoot(t)
	out, err := programs(root, "/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	if e := out["bin/true"]; e == nil || e.header.Linkname != "/usr/bin/true" {
		t.Errorf("the name it was asked for by is %+v", e)
	}
	for _, name := range []string{"usr/bin/true", clean(interpreter), "usr" + interpreter} {
		if out[name] == nil {
			t.Errorf("no %s among %q", name, slices.Sorted(maps.Keys(out)))
		}
	}
	for _, lib := range libraries {
		if !slices.ContainsFunc(libraryDirs, func(dir string) bool { return out[dir+"/"+lib] != nil && out[dir+"/"+lib+".real"] != nil }) {
			t.Errorf("no %s among %q", lib, slices.Sorted(maps.Keys(out)))
		}
	}
	if out["usr/lib/unneeded.so"] != nil {
		t.Error("a library that nothing needs is there")
	}
}

func TestProgramsWithoutALibrary(t *testing.T) {
	root, _, libraries := realRoot(t)
	for _, dir := range libraryDirs {
		delete(root, dir+"/"+libraries[0])
	}
	_, err := programs(root, "bin/true")
	if err == nil || !strings.Contains(err.Error(), "program bin/true: usr/bin/true needs "+libraries[0]) {
		t.Errorf("got %v, want the program and the library", err)
	}
}

func TestProgramsThatAreNotELF(t *testing.T) {
	root := newTree()
	root.addBytes("usr/bin/script", 0o755, []byte("#!/bin/sh\nexit 0\n"))
	root.addBytes("usr/bin/empty", 0o755, nil)
	root.addBytes("usr/bin/tiny", 0o755, []byte("\x7fELF"))
	root.put("usr/bin/hard", &entry{header: tar.Header{Typeflag: tar.TypeLink, Linkname: "usr/bin/script"}})
	root.put("usr/bin/dangling", &entry{header: tar.Header{Typeflag: tar.TypeLink, Linkname: "usr/bin/gone"}})
	root.addLink("bin", "usr/bin")
	root.addLink("usr/bin/relative", "../../bin/script")
	root.addLink("usr/bin/loop", "loop")
	tests := map[string]struct {
		want []string
		err  string
	}{
		"usr/bin/script":   {[]string{"usr", "usr/bin", "usr/bin/script"}, ""},
		"usr/bin/empty":    {[]string{"usr", "usr/bin", "usr/bin/empty"}, ""},
		"usr/bin/tiny":     {[]string{"usr", "usr/bin", "usr/bin/tiny"}, ""},
		"usr/bin/hard":     {[]string{"usr", "usr/bin", "usr/bin/hard"}, ""},
		"bin/script":       {[]string{"bin", "bin/script", "usr", "usr/bin", "usr/bin/script"}, ""},
		"usr/bin/relative": {[]string{"usr", "usr/bin", "usr/bin/relative", "usr/bin/script"}, ""},
		"usr/bin/none":     {nil, "program usr/bin/none: usr/bin/none is not in the base"},
		"usr/bin/loop":     {nil, "too many links"},
		"usr/bin/dangling": {nil, "a link to a file that is not in the base"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			out, err := programs(root, name)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("got %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			diff(t, test.want, slices.Sorted(maps.Keys(out)))
		})
	}
	out, err := programs(root, "usr/bin/hard")
	if err != nil || contentOf(t, out, "usr/bin/hard") != contentOf(t, root, "usr/bin/script") {
		t.Errorf("a hard link lost its content (%v)", err)
	}
}
