package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/progress"
)

var errBroken = errors.New("it broke")

// TestRunCutsShort fails one phase beside others: those have not failed, and
// are not reported as if they had. Much that takes a context tells that it was
// cancelled, and not why.
func TestRunCutsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		err := Run(t.Context(), &Env{Reporter: j}, []Phase{
			j.phase("bad", 2, errBroken),
			j.phase("cause", 60, nil),
			{ID: "no cause", Run: func(ctx context.Context, _ *Env, _ *progress.Task) error {
				<-ctx.Done()
				return fmt.Errorf("ask the API: %w", ctx.Err())
			}},
		})
		if !errors.Is(err, errBroken) {
			t.Errorf("error %v", err)
		}
		for _, id := range []string{"cause", "no cause"} {
			if e := j.status(id); e.Status != progress.Skipped || e.Message != "cut short" {
				t.Errorf("reported %+v", e)
			}
		}
	})
}

// TestRunIsCancelledUnnoticed ends the context while the last phase goes on to
// succeed. The cluster may be there, but nobody waits for it any more.
func TestRunIsCancelledUnnoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errBroken) })
		err := Run(ctx, &Env{}, []Phase{{ID: "deaf", Run: func(context.Context, *Env, *progress.Task) error {
			time.Sleep(time.Minute) // of the bubble's clock
			return nil
		}}})
		if !errors.Is(err, errBroken) {
			t.Errorf("error %v, want the cause", err)
		}
	})
}

func TestPhaseIDsStay(t *testing.T) {
	var got []string
	for _, p := range Phases() {
		got = append(got, p.ID)
	}
	want := []string{"image", "cni", "registries", "provision", "init", "api", "addons", "join", "ready", "finish"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("scripts and documents know them (-want +got):\n%s", diff)
	}
}
