package bootstrap

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// kubeconfigOf is a kubeconfig in the form in which kubeadm writes it.
func kubeconfigOf(user string) string {
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	return "apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    certificate-authority-data: " + encode("CA") +
		"\n    server: https://a:6443\nusers:\n- name: " + user + "\n  user:\n    client-certificate-data: " + encode("cert of "+user+"\n") +
		"\n    client-key-data: " + encode("secret of "+user+"\n") + "\n"
}

// initNode is a node whose kubeadm makes the files that the real one makes.
func initNode(t *testing.T, plan nodeimage.Plan, conf string) (*Node, *fakeNode, func() []nodeimage.NodeEvent) {
	t.Helper()
	node, fake, out := newNode(t, plan, conf)
	fake.put(nodeimage.VersionPath, "v1.36.3\n")
	fake.api = new(posts)
	node.as = func(kubeconfig string) *http.Client {
		if kubeconfig != nodeimage.SuperAdminConfPath { // no role lets anybody else
			t.Errorf("the API is asked as the user of %s", kubeconfig)
		}
		return &http.Client{Transport: fake.api}
	}
	fake.kubeadm = func(ctx context.Context, cmd exec.Cmd) error {
		phases := phasesOf(cmd)
		for _, p := range phases {
			fmt.Fprintf(cmd.Stdout, "[%s] doing it\n", p)
		}
		if slices.Contains(phases, "kubeconfig") {
			fake.put(nodeimage.AdminConfPath, kubeconfigOf("admin"))
			fake.put(nodeimage.SuperAdminConfPath, kubeconfigOf("super"))
			fake.put(kubeletConfPath, kubeconfigOf("kubelet"))
		}
		if slices.Contains(phases, "kubelet-start") {
			fake.configureKubelet()
		}
		if slices.Contains(phases, "control-plane") {
			for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
				fake.put(manifestsDir+"/"+name+".yaml", name)
			}
		}
		if fake.onKubeadm != nil {
			return fake.onKubeadm(ctx, cmd, phases)
		}
		return nil
	}
	return node, fake, func() []nodeimage.NodeEvent { return events(t, out) }
}

// phasesOf are the phases that a kubeadm command runs.
func phasesOf(cmd exec.Cmd) []string {
	if len(cmd.Args) > 3 && cmd.Args[2] == "phase" {
		return []string{cmd.Args[3]}
	}
	all := map[string][]string{"init": initPhases, "join": joinPhases}[cmd.Args[1]]
	for _, a := range cmd.Args {
		if skip, ok := strings.CutPrefix(a, "--skip-phases="); ok {
			return slices.DeleteFunc(slices.Clone(all), func(p string) bool {
				return slices.Contains(strings.Split(skip, ","), p)
			})
		}
	}
	return all
}

// manifests are the static pods that the kubelet sees.
func manifests(t *testing.T, node *Node) []string {
	t.Helper()
	entries, err := os.ReadDir(node.path(manifestsDir))
	if err != nil {
		t.Error(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// answers makes a probe that gives each state for some time.
func answers(after map[apiState]time.Duration) func(context.Context) apiState {
	began := time.Now()
	return func(context.Context) apiState {
		state := apiDown
		for s, at := range after {
			if time.Since(began) >= at && s > state {
				state = s
			}
		}
		return state
	}
}

func TestInit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, fake, sent := initNode(t, nodeimage.Plan{IgnorePreflight: []string{"Swap", "NumCPU"}},
			"kind: InitConfiguration\nskipPhases: [addon/kube-proxy]\n---\nkind: ClusterConfiguration\n")
		fake.put(nodeimage.CNIManifestPath, "kind: DaemonSet\n")
		fake.put(nodeimage.StorageManifestPath, "kind: StorageClass\n")
		node.probe = answers(map[apiState]time.Duration{apiAnswers: 2 * time.Second, apiHasNamespaces: 3 * time.Second, apiReady: 4 * time.Second})
		var order []string
		began := time.Now()
		fake.onKubeadm = func(_ context.Context, cmd exec.Cmd, phases []string) error {
			fake.mu.Lock()
			defer fake.mu.Unlock()
			order = append(order, fmt.Sprintf("%.0fs %s %v", time.Since(began).Seconds(), strings.Join(phases, ","), manifests(t, node)))
			if phases[0] == "addon" {
				diff(t, []string{"systemctl start containerd", "systemctl start kubelet"}, fake.run("systemctl"))
			}
			if slices.Contains(phases, "kubelet-finalize") && !slices.Contains(cmd.Env, "PATH=") {
				t.Error("kubeadm may restart a kubelet that must not run yet")
			}
			return nil
		}
		if err := os.MkdirAll(node.path(manifestsDir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := node.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		diff(t, []string{
			"0s certs,kubeconfig,etcd,control-plane [etcd kube-apiserver kube-controller-manager kube-scheduler]",
			"0s kubelet-start,kubelet-finalize []", // which starts whatever it finds
			"0s preflight []",                      // it refuses a machine that has manifests
			"3s addon [etcd kube-apiserver kube-controller-manager kube-scheduler]",
			"3s upload-config [etcd kube-apiserver kube-controller-manager kube-scheduler]",
			"3s bootstrap-token [etcd kube-apiserver kube-controller-manager kube-scheduler]",
			"4s wait-control-plane,mark-control-plane [etcd kube-apiserver kube-controller-manager kube-scheduler]",
		}, order)
		diff(t, slices.Concat([]string{"POST /api/v1/namespaces/kube-system/pods"}, slices.Repeat([]string{"POST /apis/scheduling.k8s.io/v1/priorityclasses"}, 2), ownRoles),
			fake.api.names())
		if at := fake.api.first.Sub(began); at != 3*time.Second {
			t.Errorf("roles were made after %s, and their namespace is there after 3 s", at)
		}
		if _, err := os.Stat(node.path(manifestsDir + ".held")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("manifests are still held: %v", err)
		}
		for _, c := range fake.commands {
			if strings.HasPrefix(c, "kubeadm init --") && !strings.Contains(c, "--skip-phases=addon/kube-proxy,") {
				t.Errorf("the configuration's own skipPhases are lost in %q", c)
			}
			if strings.HasPrefix(c, "kubeadm init --") && !strings.HasSuffix(c, " --ignore-preflight-errors=Swap,NumCPU,Port-10250") {
				t.Errorf("checks are not ignored in %q", c)
			}
		}
		checkInitEvents(t, sent())
	})
}

// checkInitEvents looks at what the host is told, and where secrets are.
func checkInitEvents(t *testing.T, list []nodeimage.NodeEvent) {
	t.Helper()
	kinds := map[nodeimage.EventKind][]string{}
	for _, e := range list {
		kinds[e.Kind] = append(kinds[e.Kind], e.Data)
		if secret := strings.Contains(e.Data, "client-key-data"); secret != (e.Kind == nodeimage.AdminReady || e.Kind == nodeimage.KubeconfigReady) {
			t.Errorf("event %s has a secret: %v", e.Kind, secret)
		}
	}
	diff(t, []string{"kind: DaemonSet\n", "kind: StorageClass\n"}, kinds[nodeimage.ManifestFound])
	diff(t, []string{kubeconfigOf("admin")}, kinds[nodeimage.AdminReady])
	diff(t, []string{kubeconfigOf("super")}, kinds[nodeimage.KubeconfigReady])
	diff(t, []string{"apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: Q0E=\n    server: https://a:6443\n  name: \"\"\nkind: Config\n"}, kinds[nodeimage.JoinReady])
	if last := list[len(list)-1]; last.Kind != nodeimage.Finished {
		t.Errorf("the stream ends with %+v", last)
	}
}

// TestInitWhenTheAPIIsSlow: after a while kubeadm is asked to wait, which
// knows what to say; the rest goes on when the API answers after all.
func TestInitWhenTheAPIIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, fake, _ := initNode(t, nodeimage.Plan{}, "")
		node.probe = answers(map[apiState]time.Duration{apiHasNamespaces: 60 * time.Second, apiReady: 61 * time.Second})
		began := time.Now()
		var order []string
		fake.onKubeadm = func(_ context.Context, _ exec.Cmd, phases []string) error {
			fake.mu.Lock()
			order = append(order, fmt.Sprintf("%.0fs %s", time.Since(began).Seconds(), phases[0]))
			fake.mu.Unlock()
			if phases[0] == "wait-control-plane" {
				diff(t, 4, len(manifests(t, node))) // kubeadm fails when one is missing
				time.Sleep(50 * time.Second)
			}
			return nil
		}
		if err := node.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		diff(t, []string{"0s certs", "0s kubelet-start", "0s preflight", "20s wait-control-plane", "60s addon", "60s upload-config", "60s bootstrap-token"}, order)
		diff(t, 4, len(manifests(t, node)))
	})
}

// TestInitWhenTheAPIIsNotSeen: kubeadm finds the API ready and the helper
// never does. That is no success: the addons are missing.
func TestInitWhenTheAPIIsNotSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, _, _ := initNode(t, nodeimage.Plan{}, "")
		node.probe = answers(nil)
		if err := node.Init(t.Context()); !errors.Is(err, errSlow) {
			t.Errorf("got %v", err)
		}
	})
}

// TestInitFailure fails each group of phases: nothing after it runs but what
// runs beside it, and the host is told in kubeadm's words and the kubelet's.
func TestInitFailure(t *testing.T) {
	for _, phase := range []string{"certs", "kubelet-start", "preflight", "wait-control-plane", "addon", "bootstrap-token"} {
		t.Run(phase, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				node, fake, sent := initNode(t, nodeimage.Plan{}, "")
				node.probe = answers(map[apiState]time.Duration{apiAnswers: time.Second, apiReady: 2 * time.Second})
				fake.journal = "kubelet: no such cgroup"
				fake.onKubeadm = func(_ context.Context, cmd exec.Cmd, phases []string) error {
					if phases[0] != phase {
						return nil
					}
					for i := range 50 {
						fmt.Fprintf(cmd.Stdout, "waiting %d\n", i)
					}
					fmt.Fprintln(cmd.Stderr, "error execution phase "+phase)
					return &exec.Error{Args: cmd.Args, Code: 1, Stderr: []byte("error execution")}
				}
				err := node.Init(t.Context())
				if e, ok := errors.AsType[*exec.Error](err); !ok || e.Code != 1 {
					t.Fatalf("got %v, want kubeadm's error", err)
				}
				list := sent()
				failed := list[len(list)-1]
				if failed.Kind != nodeimage.NodeFailed || !strings.Contains(failed.Error, "kubeadm init ") || !strings.HasSuffix(failed.Error, ": exit code 1") {
					t.Errorf("the stream ends with %+v", failed)
				}
				kubeadm, kubelet, _ := strings.Cut(failed.Log, "\n--- kubelet ---\n")
				if lines := strings.Split(kubeadm, "\n"); len(lines) != 30 || lines[29] != "error execution phase "+phase {
					t.Errorf("the log has %d lines of kubeadm's, the last %q", len(lines), lines[len(lines)-1])
				}
				diff(t, fake.journal, kubelet)
			})
		})
	}
}

// TestInitFailsBeside: a command that fails beside another one, which is then cut
// short, is told in its own words.
func TestInitFailsBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, fake, sent := initNode(t, nodeimage.Plan{}, "")
		node.probe = answers(map[apiState]time.Duration{apiHasNamespaces: patience + time.Second})
		fake.onKubeadm = func(ctx context.Context, cmd exec.Cmd, phases []string) error {
			switch phases[0] {
			case "wait-control-plane":
				fmt.Fprintln(cmd.Stdout, "waiting")
				<-ctx.Done()
				return fmt.Errorf("kubeadm: %w", context.Cause(ctx)) // as exec.Host
			case "addon":
				fmt.Fprintln(cmd.Stderr, "no answer")
				return &exec.Error{Args: cmd.Args, Code: 1}
			}
			return nil
		}
		if err := node.Init(t.Context()); err == nil {
			t.Fatal("it succeeded")
		}
		list := sent()
		if failed := list[len(list)-1]; !strings.Contains(failed.Error, "init phase addon") || !strings.HasPrefix(failed.Log, "[addon] doing it\nno answer") {
			t.Errorf("the stream ends with %+v", failed)
		}
	})
}

func TestInitFailsWhenKubeadmMadeTooLittle(t *testing.T) {
	complete := map[string]string{
		nodeimage.AdminConfPath:      kubeconfigOf("admin"),
		nodeimage.SuperAdminConfPath: kubeconfigOf("super"), kubeletConfPath: kubeconfigOf("kubelet"),
	}
	for path, broken := range map[string]string{
		nodeimage.AdminConfPath: "", nodeimage.SuperAdminConfPath: "", kubeletConfPath: "users: []\n",
	} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			node, fake, sent := initNode(t, nodeimage.Plan{}, "")
			fake.kubeadm = func(context.Context, exec.Cmd) error {
				for p, content := range complete {
					if p != path {
						fake.put(p, content)
					} else if broken != "" {
						fake.put(p, broken)
					}
				}
				return nil
			}
			err := node.Init(t.Context())
			if err == nil || !strings.Contains(err.Error(), filepath.Base(path)) {
				t.Errorf("got %v, want an error about %s", err, path)
			}
			list := sent()
			if last := list[len(list)-1]; last.Kind != nodeimage.NodeFailed {
				t.Errorf("the stream ends with %+v", last)
			}
		})
	}
}

func TestInitWithABrokenConfiguration(t *testing.T) {
	node, _, _ := initNode(t, nodeimage.Plan{}, "kind: InitConfiguration\nskipPhases: {}\n")
	if err := node.Init(t.Context()); err == nil || !strings.Contains(err.Error(), nodeimage.KubeadmConfigPath) {
		t.Errorf("got %v, want an error about the file", err)
	}
}
