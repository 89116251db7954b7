//go:build linux

package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"sigs.k8s.io/knftables"
)

const (
	// resync is how often everything is put right without an event, in case
	// somebody else changed routes or rules.
	resync = 30 * time.Second
	// retry is the pause after a failure.
	retry = time.Second
	// patience is how long the API may keep silent before that is worth a word.
	patience = 5 * time.Second
)

// agent makes the node's network what the cluster's nodes ask for.
type agent struct {
	settings settings
	members  *members
	kernel   kernel
	nft      knftables.Interface         // of masqTable
	guard    func(context.Context) error // netguard.Apply
	conflist string                      // path of the CNI configuration
	log      *slog.Logger
}

// run reconciles when nodes change, at intervals, and after failures, until
// ctx ends. It guards the node first, before the API has been heard of.
func (a *agent) run(ctx context.Context) {
	began := time.Now()
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-a.members.changed:
			err = a.reconcile(ctx)
		case <-next.C:
			err = errors.Join(a.guard(ctx), a.reconcile(ctx))
		}
		if ctx.Err() != nil {
			return // what was cut short is no failure
		}
		next.Reset(a.pause(err, time.Since(began)))
	}
}

// pause says how long to wait for an event after the last attempt, and tells
// the log why that was not the end of it. The client waits for the API without
// a word, so the agent says that it does.
func (a *agent) pause(err error, age time.Duration) time.Duration {
	if err != nil {
		a.log.Error("not all is as it should be, will try again", "error", err)
		return retry
	}
	if _, known := a.members.list(); known {
		return resync
	}
	if age >= patience {
		a.log.Warn("the API has not listed the nodes yet", "waiting", age.Round(time.Second))
	}
	return patience
}

// reconcile does each part although another fails. Until the nodes are known
// it leaves everything alone: what an earlier run of the agent made is still
// right more often than not.
func (a *agent) reconcile(ctx context.Context) error {
	all, known := a.members.list()
	if !known {
		return nil
	}
	return errors.Join(
		a.syncConflist(all[a.settings.node]),
		a.syncRoutes(all),
		a.syncMasquerade(ctx, all),
	)
}
