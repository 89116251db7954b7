package kubeconfig

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// foreignLock puts client-go's lock file beside a kubeconfig, as old as age by
// the clock of the bubble.
func foreignLock(t *testing.T, path string, age time.Duration) string {
	t.Helper()
	name := path + ".lock"
	seed(t, name, "")
	when := time.Now().Add(-age)
	if err := os.Chtimes(name, when, when); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestForeignLock measures how long a merge waits for a lock file of another
// program.
func TestForeignLock(t *testing.T) {
	for name, tc := range map[string]struct {
		age     time.Duration
		letGo   time.Duration // when the other program removes it; 0 is never
		atLeast time.Duration
		atMost  time.Duration
	}{
		"fresh and let go":     {0, 2 * time.Second, 2 * time.Second, 2*time.Second + 2*pollTime},
		"old":                  {staleAge + time.Second, 0, 0, 0},
		"fresh but abandoned":  {0, 0, watchTime, watchTime + 2*pollTime},
		"from a clock ahead":   {-time.Hour, 0, watchTime, watchTime + 2*pollTime},
		"abandoned a bit ago":  {staleAge - time.Second, 0, time.Second, time.Second + 2*pollTime},
		"let go at the border": {0, watchTime - pollTime, watchTime - pollTime, watchTime + 2*pollTime},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "config")
				seed(t, path, work)
				lock := foreignLock(t, path, tc.age)
				if tc.letGo > 0 {
					time.AfterFunc(tc.letGo, func() { _ = os.Remove(lock) })
				}
				start := time.Now()
				merge(t, path, dev)
				if d := time.Since(start); d < tc.atLeast || d > tc.atMost {
					t.Errorf("waited %s, want %s to %s", d, tc.atLeast, tc.atMost)
				}
				if _, err := os.Stat(lock); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the lock file is still there (%v)", err)
				}
			})
		})
	}
}

// TestBusyLock has other programs take the lock again and again: none of them
// is stale, so it must be respected, and the wait must still end.
func TestBusyLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "config")
		seed(t, path, work)
		foreignLock(t, path, 0)
		done := make(chan struct{})
		go func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(time.Second):
					foreignLock(t, path, 0)
				}
			}
		}()
		start := time.Now()
		err := Merge(t.Context(), path, dev)
		close(done)
		synctest.Wait() // the last of them may come with the end of the wait
		isUnusable(t, err, "config.lock")
		if d := time.Since(start); d < lockWait || d > lockWait+time.Second {
			t.Errorf("gave up after %s, want %s", d, lockWait)
		}
		holds(t, path, work)
		if _, err := os.Stat(path + ".lock"); err != nil {
			t.Errorf("somebody else's lock is gone: %v", err)
		}
	})
}
