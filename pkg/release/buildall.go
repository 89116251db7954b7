package release

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
)

// BuildAll builds the steps for arch, up to parallel at a time (0 or less: one
// per processor), the long ones first. Each is a phase "build-NAME". The first
// error ends the others.
func (b *Builder) BuildAll(ctx context.Context, arch string, steps []Step, parallel int, r progress.Reporter) (Artifacts, error) {
	if parallel <= 0 {
		parallel = max(1, runtime.NumCPU())
	}
	steps = slices.Clone(steps)
	slices.SortStableFunc(steps, func(a, b Step) int {
		return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Name, b.Name))
	})
	var mu sync.Mutex
	var all Artifacts
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, s := range steps {
		g.Go(func() error {
			built, err := b.Build(ctx, arch, s, r)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			all = all.Merge(built)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return Artifacts{}, err
	}
	return all, nil
}

// Build builds one step for arch as the phase "build-NAME". A released module
// that was built before with the same inputs is not built again.
func (b *Builder) Build(ctx context.Context, arch string, s Step, r progress.Reporter) (Artifacts, error) {
	o, err := b.build(ctx, arch, s, r)
	if err != nil {
		return Artifacts{}, err
	}
	return o.artifacts(), nil
}

func (b *Builder) build(ctx context.Context, arch string, s Step, r progress.Reporter) (output, error) {
	if err := ctx.Err(); err != nil {
		return output{}, context.Cause(ctx)
	}
	task := progress.Start(r, "build-"+s.Name, fmt.Sprintf("Building %s %s for %s", s.Name, s.Version, arch), "")
	run := b.buildModule
	if s.Dir != "" {
		run = b.buildTree
	}
	o, cached, err := run(ctx, arch, s)
	if err != nil {
		return output{}, task.Done(fmt.Errorf("build %s %s: %w", s.Name, s.Version, err))
	}
	if cached {
		task.Skip("built before")
		return o, nil
	}
	return o, task.Done(nil)
}

// buildModule builds programs of a released module, or finds them in the cache.
func (b *Builder) buildModule(ctx context.Context, arch string, s Step) (output, bool, error) {
	hash, err := b.inputHash(ctx, arch, s)
	if err != nil {
		return output{}, false, err
	}
	dir := filepath.Join(b.Cache, arch, s.Name+"-"+s.Version+"-"+hash)
	unlock, err := lock(ctx, dir)
	if err != nil {
		return output{}, false, err
	}
	defer unlock()
	if o, ok := openOutput(dir); ok {
		return o, true, nil
	}
	m, err := b.download(ctx, s.Module, s.Version)
	if err != nil {
		return output{}, false, err
	}
	// the directory is the step's own: the go command completes the files in it
	workDir := dir + ".mod"
	if err := generateModule(workDir, s.Name, m); err != nil {
		return output{}, false, err
	}
	o, err := makeOutput(dir, func(o *output) error {
		w := workplace{
			dir: workDir, module: generatedModule(s.Name), source: m.Dir,
			bin: filepath.Join(o.dir, binDir), scratch: filepath.Join(workDir, combinedName),
		}
		if err := b.compile(ctx, w, arch, s, m.Time); err != nil {
			return err
		}
		o.Programs = slices.Sorted(maps.Keys(s.Programs))
		o.Component = nodeimage.Component{Name: s.Name, Version: s.Version, Source: s.Module, Checksum: m.Sum}
		for _, name := range s.Keep {
			if err := o.keep(name, filepath.Join(m.Dir, filepath.FromSlash(name))); err != nil {
				return err
			}
		}
		for _, name := range s.KeepIfThere {
			err := o.keep(name, filepath.Join(m.Dir, filepath.FromSlash(name)))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return o.keepLicence(m.Dir)
	})
	return o, false, err
}

// buildTree builds programs of a source tree. The directory stays the same, so
// that the go command sees what is up to date.
func (b *Builder) buildTree(ctx context.Context, arch string, s Step) (output, bool, error) {
	dir := filepath.Join(b.Cache, arch, s.Name+"-tree-"+shortHash([]byte(s.Dir)))
	unlock, err := lock(ctx, dir)
	if err != nil {
		return output{}, false, err
	}
	defer unlock()
	o := output{dir: dir}
	o.Component = nodeimage.Component{Name: s.Name, Version: s.Version, Source: "source tree", Checksum: s.Checksum}
	o.Programs = slices.Sorted(maps.Keys(s.Programs))
	w := workplace{
		dir: s.Dir, module: s.Module, source: s.Dir,
		bin: filepath.Join(dir, binDir), scratch: filepath.Join(dir, combinedName),
	}
	if err := b.compile(ctx, w, arch, s, time.Time{}); err != nil {
		return output{}, false, err
	}
	return o, false, o.keepLicence(s.Dir)
}

// inputHash sums up what a module's programs depend on beside its content,
// which its version stands for: the step, the architecture and the toolchain.
func (b *Builder) inputHash(ctx context.Context, arch string, s Step) (string, error) {
	query := []string{"env", "GOVERSION", "GOAMD64", "GOARM64", "GOEXPERIMENT", "GOFIPS140"}
	if s.Cgo {
		query = append(query, "CC", "CGO_CFLAGS", "CGO_CPPFLAGS", "CGO_LDFLAGS", "PKG_CONFIG")
	}
	toolchain, err := b.goRun(ctx, "", s.Env, query...)
	if err != nil {
		return "", err
	}
	s.Weight = 0 // changes nothing
	dispatch := ""
	if len(s.Combine) > 0 {
		dispatch = dispatchSource + answerSource + heapSource
	}
	data, err := json.Marshal(struct {
		Arch, Toolchain string
		Step            Step
		Dispatch        string `json:",omitempty"`
	}{arch, string(toolchain), s, dispatch})
	if err != nil {
		return "", err
	}
	return shortHash(data), nil
}

// shortHash is enough of a SHA-256 to tell directories apart.
func shortHash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:6])
}
