package kube

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

const kubeconfig = `apiVersion: v1
kind: Config
current-context: demo
contexts: [{name: demo, context: {cluster: demo, user: admin}}]
clusters: [{name: demo, cluster: {server: "http://control-plane.invalid:6443"}}]
users: [{name: admin, user: {token: secret}}]
`

func TestWaitServing(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://proxy.invalid:3128") // must not be asked
	for name, last := range map[string]int{"with roles": http.StatusOK, "without": http.StatusNotFound} {
		t.Run(name, func(t *testing.T) {
			var roles, all atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.UserAgent() != "petri" {
					t.Errorf("asked as %q", r.UserAgent())
				}
				code := http.StatusInternalServerError
				switch r.URL.Path {
				case rolesCheck:
					if roles.Add(1) >= 3 {
						code = last
					}
				case "/readyz":
					if all.Add(1) >= 2 {
						code = http.StatusOK
					}
				default:
					t.Errorf("asked for %s", r.URL.Path)
				}
				w.WriteHeader(code)
			}))
			defer server.Close()
			c, err := Connect([]byte(kubeconfig), server.URL)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.WaitServing(t.Context()); err != nil {
				t.Fatal(err)
			}
			if roles.Load() != 4 || all.Load() != 2 {
				t.Errorf("asked %d times for roles and %d times for all, want 4 and 2", roles.Load(), all.Load())
			}
		})
	}
}

func TestWaitServingEnds(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close() // nobody listens
	c, err := Connect([]byte(kubeconfig), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("it took too long")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*retryInterval, cause)
	defer cancel()
	if err := c.WaitServing(ctx); !errors.Is(err, cause) || !strings.Contains(err.Error(), "last answer: ") {
		t.Errorf("got %v, want the cause and the last answer", err)
	}
}

func TestConnectRefusesWhatIsNoKubeconfig(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "words": "words", "no context": strings.Replace(kubeconfig, "current-context: demo", "current-context: other", 1)} {
		if _, err := Connect([]byte(text), ""); err == nil || !strings.Contains(err.Error(), "read kubeconfig") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestConfigIsKeptInTheCluster(t *testing.T) {
	c := &Client{typed: fake.NewClientset()}
	if _, err := c.LoadConfig(t.Context()); !errdefs.Is(err, errdefs.ClassNotFound) {
		t.Errorf("before: got %v, want class not found", err)
	}
	for _, config := range []string{"name: demo\n", "name: changed\n"} {
		if err := c.SaveConfig(t.Context(), []byte(config)); err != nil {
			t.Fatal(err)
		}
		got, err := c.LoadConfig(t.Context())
		if err != nil || string(got) != config {
			t.Errorf("got %q, %v; want %q", got, err, config)
		}
	}
}

func TestDeleteToken(t *testing.T) {
	set := fake.NewClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-abcdef", Namespace: "kube-system"}})
	c := &Client{typed: set}
	for range 2 { // it may be gone already
		if err := c.DeleteToken(t.Context(), "abcdef"); err != nil {
			t.Fatal(err)
		}
	}
	left, err := set.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(left.Items) != 0 {
		t.Errorf("%d secrets are left (%v)", len(left.Items), err)
	}
}

func TestNodesAndPods(t *testing.T) {
	node := readyNode("a", "False")
	node.Status.NodeInfo.KubeletVersion = "v1.36.3"
	node.Status.Conditions[0].Status = corev1.ConditionTrue // memory pressure
	node.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}
	node.Status.Capacity = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("3")}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "x"}}
	pod.Spec.NodeName, pod.Status.Phase = "a", corev1.PodRunning
	pod.Spec.Containers = make([]corev1.Container, 2)
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Ready: true, RestartCount: 1}, {RestartCount: 3}}
	c := &Client{typed: fake.NewClientset(node, readyNode("b", "True"), pod)}

	nodes, err := c.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	diff(t, NodeInfo{
		Name: "a", Problem: "KubeletNotReady: cni plugin not initialized", Version: "v1.36.3",
		Conditions: []string{"MemoryPressure=True", "Ready=False"},
		Resources:  map[string]string{"cpu": "2", "memory": "0", "pods": "0"},
		Capacity:   map[string]string{"cpu": "3", "memory": "0", "pods": "0"},
	}, nodes["a"])
	if b := nodes["b"]; !b.Ready || b.Problem != "" || len(b.Conditions) > 0 {
		t.Errorf("a node without a problem is %+v", b)
	}
	pods, err := c.Pods(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	diff(t, []Pod{{Namespace: "x", Name: "p", Node: "a", Phase: "Running", Ready: 1, Containers: 2, Restarts: 4}}, pods)
}
