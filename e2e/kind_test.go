//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petri-cluster/petri/pkg/bench/engine"
	"github.com/petri-cluster/petri/pkg/exec"
)

// kindVersion is the kind that must be able to use petri's image unchanged.
const kindVersion = "v0.33.0"

// Images on the engine that kind is run on, beside the node image.
const (
	smallImage    = "petri-e2e/loaded:1"   // nothing in it
	registryImage = "petri-e2e/registry:1" // a server at port 5000
)

// kindPlace is the engine on which unmodified kind runs: it lets --privileged
// through, which the machine's own may not.
var kindPlace = &privilegedEngine{}

type privilegedEngine struct {
	once   sync.Once
	engine *engine.Engine
	kind   string // unmodified kind
	asKind string // petri, called kind
	image  string
	err    error
}

// get starts the engine the first time; a failure fails every user.
func (p *privilegedEngine) get(t *testing.T) *privilegedEngine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("an engine for kind is started by root only")
	}
	p.once.Do(func() {
		p.err = errors.New("it was not started: the first test that needs it says why")
		p.kind = installKind(t)
		p.image = nodeImage(t)
		p.err = p.start(context.Background())
	})
	if p.err != nil {
		t.Fatalf("the engine for kind: %v", p.err)
	}
	return p
}

func (p *privilegedEngine) start(ctx context.Context) error {
	e, err := engine.Start(ctx, engine.Options{Images: []string{p.image}})
	if err != nil {
		return err
	}
	p.engine = e
	p.asKind = filepath.Join(toolsDir, "as-kind", "kind")
	if err := os.MkdirAll(filepath.Dir(p.asKind), 0o755); err != nil {
		return err
	}
	program := filepath.Join(toolsDir, "server", "registry")
	build := exec.Cmd{
		Args: []string{"go", "build", "-o", program, "./testdata/registry"}, Env: []string{"CGO_ENABLED=0"},
	}
	return errors.Join(
		os.Symlink(petriBinary(), p.asKind),
		p.imports(ctx, bytes.NewBuffer(make([]byte, 10240)), smallImage),
		exec.Host{}.Run(ctx, build),
		p.importDir(ctx, filepath.Dir(program), registryImage, "ENTRYPOINT [\"/registry\"]"),
	)
}

// importDir makes an image of a directory's files.
func (p *privilegedEngine) importDir(ctx context.Context, dir, ref string, changes ...string) error {
	var archive bytes.Buffer
	if err := (exec.Host{}).Run(ctx, exec.Cmd{Args: []string{"tar", "-C", dir, "-c", "."}, Stdout: &archive}); err != nil {
		return err
	}
	return p.imports(ctx, &archive, ref, changes...)
}

func (p *privilegedEngine) imports(ctx context.Context, archive *bytes.Buffer, ref string, changes ...string) error {
	args := []string{"docker", "-H", p.engine.Host(), "import"}
	for _, c := range changes {
		args = append(args, "--change", c)
	}
	return exec.Host{}.Run(ctx, exec.Cmd{Args: append(args, "-", ref), Stdin: archive})
}

func (p *privilegedEngine) close() {
	if p.engine == nil {
		return
	}
	if err := p.engine.Close(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: close the engine for kind:", err)
	}
}

// user is somebody who works on the engine: with a kubeconfig and a working
// directory of their own.
type user struct {
	place *privilegedEngine
	dir   string
	env   []string
}

func (p *privilegedEngine) user(t *testing.T) *user {
	dir := t.TempDir()
	return &user{place: p, dir: dir, env: []string{
		"DOCKER_HOST=" + p.engine.Host(), "KUBECONFIG=" + filepath.Join(dir, "kubeconfig"), "PETRI_CLUSTER_NAME=",
		"XDG_CACHE_HOME=" + dir, // two engines of one machine may share an ID, and what is known of it
	}}
}

func (u *user) call(ctx context.Context, args ...string) result {
	var out, errs bytes.Buffer
	err := u.place.engine.Run(ctx, exec.Cmd{Args: args, Env: u.env, Dir: u.dir, Stdout: &out, Stderr: &errs})
	r := result{stdout: out.String(), stderr: errs.String()}
	if e, ok := asExecError(err); ok {
		r.code = e.Code
	} else if err != nil {
		r.code = -1
	}
	return r
}

// must is call, and fails the test when the command does.
func (u *user) must(t *testing.T, args ...string) string {
	t.Helper()
	r := u.call(t.Context(), args...)
	if r.code != 0 {
		t.Fatalf("%s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// Unmodified kind makes a cluster of a control plane and a worker from petri's
// node image, loads an image into it and exports its logs. Then petri lists
// it, looks at it, writes its kubeconfig and logs, and deletes it.
func TestKindUsesTheImage(t *testing.T) {
	t.Parallel()
	p := kindPlace.get(t)
	u := p.user(t)
	const name = "e2e-kind"
	config := filepath.Join(u.dir, "kind.yaml")
	text := "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes: [{role: control-plane}, {role: worker}]\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.call(cleanupContext(t), p.kind, "delete", "cluster", "--name", name) })
	start := time.Now()
	r := u.call(t.Context(), p.kind, "create", "cluster", "--name", name, "--image", p.image, "--config", config, "--wait", "120s", "--retain")
	t.Logf("kind took %s\n%s", time.Since(start).Round(100*time.Millisecond), r.stderr)
	if r.code != 0 {
		t.Fatalf("kind create cluster: %s\n%s", r.stderr, u.call(t.Context(), "docker", "logs", name+"-control-plane").stdout)
	}
	eventually(t, 90*time.Second, func() error {
		r := u.call(t.Context(), "docker", "exec", name+"-control-plane", "kubectl", "get", "nodes,pods", "-A", "--no-headers")
		if r.code != 0 || strings.Contains(r.stdout, "NotReady") || strings.Contains(r.stdout, "0/1") || strings.Count(r.stdout, "coredns") != 2 || !strings.Contains(r.stdout, "petri-cni") {
			return fmt.Errorf("nodes and pods are\n%s%s", r.stdout, r.stderr)
		}
		return nil
	})
	u.must(t, p.kind, "load", "docker-image", smallImage, "--name", name)
	u.must(t, "docker", "exec", name+"-worker", "crictl", "inspecti", "docker.io/"+smallImage)
	u.must(t, p.kind, "export", "logs", filepath.Join(u.dir, "logs"), "--name", name)
	if _, err := os.Stat(filepath.Join(u.dir, "logs", name+"-worker", "kubelet.log")); err != nil {
		t.Error(err)
	}
	petriHandlesKind(t, u, name)
}

// petriHandlesKind lets petri do with a cluster of kind's what it does with its
// own, and delete it.
func petriHandlesKind(t *testing.T, u *user, name string) {
	t.Helper()
	if out := u.must(t, petriBinary(), "get", "clusters", "-o", "name"); !strings.Contains(out, name+"\n") {
		t.Errorf("petri's clusters are\n%s", out)
	}
	if out := u.must(t, petriBinary(), "get", "nodes", "--name", name, "-o", "name"); out != name+"-control-plane\n"+name+"-worker\n" {
		t.Errorf("petri's nodes are\n%s", out)
	}
	if r := u.call(t.Context(), petriBinary(), "status", "--name", name); r.code != 0 {
		t.Errorf("status: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	own := "--kubeconfig=" + filepath.Join(u.dir, "of-petri")
	u.must(t, petriBinary(), "export", "kubeconfig", "--name", name, own)
	kubectl, err := kubectlBinary()
	if err != nil {
		t.Fatal(err)
	}
	if out := u.must(t, kubectl, own, "--context", "kind-"+name, "get", "nodes", "-o", "name"); strings.Count(out, "node/") != 2 {
		t.Errorf("by petri's kubeconfig the nodes are\n%s", out)
	}
	u.must(t, petriBinary(), "load", "image", registryImage, "--name", name)
	u.must(t, "docker", "exec", name+"-worker", "crictl", "inspecti", "docker.io/"+registryImage)
	u.must(t, petriBinary(), "stop", "cluster", "--name", name)
	if out := u.must(t, "docker", "ps", "--quiet", "--filter", "label=io.x-k8s.kind.cluster="+name); out != "" {
		t.Errorf("after the stop there run %s", out)
	}
	u.must(t, petriBinary(), "start", "cluster", "--name", name, "--wait", "2m")
	if out := u.must(t, kubectl, "--context", "kind-"+name, "get", "nodes", "--no-headers"); strings.Count(out, " Ready ") != 2 {
		t.Errorf("after the start, by kind's kubeconfig, the nodes are\n%s", out)
	}
	u.must(t, petriBinary(), "export", "logs", filepath.Join(u.dir, "petri-logs"), "--name", name)
	if _, err := os.Stat(filepath.Join(u.dir, "petri-logs", name+"-worker", "kubelet.log")); err != nil {
		t.Error(err)
	}
	u.must(t, petriBinary(), "delete", "cluster", "--name", name)
	if out := u.must(t, u.place.kind, "get", "clusters"); strings.Contains(out, name+"\n") {
		t.Errorf("after petri deleted %s, kind has\n%s", name, out)
	}
	if out := u.must(t, kubectl, "config", "get-contexts", "-o", "name"); out != "" {
		t.Errorf("kind's entries are still in the kubeconfig:\n%s", out)
	}
}

// Petri, called kind, makes a cluster on the network that kind made; unmodified
// kind lists it, loads into it, exports its logs and kubeconfig, and deletes it.
// With the engine's leave petri's nodes are privileged.
func TestKindHandlesPetri(t *testing.T) {
	t.Parallel()
	place := kindPlace.get(t)
	u := place.user(t)
	const name = "e2e-petri"
	t.Cleanup(func() { u.call(cleanupContext(t), petriBinary(), "delete", "cluster", "--name", name) })
	// as kind makes it: nobody may choose addresses on it
	u.call(t.Context(), "docker", "network", "create", "kind")
	config := filepath.Join(u.dir, "kind.yaml")
	text := "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes: [{role: control-plane}, {role: worker}]\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r := u.call(t.Context(), place.asKind, "create", "cluster", "--name", name, "--image", place.image, "--config", config, "--wait", "120s")
	t.Log(r.stderr)
	if r.code != 0 || r.stdout != "" {
		t.Fatalf("exit code %d, standard output %q", r.code, r.stdout)
	}
	if out := u.must(t, "docker", "network", "inspect", "kind", "--format", "{{range .Containers}}{{.Name}} {{end}}"); !strings.Contains(out, name+"-worker ") {
		t.Errorf("on network kind are %s", out)
	}
	if out := u.must(t, petriBinary(), "status", "--name", name, "-o", "json"); !strings.Contains(out, `"privileges": "privileged"`) {
		t.Errorf("status is\n%s", out)
	}
	if out := u.must(t, place.kind, "get", "clusters"); !strings.Contains(out, name+"\n") {
		t.Errorf("kind's clusters are\n%s", out)
	}
	if out := u.must(t, place.kind, "get", "nodes", "--name", name); len(strings.Fields(out)) != 2 || !strings.Contains(out, name+"-worker\n") {
		t.Errorf("kind's nodes are\n%s", out)
	}
	u.must(t, place.kind, "load", "docker-image", smallImage, "--name", name)
	u.must(t, "docker", "exec", name+"-worker", "crictl", "inspecti", "docker.io/"+smallImage)
	u.must(t, place.kind, "export", "logs", filepath.Join(u.dir, "logs"), "--name", name)
	if _, err := os.Stat(filepath.Join(u.dir, "logs", name+"-worker", "kubelet.log")); err != nil {
		t.Error(err)
	}
	kubectl, err := kubectlBinary()
	if err != nil {
		t.Fatal(err)
	}
	u.must(t, place.kind, "export", "kubeconfig", "--name", name)
	if out := u.must(t, kubectl, "--context", "kind-"+name, "get", "nodes", "-o", "name"); strings.Count(out, "node/") != 2 {
		t.Errorf("nodes are\n%s", out)
	}
	u.must(t, place.kind, "delete", "cluster", "--name", name)
	if out := u.must(t, petriBinary(), "get", "clusters", "-o", "name"); strings.Contains(out, name) {
		t.Errorf("after kind deleted %s, petri has\n%s", name, out)
	}
	u.must(t, petriBinary(), "delete", "cluster", "--name", name) // what kind does not know of
	if out := u.must(t, "docker", "volume", "ls", "--quiet", "--filter", "label=dev.petri.cluster="+name); out != "" {
		t.Errorf("volumes are left: %s", out)
	}
}

// TestKindScripts runs scripts as people have them for kind, with kind and with
// petri in its place: what they print and how they end is the same.
func TestKindScripts(t *testing.T) {
	t.Parallel()
	place := kindPlace.get(t)
	kubectl, err := kubectlBinary()
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob("testdata/kind/*.sh")
	if err != nil || len(scripts) < 6 {
		t.Fatalf("%d scripts, %v", len(scripts), err)
	}
	for _, script := range scripts {
		name := strings.TrimSuffix(filepath.Base(script), ".sh")
		t.Run(name, func(t *testing.T) {
			results := map[string]result{}
			for _, program := range []string{place.kind, place.asKind} {
				u := place.user(t)
				u.env = append(u.env,
					"PATH="+strings.Join([]string{filepath.Dir(program), filepath.Dir(kubectl), os.Getenv("PATH")}, string(os.PathListSeparator)),
					"CLUSTER=e2e-"+name, "NODE_IMAGE="+place.image, "POD_IMAGE="+shell, "REGISTRY_IMAGE="+registryImage,
					"PORT=18080", "KIND_CLUSTER_NAME=")
				path, err := filepath.Abs(script)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { u.call(cleanupContext(t), place.kind, "delete", "cluster", "--name", "e2e-"+name) })
				start := time.Now()
				r := u.call(t.Context(), "bash", path)
				t.Logf("%s: %s, exit code %d\n%s", filepath.Base(filepath.Dir(program)), time.Since(start).Round(100*time.Millisecond), r.code, r.stdout)
				if want := map[string]int{"ci": 3}[name]; r.code != want {
					t.Errorf("exit code %d, want %d\n%s", r.code, want, r.stderr)
				}
				results[program] = r
			}
			if kinds, ours := results[place.kind].stdout, results[place.asKind].stdout; kinds != ours || kinds == "" {
				t.Errorf("with kind the script prints\n%s\nand with petri\n%s", kinds, ours)
			}
		})
	}
}

func installKind(t *testing.T) string {
	t.Helper()
	err := exec.Host{}.Run(t.Context(), exec.Cmd{
		Args: []string{"go", "install", "sigs.k8s.io/kind@" + kindVersion},
		Env:  []string{"GOBIN=" + filepath.Join(toolsDir, "unmodified"), "CGO_ENABLED=0", "GOFLAGS="},
	})
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(toolsDir, "unmodified", "kind")
}
