package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/petri-cluster/petri/cmd/petri/command"
	nodeimagefiles "github.com/petri-cluster/petri/node-image"
	"github.com/petri-cluster/petri/pkg/cluster"
	"github.com/petri-cluster/petri/pkg/cluster/clustertest"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/image/imagetest"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/provider/all"
	"github.com/petri-cluster/petri/pkg/provider/fake"
	"github.com/petri-cluster/petri/pkg/release"
)

var update = flag.Bool("update", false, "write what scripts compare with")

// TestScripts runs the scripts in testdata/script. Each has an engine of its
// own, on which petri runs in this process. Their commands, beside those of
// testscript:
//
//	petri ARGS...              run petri
//	kind ARGS...               run petri, called kind
//	code N                     the last petri ended with this exit code
//	input FILE                 the next petri reads FILE as standard input
//	engine down|up             the engine cannot be reached, or can again
//	engine objects             print what is on the engine
//	engine image REF VERSION   put a node image on the engine
//	engine fail N              the N-th call from now on fails
//	engine stop NODE           stop a node
//	engine weak|strong|vfs     it has one CPU and little memory, enough, or a slow storage driver
//	engine app REF TEXT        put an image on the engine whose last layer is TEXT
//	engine far-app REF TEXT    the same, where its storage cannot be read
//	archive FILE REF TEXT      write such an image to a file
//	node full NODE             the disk of a node is full
//	api break METHOD           calls to clusters' APIs fail
//	api interrupt METHOD       they fail as if interrupted
//	api mend METHOD            they work again
//	api forget CLUSTER NODE    a node leaves the cluster
//	api hold CLUSTER NODE WHAT a node has what is nowhere else
//	kubeadm fails              node helpers fail
//	kubeadm refuses            node helpers of joining nodes fail
//	kubeadm forgets PATH       a manifest of the node image has nothing of use in it
//	jsonlines FILE             every line is an event as JSON
func TestScripts(t *testing.T) {
	dir, err := filepath.Abs(filepath.Join("testdata", "script"))
	if err != nil {
		t.Fatal(err)
	}
	versions, err := release.LoadVersions(nodeimagefiles.Versions)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                dir, // absolute: petri's working directory is the process's
		UpdateScripts:      *update,
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			s := &stage{World: clustertest.New(), ctx: t.Context()}
			env.Defer(func() { s.CloseStores() })
			s.AddImage("petri/node:"+versions.Kubernetes.Version, clustertest.NodeImage(versions.Kubernetes.Version))
			env.Values[stageKey{}] = s
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, ".cache"))
			env.Setenv("KUBERNETES", versions.Kubernetes.Version)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"petri": called("petri"), "kind": called("kind"), "code": code, "input": input, "engine": engine, "archive": archive, "node": nodeCommand, "api": api, "kubeadm": kubeadm, "jsonlines": jsonLines,
		},
	})
}

// stage is what one script plays on.
type stage struct {
	*clustertest.World
	ctx   context.Context
	down  bool
	stdin string
	code  int
}

type stageKey struct{}

func stageOf(ts *testscript.TestScript) *stage { return ts.Value(stageKey{}).(*stage) }

// process guards what a process has one of: scripts run at the same time.
var process sync.Mutex

// variables are those of the environment that petri reads.
var variables = []string{"HOME", "XDG_CACHE_HOME", "KUBECONFIG", "PETRI_CLUSTER_NAME", "PETRI_PROVIDER",
	"KIND_CLUSTER_NAME", "KIND_EXPERIMENTAL_PROVIDER", "KIND_EXPERIMENTAL_DOCKER_NETWORK"}

// enter makes the script's working directory and environment the process's.
func enter(ts *testscript.TestScript) (leave func()) {
	process.Lock()
	before, err := os.Getwd()
	ts.Check(err)
	ts.Check(os.Chdir(ts.MkAbs(".")))
	old := map[string]string{}
	for _, name := range variables {
		old[name] = os.Getenv(name)
		ts.Check(setenv(name, ts.Getenv(name)))
	}
	return func() {
		defer process.Unlock()
		ts.Check(os.Chdir(before))
		for name, value := range old {
			ts.Check(setenv(name, value))
		}
	}
}

func setenv(name, value string) error {
	if value == "" {
		return os.Unsetenv(name)
	}
	return os.Setenv(name, value)
}

// called runs petri under a name.
func called(program string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) { petri(ts, neg, program, args) }
}

func petri(ts *testscript.TestScript, neg bool, program string, args []string) {
	s := stageOf(ts)
	app := &command.App{
		Program: program, In: strings.NewReader(s.stdin), Out: ts.Stdout(), Err: ts.Stderr(), Detect: s.detect,
		Connect: func(kubeconfig []byte, server string) (cluster.API, error) {
			return s.World.Connect(kubeconfig, server)
		},
		OpenStore: s.OpenStore,
	}
	leave := enter(ts)
	s.code = app.Fail(app.Execute(s.ctx, args))
	leave()
	s.stdin = ""
	if neg != (s.code != 0) {
		ts.Fatalf("%s ended with exit code %d", program, s.code)
	}
}

func (s *stage) detect(ctx context.Context, name string) (provider.Provider, error) {
	switch {
	case name != "" && name != "fake":
		return all.Detect(ctx, name)
	case s.down:
		return nil, errdefs.New(errdefs.ClassUnavailable, "ENGINE-DOWN", "the engine does not answer").WithHint("start it")
	}
	return s.World, nil
}

func code(ts *testscript.TestScript, _ bool, args []string) {
	if got := strconv.Itoa(stageOf(ts).code); len(args) != 1 || args[0] != got {
		ts.Fatalf("petri ended with exit code %s, want %q", got, args)
	}
}

func input(ts *testscript.TestScript, _ bool, args []string) {
	stageOf(ts).stdin = ts.ReadFile(args[0])
}

func engine(ts *testscript.TestScript, _ bool, args []string) {
	s := stageOf(ts)
	switch args[0] {
	case "down", "up":
		s.down = args[0] == "down"
	case "objects":
		for _, o := range s.Objects() {
			fmt.Fprintln(ts.Stdout(), o)
		}
		ts.Stdout() // also when there are none
	case "image":
		s.AddImage(args[1], clustertest.NodeImage(args[2]))
	case "bare":
		s.AddImage(args[1], fake.Image{})
	case "fail":
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		s.FailAt(len(s.Calls())+n, errors.New("the engine broke"))
	case "stop":
		s.SetState(args[1], node.Stopped)
	case "weak", "strong", "vfs":
		info, err := s.Check(s.ctx)
		ts.Check(err)
		info.CPUs, info.MemoryBytes, info.StorageDriver = 2, 8<<30, "overlay2"
		switch args[0] {
		case "weak":
			info.CPUs, info.MemoryBytes = 1, 1<<30
		case "vfs":
			info.StorageDriver = "vfs"
		}
		s.SetInfo(info)
	case "app", "far-app":
		img := clustertest.AppImage(app(args[1], args[2]))
		if args[0] == "far-app" {
			img.Stored = provider.StoredImage{}
		}
		s.AddImage(args[1], img)
	default:
		ts.Fatalf("engine cannot %q", args)
	}
}

// app is a small image whose last layer is text.
func app(ref, text string) imagetest.Image {
	return imagetest.Image{Name: ref, Layers: [][]byte{
		imagetest.Layer("base", bytes.Repeat([]byte("x"), 10_000)), imagetest.Layer("app", []byte(text)),
	}}
}

func archive(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), imagetest.Tar(app(args[1], args[2]).Saved()), 0o644))
}

func nodeCommand(ts *testscript.TestScript, _ bool, args []string) {
	if args[0] != "full" {
		ts.Fatalf("a node cannot %q", args)
	}
	store, err := stageOf(ts).NodeStore(args[1])
	ts.Check(err)
	store.OnWrite(func(int64) error { return syscall.ENOSPC })
}

func api(ts *testscript.TestScript, _ bool, args []string) {
	s := stageOf(ts)
	switch args[0] {
	case "break":
		s.Break(args[1], errors.New("the API broke"))
	case "interrupt":
		s.Break(args[1], context.Canceled)
	case "mend":
		s.Break(args[1], nil)
	case "forget":
		s.API(args[1]).Forget(args[2])
	case "hold":
		s.API(args[1]).Hold(args[2], args[3])
	default:
		ts.Fatalf("an API cannot %q", args)
	}
}

func kubeadm(ts *testscript.TestScript, _ bool, args []string) {
	s := stageOf(ts)
	switch args[0] {
	case "fails":
		s.Handle(fake.Events(nodeimage.NodeEvent{
			Kind: nodeimage.NodeFailed, Error: "phase etcd: it did not start", Log: "etcd: no space left on device",
		}), nodeimage.HelperPath, "init")
	case "refuses":
		s.Handle(fake.Events(nodeimage.NodeEvent{Kind: nodeimage.NodeFailed, Error: "the token is unknown"}), nodeimage.HelperPath, "join")
	case "forgets":
		events := clustertest.InitEvents("petri")
		for i := range events {
			if events[i].Name == args[1] {
				events[i].Data = "{kind: ConfigMap, metadata: {name: nothing}}"
			}
		}
		s.InitSays(events...)
	default:
		ts.Fatalf("kubeadm cannot %q", args)
	}
}

func jsonLines(ts *testscript.TestScript, _ bool, args []string) {
	lines := strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "\n")
	for _, line := range lines {
		var event struct{ Time, Status string }
		if err := json.Unmarshal([]byte(line), &event); err != nil || event.Time == "" || event.Status == "" {
			ts.Fatalf("no event: %q (%v)", line, err)
		}
	}
	if len(lines) < 2 {
		ts.Fatalf("only %d events", len(lines))
	}
}
