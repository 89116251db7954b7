package kube

import (
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

func configMap(namespace, name, key, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string]string{key: value}}
}

func daemonSet(name string, containers ...corev1.Container) *appsv1.DaemonSet {
	d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name}}
	d.Spec.Template.Spec.Containers = containers
	return d
}

func TestRedirect(t *testing.T) {
	const before = "clusters:\n- cluster:\n    server: https://dev-control-plane:6443\n  name: default\n"
	agent := corev1.Container{Name: "agent", Env: []corev1.EnvVar{{Name: "CONTROL_PLANE_ENDPOINT", Value: "dev-control-plane:6443"}, {Name: "POD_SUBNET", Value: "10.244.0.0/16"}}}
	c, set := clientOn(
		configMap("kube-public", "cluster-info", "kubeconfig", before), configMap("kube-system", "kube-proxy", "kubeconfig.conf", before),
		daemonSet("kube-proxy"), daemonSet("petri-cni", agent),
	)
	for range 2 {
		if err := c.Redirect(t.Context(), "dev-external-load-balancer:6444"); err != nil {
			t.Fatal(err)
		}
	}
	const after = "    server: https://dev-external-load-balancer:6444\n  name: default\n"
	for namespace, name := range map[string]string{"kube-public": "cluster-info", "kube-system": "kube-proxy"} {
		cm, err := set.CoreV1().ConfigMaps(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range cm.Data {
			if !strings.HasSuffix(text, after) {
				t.Errorf("%s holds\n%s", name, text)
			}
		}
	}
	proxy, err := set.AppsV1().DaemonSets("kube-system").Get(t.Context(), "kube-proxy", metav1.GetOptions{})
	if err != nil || proxy.Spec.Template.Annotations[endpointAnnotation] != "dev-external-load-balancer:6444" {
		t.Errorf("pods of kube-proxy are not replaced: %v", err)
	}
	cni, err := set.AppsV1().DaemonSets("kube-system").Get(t.Context(), "petri-cni", metav1.GetOptions{})
	if err != nil || len(cni.Spec.Template.Spec.Containers) != 1 || len(cni.Spec.Template.Spec.Containers[0].Env) != 2 {
		t.Fatalf("the agent is %+v, %v", cni.Spec.Template.Spec, err)
	}
	for _, env := range cni.Spec.Template.Spec.Containers[0].Env {
		if env.Name == "CONTROL_PLANE_ENDPOINT" && env.Value != "dev-external-load-balancer:6444" {
			t.Errorf("the agent goes to %s", env.Value)
		}
	}
}

// TestRedirectWhatIsNotThere: a cluster may have neither kube-proxy nor the
// default CNI.
func TestRedirectWhatIsNotThere(t *testing.T) {
	c, set := clientOn()
	if err := c.Redirect(t.Context(), "dev-external-load-balancer:6444"); err != nil {
		t.Error(err)
	}
	refused := apierrors.NewForbidden(appsv1.Resource("daemonsets"), "kube-proxy", errors.New("not yours"))
	set.PrependReactor("patch", "daemonsets", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, refused })
	if err := c.Redirect(t.Context(), "dev-external-load-balancer:6444"); !errors.Is(err, refused) {
		t.Errorf("error %v", err)
	}
}

func TestClusterConfiguration(t *testing.T) {
	c, _ := clientOn(configMap("kube-system", "kubeadm-config", "ClusterConfiguration", "kind: ClusterConfiguration\n"))
	if got, err := c.ClusterConfiguration(t.Context()); err != nil || string(got) != "kind: ClusterConfiguration\n" {
		t.Errorf("%q, %v", got, err)
	}
	empty, _ := clientOn()
	if _, err := empty.ClusterConfiguration(t.Context()); !apierrors.IsNotFound(err) {
		t.Errorf("error %v", err)
	}
}
