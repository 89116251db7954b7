package kubeconfig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/internal/lockfile"
)

func TestMergeMakesFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".kube", "config")
	merge(t, path, dev)
	want, err := Render(dev)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, path, string(want))
	for p, mode := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: got mode %v, want %v (%v)", p, info.Mode().Perm(), mode, err)
		}
	}
	nothingElse(t, path)
}

func TestMergeThroughLink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	seed(t, target, work)
	if err := os.Chmod(target, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", link); err != nil {
		t.Fatal(err)
	}
	merge(t, link, dev)
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is gone (%v)", err)
	}
	info, err := os.Stat(target)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode of the target: got %v, want 0640 (%v)", info.Mode().Perm(), err)
	}
	mustParse(t, []byte(read(t, target)))
	if !strings.Contains(read(t, target), dev.Name) {
		t.Error("the target lacks the entry")
	}
	nothingElse(t, link)
}

// TestLinkToNothing has a link whose target is still to come, as dotfile
// managers make them.
func TestLinkToNothing(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "later", "real"), filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join("later", "real"), link); err != nil {
		t.Fatal(err)
	}
	merge(t, link, dev)
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is gone (%v)", err)
	}
	mustParse(t, []byte(read(t, target)))
	nothingElse(t, link)
	nothingElse(t, target)

	loop := filepath.Join(dir, "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	isUnusable(t, Probe(t.Context(), loop), "loop")
	isUnusable(t, Merge(t.Context(), loop, dev), "loop")
}

// TestUnusable holds that what cannot be used is said to be so by Probe and by
// Merge alike, with a hint, and is left as it was.
func TestUnusable(t *testing.T) {
	for name, tc := range map[string]struct {
		content string
		mode    fs.FileMode
		want    string
	}{
		"broken":    {"clusters:\n- name: [\n", 0o600, "line 2"},
		"read-only": {work, 0o400, "read-only"},
		"a list":    {"- a\n", 0o600, "not a mapping"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config")
			seed(t, path, tc.content)
			if err := os.Chmod(path, tc.mode); err != nil {
				t.Fatal(err)
			}
			isUnusable(t, Probe(t.Context(), path), tc.want)
			isUnusable(t, Merge(t.Context(), path, dev), tc.want)
			holds(t, path, tc.content)
			nothingElse(t, path)
		})
	}
	t.Run("a directory", func(t *testing.T) {
		isUnusable(t, Probe(t.Context(), t.TempDir()), "not a regular file")
	})
	t.Run("below a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		seed(t, file, "x")
		isUnusable(t, Probe(t.Context(), filepath.Join(file, "config")), "not a directory")
	})
}

// TestLinksAreProbed wants what a link leads to to be tried, and the link to
// stay.
func TestLinksAreProbed(t *testing.T) {
	dir := t.TempDir()
	link := func(name, target string) string {
		path := filepath.Join(dir, name)
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	frozen := filepath.Join(dir, "frozen")
	seed(t, frozen, work)
	if err := os.Chmod(frozen, 0o400); err != nil {
		t.Fatal(err)
	}
	isUnusable(t, Probe(t.Context(), link("to-frozen", frozen)), "read-only")
	isUnusable(t, Probe(t.Context(), link("to-itself", filepath.Join(dir, "to-itself"))), "to-itself")
	isUnusable(t, Probe(t.Context(), link("to-directory", dir)), "not a regular file")

	for name, target := range map[string]string{"to-file": "file", "to-nothing": "made/nothing"} {
		path := link(name, filepath.Join(dir, target))
		if err := Probe(t.Context(), path); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		merge(t, path, dev)
		if got, err := os.Readlink(path); err != nil || got != filepath.Join(dir, target) {
			t.Errorf("%s: the link leads to %q, %v", name, got, err)
		}
		if !strings.Contains(read(t, filepath.Join(dir, target)), dev.Name) {
			t.Errorf("%s: what it leads to was not written", name)
		}
	}
}

// TestProbeTakesTheLock wants a lock that another petri holds to be waited for
// before anything is built, and to be named when it is not let go.
func TestProbeTakesTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "config")
		seed(t, path, work)
		release, err := lockfile.TryAcquire(path + ".petri-lock")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		isUnusable(t, Probe(t.Context(), path), "held by process")
		if d := time.Since(start); d < lockWait || d > lockWait+time.Second {
			t.Errorf("gave up after %s, want %s", d, lockWait)
		}
		time.AfterFunc(2*time.Second, release)
		if err := Probe(t.Context(), path); err != nil {
			t.Errorf("after it was let go: %v", err)
		}
		holds(t, path, work)
	})
}

func TestProbeChangesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config")
	seed(t, path, commented)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Probe(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	holds(t, path, commented)
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was replaced (%v)", err)
	}
	missing := filepath.Join(dir, "made", "config")
	if err := Probe(t.Context(), missing); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the probe made the file (%v)", err)
	}
	nothingElse(t, path)
	nothingElse(t, missing)
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	in := func(name, content string) string {
		path := filepath.Join(dir, name)
		if content != "" {
			seed(t, path, content)
		}
		return path
	}
	foreign, ours := in("foreign", work), in("ours", work)
	merge(t, ours, dev)
	// A split configuration: the context in one file, the rest in another.
	split := in("split", "contexts:\n- name: petri-dev\ncurrent-context: work\n")
	broken := in("broken", "clusters: [\n")
	frozen := in("frozen", work)
	if err := os.Chmod(frozen, 0o400); err != nil {
		t.Fatal(err)
	}
	missing := in("missing", "")
	all := []string{missing, foreign, broken, ours, frozen, split}
	changed, err := Remove(t.Context(), all, dev.Name)
	if err != nil || !changed {
		t.Fatalf("got %v, %v, want a change", changed, err)
	}
	holds(t, foreign, work)
	holds(t, frozen, work)
	holds(t, broken, "clusters: [\n")
	holds(t, ours, strings.Replace(work, "current-context: work", `current-context: ""`, 1))
	holds(t, split, "contexts: []\ncurrent-context: work\n")
	changed, err = Remove(t.Context(), all, dev.Name)
	if err != nil || changed {
		t.Errorf("again: got %v, %v, want nothing to change", changed, err)
	}
}

func TestRemoveGoesOn(t *testing.T) {
	dir := t.TempDir()
	broken, good := filepath.Join(dir, "broken"), filepath.Join(dir, "good")
	seed(t, broken, "clusters: [ petri-dev\n")
	merge(t, good, dev)
	changed, err := Remove(t.Context(), []string{broken, good}, dev.Name)
	isUnusable(t, err, broken)
	if !changed || strings.Contains(read(t, good), dev.Name) {
		t.Error("the good file was not changed")
	}
}

func TestPaths(t *testing.T) {
	dir := t.TempDir()
	a, b, c := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
	seed(t, b, "")
	sep := string(os.PathListSeparator)
	home := filepath.Join("home", ".kube", "config")
	for name, tc := range map[string]struct {
		explicit, env, write string
		all                  []string
	}{
		"flag":         {c, a + sep + b, c, []string{c}},
		"first there":  {"", a + sep + b + sep + c, b, []string{a, b, c}},
		"none there":   {"", a + sep + c, c, []string{a, c}},
		"untidy":       {"", sep + c + sep + sep + a + sep + c + sep, a, []string{c, a}},
		"nothing":      {"", "", home, []string{home}},
		"only a colon": {"", sep, home, []string{home}},
	} {
		t.Run(name, func(t *testing.T) {
			write, all := Paths(tc.explicit, tc.env, "home")
			if write != tc.write {
				t.Errorf("write: got %s, want %s", write, tc.write)
			}
			if diff := cmp.Diff(tc.all, all); diff != "" {
				t.Errorf("all (-want +got):\n%s", diff)
			}
		})
	}
}

func TestManyGoroutines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	seed(t, path, commented)
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			if err := Merge(t.Context(), path, numbered(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	hasAll(t, path)
}

const (
	many      = 20
	childPath = "PETRI_TEST_MERGE_PATH"
	childName = "PETRI_TEST_MERGE_NUMBER"
)

// TestManyProcesses runs this test binary many times over; each process merges
// one entry and removes another one. Nothing is lost, and what is nobody's stays
// as it was, byte for byte.
func TestManyProcesses(t *testing.T) {
	if path := os.Getenv(childPath); path != "" {
		var i int
		if _, err := fmt.Sscan(os.Getenv(childName), &i); err != nil {
			t.Fatal(err)
		}
		merge(t, path, numbered(i))
		if _, err := Remove(t.Context(), []string{path}, outdated(i).Name); err != nil {
			t.Fatal(err)
		}
		return
	}
	path := filepath.Join(t.TempDir(), "config")
	seed(t, path, commented)
	for i := range many {
		merge(t, path, outdated(i))
	}
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			if err := child(t.Context(), "TestManyProcesses", childPath+"="+path, fmt.Sprintf("%s=%d", childName, i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	hasAll(t, path)
	if strings.Contains(read(t, path), "petri-outdated") {
		t.Error("an entry that was removed is there")
	}
	for i := range many {
		if _, err := Remove(t.Context(), []string{path}, numbered(i).Name); err != nil {
			t.Fatal(err)
		}
	}
	holds(t, path, strings.Replace(commented, `current-context:    "work"`, `current-context: ""`, 1)+"\n")
}

// child runs one test of this binary in a process of its own.
func child(ctx context.Context, test string, env ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return exec.Host{}.Run(ctx, exec.Cmd{Args: []string{self, "-test.run=^" + test + "$"}, Env: env})
}

func outdated(i int) Entry {
	e := dev
	e.Name = fmt.Sprintf("petri-outdated-%d", i)
	return e
}

// TestHolderKilled kills a process that holds both locks. Nobody waits for the
// kernel's; client-go's is abandoned once it is old.
func TestHolderKilled(t *testing.T) {
	if path := os.Getenv(childPath); path != "" {
		if _, err := lock(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // until it is killed
	}
	path := filepath.Join(t.TempDir(), "config")
	seed(t, path, work)
	ctx, kill := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- child(ctx, "TestHolderKilled", childPath+"="+path) }()
	for begin := time.Now(); ; time.Sleep(pollTime) {
		if _, err := os.Stat(path + ".lock"); err == nil {
			break
		}
		if time.Since(begin) > time.Minute {
			t.Fatal("the child took no lock")
		}
	}
	kill()
	<-ended
	old := time.Now().Add(-staleAge - time.Second)
	if err := os.Chtimes(path+".lock", old, old); err != nil {
		t.Fatal(err)
	}
	merge(t, path, dev)
	nothingElse(t, path)
}

func TestMergeCancelled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	seed(t, path, work)
	seed(t, path+".lock", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := Merge(ctx, path, dev)
	if !errors.Is(err, context.Canceled) || errdefs.Is(err, errdefs.ClassUsage) {
		t.Errorf("got %v, want cancelled and nothing else", err)
	}
	holds(t, path, work)
}

func numbered(i int) Entry {
	e := dev
	e.Name = fmt.Sprintf("petri-%d", i)
	return e
}

func hasAll(t *testing.T, path string) {
	t.Helper()
	doc := mustParse(t, []byte(read(t, path)))
	for _, key := range []string{"clusters", "contexts", "users"} {
		names := map[string]bool{}
		for _, item := range list(doc.root, key) {
			names[itemName(item)] = true
		}
		for i := range many {
			if name := numbered(i).Name; !names[name] {
				t.Errorf("%s: %s is lost", key, name)
			}
		}
	}
	nothingElse(t, path)
}

func merge(t *testing.T, path string, e Entry) {
	t.Helper()
	if err := Merge(t.Context(), path, e); err != nil {
		t.Fatal(err)
	}
}

func isUnusable(t *testing.T, err error, want string) {
	t.Helper()
	e, ok := errors.AsType[*errdefs.Error](err)
	if !ok || e.ID != unusableID || e.Class != errdefs.ClassUsage || e.Hint == "" || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s with a hint, saying %q", err, unusableID, want)
	}
}

func seed(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func holds(t *testing.T, path, want string) {
	t.Helper()
	if diff := cmp.Diff(want, read(t, path)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// nothingElse makes sure that no lock and no temporary file stayed beside path.
func nothingElse(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "lock") || strings.HasSuffix(e.Name(), ".tmp") {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}
