package release

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/progress"
)

const kubernetesModule = "k8s.io/kubernetes"

// SourceTree is a checkout of Kubernetes, or an unpacked archive of its
// source, with its staging directory.
//
// The tree's version is, in this order: Version; what git describes, in the
// form Kubernetes' own build uses (v1.37.0-alpha.1.23+0123456789abcd-dirty);
// the first line of a file named version; or, for a shallow clone or a copy
// without git, the newest release in the tree's CHANGELOG for the minor version
// that component-base names, else that minor's alpha.0, with the commit, or
// "unknown", as build metadata.
type SourceTree struct {
	Dir     string
	Version string // overrides what is found
	Builder *Builder
}

// String implements Source.
func (t SourceTree) String() string { return "source tree " + t.Dir }

// Fetch implements Source: it compiles the tree as it is.
func (t SourceTree) Fetch(ctx context.Context, arch string, r progress.Reporter) (Kubernetes, error) {
	dir, err := t.root()
	if err != nil {
		return Kubernetes{}, err
	}
	rev := t.Builder.revision(ctx, dir)
	version, err := t.version(dir, rev)
	if err != nil {
		return Kubernetes{}, err
	}
	s := kubernetesStep(kubernetesModule, version)
	s.Dir, s.Checksum = dir, rev.checksum()
	s.Set = versionVariables(version, rev.commit, rev.state(), stamp(rev.time))
	s.Env = treeEnv(dir)
	built, err := t.Builder.Build(ctx, arch, s, r)
	if err != nil {
		return Kubernetes{}, err
	}
	return kubernetesFrom(version, filepath.Join(dir, filepath.FromSlash(constantsPath)), built)
}

// treeEnv makes the go command use the tree's own workspace and vendor
// directory. GOFLAGS is not emptied but set to what is given anyway, because
// an empty variable falls back to the user's "go env -w".
func treeEnv(dir string) []string {
	work := filepath.Join(dir, "go.work")
	if _, err := os.Stat(work); err != nil {
		work = "off" // before 1.30 there was none
	}
	return []string{"GOFLAGS=-trimpath", "GOWORK=" + work}
}

// root is the tree's directory, once it is known to be one of Kubernetes.
func (t SourceTree) root() (string, error) {
	dir, err := filepath.Abs(t.Dir)
	if err != nil {
		return "", err
	}
	notTree := func(why string) error {
		return errdefs.New(errdefs.ClassUsage, "NOT-KUBERNETES", "%s is not a source tree of Kubernetes: %s", t.Dir, why).
			WithHint("Name the directory that \"git clone\" of kubernetes/kubernetes made.")
	}
	data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil || modfile.ModulePath(data) != kubernetesModule {
		return "", notTree("its go.mod is not that of " + kubernetesModule)
	}
	if _, err := os.Stat(filepath.Join(dir, "staging", "src", "k8s.io")); err != nil {
		return "", notTree("it has no staging/src/k8s.io")
	}
	return dir, nil
}

func (t SourceTree) version(dir string, rev revision) (string, error) {
	for _, find := range []func() string{
		func() string { return t.Version },
		func() string { return rev.version() },
		func() string { return versionFile(dir) },
		func() string { return versionFromTree(dir, rev) },
	} {
		version := find()
		if version == "" {
			continue
		}
		if !semver.IsValid(version) || strings.Count(semver.Canonical(version), ".") < 2 {
			return "", errdefs.New(errdefs.ClassUsage, "BAD-VERSION", "version %q of %s is not a semantic version such as v1.36.3", version, dir)
		}
		return version, nil
	}
	return "", errdefs.New(errdefs.ClassUsage, "NO-VERSION", "find the version of %s: there is no git history, no file named version, and component-base names none", dir).
		WithHint("Write a version such as v1.37.0-alpha.1 into %s.", filepath.Join(dir, "version"))
}

func versionFile(dir string) string {
	data, err := os.ReadFile(filepath.Join(dir, "version"))
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(line)
}

// versionFromTree reads a version from the source: kubeadm and the kubelet
// compare versions, so one of the right minor must be found.
func versionFromTree(dir string, rev revision) string {
	src, err := os.ReadFile(filepath.Join(dir, "staging/src/k8s.io/component-base/version/base.go"))
	if err != nil {
		return ""
	}
	consts, err := stringConstants(src)
	minor := consts["DefaultKubeBinaryVersion"]
	if err != nil || minor == "" {
		return ""
	}
	base := "v" + minor + ".0-alpha.0"
	log, _ := os.ReadFile(filepath.Join(dir, "CHANGELOG", "CHANGELOG-"+minor+".md"))
	newest := regexp.MustCompile(`(?m)^# (v` + regexp.QuoteMeta(minor) + `\.[0-9]+(?:-[a-z]+\.[0-9]+)?)\s*$`)
	if m := newest.FindSubmatch(log); m != nil {
		base = string(m[1])
	}
	build := "unknown"
	if len(rev.commit) >= shortCommit {
		build = rev.commit[:shortCommit]
	}
	return base + "+" + build + rev.dirtySuffix()
}

// shortCommit is how much of a commit Kubernetes has in its versions.
const shortCommit = 14

// revision is what git knows about a tree; the zero value is a tree without.
type revision struct {
	commit   string
	describe string // relative to a tag, if one can be reached
	time     time.Time
	dirty    bool // untracked files count: they are compiled too
}

// revision asks git about dir. Whatever git cannot say stays empty: a tree
// need not have a history, and a machine need not have git.
func (b *Builder) revision(ctx context.Context, dir string) revision {
	// git would also find a repository further up, which is not the tree's
	if _, err := os.Lstat(filepath.Join(dir, ".git")); err != nil {
		return revision{}
	}
	git := func(args ...string) (string, bool) {
		out, err := exec.Output(ctx, b.runner(), append([]string{"git", "-C", dir}, args...)...)
		return strings.TrimSpace(string(out)), err == nil
	}
	var rev revision
	var ok bool
	if rev.commit, ok = git("rev-parse", "HEAD^{commit}"); !ok {
		return revision{}
	}
	status, ok := git("status", "--porcelain")
	rev.dirty = !ok || status != ""
	rev.describe, _ = git("describe", "--tags", "--match=v*", fmt.Sprintf("--abbrev=%d", shortCommit), rev.commit)
	if date, ok := git("show", "--no-patch", "--format=%cI", rev.commit); ok {
		rev.time, _ = time.Parse(time.RFC3339, date)
	}
	return rev
}

var (
	afterPrerelease = regexp.MustCompile(`^(v[^-]+-[^-]+)-([0-9]+)-g([0-9a-f]{14,})$`)
	afterRelease    = regexp.MustCompile(`^(v[^-]+-[0-9]+)-g([0-9a-f]{14,})$`)
)

// version turns git's description into a semantic version as Kubernetes' own
// build does; "" when there is no description.
func (r revision) version() string {
	if r.describe == "" {
		return ""
	}
	version := afterPrerelease.ReplaceAllString(r.describe, "$1.$2+$3")
	if version == r.describe {
		version = afterRelease.ReplaceAllString(r.describe, "$1+$2")
	}
	return version + r.dirtySuffix()
}

func (r revision) dirtySuffix() string {
	if r.dirty {
		return "-dirty"
	}
	return ""
}

// state is the word Kubernetes has for it.
func (r revision) state() string {
	switch {
	case r.commit == "":
		return "archive"
	case r.dirty:
		return "dirty"
	}
	return "clean"
}

// checksum names the commit for the manifest.
func (r revision) checksum() string {
	if r.commit == "" {
		return ""
	}
	return "git:" + r.commit + r.dirtySuffix()
}
