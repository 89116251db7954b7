package release

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
)

// fakeGo stands for the go command, and answers git from a table. What it
// "builds" holds the name of the package.
type fakeGo struct {
	t       *testing.T
	modules string            // where "downloaded" modules are
	git     map[string]string // answer by first argument after -C DIR
	fail    string            // a package that does not compile

	mu     sync.Mutex
	builds []exec.Cmd
}

func (f *fakeGo) Run(_ context.Context, cmd exec.Cmd) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if cmd.Args[0] == "git" {
		answer, ok := f.git[cmd.Args[3]]
		if !ok {
			return &exec.Error{Args: cmd.Args, Code: 128}
		}
		_, err := io.WriteString(cmd.Stdout, answer+"\n")
		return err
	}
	switch cmd.Args[1] {
	case "env":
		_, err := io.WriteString(cmd.Stdout, "go1.26.0\nv1\n")
		return err
	case "mod":
		return f.download(cmd)
	case "build":
		f.builds = append(f.builds, cmd)
		return f.build(cmd)
	}
	f.t.Errorf("unexpected command %q", cmd.Args)
	return nil
}

func (f *fakeGo) download(cmd exec.Cmd) error {
	path, version, _ := strings.Cut(cmd.Args[len(cmd.Args)-1], "@")
	dir := filepath.Join(f.modules, filepath.FromSlash(path))
	if _, err := os.Stat(dir); err != nil {
		_, _ = io.WriteString(cmd.Stdout, `{"Path": "`+path+`", "Error": "not found: unknown revision"}`)
		return &exec.Error{Args: cmd.Args, Code: 1}
	}
	return json.NewEncoder(cmd.Stdout).Encode(module{
		Path: path, Version: version, Sum: "h1:sum", Dir: dir,
		GoMod: filepath.Join(dir, "go.mod"), Info: filepath.Join(dir, "info"),
	})
}

func (f *fakeGo) build(cmd exec.Cmd) error {
	out := slices.Index(cmd.Args, "-o") + 1
	for _, pkg := range cmd.Args[out+1:] {
		if pkg == f.fail {
			return &exec.Error{Args: cmd.Args, Code: 1, Stderr: []byte("syntax error")}
		}
		if err := os.WriteFile(cmd.Args[out]+programName(pkg), []byte(pkg), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// addModule makes a module that can be downloaded.
func (f *fakeGo) addModule(path string, files map[string]string) {
	dir := filepath.Join(f.modules, filepath.FromSlash(path))
	all := map[string]string{
		"go.mod": "module " + path + "\n\ngo 1.25.0\n", "go.sum": "", "LICENSE": "licence of " + path,
		"info": `{"Version": "v1.2.3", "Time": "2026-07-22T18:07:38Z"}`,
	}
	for name, content := range files {
		all[name] = content
	}
	writeTree(f.t, dir, all)
}

func writeTree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func newFakeBuilder(t *testing.T) (*Builder, *fakeGo) {
	fake := &fakeGo{t: t, modules: t.TempDir()}
	return &Builder{Cache: t.TempDir(), Runner: fake}, fake
}

// recorder keeps events for a test.
type recorder struct {
	mu     sync.Mutex
	events []progress.Event
}

func (r *recorder) Report(e progress.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *recorder) statuses() []string {
	var out []string
	for _, e := range r.events {
		out = append(out, e.Phase+" "+string(e.Status))
	}
	return out
}

var toolStep = Step{
	Name: "tool", Version: "v1.2.3", Module: "example.com/tool/v2", Tags: []string{"a", "b"},
	Programs: map[string]string{"renamed": "example.com/tool/v2", "other": "example.com/tool/v2/cmd/other"},
	Set:      map[string]string{"main.version": "{version}", "main.bare": "{bare}", "main.date": "{date}"},
	Link:     []string{"-extldflags", "-static"},
}

func TestBuildModule(t *testing.T) {
	b, fake := newFakeBuilder(t)
	fake.addModule(toolStep.Module, nil)
	var events recorder
	built, err := b.Build(t.Context(), "arm64", toolStep, &events)
	if err != nil {
		t.Fatal(err)
	}
	cmd := fake.builds[0]
	wantArgs := []string{
		"go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags=-s -w -X main.bare=1.2.3 -X main.date=2026-07-22T18:07:38Z -X main.version=v1.2.3 -extldflags -static",
		"-tags=a,b", "-o", cmd.Args[7], "example.com/tool/v2/cmd/other", "example.com/tool/v2",
	}
	if diff := cmp.Diff(wantArgs, cmd.Args); diff != "" {
		t.Error(diff)
	}
	wantEnv := []string{"GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=mod"}
	if diff := cmp.Diff(wantEnv, cmd.Env); diff != "" {
		t.Error(diff)
	}
	wantComponents := []nodeimage.Component{{Name: "tool", Version: "v1.2.3", Source: toolStep.Module, Checksum: "h1:sum"}}
	if diff := cmp.Diff(wantComponents, built.Components); diff != "" {
		t.Error(diff)
	}
	if got, err := os.ReadFile(built.Programs["renamed"]); err != nil || string(got) != "example.com/tool/v2" {
		t.Errorf("program holds %q, %v", got, err)
	}
	if got, err := os.ReadFile(built.Licenses["tool"]); err != nil || string(got) != "licence of example.com/tool/v2" {
		t.Errorf("licence is %q, %v", got, err)
	}
	if diff := cmp.Diff([]string{"build-tool started", "build-tool done"}, events.statuses()); diff != "" {
		t.Error(diff)
	}
}

func TestBuildIsCached(t *testing.T) {
	b, fake := newFakeBuilder(t)
	fake.addModule(toolStep.Module, nil)
	build := func(arch string, s Step) (Artifacts, string) {
		t.Helper()
		var events recorder
		built, err := b.Build(t.Context(), arch, s, &events)
		if err != nil {
			t.Fatal(err)
		}
		return built, events.statuses()[1]
	}
	first, _ := build("amd64", toolStep)
	second, status := build("amd64", toolStep)
	if len(fake.builds) != 1 || status != "build-tool skipped" {
		t.Errorf("%d builds, the second %q; want one", len(fake.builds), status)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the cache gives something else: %s", diff)
	}
	// what went wrong on disk is noticed
	if err := os.WriteFile(first.Programs["other"], []byte("damaged"), 0o755); err != nil {
		t.Fatal(err)
	}
	third, _ := build("amd64", toolStep)
	if got, err := os.ReadFile(third.Programs["other"]); err != nil || string(got) == "damaged" {
		t.Errorf("a damaged program is used: %q, %v", got, err)
	}
	// each input counts
	other := toolStep
	other.Tags = []string{"c"}
	build("amd64", other)
	build("arm64", toolStep)
	if len(fake.builds) != 4 {
		t.Errorf("%d builds, want 4", len(fake.builds))
	}
}

func TestBuildErrors(t *testing.T) {
	b, fake := newFakeBuilder(t)
	missing := toolStep
	_, err := b.Build(t.Context(), "amd64", missing, nil)
	if !errdefs.Is(err, errdefs.ClassNotFound) || !strings.Contains(err.Error(), "unknown revision") {
		t.Errorf("a missing module gives %v", err)
	}
	fake.addModule(toolStep.Module, nil)
	fake.fail = "example.com/tool/v2"
	if _, err := b.Build(t.Context(), "amd64", toolStep, nil); err == nil || !strings.Contains(err.Error(), "syntax error") {
		t.Errorf("a failed build gives %v", err)
	}
	fake.fail = ""
	built, err := b.Build(t.Context(), "amd64", toolStep, nil)
	if err != nil || len(built.Programs) != 2 {
		t.Errorf("after a failed build: %v, %v", built, err)
	}
	native := toolStep
	native.Cgo, fake.fail = true, "example.com/tool/v2"
	_, err = b.Build(t.Context(), runtime.GOARCH, native, nil)
	if failed, ok := errors.AsType[*errdefs.Error](err); !ok || !strings.Contains(failed.Hint, "libseccomp-dev") {
		t.Errorf("a failed build of C gives %v, without a hint", err)
	}
	cross := toolStep
	cross.Cgo = true
	if _, err := b.Build(t.Context(), "riscv64", cross, nil); !errdefs.Is(err, errdefs.ClassUsage) {
		t.Errorf("cgo for another architecture without a compiler gives %v", err)
	}
}

func TestBuildAll(t *testing.T) {
	b, fake := newFakeBuilder(t)
	var steps []Step
	for i, name := range []string{"small", "large", "middle"} {
		module := "example.com/" + name
		fake.addModule(module, nil)
		steps = append(steps, Step{
			Name: name, Version: "v1.0.0", Module: module, Programs: map[string]string{name: module},
			Weight: []int{1, 100, 10}[i],
		})
	}
	all, err := b.BuildAll(t.Context(), "amd64", steps, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, cmd := range fake.builds {
		order = append(order, cmd.Args[len(cmd.Args)-1])
	}
	if diff := cmp.Diff([]string{"example.com/large", "example.com/middle", "example.com/small"}, order); diff != "" {
		t.Error(diff)
	}
	if len(all.Programs) != 3 || len(all.Licenses) != 3 || len(all.Components) != 3 {
		t.Errorf("not all is there: %+v", all)
	}
	fake.fail = "example.com/new"
	fake.addModule("example.com/new", nil)
	steps = append(steps, Step{Name: "new", Version: "v1.0.0", Module: "example.com/new", Programs: map[string]string{"new": "example.com/new"}})
	if _, err := b.BuildAll(t.Context(), "amd64", steps, 4, nil); err == nil || !strings.Contains(err.Error(), "build new v1.0.0") {
		t.Errorf("got %v, want an error that names the step", err)
	}
}

func TestModuleFetch(t *testing.T) {
	b, fake := newFakeBuilder(t)
	tree := kubernetesTree(t)
	for _, name := range roleFiles {
		tree[name] = "items:\n- kind: Role\n"
	}
	fake.addModule("k8s.io/kubernetes", tree)
	src := Module{Pin: Pin{Module: "k8s.io/kubernetes", Version: "v1.36.3"}, Builder: b}
	for range 2 { // the second comes from the cache
		k, err := src.Fetch(t.Context(), "amd64", nil)
		if err != nil {
			t.Fatal(err)
		}
		if k.Version != "v1.36.3" || k.Prescribed.Etcd != "v3.6.8" || len(k.Programs) != 7 {
			t.Errorf("got %+v", k)
		}
		if roles := strings.Count(string(k.Roles), `{"kind":"Role"}`); roles != len(roleFiles) {
			t.Errorf("%d roles in %s", roles, k.Roles)
		}
		files := map[string]bool{}
		for name, file := range k.Programs {
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			files[file] = true
		}
		if len(files) != 3 {
			t.Errorf("the programs are %d files, want the daemons, kubeadm and kubectl: %v", len(files), k.Programs)
		}
	}
	flags := fake.builds[0].Args[4]
	for _, want := range []string{"component-base/version.gitVersion=v1.36.3", "client-go/pkg/version.gitMinor=36 ", "buildDate=2026-07-22T18:07:38Z"} {
		if !strings.Contains(flags, want) {
			t.Errorf("linker flags lack %s: %s", want, flags)
		}
	}
}

func TestFindPetri(t *testing.T) {
	b, fake := newFakeBuilder(t)
	dir := t.TempDir()
	writeTree(t, dir, map[string]string{"go.mod": "module " + PetriModule + "\n", ".git/HEAD": "", "cmd/x/x.go": "package x"})
	fake.git = map[string]string{"rev-parse": "0123456789abcdef0123", "status": ""}
	t.Chdir(filepath.Join(dir, "cmd", "x"))
	p, err := b.FindPetri(t.Context(), "", "v0.1.0")
	if err != nil || p.Checksum != "git:0123456789abcdef0123" {
		t.Errorf("inside a checkout: %+v, %v", p, err)
	}
	if same, err := os.Stat(p.Dir); err != nil || !same.IsDir() || filepath.Base(p.Dir) != filepath.Base(dir) {
		t.Errorf("the checkout is %s", p.Dir)
	}
	t.Chdir(t.TempDir())
	if p, err := b.FindPetri(t.Context(), "", "v0.1.0"); err != nil || p != (Petri{Version: "v0.1.0"}) {
		t.Errorf("outside of a checkout: %+v, %v", p, err)
	}
	if _, err := b.FindPetri(t.Context(), "", "(devel)"); !errdefs.Is(err, errdefs.ClassUsage) {
		t.Errorf("a development build outside of a checkout gives %v", err)
	}
	if _, err := b.FindPetri(t.Context(), t.TempDir(), "v0.1.0"); !errdefs.Is(err, errdefs.ClassUsage) {
		t.Errorf("a directory that is no checkout gives %v", err)
	}
}

// TestRealBuild compiles small programs with the real go command, as one file.
func TestRealBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles, and may download a module")
	}
	if _, err := exec.Look("go"); err != nil {
		t.Skip("there is no go command")
	}
	s := recipes["cni-plugins"].step("cni-plugins", testVersions(t).Components["cni-plugins"], nil)
	s.Combine, s.Answer = []string{"loopback", "host-local"}, "plugins {version}\n"
	s.Programs = map[string]string{"loopback": s.Programs["loopback"], "host-local": s.Programs["host-local"]}
	b := &Builder{Cache: t.TempDir()}
	built, err := b.Build(t.Context(), "amd64", s, nil)
	if err != nil {
		t.Fatal(err)
	}
	file := built.Programs["loopback"]
	if built.Programs["host-local"] != file {
		t.Errorf("two files: %v", built.Programs)
	}
	if err := checkELF(file, "amd64"); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(built.Components[0].Checksum, "h1:") {
		t.Errorf("checksum is %q", built.Components[0].Checksum)
	}
	if runtime.GOOS+runtime.GOARCH == "linuxamd64" {
		checkNames(t, file, "loopback", "host-local")
		for _, words := range []string{"--version", "--version --help", ""} {
			said, err := exec.Output(t.Context(), exec.Host{}, append([]string{file}, strings.Fields(words)...)...)
			if answered := string(said) == "plugins "+s.Version+"\n"; answered != (words == "--version") {
				t.Errorf("to %q it says %q, %v", words, said, err)
			}
		}
	}
}

// checkNames starts a combined program of CNI plugins under each of its names,
// and under another.
func checkNames(t *testing.T, file string, names ...string) {
	t.Helper()
	for _, name := range append(names, "another") {
		at := filepath.Join(t.TempDir(), name)
		if err := os.Link(file, at); err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		err := exec.Host{}.Run(t.Context(), exec.Cmd{Args: []string{at}, Stderr: &said})
		if name == "another" {
			if err == nil || !strings.Contains(err.Error(), "this file is host-local, loopback") {
				t.Errorf("under another name: %v", err)
			}
		} else if want := "CNI " + name + " plugin v"; err != nil || !strings.Contains(said.String(), want) {
			t.Errorf("%s says %q, %v; want %q", name, said.String(), err, want)
		}
	}
}
