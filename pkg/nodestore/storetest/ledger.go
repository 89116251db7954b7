package storetest

import (
	"context"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
)

// ledger is a snapshotter that keeps a record of snapshots, and no files.
type ledger struct{ ms *storage.MetaStore }

func (l *ledger) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	var made storage.Snapshot
	err := l.ms.WithTransaction(ctx, true, func(ctx context.Context) (err error) {
		made, err = storage.CreateSnapshot(ctx, snapshots.KindActive, key, parent, opts...)
		return err
	})
	return []mount.Mount{{Type: "bind", Source: "/snapshots/" + made.ID + "/fs"}}, err
}

func (l *ledger) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	return nil, l.ms.WithTransaction(ctx, true, func(ctx context.Context) error {
		_, err := storage.CreateSnapshot(ctx, snapshots.KindView, key, parent, opts...)
		return err
	})
}

func (l *ledger) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	return l.ms.WithTransaction(ctx, true, func(ctx context.Context) error {
		_, err := storage.CommitActive(ctx, key, name, snapshots.Usage{}, opts...)
		return err
	})
}

func (l *ledger) Remove(ctx context.Context, key string) error {
	return l.ms.WithTransaction(ctx, true, func(ctx context.Context) error {
		_, _, err := storage.Remove(ctx, key)
		return err
	})
}

func (l *ledger) Stat(ctx context.Context, key string) (info snapshots.Info, err error) {
	err = l.ms.WithTransaction(ctx, false, func(ctx context.Context) error {
		_, info, _, err = storage.GetInfo(ctx, key)
		return err
	})
	return info, err
}

func (l *ledger) Update(ctx context.Context, info snapshots.Info, paths ...string) (updated snapshots.Info, err error) {
	err = l.ms.WithTransaction(ctx, true, func(ctx context.Context) error {
		updated, err = storage.UpdateInfo(ctx, info, paths...)
		return err
	})
	return updated, err
}

func (l *ledger) Walk(ctx context.Context, fn snapshots.WalkFunc, filters ...string) error {
	return l.ms.WithTransaction(ctx, false, func(ctx context.Context) error {
		return storage.WalkInfo(ctx, fn, filters...)
	})
}

func (l *ledger) Usage(context.Context, string) (snapshots.Usage, error) {
	return snapshots.Usage{}, nil
}

func (l *ledger) Mounts(context.Context, string) ([]mount.Mount, error) { return nil, nil }

func (l *ledger) Close() error { return l.ms.Close() }

// kind is what a name of an image names it by.
type kind int

const (
	identified kind = iota
	tagged
	digested
)

func kindOf(name string) kind {
	switch {
	case strings.HasPrefix(name, "sha256:"):
		return identified
	case strings.Contains(name, "@"):
		return digested
	}
	return tagged
}
