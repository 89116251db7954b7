package release

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

// kubernetesTree are the files of a checkout that matter.
func kubernetesTree(t *testing.T) map[string]string {
	files := map[string]string{
		"go.mod":      "module k8s.io/kubernetes\n",
		constantsPath: string(testFile(t, "constants.go.txt")),
		"LICENSE":     "Apache",
		"staging/src/k8s.io/component-base/version/base.go": "package version\n\nconst DefaultKubeBinaryVersion = \"1.37\"\n",
	}
	for _, name := range daemons {
		files["cmd/"+name+"/main.go"] = "package main\n\nfunc main() {}\n"
	}
	return files
}

func TestSourceTreeVersion(t *testing.T) {
	log := "# v1.37.0-alpha.2\n\n## Changes\n\n# v1.37.0-alpha.1\n"
	git := func(describe, status string) map[string]string {
		m := map[string]string{"rev-parse": commit, "status": status, "show": "2026-08-01T12:00:00+02:00"}
		if describe != "" {
			m["describe"] = describe
		}
		return m
	}
	for name, test := range map[string]struct {
		version string
		files   map[string]string
		git     map[string]string
		want    string
	}{
		"on a tag":          {git: git("v1.36.3", ""), want: "v1.36.3"},
		"after a tag":       {git: git("v1.36.3-5-g0123456789abcd", ""), want: "v1.36.3-5+0123456789abcd"},
		"after an alpha":    {git: git("v1.37.0-alpha.1-23-g0123456789abcd", ""), want: "v1.37.0-alpha.1.23+0123456789abcd"},
		"dirty":             {git: git("v1.37.0-alpha.1-23-g0123456789abcd", "?? new.go"), want: "v1.37.0-alpha.1.23+0123456789abcd-dirty"},
		"given":             {version: "v1.40.0", git: git("v1.36.3", ""), want: "v1.40.0"},
		"shallow":           {git: git("", ""), files: map[string]string{"CHANGELOG/CHANGELOG-1.37.md": log}, want: "v1.37.0-alpha.2+0123456789abcd"},
		"shallow and dirty": {git: git("", "M go.mod"), want: "v1.37.0-alpha.0+0123456789abcd-dirty"},
		"version file":      {files: map[string]string{"version": "v1.37.0-beta.0\n"}, want: "v1.37.0-beta.0"},
		"nothing known":     {want: "v1.37.0-alpha.0+unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			b, fake := newFakeBuilder(t)
			fake.git = test.git
			files := kubernetesTree(t)
			if test.git != nil {
				files[".git/HEAD"] = ""
			}
			maps.Copy(files, test.files)
			dir := t.TempDir()
			writeTree(t, dir, files)
			k, err := SourceTree{Dir: dir, Version: test.version, Builder: b}.Fetch(t.Context(), "amd64", nil)
			if err != nil {
				t.Fatal(err)
			}
			if k.Version != test.want {
				t.Errorf("version %s, want %s", k.Version, test.want)
			}
			if flags := fake.builds[0].Args[4]; !strings.Contains(flags, "gitVersion="+test.want+" ") {
				t.Errorf("the programs are not told: %s", flags)
			}
		})
	}
}

func TestSourceTreeBuild(t *testing.T) {
	b, fake := newFakeBuilder(t)
	fake.git = map[string]string{"rev-parse": commit, "status": "", "describe": "v1.37.0-alpha.1-23-g0123456789abcd", "show": "2026-08-01T12:00:00+02:00"}
	dir := t.TempDir()
	files := kubernetesTree(t)
	files[".git/HEAD"], files["go.work"] = "", "go 1.26.0\n"
	writeTree(t, dir, files)
	src := SourceTree{Dir: dir, Builder: b}
	for range 2 { // the go command decides what is up to date: always ask it
		k, err := src.Fetch(t.Context(), "amd64", nil)
		if err != nil {
			t.Fatal(err)
		}
		if k.ImageTag() != "v1.37.0-alpha.1.23_0123456789abcd" {
			t.Errorf("image tag %s", k.ImageTag())
		}
		if c := k.Components[0]; c.Checksum != "git:"+commit || c.Source != "source tree" {
			t.Errorf("component %+v", c)
		}
		if k.Licenses["kubernetes"] == "" || k.Prescribed.Pause != "3.10.2" {
			t.Errorf("got %+v", k)
		}
	}
	if len(fake.builds) != 2 {
		t.Fatalf("%d builds, want 2", len(fake.builds))
	}
	cmd := fake.builds[1]
	if cmd.Dir != dir {
		t.Errorf("built in %s", cmd.Dir)
	}
	if diff := cmp.Diff([]string{"GOFLAGS=-trimpath", "GOWORK=" + filepath.Join(dir, "go.work")}, cmd.Env[len(cmd.Env)-2:]); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{"gitMinor=37+", "gitTreeState=clean", "gitCommit=" + commit, "buildDate=2026-08-01T10:00:00Z"} {
		if !strings.Contains(cmd.Args[4], want) {
			t.Errorf("linker flags lack %s: %s", want, cmd.Args[4])
		}
	}
}

func TestSourceTreeRefusals(t *testing.T) {
	b, _ := newFakeBuilder(t)
	for name, change := range map[string]func(map[string]string){
		"another module": func(m map[string]string) { m["go.mod"] = "module example.com/x\n" },
		"no staging": func(m map[string]string) {
			delete(m, "staging/src/k8s.io/component-base/version/base.go")
		},
		"no version": func(m map[string]string) {
			m["staging/src/k8s.io/component-base/version/base.go"] = "package version\n"
		},
		"bad version": func(m map[string]string) { m["version"] = "master" },
	} {
		t.Run(name, func(t *testing.T) {
			files := kubernetesTree(t)
			change(files)
			dir := filepath.Join(t.TempDir(), "kubernetes")
			writeTree(t, dir, files)
			_, err := SourceTree{Dir: dir, Builder: b}.Fetch(t.Context(), "amd64", nil)
			if !errdefs.Is(err, errdefs.ClassUsage) {
				t.Errorf("got %v, want a usage error", err)
			}
		})
	}
}

// TestRevisionOfGit asks the real git.
func TestRevisionOfGit(t *testing.T) {
	if _, err := exec.Look("git"); err != nil {
		t.Skip("there is no git")
	}
	dir := t.TempDir()
	b := &Builder{Cache: t.TempDir()}
	git := func(args ...string) {
		t.Helper()
		args = append([]string{"git", "-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"}, args...)
		if err := exec.Run(t.Context(), exec.Host{}, args...); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want string) {
		t.Helper()
		rev := b.revision(t.Context(), dir)
		got := rev.version()
		if len(rev.commit) >= shortCommit {
			got = strings.ReplaceAll(got, rev.commit[:shortCommit], "COMMIT")
		}
		if got != want {
			t.Errorf("version %q, want %q", got, want)
		}
	}
	check("")
	git("init", "--quiet")
	check("")
	git("commit", "--quiet", "--allow-empty", "--message=one")
	check("")
	git("tag", "--annotate", "--message=release", "v1.37.0-alpha.1")
	git("tag", "other")
	check("v1.37.0-alpha.1")
	git("commit", "--quiet", "--allow-empty", "--message=two")
	check("v1.37.0-alpha.1.1+COMMIT")
	writeTree(t, dir, map[string]string{"new.go": "package new"})
	check("v1.37.0-alpha.1.1+COMMIT-dirty")
}
