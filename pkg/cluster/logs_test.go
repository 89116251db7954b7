package cluster

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	corev1 "k8s.io/api/core/v1"

	"github.com/petri-cluster/petri/pkg/cluster/clustertest"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/provider/fake"
	"github.com/petri-cluster/petri/pkg/redact"
	"github.com/petri-cluster/petri/pkg/registry"
)

// sends answers "tar" with an archive of these entries, and ends with code.
func sends(code int, entries ...tar.Header) fake.Handler {
	return func(_ context.Context, _ node.Node, cmd exec.Cmd) error {
		w := tar.NewWriter(cmd.Stdout)
		for _, h := range entries {
			data := []byte("content of " + h.Name)
			if h.Typeflag == tar.TypeReg {
				h.Size = int64(len(data))
			}
			h.Mode = 0o640
			if err := w.WriteHeader(&h); err != nil {
				return err
			}
			if h.Typeflag == tar.TypeReg {
				if _, err := w.Write(data); err != nil {
					return err
				}
			}
		}
		if err := w.Close(); err != nil {
			return err
		}
		if code != 0 {
			return fake.Exit(cmd, code, "tar: file changed as we read it")
		}
		return nil
	}
}

func regular(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }

// logging is a scene with cluster "dev" of two nodes, whose commands answer.
func logging(t *testing.T, archive fake.Handler) *scene {
	t.Helper()
	s := newScene(t)
	s.create(t, 1)
	s.Handle(fake.Print("a line of the journal\n"), "journalctl")
	s.Handle(fake.Print("a container\n"), "crictl")
	s.Handle(fake.Print("v1.36.3\n"), "cat", "/kind/version")
	s.Handle(fake.Print("password = \"hunter22\"\n"), "sh", "-c") // that prints credentials
	s.Handle(fake.Print(""), "systemctl")
	s.Handle(archive, "tar")
	return s
}

// files are the regular files below dir, with slashes.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			rel, _ := filepath.Rel(dir, path)
			out = append(out, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestExportLogs(t *testing.T) {
	// tar ends with 1 when a file grew meanwhile; that is no error
	s := logging(t, sends(1, tar.Header{Name: "./pods/", Typeflag: tar.TypeDir}, regular("./pods/etcd/0.log")))
	dir := filepath.Join(t.TempDir(), "logs")
	calls := s.calls(func() {
		if path, err := s.ExportLogs(t.Context(), "dev", dir); err != nil || path != dir {
			t.Fatalf("it is in %q, %v", path, err)
		}
	})
	var want []string
	for _, n := range []string{"dev-control-plane", "dev-worker"} {
		for _, f := range []string{
			"containerd.log", "containers.log", "images.log", "inspect.json", "journal.log", "kubelet.log",
			"kubernetes-version.txt", "pods/etcd/0.log", "serial.log",
		} {
			want = append(want, n+"/"+f)
		}
	}
	want = append([]string{"config.yaml"}, want...)
	want = append(want, "doctor.json", "events.txt", "objects/deployments.apps.yaml", "petri-version.txt", "provider.json", "status.json", "summary.html", "timeline.txt")
	if diff := cmp.Diff(want, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for file, text := range map[string]string{
		"dev-worker/pods/etcd/0.log": "content of ./pods/etcd/0.log", "dev-worker/kubernetes-version.txt": "v1.36.3\n",
		"dev-worker/kubelet.log": "a line of the journal\n", "status.json": `"usable": true`, "config.yaml": "name: dev\n", "doctor.json": `"works": true`,
		"timeline.txt": "node dev-worker  created\n", "events.txt": "coredns-1  created\n", "summary.html": "Nothing was found to be wrong.",
	} {
		if data := read(t, dir, file); !strings.Contains(data, text) {
			t.Errorf("%s: %q", file, data)
		}
	}
	listings := 0
	for _, call := range s.Calls()[len(s.Calls())-calls:] {
		if call == "list nodes of dev" {
			listings++
		}
	}
	if listings > 4 { // once for the nodes, and for where the API is: for the export, its status, and the status of the API
		t.Errorf("the engine was asked for the nodes %d times", listings)
	}
}

// read is the content of a file below dir.
func read(t *testing.T, dir, file string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(file)))
	if err != nil {
		t.Error(err)
	}
	return string(data)
}

// TestExportLogsToFile reads the archive back; nothing stays beside it.
func TestExportLogsToFile(t *testing.T) {
	s := logging(t, sends(0, regular("0.log"), tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "0.log"}))
	dir := filepath.Join(t.TempDir(), "made")
	path := filepath.Join(dir, "dev.tar.zst")
	for range 2 { // the second time it is there
		if got, err := s.ExportLogs(t.Context(), "dev", path); err != nil || got != path {
			t.Fatalf("it is in %q, %v", got, err)
		}
	}
	if diff := cmp.Diff([]string{"dev.tar.zst"}, files(t, dir)); diff != "" {
		t.Errorf("beside the archive (-want +got):\n%s", diff)
	}
	packed, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	plain, err := zstd.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := untar(plain, root, new(export).unpackFile); err != nil {
		t.Fatal(err)
	}
	if text := read(t, root.Name(), "dev/dev-worker/link"); text != "content of 0.log" {
		t.Errorf("a log has %q", text)
	}
	if text := read(t, root.Name(), "dev/summary.html"); !strings.Contains(text, "Cluster dev") {
		t.Errorf("the summary is %q", text)
	}
}

// TestExportLogsRefused names what is wrong with a target before anything is
// asked of a node.
func TestExportLogsRefused(t *testing.T) {
	s := logging(t, sends(0))
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Mkdir(filepath.Join(dir, "d.tar.zst"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"logs.zip", "logs.tar.gz", file, filepath.Join(file, "below"), filepath.Join(dir, "d.tar.zst"), filepath.Join(file, "x.tar.zst")} {
		before := len(s.Commands())
		path, err := s.ExportLogs(t.Context(), "dev", target)
		wantError(t, err, errdefs.ClassUsage, "EXPORT-TARGET")
		if path != "" || len(s.Commands()) != before {
			t.Errorf("%s: path %q, and commands were run", target, path)
		}
	}
	if path, err := s.ExportLogs(t.Context(), "none", ""); path != "" || !errdefs.Is(err, errdefs.ClassNotFound) {
		t.Errorf("of no cluster: %q, %v", path, err)
	}
}

// TestExportLogsWithoutSecrets looks for what must not be seen in every file.
func TestExportLogsWithoutSecrets(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://me:pr0xy-word@proxy.example:3128")
	secrets := []string{clustertest.Secret, base64.StdEncoding.EncodeToString([]byte(clustertest.Secret)), "pr0xy-word", "hunter22", clustertest.Token}
	leak := strings.Join(secrets, " and ") + "\n"
	s := logging(t, func(ctx context.Context, n node.Node, cmd exec.Cmd) error {
		w := tar.NewWriter(cmd.Stdout)
		err := w.WriteHeader(&tar.Header{Name: "app.log", Typeflag: tar.TypeReg, Size: int64(len(leak)), Mode: 0o600})
		_, writeErr := io.WriteString(w, leak)
		return errors.Join(err, writeErr, w.Close())
	})
	s.Handle(fake.Print(leak), "journalctl")
	s.API("dev").Trouble(kube.Trouble{Kind: kube.PodFailing, What: "pod default/web", Why: "it said " + leak})
	dir := t.TempDir()
	if _, err := s.ExportLogs(t.Context(), "dev", dir); err != nil {
		t.Fatal(err)
	}
	for _, file := range files(t, dir) {
		for _, secret := range secrets {
			if text := read(t, dir, file); strings.Contains(text, secret) {
				t.Errorf("%s has %s", file, secret)
			}
		}
	}
	for _, file := range []string{"dev-worker/app.log", "dev-worker/kubelet.log", "summary.html"} {
		if text := read(t, dir, file); !strings.Contains(text, redact.Mark+" and "+redact.Mark) {
			t.Errorf("%s is %s", file, text)
		}
	}
}

// TestExportLogsKnowsCredentials has passwords that no pattern finds whole, in
// what nodes were told and in what users wrote, on nodes that run and not.
func TestExportLogsKnowsCredentials(t *testing.T) {
	const given, written = `p&q;r's"t u(v)`, `a&b;c'd"e f(g)`
	auth, err := registry.Auth(map[string]registry.Credentials{"corp": {Username: "me", Password: given}})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := json.Marshal(nodeimage.Plan{RegistryAuth: auth})
	if err != nil {
		t.Fatal(err)
	}
	conf := "[plugins.'io.containerd.cri.v1.images'.registry.configs.mine.auth]\nusername = 'me'\npassword = \"" + strings.ReplaceAll(written, `"`, `\"`) + "\"\n"
	leak := strings.Join([]string{given, base64.StdEncoding.EncodeToString([]byte("me:" + given)), written}, " and ") + "\n"
	for _, state := range []node.State{node.Running, node.Stopped} {
		s := logging(t, sends(0))
		s.Handle(fake.Print(leak+conf), "journalctl")
		s.PutFile("dev-worker", nodeimage.PlanPath, plan)
		s.PutFile("dev-worker", containerdConf, []byte(conf))
		s.SetState("dev-worker", state)
		dir := t.TempDir()
		if _, err := s.ExportLogs(t.Context(), "dev", dir); err != nil && strings.Contains(err.Error(), "may be in this export") {
			t.Errorf("%s: %v", state, err)
		}
		want := "REDACTED and REDACTED and REDACTED\n" + strings.Split(conf, "password")[0] + "password = \"REDACTED\"\n"
		if diff := cmp.Diff(want, read(t, dir, "dev-worker/journal.log")); diff != "" {
			t.Errorf("%s: the journal (-want +got):\n%s", state, diff)
		}
	}
}

// TestExportLogsNamesUnknownCredentials has files that cannot be parsed.
func TestExportLogsNamesUnknownCredentials(t *testing.T) {
	for _, state := range []node.State{node.Running, node.Stopped} {
		s := logging(t, sends(0))
		s.PutFile("dev-worker", nodeimage.PlanPath, []byte("torn"))
		s.PutFile("dev-worker", containerdConf, []byte("torn = 'hunter33"))
		s.SetState("dev-worker", state)
		_, err := s.ExportLogs(t.Context(), "dev", t.TempDir())
		wantError(t, err, errdefs.ClassFailed, "EXPORT-INCOMPLETE", "node dev-worker: ", "may be in this export", nodeimage.PlanPath+": not a plan", containerdConf+": not TOML")
		if strings.Contains(err.Error(), "hunter33") {
			t.Errorf("%s: the error quotes the file: %v", state, err)
		}
	}
}

// TestExportLogsKnowsSecretsFirst has a Secret in what the engine says of itself.
func TestExportLogsKnowsSecretsFirst(t *testing.T) {
	s := logging(t, sends(0))
	s.SetInfo(provider.Info{Name: "fake", OS: "linux", Architecture: "amd64", CgroupVersion: 2, StorageDriver: clustertest.Secret})
	dir := t.TempDir()
	if _, err := s.ExportLogs(t.Context(), "dev", dir); err != nil {
		t.Fatal(err)
	}
	if text := read(t, dir, "provider.json"); strings.Contains(text, clustertest.Secret) || !strings.Contains(text, redact.Mark) {
		t.Errorf("the engine is %s", text)
	}
}

// TestExportLogsStaysInside sends what would land elsewhere: anybody in a node
// can write such a thing.
func TestExportLogsStaysInside(t *testing.T) {
	for name, refused := range map[string]bool{"../../escaped.log": true, "/escaped.log": true, "link/escaped.log": false} {
		s := logging(t, sends(0, tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/"}, regular(name)))
		top := t.TempDir()
		if _, err := s.ExportLogs(t.Context(), "dev", filepath.Join(top, "logs")); (err != nil) != refused {
			t.Errorf("%s: error %v, want one: %t", name, err, refused)
		}
		for _, f := range files(t, top) {
			if strings.HasSuffix(f, "escaped.log") && !strings.HasPrefix(f, "logs/dev-") {
				t.Errorf("%s was written to %s", name, f)
			}
		}
		if _, err := os.Stat("/escaped.log"); err == nil {
			t.Errorf("%s was written to the root", name)
		}
	}
}

// TestExportLogsOfBrokenCluster wants what can be had, all errors, and the page
// to open with them.
func TestExportLogsOfBrokenCluster(t *testing.T) {
	s := logging(t, sends(0, regular("pods/default_web_1/app/0.log"), regular("pods/default_web_1/app/10.log")))
	s.Handle(fake.Fail(1, "no crictl"), "crictl")
	s.Handle(fake.Print("kubelet.service loaded failed failed the kubelet\n"), "systemctl")
	s.SetState("dev-worker", node.Stopped)
	s.API("dev").Trouble(kube.Trouble{Kind: kube.PodFailing, Node: "dev-control-plane", What: "pod default/web, container app", Why: "CrashLoopBackOff", Log: "pods/default_web_1/app"})
	dir := t.TempDir()
	path, err := s.ExportLogs(t.Context(), "dev", dir)
	e := wantError(t, err, errdefs.ClassFailed, "EXPORT-INCOMPLETE", "node dev-control-plane: ", "no crictl", "node dev-worker: it is stopped")
	if path != dir || !strings.Contains(e.Hint, dir) {
		t.Errorf("it is in %q; hint %q", path, e.Hint)
	}
	have := files(t, dir)
	for _, want := range []string{
		"dev-control-plane/journal.log", "dev-control-plane/failed-units/kubelet.service.log", "dev-worker/serial.log", "dev-worker/inspect.json",
		"dev-worker/kubelet.log", "dev-worker/pods/default_web_1/app/0.log", "status.json",
	} {
		if !slices.Contains(have, want) {
			t.Errorf("there is no %s in %q", want, have)
		}
	}
	page := read(t, dir, "summary.html")
	for _, want := range []string{
		"node not running</span> node dev-worker", "it is stopped; its first process ended with exit code 137",
		"CrashLoopBackOff", "content of pods/default_web_1/app/10.log", "kubelet.service on node dev-control-plane", "no crictl",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Index(page, "What is wrong") > strings.Index(page, "<h2>Nodes") {
		t.Error("the page does not open with what is wrong")
	}
}

// TestExportLogsWithoutAPI takes a cluster that never came up: the words of the
// control plane explain it.
func TestExportLogsWithoutAPI(t *testing.T) {
	s := logging(t, sends(0, regular("pods/kube-system_etcd-dev-control-plane_1/etcd/0.log")))
	s.World.Break("Connect", errBroken)
	dir := t.TempDir()
	_, err := s.ExportLogs(t.Context(), "dev", dir)
	wantError(t, err, errdefs.ClassFailed, "EXPORT-INCOMPLETE", "objects and events of the cluster: "+errBroken.Error())
	page := read(t, dir, "summary.html")
	for _, want := range []string{"API not answering", "kube-apiserver on node dev-control-plane", "it has written no log", "content of pods/kube-system_etcd-", "a line of the journal"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if text := read(t, dir, "status.json"); !strings.Contains(text, `"usable": false`) {
		t.Errorf("the status is %s", text)
	}
}

// TestExportLogsKnowsFailures has what logs tell and what doctor finds on the
// page, with what to do.
func TestExportLogsKnowsFailures(t *testing.T) {
	s := logging(t, func(_ context.Context, _ node.Node, cmd exec.Cmd) error {
		const log = "Error: unknown flag: --no-such-flag\n"
		w := tar.NewWriter(cmd.Stdout)
		err := w.WriteHeader(&tar.Header{Name: "pods/kube-system_web_1/web/3.log", Typeflag: tar.TypeReg, Size: int64(len(log)), Mode: 0o600})
		_, writeErr := io.WriteString(w, log)
		return errors.Join(err, writeErr, w.Close())
	})
	sickHost(s, 1<<20)
	s.API("dev").Trouble(kube.Trouble{Kind: kube.PodFailing, Node: "dev-worker", What: "pod kube-system/web, container web", Why: "CrashLoopBackOff", Log: "pods/kube-system_web_1/web"})
	dir := t.TempDir()
	if _, err := s.ExportLogs(t.Context(), "dev", dir); err != nil {
		t.Fatal(err)
	}
	page := read(t, dir, "summary.html")
	for _, want := range []string{"<code>COMPONENT-FLAG</code>", "web does not know its flag --no-such-flag", "<b>Do:</b> correct it"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q:\n%s", want, page)
		}
	}
	wrong, doubtful := strings.Index(page, "<code>DISK-FULL</code>"), strings.Index(page, "<code>INOTIFY-LOW</code>")
	if begin := strings.Index(page, "What may be wrong"); wrong < 0 || wrong > begin || doubtful < begin {
		t.Errorf("a full disk is at %d, scarce inotify instances at %d; what may be wrong begins at %d", wrong, doubtful, begin)
	}
}

// TestExportLogsWithoutAPIWithoutSecrets has the Secrets of a cluster only on
// the disk of its control plane, running or not.
func TestExportLogsWithoutAPIWithoutSecrets(t *testing.T) {
	const secret = "kept-on-disk"
	s := logging(t, sends(0, regular("0.log")))
	object := corev1.Secret{Data: map[string][]byte{"password": []byte(secret)}}
	content, err := object.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	s.Handle(fake.Print("\x00\x00k8s\x00\x0a\x0c\x0a\x02v1\x12\x06Secret\x12"+string(rune(len(content)))+string(content)), "sh", "-c")
	s.Handle(fake.Print("it is "+secret+"\n"), "journalctl")
	s.World.Break("Connect", errBroken)
	for _, state := range []node.State{node.Running, node.Stopped, node.Paused} {
		s.SetState("dev-control-plane", state)
		dir := t.TempDir()
		if _, err := s.ExportLogs(t.Context(), "dev", dir); err == nil || strings.Contains(err.Error(), "may be in this export") {
			t.Errorf("%s: error %v", state, err)
		}
		if text := read(t, dir, "dev-worker/journal.log"); text != "it is "+redact.Mark+"\n" {
			t.Errorf("%s: the journal has %q", state, text)
		}
	}
}

// TestExportLogsOfPausedNode has a console, and nothing from inside.
func TestExportLogsOfPausedNode(t *testing.T) {
	s := logging(t, sends(0))
	s.SetState("dev-worker", node.Paused)
	dir := t.TempDir()
	_, err := s.ExportLogs(t.Context(), "dev", dir)
	wantError(t, err, errdefs.ClassFailed, "EXPORT-INCOMPLETE", "node dev-worker: it is paused")
	if have := files(t, dir); slices.Contains(have, "dev-worker/journal.log") || !slices.Contains(have, "dev-worker/serial.log") {
		t.Errorf("there are %q", have)
	}
}

// TestExportLogsFailsAtEveryCall fails each call to the engine in turn: only
// without the nodes is there nothing to export.
func TestExportLogsFailsAtEveryCall(t *testing.T) {
	for name, inject := range injections {
		t.Run(name, func(t *testing.T) {
			for n := 1; ; n++ {
				s := logging(t, sends(0, regular("0.log")))
				s.SetState("dev-worker", node.Stopped) // which makes an error of its own
				before := len(s.Calls())
				inject(s, before+n)
				dir := filepath.Join(t.TempDir(), "logs")
				path, err := s.ExportLogs(t.Context(), "dev", dir)
				if len(s.Calls()) < before+n {
					if n < 20 {
						t.Errorf("an export takes %d calls", n-1)
					}
					return
				}
				when := s.Calls()[before+n-1]
				if err == nil {
					t.Errorf("%s: no error", when)
				}
				if n == 1 {
					if _, statErr := os.Stat(dir); path != "" || !errors.Is(err, errBroken) || statErr == nil {
						t.Errorf("%s: %q, %v, %v", when, path, err, statErr)
					}
					continue
				}
				if page := read(t, dir, "summary.html"); path != dir || !strings.Contains(page, "Cluster dev") || !strings.Contains(page, "dev-worker") {
					t.Errorf("%s: %q, %v", when, path, err)
				}
			}
		})
	}
}

func TestExportLogsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := logging(t, func(ctx context.Context, _ node.Node, _ exec.Cmd) error {
		cancel() // in the middle of the archive
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if _, err := s.ExportLogs(ctx, "dev", t.TempDir()); !errors.Is(err, context.Canceled) || errdefs.ExitCode(err) != 130 {
		t.Errorf("error %v", err)
	}
}

func TestUntarLinks(t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name, target := range map[string]string{
		"containers/good.log": "/var/log/pods/p/c/0.log",
		"containers/near.log": "../pods/p/c/0.log",
		"containers/key":      "/etc/kubernetes/admin.conf",
		"containers/up":       "../../../etc/passwd",
		"out":                 "..",
	} {
		if err := w.WriteHeader(&tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := untar(&archive, root, new(export).unpackFile); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"good.log", "near.log"} {
		if got, err := root.Readlink("containers/" + name); got != "../pods/p/c/0.log" {
			t.Errorf("%s links to %q: %v", name, got, err)
		}
	}
	for _, name := range []string{"containers/key", "containers/up", "out"} {
		if _, err := root.Lstat(name); err == nil {
			t.Errorf("%s was unpacked", name)
		}
	}
}

// A cluster of another tool's keeps no configuration, which is no lack.
func TestExportOfForeignConfiguration(t *testing.T) {
	e := &export{Manager: newScene(t).Manager, nodes: []node.Node{{Name: "a-control-plane", Role: nodeimage.RoleControlPlane, State: node.Running, Foreign: true}}}
	if err := e.config(t.Context(), nil); err != nil {
		t.Error(err)
	}
}
