package release

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
)

// Builder compiles programs with the go command. Its zero value is of no use:
// Cache must be set. It is safe for concurrent use, by several processes too.
type Builder struct {
	// Cache is a directory for what was built and downloaded. It may be
	// emptied while nothing is being built.
	Cache string
	// Go is the go command, "go" when empty.
	Go string
	// Runner runs it; nil is this machine.
	Runner exec.Runner
}

// DefaultCache is petri's build cache in the user's cache directory.
func DefaultCache() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache directory: %w", err)
	}
	return filepath.Join(dir, "petri", "build"), nil
}

// Step is one component to build: programs of one module, or of a source tree.
type Step struct {
	Name    string // component name
	Version string // module version, or what the tree calls itself
	Module  string
	// Dir is a source tree to build in. The module is not downloaded then, and
	// the go command alone decides what is up to date.
	Dir string
	// Checksum is the tree's, for the manifest; modules have their own sum.
	Checksum string
	// Programs are package paths by program name.
	Programs map[string]string
	// Mains are sources of programs that the module has in another form, by
	// program name.
	Mains map[string]string `json:",omitempty"`
	// Combine names programs that become one file, which acts as the one under
	// whose name it was started. All of them are at the same path then.
	Combine []string `json:",omitempty"`
	// Answer is what each of those says to --version, with words in braces as
	// in Set. Empty leaves it to the programs, which take longer to say it.
	Answer string `json:",omitempty"`
	// Set are linker variables, in which {version} is "v1.2.3", {bare} "1.2.3"
	// and {date} the time of the module's release.
	Set map[string]string
	// Link are more flags for the linker.
	Link []string
	Tags []string
	// Cgo is whether a C compiler is used. For another architecture, CC must
	// be in Env.
	Cgo bool
	Env []string // "NAME=value", wins over what the Builder sets
	// Keep are files of the module to keep next to the programs; KeepIfThere those
	// that it may lack.
	Keep        []string
	KeepIfThere []string `json:",omitempty"`
	// Weight is about how long it takes; long steps start first.
	Weight int
}

func (b *Builder) runner() exec.Runner {
	if b.Runner == nil {
		return exec.Host{}
	}
	return b.Runner
}

func (b *Builder) goCommand() string {
	if b.Go == "" {
		return "go"
	}
	return b.Go
}

// goRun runs the go command in dir and returns its standard output.
func (b *Builder) goRun(ctx context.Context, dir string, env []string, args ...string) ([]byte, error) {
	var out bytes.Buffer
	err := b.runner().Run(ctx, exec.Cmd{
		Args: append([]string{b.goCommand()}, args...), Dir: dir, Env: env, Stdout: &out,
	})
	if failed, ok := errors.AsType[*exec.Error](err); ok && failed.Code < 0 {
		err = errdefs.New(errdefs.ClassUnavailable, "GO-MISSING", "run the go command: %w", err).
			WithHint("Programs of a node image are compiled: install Go %s or later.", runtime.Version()[2:])
	}
	return out.Bytes(), err
}

// module is what the go command knows about a downloaded module.
type module struct {
	Path, Version         string
	Dir, Info, GoMod, Sum string
	Error                 string
	Time                  time.Time `json:"-"`
}

// moduleEnv isolates a build from the workspace and flags of whoever runs it.
var moduleEnv = []string{"GOWORK=off", "GOFLAGS=-mod=mod"}

// download puts a module into the module cache and says where it is. The go
// command checks it against the checksum database.
func (b *Builder) download(ctx context.Context, mod, version string) (module, error) {
	if err := os.MkdirAll(b.Cache, 0o755); err != nil {
		return module{}, err
	}
	out, err := b.goRun(ctx, b.Cache, moduleEnv, "mod", "download", "-json", mod+"@"+version)
	var m module
	if jsonErr := json.Unmarshal(out, &m); jsonErr == nil && m.Error != "" {
		return module{}, errdefs.New(errdefs.ClassNotFound, "MODULE-UNAVAILABLE", "download %s@%s: %s", mod, version, m.Error).
			WithHint("Check the version, and that GOPROXY names a module proxy that has it.")
	} else if err == nil {
		err = jsonErr
	}
	if err != nil {
		return module{}, fmt.Errorf("download %s@%s: %w", mod, version, err)
	}
	data, err := os.ReadFile(m.Info)
	if err != nil {
		return module{}, fmt.Errorf("download %s@%s: %w", mod, version, err)
	}
	var info struct{ Time time.Time }
	if err := json.Unmarshal(data, &info); err != nil {
		return module{}, fmt.Errorf("read %s: %w", m.Info, err)
	}
	m.Time = info.Time
	return m, nil
}

// workplace is where a step is compiled.
type workplace struct {
	dir     string // directory of the module that governs the build
	module  string // its path
	source  string // directory of the step's own module
	bin     string // where the programs go
	scratch string // for generated sources
}

// compile builds the step's programs.
func (b *Builder) compile(ctx context.Context, w workplace, arch string, s Step, date time.Time) error {
	if s.Cgo && arch != runtime.GOARCH && !hasVariable(s.Env, "CC") {
		return errdefs.New(errdefs.ClassUsage, "NO-CROSS-COMPILER", "%s is partly C, and there is no C compiler for %s", s.Name, arch).
			WithHint("Build on a machine of that architecture, or give a cross compiler.")
	}
	bin, err := filepath.Abs(w.bin)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=" + s.linkerFlags(date)}
	if len(s.Tags) > 0 {
		args = append(args, "-tags="+strings.Join(s.Tags, ","))
	}
	c, err := s.combine(w, arch)
	if err != nil {
		return err
	}
	packages := maps.Clone(s.Programs)
	if c != nil {
		args = append(args, "-overlay="+c.overlay)
		for _, name := range c.programs {
			delete(packages, name)
		}
		packages[combinedName] = c.pkg
	}
	for name, text := range s.Mains {
		at := filepath.Join(w.dir, "petri", name)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(at, "main.go"), []byte(text), 0o644); err != nil {
			return err
		}
		packages[name] = path.Join(w.module, "petri", name)
	}
	if err := b.goBuild(ctx, w.dir, bin, arch, s, args, packages); err != nil {
		return err
	}
	if c == nil {
		return nil
	}
	return c.link(bin)
}

// goBuild builds packages, by program name, into the directory bin.
func (b *Builder) goBuild(ctx context.Context, dir, bin, arch string, s Step, args []string, packages map[string]string) error {
	// the trailing separator makes it a directory, also for one program
	args = append(args, "-o", bin+string(filepath.Separator))
	names := slices.Sorted(maps.Keys(packages))
	for _, name := range names {
		if err := unlink(filepath.Join(bin, name)); err != nil {
			return err
		}
		args = append(args, packages[name])
	}
	if _, err := b.goRun(ctx, dir, s.environment(arch), args...); err != nil {
		return s.explain(err)
	}
	for _, name := range names {
		if made := programName(packages[name]); made != name {
			if err := os.Rename(filepath.Join(bin, made), filepath.Join(bin, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// explain adds what usually is missing when C is involved.
func (s Step) explain(err error) error {
	if failed, ok := errors.AsType[*exec.Error](err); ok && s.Cgo && failed.Code > 0 {
		return errdefs.New(errdefs.ClassFailed, "C-BUILD-FAILED", "%w", err).
			WithHint("%s is partly C: on Debian, install gcc, libc6-dev, pkg-config and libseccomp-dev.", s.Name)
	}
	return err
}

func hasVariable(env []string, name string) bool {
	return slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, name+"=") })
}

func (s Step) environment(arch string) []string {
	cgo := "CGO_ENABLED=0"
	if s.Cgo {
		cgo = "CGO_ENABLED=1"
	}
	env := append([]string{"GOOS=linux", "GOARCH=" + arch, cgo}, moduleEnv...)
	return append(env, s.Env...)
}

// linkerFlags are the same for the same inputs: variables are sorted, and the
// date is the release's.
func (s Step) linkerFlags(date time.Time) string {
	fill := s.fill(date)
	flags := []string{"-s", "-w"}
	for _, name := range slices.Sorted(maps.Keys(s.Set)) {
		flags = append(flags, "-X", name+"="+fill.Replace(s.Set[name]))
	}
	return strings.Join(append(flags, s.Link...), " ")
}

// fill puts values in the place of words in braces.
func (s Step) fill(date time.Time) *strings.Replacer {
	return strings.NewReplacer(
		"{version}", s.Version,
		"{bare}", strings.TrimPrefix(s.Version, "v"),
		"{date}", stamp(date),
	)
}

// stamp is a build date as Kubernetes prints it; no date is the epoch.
func stamp(date time.Time) string {
	if date.IsZero() {
		date = time.Unix(0, 0)
	}
	return date.UTC().Format(time.RFC3339)
}

var majorSuffix = regexp.MustCompile(`^v[0-9]+$`)

// programName is what the go command calls the program of a package: the last
// element of its path that is not a major version.
func programName(pkg string) string {
	base := path.Base(pkg)
	if majorSuffix.MatchString(base) {
		return path.Base(path.Dir(pkg))
	}
	return base
}
