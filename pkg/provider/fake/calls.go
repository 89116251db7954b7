package fake

import (
	"context"
	"errors"
	"slices"
)

// failure is what becomes of a call that was told to fail.
type failure struct {
	err  error
	lost bool // the answer is lost: it took effect
}

// FailAt makes the n-th call to the engine since New, counted from 1, fail
// with err and without effect. What earlier calls did stays. Calls are counted
// whatever their kind; commands in nodes are calls too.
func (p *Provider) FailAt(n int, err error) { p.setFailure(n, failure{err: err}) }

// LoseAt makes the n-th call take effect and yet fail with err, as when the
// connection breaks before the answer. A command fails after it has run.
func (p *Provider) LoseAt(n int, err error) { p.setFailure(n, failure{err: err, lost: true}) }

func (p *Provider) setFailure(n int, f failure) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures[n] = f
}

// At has fn called as the n-th call begins, with the engine locked.
func (p *Provider) At(n int, fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hooks == nil {
		p.hooks = map[int]func(){}
	}
	p.hooks[n] = fn
}

// errDead is what a process meets that is as good as dead.
var errDead = errors.New("this process was killed")

// DieAt makes the n-th call, and all later ones, fail without effect, as if the
// process that makes them had been killed; the n-th itself may have had its
// effect.
func (p *Provider) DieAt(n int, effect bool) {
	p.At(n, func() { p.dead = true })
	if effect {
		p.LoseAt(n, errDead)
	} else {
		p.FailAt(n, errDead)
	}
}

// Dead reports whether DieAt's call has come.
func (p *Provider) Dead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// Revive is another process: calls have effect again.
func (p *Provider) Revive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = false
	clear(p.hooks)
	clear(p.failures)
}

// Calls describes the calls to the engine since New, in order: "create network
// petri-a", "start a-worker", "exec a-worker kubeadm".
func (p *Provider) Calls() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// call counts a call and, unless it is to fail, gives it effect. The effect
// runs with the engine locked.
func (p *Provider) call(ctx context.Context, what string, effect func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, err := p.count(ctx, what)
	if err != nil {
		return err
	}
	if err := effect(); err != nil {
		return err
	}
	return f.err
}

// count counts a call. It returns an error when the call must have no effect,
// else what to return after it had.
func (p *Provider) count(ctx context.Context, what string) (failure, error) {
	if ctx.Err() != nil {
		return failure{}, context.Cause(ctx)
	}
	if p.dead {
		return failure{}, errDead
	}
	p.calls = append(p.calls, what)
	if fn := p.hooks[len(p.calls)]; fn != nil {
		fn()
	}
	f := p.failures[len(p.calls)]
	if f.err != nil && !f.lost {
		return failure{}, f.err
	}
	return f, nil
}
