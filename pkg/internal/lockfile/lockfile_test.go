package lockfile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

func TestTryAcquire(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made", "lock")
	release, err := TryAcquire(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = TryAcquire(path)
	if !errdefs.Is(err, errdefs.ClassExists) {
		t.Errorf("second: got %v, want class exists", err)
	}
	host, _ := os.Hostname()
	for _, want := range []string{"held by process " + strconv.Itoa(os.Getpid()) + " on " + host, "lockfile.test"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("second: got %v, want it to say %q", err, want)
		}
	}
	release()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file stayed (%v)", err)
	}
	release, err = TryAcquire(path)
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	release()
}

func TestAbandonedFileIsNoLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if err := os.WriteFile(path, []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	release, err := TryAcquire(path)
	if err != nil {
		t.Fatal(err)
	}
	release()
}

func TestAcquireWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "lock")
		first, err := Acquire(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		time.AfterFunc(3*time.Second, first)
		second, err := Acquire(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer second()
		if d := time.Since(start); d < 3*time.Second || d > 3*time.Second+2*poll {
			t.Errorf("got the lock after %s, want soon after 3s", d)
		}
	})
}

func TestAcquireGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "lock")
		release, err := Acquire(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = Acquire(ctx, path)
		if !errdefs.Is(err, errdefs.ClassTimeout) || !strings.Contains(err.Error(), "held by process") {
			t.Errorf("deadline: got %v, want class timeout and the holder", err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err = Acquire(ctx, path); !errors.Is(err, context.Canceled) {
			t.Errorf("cancel: got %v", err)
		}
	})
}

// TestExclusion would find two holders if the removal of the file by one let
// two others in at once.
func TestExclusion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	const workers, rounds = 8, 25
	var holders, count atomic.Int32
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				release, err := Acquire(t.Context(), path)
				if err != nil {
					t.Error(err)
					return
				}
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d holders at once", n)
				}
				count.Add(1)
				holders.Add(-1)
				release()
			}
		})
	}
	wg.Wait()
	if got := count.Load(); got != workers*rounds {
		t.Errorf("got %d, want %d", got, workers*rounds)
	}
}
