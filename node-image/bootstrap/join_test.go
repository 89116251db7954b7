package bootstrap

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

const discovery = "clusters: [{cluster: {server: 'https://a:6443'}}]\n"

// joinInput is what the host says of a cluster.
func joinInput(t *testing.T, discovery string, certificates nodeimage.Certificates) io.Reader {
	t.Helper()
	data, err := json.Marshal(nodeimage.JoinInput{Discovery: discovery, Certificates: certificates})
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(data)
}

func TestJoin(t *testing.T) {
	node, fake, out := newNode(t, nodeimage.Plan{IgnorePreflight: []string{"Swap"}, KubeletApart: true}, "kind: JoinConfiguration\n")
	fake.configureKubelet()
	var order []string
	fake.kubeadm = func(_ context.Context, cmd exec.Cmd) error {
		data, err := os.ReadFile(node.path(nodeimage.DiscoveryPath))
		diff(t, discovery, string(data))
		phases := phasesOf(cmd)
		order = append(order, fmt.Sprintf("%s, %q, %q", phases[0], cmd.Env, fake.run("systemctl")))
		if phases[0] == "kubelet-wait-bootstrap" {
			if _, err := fake.kubelet.Accept(); err != nil {
				t.Errorf("nobody has looked whether the kubelet serves: %v", err)
			}
		}
		if !slices.Contains(cmd.Args, "--ignore-preflight-errors=Swap") || len(phases) != 1 {
			t.Errorf("kubeadm ran as %q", cmd.Args)
		}
		fmt.Fprintf(cmd.Stdout, "[%s] Doing it\n", phases[0])
		return err
	}
	if err := fake.kubelet.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := node.Join(t.Context(), joinInput(t, discovery, nil)); err != nil {
		t.Fatal(err)
	}
	diff(t, []string{
		`preflight, [], ["systemctl start containerd"]`,
		`kubelet-start, ["PATH="], ["systemctl start containerd"]`, // which would start it, without a certificate
		`kubelet-wait-bootstrap, [], ["systemctl start containerd" "systemctl restart kubelet"]`,
	}, order)
	var want []nodeimage.NodeEvent
	for _, phase := range []string{"preflight", "kubelet-start", "kubelet-wait-bootstrap"} {
		want = append(want, nodeimage.NodeEvent{Kind: nodeimage.PhaseStarted, Phase: "kubeadm/" + phase}, nodeimage.NodeEvent{Kind: nodeimage.PhaseDone, Phase: "kubeadm/" + phase})
	}
	diff(t, append(want, nodeimage.NodeEvent{Kind: nodeimage.Finished}), events(t, out))
	if _, err := os.Stat(node.path(nodeimage.CertificatesDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a worker has keys: %v", err)
	}
}

// TestJoinAtOnce: a kubeadm that would wait for a kubelet that was not started runs
// all its phases, and finds the init system.
func TestJoinAtOnce(t *testing.T) {
	node, fake, _ := newNode(t, nodeimage.Plan{}, "kind: JoinConfiguration\n")
	fake.kubeadm = func(_ context.Context, cmd exec.Cmd) error {
		diff(t, []string(nil), cmd.Env)
		return nil
	}
	if err := node.Join(t.Context(), joinInput(t, discovery, nil)); err != nil {
		t.Fatal(err)
	}
	diff(t, []string{"kubeadm join --config=/kind/kubeadm.conf"}, fake.run("kubeadm"))
	diff(t, []string{"systemctl start containerd"}, fake.run("systemctl"))
}

func TestJoinFailures(t *testing.T) {
	for name, test := range map[string]struct {
		input io.Reader
		want  string
	}{
		"nothing to join": {strings.NewReader("{}"), "nobody said what to join"},
		"no input":        {strings.NewReader(""), "read what to join: EOF"},
		"no kubeconfig":   {joinInput(t, "clusters: 7", nil), "read what to join: "},
		"broken off":      {iotest.ErrReader(errors.New("gone")), "read what to join: gone"},
		"other file":      {joinInput(t, discovery, nodeimage.Certificates{"../../shadow": nil}), `"../../shadow" is no certificate that control planes share`},
		"kubeadm fails":   {joinInput(t, discovery, nil), "exit code 3"},
	} {
		t.Run(name, func(t *testing.T) {
			node, fake, out := newNode(t, nodeimage.Plan{}, "")
			fake.kubeadm = func(_ context.Context, cmd exec.Cmd) error {
				fmt.Fprintln(cmd.Stderr, "couldn't validate the identity of the API Server")
				return &exec.Error{Args: cmd.Args, Code: 3}
			}
			err := node.Join(t.Context(), test.input)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			list := events(t, out)
			if last := list[len(list)-1]; last.Kind != nodeimage.NodeFailed || !strings.Contains(last.Error, test.want) {
				t.Errorf("the stream ends with %+v", last)
			}
		})
	}
}

// joiningNode is a node whose kubeadm join makes the files that the real one
// makes.
func joiningNode(t *testing.T, conf string) (*Node, *fakeNode, func() []nodeimage.NodeEvent) {
	t.Helper()
	node, fake, out := newNode(t, nodeimage.Plan{Role: nodeimage.RoleControlPlane}, conf)
	if err := os.MkdirAll(node.path(manifestsDir), 0o755); err != nil {
		t.Fatal(err)
	}
	fake.kubeadm = func(ctx context.Context, cmd exec.Cmd) error {
		phases := phasesOf(cmd)
		if slices.Contains(phases, "control-plane-prepare") {
			fake.put(nodeimage.AdminConfPath, kubeconfigOf("admin"))
			for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
				fake.put(manifestsDir+"/"+name+".yaml", name)
			}
		}
		if slices.Contains(phases, "kubelet-start") {
			fake.configureKubelet()
		}
		if slices.Contains(phases, "etcd-join") {
			fake.put(manifestsDir+"/etcd.yaml", "etcd")
		}
		return fake.onKubeadm(ctx, cmd, phases)
	}
	return node, fake, func() []nodeimage.NodeEvent { return events(t, out) }
}

// TestJoinControlPlane: the API server starts when its etcd is a member, and
// its clients when it is ready.
func TestJoinControlPlane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, fake, sent := joiningNode(t, "kind: JoinConfiguration\nskipPhases: [wait-control-plane]\n---\nkind: InitConfiguration\nskipPhases: [addon]\n")
		began := time.Now()
		var order []string
		fake.onKubeadm = func(_ context.Context, cmd exec.Cmd, phases []string) error {
			order = append(order, fmt.Sprintf("%.0fs %s %v", time.Since(began).Seconds(), strings.Join(phases, ","), manifests(t, node)))
			if slices.Contains(phases, "etcd-join") {
				time.Sleep(3 * time.Second)
				node.probe = answers(map[apiState]time.Duration{apiAnswers: time.Second, apiTakesPods: 2 * time.Second, apiReady: 4 * time.Second})
			}
			return nil
		}
		certificates := nodeimage.Certificates{"ca.key": []byte("secret"), "etcd/ca.crt": []byte("public")}
		if err := node.Join(t.Context(), joinInput(t, discovery, certificates)); err != nil {
			t.Fatal(err)
		}
		diff(t, []string{
			"0s preflight,control-plane-prepare [kube-apiserver kube-controller-manager kube-scheduler]",
			"0s check-etcd,kubelet-start []",
			"0s etcd-join [etcd]",
			"7s kubelet-wait-bootstrap,control-plane-join [etcd kube-apiserver kube-controller-manager kube-scheduler]",
		}, order)
		for name, mode := range map[string]fs.FileMode{"ca.key": 0o600, "etcd/ca.crt": 0o644} {
			path := node.path(filepath.Join(nodeimage.CertificatesDir, name))
			data, err := os.ReadFile(path)
			info, statErr := os.Stat(path)
			if err != nil || statErr != nil || info.Mode().Perm() != mode || !bytes.Equal(data, certificates[name]) {
				t.Errorf("%s: %q, mode %v, %v", name, data, info.Mode(), errors.Join(err, statErr))
			}
		}
		for _, e := range sent() {
			if strings.Contains(fmt.Sprint(e), "secret") {
				t.Errorf("event %+v holds a key", e)
			}
		}
	})
}

// TestJoinWhenTheAPIIsSlow: kubeadm is asked to wait, and has the last word.
func TestJoinWhenTheAPIIsSlow(t *testing.T) {
	for name, verdict := range map[string]error{"it comes": nil, "it does not": &exec.Error{Code: 1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				node, fake, _ := joiningNode(t, "")
				node.probe = answers(nil)
				began := time.Now()
				fake.onKubeadm = func(_ context.Context, _ exec.Cmd, phases []string) error {
					if phases[0] != "kubelet-wait-bootstrap" {
						return nil
					}
					diff(t, 4, len(manifests(t, node))) // kubeadm fails when one is missing
					time.Sleep(time.Minute)
					return verdict
				}
				if err := node.Join(t.Context(), joinInput(t, discovery, nil)); !errors.Is(err, verdict) {
					t.Errorf("got %v, want %v", err, verdict)
				}
				diff(t, patience+time.Minute, time.Since(began))
			})
		})
	}
}

func TestJoinControlPlaneFails(t *testing.T) {
	for _, phase := range []string{"preflight", "check-etcd", "kubelet-wait-bootstrap"} {
		synctest.Test(t, func(t *testing.T) {
			node, fake, sent := joiningNode(t, "")
			node.probe = answers(map[apiState]time.Duration{apiReady: time.Second})
			var ran []string
			broken := &exec.Error{Args: []string{"kubeadm"}, Code: 1}
			fake.onKubeadm = func(_ context.Context, _ exec.Cmd, phases []string) error {
				if ran = append(ran, phases[0]); phases[0] == phase {
					return broken
				}
				return nil
			}
			if err := node.Join(t.Context(), joinInput(t, discovery, nil)); !errors.Is(err, broken) {
				t.Errorf("%s: got %v", phase, err)
			}
			diff(t, phase, ran[len(ran)-1])
			if list := sent(); list[len(list)-1].Kind != nodeimage.NodeFailed {
				t.Errorf("%s: the stream ends with %+v", phase, list[len(list)-1])
			}
		})
	}
}

// endpointOf is a discovery of a server with its own CA.
func endpointOf(server *httptest.Server) string {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return fmt.Sprintf("clusters: [{cluster: {server: %q, certificate-authority-data: %s}}]\n", server.URL, base64.StdEncoding.EncodeToString(ca))
}

// TestJoinWaitsForTheBalancer: kubeadm runs when the node's balancer has found
// an API server, whatever that says.
func TestJoinWaitsForTheBalancer(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			panic(http.ErrAbortHandler) // a balancer without servers hangs up
		}
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer server.Close()
	node, fake, _ := newNode(t, nodeimage.Plan{Balanced: "a-external-load-balancer"}, "")
	fake.kubeadm = func(context.Context, exec.Cmd) error {
		if n := asked.Load(); n != 3 {
			t.Errorf("kubeadm ran after %d answers", n)
		}
		return nil
	}
	if err := node.Join(t.Context(), joinInput(t, endpointOf(server), nil)); err != nil {
		t.Fatal(err)
	}
	diff(t, 1, len(fake.run("kubeadm")))
}

// TestJoinWhenTheBalancerFindsNobody leaves it to kubeadm to say so.
func TestJoinWhenTheBalancerFindsNobody(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	gone := endpointOf(server)
	server.Close()
	synctest.Test(t, func(t *testing.T) {
		node, fake, _ := newNode(t, nodeimage.Plan{Balanced: "a-external-load-balancer"}, "")
		fake.kubeadm = func(context.Context, exec.Cmd) error { return nil }
		began := time.Now()
		if err := node.Join(t.Context(), joinInput(t, gone, nil)); err != nil {
			t.Fatal(err)
		}
		diff(t, 1, len(fake.run("kubeadm")))
		diff(t, patience, time.Since(began))
	})
}

func TestJoinWithoutACA(t *testing.T) {
	node, _, _ := newNode(t, nodeimage.Plan{Balanced: "a-external-load-balancer"}, "")
	if err := node.Join(t.Context(), joinInput(t, discovery, nil)); err == nil || !strings.Contains(err.Error(), "no CA") {
		t.Errorf("got %v", err)
	}
}
