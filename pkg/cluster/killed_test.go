package cluster

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/progress"
)

// kill lets a creation of "dev" end at its n-th call to the engine as if its
// process had been killed: nothing is removed, and its note stays. It returns
// whether there was such a call.
func (s *scene) kill(t *testing.T, n int, inject func(*scene, int)) bool {
	t.Helper()
	var (
		mu   sync.Mutex
		note string
	)
	s.events.call(func(progress.Event) {
		if id, err := killed("dev"); err == nil && id != "" {
			mu.Lock()
			defer mu.Unlock()
			note = id
		}
	})
	inject(s, len(s.Calls())+n)
	opts := s.options()
	opts.Retain = true
	err := s.Create(t.Context(), dev(t, 1), opts)
	s.events.call(nil)
	mu.Lock()
	defer mu.Unlock()
	if note != "" {
		path := filepath.Join(os.Getenv("XDG_CACHE_HOME"), "petri", "creations", "dev")
		if err := os.WriteFile(path, []byte(note), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return err != nil
}

// TestCreateAfterAKill ends a creation at each call to the engine, and wants
// the next one to remove what is left and to succeed.
func TestCreateAfterAKill(t *testing.T) {
	for name, inject := range injections {
		t.Run(name, func(t *testing.T) {
			for n := 1; ; n++ {
				more := true
				synctest.Test(t, func(t *testing.T) {
					s := newScene(t)
					if more = s.kill(t, n, inject); !more {
						return
					}
					when := s.Calls()[n-1]
					if err := s.Create(t.Context(), dev(t, 0), s.options()); err != nil {
						t.Errorf("%s: %v", when, err)
					}
					if got := s.Objects(); len(got) != 2 {
						t.Errorf("%s: %q, want a node and a network", when, got)
					}
				})
				if !more {
					if n < 15 {
						t.Errorf("a creation made only %d calls", n)
					}
					return
				}
			}
		})
	}
}

// TestDeleteAfterAKill ends a creation at each call, and wants the deletion to
// remove what is left, the note too.
func TestDeleteAfterAKill(t *testing.T) {
	for n, more := 1, true; more; n++ {
		synctest.Test(t, func(t *testing.T) {
			s := newScene(t)
			if more = s.kill(t, n, injections["lost"]); !more {
				return
			}
			when := s.Calls()[n-1]
			if err := s.Delete(t.Context(), "dev", []string{s.kubeconfig}); err != nil {
				t.Errorf("%s: %v", when, err)
			}
			s.untouched(t, when)
			if id, err := killed("dev"); id != "" || err != nil {
				t.Errorf("%s: the note is still there: %q, %v", when, id, err)
			}
		})
	}
}

// TestNoNoteStays wants none after a creation that ended by itself.
func TestNoNoteStays(t *testing.T) {
	for name, prepare := range map[string]func(*scene) CreateOptions{
		"succeeds": (*scene).options,
		"fails":    func(s *scene) CreateOptions { s.World.Break("Connect", errBroken); return s.options() },
		"retains": func(s *scene) CreateOptions {
			s.World.Break("Connect", errBroken)
			opts := s.options()
			opts.Retain = true
			return opts
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			_ = s.Create(t.Context(), dev(t, 0), prepare(s))
			if id, err := killed("dev"); id != "" || err != nil {
				t.Errorf("note %q, %v", id, err)
			}
		})
	}
}

// TestClusterBesideANote wants a cluster left alone that the killed creation
// did not make, and one that was used after it.
func TestClusterBesideANote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.create(t, 1)
		if _, err := begin("dev"); err != nil { // on another engine, and killed
			t.Fatal(err)
		}
		before := s.Objects()
		wantError(t, s.Create(t.Context(), dev(t, 0), s.options()), errdefs.ClassExists, "CLUSTER-EXISTS")
		if !slices.Equal(before, s.Objects()) {
			t.Errorf("objects %q, were %q", s.Objects(), before)
		}
	})
}

func TestUseKeepsWhatAKilledCreationLeft(t *testing.T) {
	for name, use := range map[string]func(t *testing.T, s *scene) error{
		"export kubeconfig": func(t *testing.T, s *scene) error {
			return s.ExportKubeconfig(t.Context(), "dev", s.kubeconfig, false)
		},
		"stop": func(t *testing.T, s *scene) error { return s.Stop(t.Context(), "dev", StopOptions{}) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.World.Break("SaveConfig", errBroken)
			last := 0
			s.kill(t, 1000, func(_ *scene, n int) { last = n })
			if last == 0 || len(s.Objects()) != 3 {
				t.Fatalf("objects %q", s.Objects())
			}
			if err := use(t, s); err != nil && !strings.Contains(err.Error(), errBroken.Error()) {
				t.Fatal(err)
			}
			wantError(t, s.Create(t.Context(), dev(t, 0), s.options()), errdefs.ClassExists, "CLUSTER-EXISTS")
		})
	}
}
