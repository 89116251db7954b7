package bootstrap

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

const (
	configuration = "kind: ClusterConfiguration\ncontrolPlaneEndpoint: dev-external-load-balancer:6444\n"
	madeWith      = "---\nkind: ClusterConfiguration\ncontrolPlaneEndpoint: dev-control-plane:6443\n---\nkind: InitConfiguration\n"
)

func extension(t *testing.T, configuration string) *strings.Reader {
	t.Helper()
	data, err := json.Marshal(nodeimage.Extension{
		// httptest's certificate is for this name
		Balanced: "example.com", Endpoint: "dev-external-load-balancer:6444", Balancer: "backends\n", ClusterConfiguration: configuration,
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReader(string(data))
}

// extendable is a node of a role that notes who is led where.
func extendable(t *testing.T, role string) (*Node, *fakeNode, *[]string) {
	t.Helper()
	node, fake, _ := newNode(t, nodeimage.Plan{Role: role, Address: "10.201.0.2", Cluster: "dev"}, madeWith)
	var led []string
	node.Lead = func(_ context.Context, name string, conf []byte) error {
		led = append(led, name+": "+string(conf))
		return nil
	}
	return node, fake, &led
}

func planOf(t *testing.T, node *Node) nodeimage.Plan {
	t.Helper()
	plan, err := node.plan()
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// TestExtendWorker: its kubelet is started again when it has another address to
// go to, and only then.
func TestExtendWorker(t *testing.T) {
	node, fake, led := extendable(t, nodeimage.RoleWorker)
	fake.put(kubeletConfPath, kubeconfigOf("kubelet"))
	for range 2 {
		if err := node.Extend(t.Context(), extension(t, "")); err != nil {
			t.Fatal(err)
		}
	}
	diff(t, []string{"example.com: backends\n", "example.com: backends\n"}, *led)
	diff(t, []string{"systemctl restart kubelet"}, fake.commands)
	data, err := os.ReadFile(node.path(kubeletConfPath))
	want := strings.ReplaceAll(kubeconfigOf("kubelet"), "https://a:6443", "https://dev-external-load-balancer:6444")
	diff(t, want, string(data))
	if plan := planOf(t, node); err != nil || plan.Balanced != "example.com" || plan.Cluster != "dev" {
		t.Errorf("the plan is %+v, %v", plan, err)
	}
}

// lone is a control plane whose API server is there, with kubeadm's files.
func lone(t *testing.T) (*Node, *fakeNode, *[]string) {
	t.Helper()
	node, fake, led := extendable(t, nodeimage.RoleControlPlane)
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	node.api = server.Listener.Addr().String()
	node.probe = func(context.Context) apiState { return apiReady }
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	for path, content := range map[string]string{
		nodeimage.CertificatesDir + "/ca.crt":        ca,
		nodeimage.CertificatesDir + "/ca.key":        "key of the CA",
		nodeimage.CertificatesDir + "/apiserver.crt": "old",
		nodeimage.CertificatesDir + "/apiserver.key": "old",
		nodeimage.AdminConfPath:                      kubeconfigOf("admin"),
		kubeletConfPath:                              strings.ReplaceAll(kubeconfigOf("kubelet"), "https://a:6443", "https://10.201.0.2:6443"),
		manifestsDir + "/etcd.yaml":                  "etcd",
	} {
		fake.put(path, content)
	}
	fake.kubeadm = func(_ context.Context, cmd exec.Cmd) error {
		if slices.Contains(cmd.Args, "apiserver") {
			fake.put(nextCertificates+"/apiserver.crt", "new")
			fake.put(nextCertificates+"/apiserver.key", "new")
		}
		if slices.Contains(cmd.Args, "etcd") {
			fake.put(manifestsDir+"/etcd.yaml", "patient etcd")
		}
		return nil
	}
	return node, fake, led
}

func TestExtendControlPlane(t *testing.T) {
	node, fake, _ := lone(t)
	if err := node.Extend(t.Context(), extension(t, configuration)); err != nil {
		t.Fatal(err)
	}
	diff(t, []string{
		"kubeadm init phase certs apiserver --config=/etc/kubernetes/pki.next/kubeadm.conf",
		"kubeadm init phase upload-config kubeadm --config=/kind/kubeadm.conf",
		"systemctl stop kubelet",
		"kubeadm init phase control-plane controller-manager --config=/kind/kubeadm.conf",
		"kubeadm init phase control-plane scheduler --config=/kind/kubeadm.conf",
		"kubeadm init phase etcd local --config=/kind/kubeadm.conf",
		"crictl ps --quiet --label=io.kubernetes.pod.namespace=kube-system --name=^(etcd|kube-apiserver|kube-controller-manager|kube-scheduler)$",
		"crictl stop --timeout=0 c1 c2",
		"systemctl start kubelet",
		"etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt" +
			" --cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt --key=/etc/kubernetes/pki/etcd/healthcheck-client.key endpoint health",
	}, fake.commands)
	for path, want := range map[string]string{
		nodeimage.KubeadmConfigPath:                  "---\n" + configuration + "---\nkind: InitConfiguration\n",
		nodeimage.CertificatesDir + "/apiserver.crt": "new",
		nodeimage.CertificatesDir + "/apiserver.key": "new",
		nodeimage.AdminConfPath:                      strings.ReplaceAll(kubeconfigOf("admin"), "https://a:6443", "https://dev-external-load-balancer:6444"),
		// it has the API server beside it
		kubeletConfPath: strings.ReplaceAll(kubeconfigOf("kubelet"), "https://a:6443", "https://10.201.0.2:6443"),
	} {
		data, err := os.ReadFile(node.path(path))
		if err != nil || string(data) != want {
			t.Errorf("%s is %q, %v; want %q", path, data, err, want)
		}
	}
	if _, err := os.Stat(node.path(nextCertificates)); err == nil {
		t.Error("the key of the CA is there twice")
	}
}

// TestExtendAgain: what is written already is not started again, and the kubelet
// runs afterwards, also when kubeadm fails.
func TestExtendAgain(t *testing.T) {
	node, fake, _ := lone(t)
	for range 2 {
		fake.commands = nil
		if err := node.Extend(t.Context(), extension(t, configuration)); err != nil {
			t.Fatal(err)
		}
	}
	if i := slices.IndexFunc(fake.commands, func(c string) bool { return strings.HasPrefix(c, "crictl") }); i >= 0 {
		t.Errorf("command %q", fake.commands[i])
	}
	fake.kubeadm = func(_ context.Context, cmd exec.Cmd) error {
		if slices.Contains(cmd.Args, "scheduler") {
			return errors.New("it broke")
		}
		return nil
	}
	fake.commands = nil
	if err := node.restartComponents(t.Context()); err == nil {
		t.Error("the failure is gone")
	}
	if last := fake.commands[len(fake.commands)-1]; last != "systemctl start kubelet" {
		t.Errorf("the last command is %q", last)
	}
}

// TestExtendIsNotDone: the plan says nothing of what failed.
func TestExtendIsNotDone(t *testing.T) {
	broken := errors.New("it broke")
	for name, change := range map[string]func(*Node, *fakeNode){
		"leading": func(n *Node, _ *fakeNode) {
			n.Lead = func(context.Context, string, []byte) error { return broken }
		},
		"kubeadm": func(_ *Node, f *fakeNode) {
			f.kubeadm = func(context.Context, exec.Cmd) error { return broken }
		},
	} {
		node, fake, _ := lone(t)
		change(node, fake)
		if err := node.Extend(t.Context(), extension(t, configuration)); !errors.Is(err, broken) {
			t.Errorf("%s: error %v", name, err)
		}
		if plan := planOf(t, node); plan.Balanced != "" {
			t.Errorf("%s: the plan is %+v", name, plan)
		}
		if _, err := os.Stat(node.path(nextCertificates)); err == nil {
			t.Errorf("%s: the key of the CA is there twice", name)
		}
	}
	node, _, _ := lone(t)
	if err := node.Extend(t.Context(), strings.NewReader("nothing")); err == nil {
		t.Error("garbage was taken for an extension")
	}
}

// TestServesByName wants the certificate to be for the name.
func TestServesByName(t *testing.T) {
	node, _, _ := lone(t)
	if err := node.serves(t.Context(), "example.com"); err != nil {
		t.Error(err)
	}
	var mismatch *tls.CertificateVerificationError
	if err := node.serves(t.Context(), "elsewhere.example"); !errors.As(err, &mismatch) {
		t.Errorf("error %v", err)
	}
	node.probe = func(context.Context) apiState { return apiAnswers }
	if err := node.serves(t.Context(), "example.com"); err == nil {
		t.Error("it is not ready, and was taken to be")
	}
}
