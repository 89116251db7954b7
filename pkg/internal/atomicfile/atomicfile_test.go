package atomicfile

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestWriteNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "one")
	check(t, path, "one", 0o600)
	onlyFiles(t, filepath.Dir(path), "f")
}

func TestWriteKeepsMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	seed(t, path, "old", 0o640)
	write(t, path, "new")
	check(t, path, "new", 0o640)
}

func TestWriteFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	for name, existing := range map[string]bool{"existing": true, "dangling": false} {
		t.Run(name, func(t *testing.T) {
			sub := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Join(sub, "real"), 0o700); err != nil {
				t.Fatal(err)
			}
			target := filepath.Join(sub, "real", "f")
			if existing {
				seed(t, target, "old", 0o644)
			}
			link(t, "link2", filepath.Join(sub, "link1"))
			link(t, filepath.Join("real", "f"), filepath.Join(sub, "link2"))
			write(t, filepath.Join(sub, "link1"), "new")
			mode := fs.FileMode(0o600)
			if existing {
				mode = 0o644
			}
			check(t, target, "new", mode)
			for _, l := range []string{"link1", "link2"} {
				if info, err := os.Lstat(filepath.Join(sub, l)); err != nil || info.Mode()&fs.ModeSymlink == 0 {
					t.Errorf("%s is no link any more (%v)", l, err)
				}
			}
		})
	}
}

func TestWriteRefuses(t *testing.T) {
	dir := t.TempDir()
	loop := filepath.Join(dir, "loop")
	link(t, "loop", loop)
	for name, path := range map[string]string{
		"a directory":         dir,
		"a link to itself":    loop,
		"a missing directory": filepath.Join(dir, "none", "f"),
	} {
		if err := Write(path, []byte("x"), 0o600); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
	onlyFiles(t, dir, "loop")
}

func TestReadersSeeWholeContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	a, b := bytes.Repeat([]byte("a"), 1<<16), bytes.Repeat([]byte("b"), 1<<16)
	seed(t, path, string(a), 0o600)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 50 {
			data := a
			if i%2 == 0 {
				data = b
			}
			if err := Write(path, data, 0o600); err != nil {
				t.Error(err)
			}
		}
	})
	for range 200 {
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, a) && !bytes.Equal(got, b) {
			t.Fatalf("read a mixture of %d bytes", len(got))
		}
	}
	wg.Wait()
	onlyFiles(t, filepath.Dir(path), "f")
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := Write(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func seed(t *testing.T, path, data string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, path, data string, mode fs.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != data {
		t.Errorf("content of %s: got %q, want %q", path, got, data)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
		t.Errorf("mode of %s: got %v, want %v (%v)", path, info.Mode().Perm(), mode, err)
	}
}

func onlyFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		if i >= len(want) || e.Name() != want[i] {
			t.Errorf("left in %s: %s", dir, e.Name())
		}
	}
}
