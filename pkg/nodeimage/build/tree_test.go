package build

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func diff(t *testing.T, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// archive is the tree as a tar archive.
func archive(t *testing.T, tr tree) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := tr.write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// file makes a file with content, modified at a time of its own.
func file(t *testing.T, content string, modified time.Time) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), os.Chtimes(path, modified, modified)); err != nil {
		t.Fatal(err)
	}
	return path
}

// contentOf is what a file of a tree holds.
func contentOf(t *testing.T, tr tree, name string) string {
	t.Helper()
	e := tr[name]
	if e == nil {
		t.Fatalf("the tree has no %s", name)
	}
	r, err := e.open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestTreeDependsOnItsContentAlone(t *testing.T) {
	builders := []func(tree, time.Time){
		func(tr tree, _ time.Time) { tr.addBytes("usr/bin/a", 0o755, []byte("a")) },
		func(tr tree, at time.Time) { tr.addFile("usr/bin/b", 0o755, file(t, "b", at)) },
		func(tr tree, _ time.Time) { tr.addLink("bin", "usr/bin") },
		func(tr tree, _ time.Time) { tr.addDir("usr", 0o700) },
		func(tr tree, _ time.Time) {
			tr.put("etc/x", &entry{header: tar.Header{Typeflag: tar.TypeReg, Mode: 0o644, PAXRecords: map[string]string{
				"SCHILY.xattr.user.a": "1", "SCHILY.xattr.user.b": "2", "SCHILY.xattr.user.c": "3"}}, data: []byte("x")})
		},
		func(tr tree, _ time.Time) {
			tr.put("a-hard-link", &entry{header: tar.Header{Typeflag: tar.TypeLink, Linkname: "usr/bin/a"}})
		},
	}
	forward, backward := newTree(), newTree()
	for _, build := range builders {
		build(forward, time.Unix(1e9, 0))
	}
	for _, build := range slices.Backward(builders) {
		build(backward, time.Unix(2e9, 0))
	}
	first := archive(t, forward)
	for range 10 { // the order of maps differs from time to time
		if !bytes.Equal(first, archive(t, forward)) || !bytes.Equal(first, archive(t, backward)) {
			t.Fatal("the same tree gives other bytes")
		}
	}
}

func TestLinkedTree(t *testing.T) {
	tr := newTree()
	source := file(t, "program", epoch)
	tr.addFile("b/one", 0o755, source)
	tr.addFile("c/two", 0o755, source)
	tr.addFile("d/other-mode", 0o700, source)
	tr.addBytes("e/file", 0o644, nil)
	tr.addBytes("f/file", 0o644, nil)
	tr.put("a/same", tr["c/two"])
	tr.put("0/link", &entry{header: tar.Header{Typeflag: tar.TypeLink, Linkname: "b/one"}})
	got := map[string]string{}
	for name, e := range tr.linked() {
		if e.header.Typeflag == tar.TypeLink {
			got[name] = e.header.Linkname
			if e.header.Mode != tr[name].header.Mode {
				t.Errorf("%s has mode %o, want %o", name, e.header.Mode, tr[name].header.Mode)
			}
		}
	}
	// a link never names a link: it might be written first
	diff(t, map[string]string{"b/one": "a/same", "c/two": "a/same", "0/link": "a/same"}, got)
	if tr["b/one"].header.Typeflag != tar.TypeReg {
		t.Error("the tree itself has changed")
	}
}

func TestTreeOrderAndHeaders(t *testing.T) {
	tr := newTree()
	tr.put("a", &entry{header: tar.Header{Typeflag: tar.TypeLink, Linkname: "z/file"}})
	tr.addBytes("/z/../z/file", 0o4755, []byte("content"))
	var names []string
	for r := tar.NewReader(bytes.NewReader(archive(t, tr))); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if !h.ModTime.Equal(epoch) || h.Uname != "" || h.Gname != "" {
			t.Errorf("%s: time %s, owner %q", h.Name, h.ModTime, h.Uname)
		}
		if h.Name == "z/file" && h.Mode != 0o4755 {
			t.Errorf("mode %o", h.Mode)
		}
	}
	diff(t, []string{"z/", "z/file", "a"}, names) // a hard link follows its file
}

func TestTreeSaysWhatCannotBeRead(t *testing.T) {
	tr := newTree()
	tr.addFile("usr/bin/gone", 0o755, filepath.Join(t.TempDir(), "gone"))
	if err := tr.write(io.Discard); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "usr/bin/gone") {
		t.Errorf("write: %v", err)
	}
	if _, err := tr.size(); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "usr/bin/gone") {
		t.Errorf("size: %v", err)
	}
}

func TestReadTarRoundTrip(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", spillSize/16+1)
	tr := newTree()
	tr.addBytes("etc/empty", 0o600, nil)
	tr.addBytes("etc/small", 0o640, []byte("small"))
	tr.addBytes("usr/large", 0o644, []byte(large))
	tr.put("usr/hard", &entry{header: tar.Header{Typeflag: tar.TypeLink, Linkname: "usr/large"}})
	tr.addLink("usr/soft", "../etc/small")
	tr.addDir("tmp", 0o1777)
	tr.put("usr/bin/ping", &entry{header: tar.Header{Typeflag: tar.TypeReg, Mode: 0o755, Uid: 7, Gid: 8,
		PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00"}}, data: []byte("ping")})
	tr.put("var/null", &entry{header: tar.Header{Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3}})
	first := archive(t, tr)

	spill := t.TempDir()
	read, err := readTar(bytes.NewReader(first), spill)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, archive(t, read)) {
		t.Error("an archive that was read and written has other bytes")
	}
	if spilled, err := os.ReadDir(spill); err != nil || len(spilled) != 1 || read["usr/large"].data != nil {
		t.Errorf("%d files were spilled (%v), want the large one", len(spilled), err)
	}
	if contentOf(t, read, "usr/large") != large {
		t.Error("the large file has other content")
	}
	if got := read["usr/hard"].header.Linkname; got != "usr/large" {
		t.Errorf("the hard link leads to %q", got)
	}
	size, err := read.size()
	if want := int64(len(large) + len("small") + len("ping")); err != nil || size != want {
		t.Errorf("size %d (%v), want %d", size, err, want)
	}
}

func TestReadTarOfOtherTools(t *testing.T) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./usr/", Typeflag: tar.TypeDir, Mode: 0o755, Uname: "root"},
		{Name: "./usr/a", Typeflag: tar.TypeReg, Mode: 0o100644, ModTime: time.Unix(1e9, 0),
			PAXRecords: map[string]string{"SCHILY.xattr.user.kept": "1", "VENDOR.other": "1"}},
		{Name: "./usr/b", Typeflag: tar.TypeLink, Linkname: "./usr/a"},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	tr, err := readTar(bytes.NewReader(buf.Bytes()), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	want := newTree()
	want.put("usr/a", &entry{header: tar.Header{Typeflag: tar.TypeReg, Mode: 0o644, PAXRecords: map[string]string{"SCHILY.xattr.user.kept": "1"}}})
	want.put("usr/b", &entry{header: tar.Header{Typeflag: tar.TypeLink, Linkname: "usr/a"}})
	if !bytes.Equal(archive(t, want), archive(t, tr)) {
		t.Errorf("read %d entries that differ from what was meant", len(tr))
	}
	if _, err := readTar(bytes.NewReader(buf.Bytes()[:700]), t.TempDir()); err == nil {
		t.Error("half an archive was read")
	}
}

func TestAddFS(t *testing.T) {
	tr := newTree()
	err := tr.addFS(fstest.MapFS{
		"etc/x.conf":           {Data: []byte("x"), Mode: 0o600},
		"usr/local/bin/script": {Data: []byte("#!/bin/sh\n")},
		"usr/sbin/other":       {Data: []byte("#!/bin/sh\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]int64{"etc/x.conf": 0o644, "usr/local/bin/script": 0o755, "usr/sbin/other": 0o755, "etc": 0o755} {
		if e := tr[name]; e == nil || e.header.Mode != mode {
			t.Errorf("%s: got %+v, want mode %o", name, e, mode)
		}
	}
}

func TestAddTreeBelowAPrefix(t *testing.T) {
	other := newTree()
	other.addDir("tmp", 0o1777)
	other.addBytes("tmp/x", 0o600, []byte("x"))
	tr := newTree()
	tr.addTree("petri/store", other)
	if tr["petri/store/tmp"].header.Mode != 0o1777 || contentOf(t, tr, "petri/store/tmp/x") != "x" || tr["petri"] == nil {
		t.Errorf("got %d entries, the directory's mode %o", len(tr), tr["petri/store/tmp"].header.Mode)
	}
}
