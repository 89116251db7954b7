package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/petri-cluster/petri/pkg/diagnosis"
	"github.com/petri-cluster/petri/pkg/progress"
)

// errOther is why a phase was cancelled when another one failed.
var errOther = errors.New("another phase failed")

// Run runs the phases, each as soon as those it needs are done. The first
// error cancels the others; Run returns it, with the phase's ID and with what is
// known about its cause, when all have ended.
func Run(ctx context.Context, env *Env, phases []Phase) error {
	if err := checkOrder(phases); err != nil {
		return err
	}
	if env.adding == nil {
		token, err := newToken()
		if err != nil {
			return err
		}
		env.token = token
	}
	if env.Reporter == nil {
		env.Reporter = progress.Discard
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := map[string]chan struct{}{}
	for _, p := range phases {
		done[p.ID] = make(chan struct{})
	}
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		first error
	)
	for _, p := range phases {
		all.Go(func() {
			if err := p.await(ctx, env, done); err != nil {
				return
			}
			if err := p.run(ctx, env); err != nil {
				mu.Lock()
				if first == nil && !errors.Is(err, errOther) {
					first = fmt.Errorf("%s: %w", p.ID, err)
				}
				mu.Unlock()
				cancel(errOther)
				return
			}
			close(done[p.ID])
		})
	}
	all.Wait()
	if first == nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return diagnosis.Explain(first)
}

// checkOrder makes sure that no phase waits for ever: each comes after those
// that it needs.
func checkOrder(phases []Phase) error {
	known := map[string]bool{}
	for _, p := range phases {
		for _, id := range p.After {
			if !known[id] {
				return fmt.Errorf("phase %s needs %s, which is not before it", p.ID, id)
			}
		}
		if known[p.ID] {
			return fmt.Errorf("there are two phases %s", p.ID)
		}
		known[p.ID] = true
	}
	return nil
}

// await returns when what p needs is there.
func (p Phase) await(ctx context.Context, env *Env, done map[string]chan struct{}) error {
	for _, id := range p.After {
		select {
		case <-done[id]:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if p.When == nil {
		return nil
	}
	return p.When(ctx, env)
}

func (p Phase) run(ctx context.Context, env *Env) error {
	if p.Skip != nil {
		if why := p.Skip(env); why != "" {
			env.Reporter.Report(progress.Event{Time: time.Now(), Phase: p.ID, Title: p.Title, Status: progress.Skipped, Message: why})
			return nil
		}
	}
	task := progress.Start(env.Reporter, p.ID, p.Title, "")
	return end(task, p.Run(ctx, env, task))
}

// end ends a task; one that was cut short by another's failure has not failed
// itself, and only the cause should be seen.
func end(task *progress.Task, err error) error {
	if errors.Is(err, errOther) || errors.Is(err, context.Canceled) {
		task.Skip("cut short")
		return err
	}
	return task.Done(err)
}
