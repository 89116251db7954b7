package release

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"
)

// combinedName is the program that a step's Combine makes: one file that acts
// as each of several programs, by the name under which it was started. What
// they have in common, which is most of a Kubernetes daemon, is then once on
// disk and once in memory.
const combinedName = "combined"

// combined are the sources of such a program. Its packages are those of the
// programs with another name: they are laid over the module's directory while
// the go command runs, so that nothing is written there.
type combined struct {
	programs []string // sorted; fewer than were asked for where one must stay apart
	pkg      string   // package path
	overlay  string   // file for go build -overlay
}

// combine writes the sources of the step's combined program. Where it asks for
// several and only one can be combined, none is, and the answer is nil.
func (s Step) combine(w workplace, arch string) (*combined, error) {
	c := &combined{pkg: path.Join(w.module, "petri", combinedName)}
	at := filepath.Join(w.dir, "petri", combinedName)
	replace := map[string]string{}
	for _, name := range slices.Sorted(slices.Values(s.Combine)) {
		below := strings.TrimPrefix(strings.TrimPrefix(s.Programs[name], s.Module), "/")
		files, err := mainFiles(filepath.Join(w.source, filepath.FromSlash(below)), arch, s.Tags)
		if err != nil {
			return nil, fmt.Errorf("combine %s: %w", name, err)
		}
		if files == nil {
			continue
		}
		for _, file := range files {
			to := filepath.Join(w.scratch, name, filepath.Base(file))
			if err := rewriteMain(file, to); err != nil {
				return nil, fmt.Errorf("combine %s: %w", name, err)
			}
			replace[filepath.Join(at, name, filepath.Base(file))] = to
		}
		c.programs = append(c.programs, name)
	}
	if len(c.programs) < min(2, len(s.Combine)) || len(c.programs) == 0 {
		return nil, nil
	}
	generated := map[string]string{"main.go": dispatchSource, "heap/heap.go": heapSource}
	if s.Answer != "" {
		generated["answer/answer.go"] = answerSource
	}
	for name, text := range generated {
		to := filepath.Join(w.scratch, filepath.FromSlash(name))
		if err := s.generate(c, text, to); err != nil {
			return nil, err
		}
		replace[filepath.Join(at, filepath.FromSlash(name))] = to
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	c.overlay = filepath.Join(w.scratch, "overlay.json")
	return c, os.WriteFile(c.overlay, data, 0o644)
}

// mainFiles are the Go files of the program in dir. It is nil for a program
// that is more than Go files, which cannot be laid over another directory.
func mainFiles(dir, arch string, tags []string) ([]string, error) {
	target := build.Default
	target.GOOS, target.GOARCH, target.CgoEnabled, target.BuildTags = "linux", arch, false, tags
	p, err := target.ImportDir(dir, 0)
	if err != nil {
		return nil, err
	}
	if len(p.EmbedPatterns)+len(p.SFiles)+len(p.CgoFiles) > 0 {
		return nil, nil
	}
	files := make([]string, len(p.GoFiles))
	for i, name := range p.GoFiles {
		files[i] = filepath.Join(dir, name)
	}
	return files, nil
}

// rewriteMain copies a file of a program as one of a package that can be
// imported: main becomes Main, in the package clause and as a function.
func rewriteMain(from, to string) error {
	src, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, from, src, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	names := []*ast.Ident{file.Name}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "main" {
			names = append(names, f.Name)
		}
	}
	for _, n := range names {
		copy(src[fset.PositionFor(n.Pos(), false).Offset:], "Main")
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, src, 0o644)
}

// dispatchSource asks for the file's own name first: the words that a process
// was started with may be anything.
const dispatchSource = `// Several programs in one file, which acts as the one that it is called.
package main

import (
	"fmt"
	"os"
	"path/filepath"
{{if .Answer}}
	_ "{{.Package}}/answer"
{{end}}
	_ "{{.Package}}/heap"
{{range $i, $name := .Programs}}
	p{{$i}} "{{$.Package}}/{{$name}}"{{end}}
)

func main() {
	file, _ := os.Executable()
	for _, name := range []string{file, os.Args[0]} {
		switch filepath.Base(name) {
{{range $i, $name := .Programs}}		case "{{$name}}":
			p{{$i}}.Main()
			return
{{end}}		}
	}
	fmt.Fprintf(os.Stderr, "%s: this file is {{range $i, $name := .Programs}}{{if $i}}, {{end}}{{$name}}{{end}}: give it one of these names\n", os.Args[0])
	os.Exit(2)
}
`

// answerSource says a program's version as soon as it can be said. Go starts a
// program with the init functions of all packages, of which those go first that
// import least: this one needs nothing but system calls. kubeadm asks the
// kubelet for its version twice on each node; started in full for that, it
// takes 70 ms, and the kernel holds on to 50 MB of pages that were used twice.
const answerSource = `// Package answer answers to --version alone, before other packages start.
package answer

import "syscall"

const version = {{printf "%q" .Answer}}

func init() {
	var words [256]byte
	file, err := syscall.Open("/proc/self/cmdline", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	n, _ := syscall.Read(file, words[:])
	syscall.Close(file)
	for i := range max(n, 0) {
		if words[i] != 0 {
			continue
		}
		if string(words[i+1:n]) == "--version\x00" {
			syscall.Write(1, []byte(version))
			syscall.Exit(0)
		}
		return
	}
}
`

// heapSource lets a program's heap grow threefold before it is swept while it starts,
// up to a size that it is told. A daemon makes most of its garbage in its first
// seconds, when it has the least time to collect it. What it keeps then lies scattered
// over as much memory for good, so the first sweeps come early, when they cost little,
// and the size should be no larger than it must. Once GOGC asks for more, as with a
// full store, GOGC counts.
const heapSource = `// Package heap collects little garbage while a program starts.
package heap

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"sync"
	"time"
)

const (
	minimum = 4 << 20  // bytes, the heap's first goal at a GOGC of 100 (runtime/mgcpacer.go)
	first   = 16 << 20 // bytes, when it is swept first
	growth  = 200      // percent
	startup = 30 * time.Second
)

func init() {
	mib, err := strconv.Atoi(os.Getenv("PETRI_STARTUP_HEAP"))
	if err != nil || mib<<20 < minimum {
		return
	}
	s := &starting{goal: mib << 20}
	s.lasting = debug.SetGCPercent(100 * min(s.goal, first) / minimum)
	if s.lasting < 0 { // somebody has turned collecting off
		debug.SetGCPercent(s.lasting)
		return
	}
	s.watch()
	time.AfterFunc(startup, s.end)
}

// starting is a program in its first half minute.
type starting struct {
	goal, lasting int // bytes, percent
	mu            sync.Mutex
	ended         bool
}

// mark has a pointer, so that it is an object of its own.
type mark struct{ _ *byte }

// watch sets the next goal after each collection.
func (s *starting) watch() { runtime.SetFinalizer(new(mark), func(*mark) { s.collected() }) }

func (s *starting) collected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	live := make([]metrics.Sample, 1)
	live[0].Name = "/gc/heap/live:bytes"
	metrics.Read(live)
	kept := max(minimum, int(live[0].Value.Uint64()))
	debug.SetGCPercent(max(s.lasting, min(growth, 100*(s.goal-kept)/kept)))
	s.watch()
}

func (s *starting) end() {
	s.mu.Lock()
	s.ended = true
	debug.SetGCPercent(s.lasting)
	s.mu.Unlock()
	debug.FreeOSMemory()
}
`

// generate writes a file of the combined program.
func (s Step) generate(c *combined, source, to string) error {
	t, err := template.New(filepath.Base(to)).Parse(source)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	err = t.Execute(&text, map[string]any{"Programs": c.programs, "Package": c.pkg, "Answer": s.fill(time.Time{}).Replace(s.Answer)})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, text.Bytes(), 0o644)
}

// link gives the combined program in the directory bin its names.
func (c *combined) link(bin string) error {
	for _, name := range c.programs {
		at := filepath.Join(bin, name)
		if err := os.RemoveAll(at); err != nil {
			return err
		}
		if err := os.Symlink(combinedName, at); err != nil {
			return err
		}
	}
	return nil
}

// unlink removes a name that an earlier build gave to a combined program: the
// go command would write through it.
func unlink(at string) error {
	if _, err := os.Readlink(at); err != nil {
		return nil
	}
	return os.Remove(at)
}
