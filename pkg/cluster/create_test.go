package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/cluster/clustertest"
	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/internal/lockfile"
	"github.com/petri-cluster/petri/pkg/kubeconfig"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
)

func TestCreateOneNode(t *testing.T) {
	s := newScene(t)
	s.create(t, 0)
	if diff := cmp.Diff([]string{"network petri-dev", "node dev-control-plane"}, s.Objects()); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if !s.events.had("join", "", progress.Skipped) {
		t.Error("joining workers is not reported as skipped")
	}
	if !s.events.had("kubeadm/certs", "dev-control-plane", progress.Done) {
		t.Error("phases of kubeadm are not reported")
	}
	got := s.API("dev").Kept()
	slices.Sort(got.Applied)
	if diff := cmp.Diff([]string{"DaemonSet/cni", "StorageClass/standard"}, got.Applied); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
	if got.Server != "https://127.0.0.1:40001" {
		t.Errorf("the API was reached at %s", got.Server)
	}
}

// TestCreateOrder holds three nodes to the order that joining depends on.
func TestCreateOrder(t *testing.T) {
	s := newScene(t)
	s.create(t, 2)
	log := s.Log()
	for _, pair := range [][2]string{
		{"init dev-control-plane", "WaitServing"},
		{"WaitServing", "Apply DaemonSet/cni"},
		{"WaitServing", "join dev-worker"},
		{"WaitServing", "join dev-worker2"},
		{"join dev-worker", "Wait"},
		{"join dev-worker2", "Wait"},
		{"Apply DaemonSet/cni", "Wait"},
		{"Apply StorageClass/standard", "Wait"},
		{"Wait", "DeleteToken"},
		{"DeleteToken", "SaveConfig"},
	} {
		first, second := slices.Index(log, pair[0]), slices.Index(log, pair[1])
		if first < 0 || second < first {
			t.Errorf("%q is not followed by %q in %q", pair[0], pair[1], log)
		}
	}
	for _, c := range s.Commands() {
		if strings.HasPrefix(c.Node, "dev-worker") {
			want := []string{nodeimage.HelperPath, "join"}
			if diff := cmp.Diff(want, c.Args); diff != "" {
				t.Errorf("command on %s (-want +got):\n%s", c.Node, diff)
			}
		}
	}
}

func TestCreateKeepsConfigAndRevokesToken(t *testing.T) {
	s := newScene(t)
	c := dev(t, 1)
	if err := s.Create(t.Context(), c, s.options()); err != nil {
		t.Fatal(err)
	}
	want, err := config.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	kept := s.API("dev").Kept()
	if diff := cmp.Diff(string(want), string(kept.Config)); diff != "" {
		t.Errorf("configuration in the cluster (-want +got):\n%s", diff)
	}
	token := initToken(t, s)
	if !regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`).MatchString(token) {
		t.Errorf("%q is no bootstrap token", token)
	}
	if id := token[:6]; kept.Deleted != id {
		t.Errorf("token %s: deleted %q", id, kept.Deleted)
	}
}

// documents are the kubeadm documents that a node found, by kind.
func documents(t *testing.T, s *scene, nodeName string) map[string]map[string]any {
	t.Helper()
	f, ok := s.File(nodeName, nodeimage.KubeadmConfigPath)
	if !ok || f.Mode != 0o600 {
		t.Fatalf("node %s: kubeadm's configuration holds a secret: there %t, mode %o", nodeName, ok, f.Mode)
	}
	out := map[string]map[string]any{}
	for text := range strings.SplitSeq(string(f.Data), "---\n") {
		var d map[string]any
		if err := yaml.Unmarshal([]byte(text), &d); err != nil {
			t.Fatal(err)
		}
		if kind, ok := d["kind"].(string); ok {
			out[kind] = d
		}
	}
	return out
}

func initToken(t *testing.T, s *scene) string {
	t.Helper()
	tokens, _ := documents(t, s, "dev-control-plane")["InitConfiguration"]["bootstrapTokens"].([]any)
	if len(tokens) != 1 {
		t.Fatalf("bootstrap tokens: %v", tokens)
	}
	token, _ := tokens[0].(map[string]any)["token"].(string)
	return token
}

// TestFiles looks at what each node finds inside itself.
func TestFiles(t *testing.T) {
	s := newScene(t)
	s.create(t, 1)
	for name, role := range map[string]string{"dev-control-plane": "control-plane", "dev-worker": "worker"} {
		plan, err := s.Plan(name)
		if err != nil {
			t.Fatal(err)
		}
		if plan.Name != name || plan.Role != role || plan.Cluster != "dev" || len(plan.IgnorePreflight) == 0 {
			t.Errorf("plan of %s: %+v", name, plan)
		}
		if got := append(plan.PodSubnets, plan.ServiceSubnets...); !slices.Equal(got, []string{"10.244.0.0/16", "10.96.0.0/16"}) {
			t.Errorf("plan of %s: subnets %q", name, got)
		}
	}
	first, worker := documents(t, s, "dev-control-plane"), documents(t, s, "dev-worker")
	if got := first["ClusterConfiguration"]["kubernetesVersion"]; got != clustertest.Version {
		t.Errorf("the control plane is told Kubernetes %v", got)
	}
	for kind, docs := range map[string]map[string]map[string]any{"InitConfiguration": first, "JoinConfiguration": worker} {
		if registration, _ := docs[kind]["nodeRegistration"].(map[string]any); registration["name"] == nil {
			t.Errorf("a node has no name in its %s: %v", kind, docs[kind])
		}
	}
	patch, ok := s.File("dev-control-plane", nodeimage.PatchesDir+"/corednsdeployment+strategic.yaml")
	if !ok || !strings.Contains(string(patch.Data), "replicas: 2\n") {
		t.Errorf("patch for CoreDNS: %q", patch.Data)
	}
	for _, path := range []string{nodeimage.ConfigPath, nodeimage.PatchesDir + "/corednsdeployment+strategic.yaml"} {
		if _, ok := s.File("dev-worker", path); ok {
			t.Errorf("a worker has %s", path)
		}
	}
	if _, ok := s.File("dev-control-plane", nodeimage.ConfigPath); !ok {
		t.Errorf("the control plane has no %s", nodeimage.ConfigPath)
	}
}

func TestCreateMergesKubeconfig(t *testing.T) {
	s := newScene(t)
	s.create(t, 0)
	text := s.kubeconfigText(t)
	for _, want := range []string{
		"# not petri's", "name: elsewhere", "current-context: petri-dev", "server: https://127.0.0.1:40001",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the kubeconfig lacks %q:\n%s", want, text)
		}
	}
	entry, err := s.Kubeconfig(t.Context(), "dev", false)
	if err != nil {
		t.Fatal(err)
	}
	// admin.conf, and not super-admin.conf, which can do what RBAC forbids
	if string(entry.ClientKey) != "key of admin of dev" {
		t.Errorf("the key is %q", entry.ClientKey)
	}
	if err := s.Delete(t.Context(), "dev", []string{s.kubeconfig}); err != nil {
		t.Fatal(err)
	}
	if text := s.kubeconfigText(t); strings.Contains(text, "petri-dev") || !strings.Contains(text, "name: elsewhere") {
		t.Errorf("after deletion the kubeconfig is\n%s", text)
	}
	if left := s.Objects(); len(left) > 0 {
		t.Errorf("after deletion there are %q", left)
	}
}

func TestCreateWithoutKubeconfig(t *testing.T) {
	s := newScene(t)
	if err := s.Create(t.Context(), dev(t, 0), CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if text := s.kubeconfigText(t); text != others {
		t.Errorf("the kubeconfig was changed:\n%s", text)
	}
	if slices.Contains(s.Log(), "Wait") {
		t.Error("it waited, and was not asked to")
	}
}

// TestCreateTriesKubeconfigFirst wants nothing to be made for a kubeconfig that
// could not be written at the end.
func TestCreateTriesKubeconfigFirst(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"broken":           func(path string) error { return os.WriteFile(path, []byte("clusters: {"), 0o600) },
		"read-only":        func(path string) error { return os.Chmod(path, 0o400) },
		"a directory":      func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
		"a link to itself": func(path string) error { return errors.Join(os.Remove(path), os.Symlink(path, path)) },
		"a link to a read-only file": func(path string) error {
			return errors.Join(os.Rename(path, path+".real"), os.Chmod(path+".real", 0o400), os.Symlink(path+".real", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			if err := spoil(s.kubeconfig); err != nil {
				t.Fatal(err)
			}
			err := s.Create(t.Context(), dev(t, 0), s.options())
			wantError(t, err, errdefs.ClassUsage, "KUBECONFIG-UNUSABLE", s.kubeconfig)
			for _, call := range s.Calls() {
				if strings.HasPrefix(call, "create ") {
					t.Errorf("something was made before: %q", s.Calls())
				}
			}
		})
	}
}

func TestCreateLeavesExistingClusterAlone(t *testing.T) {
	s := newScene(t)
	s.create(t, 1)
	objects, text, calls := s.Objects(), s.kubeconfigText(t), len(s.Calls())
	e := wantError(t, s.Create(t.Context(), dev(t, 0), s.options()), errdefs.ClassExists, "CLUSTER-EXISTS", `"dev"`, "2 nodes")
	if !strings.Contains(e.Hint, "petri delete cluster --name dev") {
		t.Errorf("hint: %q", e.Hint)
	}
	if diff := cmp.Diff(objects, s.Objects()); diff != "" {
		t.Errorf("objects (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(text, s.kubeconfigText(t)); diff != "" {
		t.Errorf("kubeconfig (-before +after):\n%s", diff)
	}
	for _, call := range s.Calls()[calls:] {
		if !strings.HasPrefix(call, "list ") {
			t.Errorf("it did more than look: %s", call)
		}
	}
}

func TestCreateWhileAnotherProcessDoes(t *testing.T) {
	s := newScene(t)
	path := filepath.Join(os.Getenv("XDG_CACHE_HOME"), "petri", "locks", "dev.lock")
	release, err := lockfile.TryAcquire(path)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, s.Create(t.Context(), dev(t, 0), s.options()), errdefs.ClassExists, "LOCKED", "dev.lock", "held by process")
	wantError(t, s.Delete(t.Context(), "dev", nil), errdefs.ClassExists, "LOCKED")
	if len(s.Calls()) > 0 {
		t.Errorf("the engine was called: %q", s.Calls())
	}
	release()
	s.create(t, 0)
	if _, err := os.Stat(path); err == nil {
		t.Error("the lock is still there")
	}
}

// TestLockStaysInItsDirectory gives names that would be paths elsewhere.
func TestLockStaysInItsDirectory(t *testing.T) {
	s := newScene(t)
	mine := filepath.Join(os.Getenv("XDG_CACHE_HOME"), "yarn.lock")
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../../yarn", "", "a/b", "/tmp/x"} {
		wantError(t, s.Delete(t.Context(), name, nil), errdefs.ClassUsage, "CLUSTER-NAME")
	}
	if data, err := os.ReadFile(mine); string(data) != "mine" || err != nil {
		t.Errorf("a file that is not petri's: %q, %v", data, err)
	}
}

// TestCreateOverRemains makes a cluster where a killed creation had left its
// network.
func TestCreateOverRemains(t *testing.T) {
	s := newScene(t)
	rehearsal := newScene(t)
	rehearsal.create(t, 0)
	s.FailAt(slices.Index(rehearsal.Calls(), "create container dev-control-plane")+1, errBroken)
	c := dev(t, 0)
	if err := s.Create(t.Context(), c, CreateOptions{Retain: true}); err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff([]string{"network petri-dev"}, s.Objects()); diff != "" {
		t.Fatalf("remains (-want +got):\n%s", diff)
	}
	s.create(t, 0)
}

func TestInternalKubeconfig(t *testing.T) {
	s := newScene(t)
	s.create(t, 0)
	internal, err := s.Kubeconfig(t.Context(), "dev", true)
	if err != nil {
		t.Fatal(err)
	}
	if internal.Name != kubeconfig.EntryName(nodeimage.DialectPetri, "dev") || internal.Server != "https://dev-control-plane:6443" {
		t.Errorf("the nodes' own entry is %v", internal)
	}
}
