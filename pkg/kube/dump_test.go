package kube

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"
)

// dumpable is a client of an API with a few kinds and these objects.
func dumpable(objects ...runtime.Object) (*Client, *dynamicfake.FakeDynamicClient) {
	set := fake.NewClientset()
	list := metav1.Verbs{"get", "list"}
	set.Resources = []*metav1.APIResourceList{
		{GroupVersion: "v1", APIResources: []metav1.APIResource{
			{Name: "configmaps", Kind: "ConfigMap", Verbs: list}, {Name: "secrets", Kind: "Secret", Verbs: list},
			{Name: "events", Kind: "Event", Verbs: list}, {Name: "bindings", Kind: "Binding", Verbs: metav1.Verbs{"create"}},
			{Name: "services", Kind: "Service", Verbs: list},
		}},
		{GroupVersion: "apps/v1", APIResources: []metav1.APIResource{{Name: "deployments", Kind: "Deployment", Verbs: list}}},
	}
	dynamic := dynamicfake.NewSimpleDynamicClient(scheme.Scheme, objects...)
	return &Client{typed: set, dynamic: dynamic}, dynamic
}

// dumped is what a dump wrote, by resource.
type dumped map[string]*bytes.Buffer

type closer struct{ io.Writer }

func (closer) Close() error { return nil }

func (d dumped) open(resource string) (io.WriteCloser, error) {
	d[resource] = &bytes.Buffer{}
	return closer{d[resource]}, nil
}

func secretOf(name, kind string, data map[string]string) *corev1.Secret {
	s := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Annotations: map[string]string{"last-applied": "hunter22"}},
		Type:       corev1.SecretType(kind), Data: map[string][]byte{},
	}
	for key, value := range data {
		s.Data[key] = []byte(value)
	}
	return s
}

func TestDump(t *testing.T) {
	c, _ := dumpable(
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "plain", Namespace: "default", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "somebody"}}}, Data: map[string]string{"a": "b"}},
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}},
		&corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "happened", Namespace: "default"}},
		secretOf("db", "Opaque", map[string]string{"password": "hunter22", "username": "me", "debug": "true"}),
		secretOf("token", string(corev1.SecretTypeBootstrapToken), map[string]string{"token-id": "abcdef", "token-secret": "0123456789abcdef", "description": "petri"}),
		secretOf("chart", "helm.sh/release.v1", map[string]string{"release": "H4sI"}),
	)
	got, told := dumped{}, map[string]bool{}
	if err := c.Dump(t.Context(), got.open, func(value string) { told[value] = true }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"configmaps", "deployments.apps", "secrets"}, slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("resources (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"0123456789abcdef", "hunter22"}, slices.Sorted(maps.Keys(told))); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
	secrets := got["secrets"].String()
	if strings.Contains(secrets, "hunter22") || strings.Contains(secrets, "aHVudGVyMjI") || !strings.Contains(secrets, "password: REDACTED") {
		t.Errorf("secrets:\n%s", secrets)
	}
	if text := got["configmaps"].String(); !strings.HasPrefix(text, "---\napiVersion: v1\n") || !strings.Contains(text, "name: plain") || strings.Contains(text, "somebody") {
		t.Errorf("configmaps:\n%s", text)
	}
}

func TestDumpGoesOn(t *testing.T) {
	broken := errors.New("it broke")
	fail := func(resource string) (*Client, dumped) {
		c, dynamic := dumpable(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "plain"}}, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}})
		dynamic.PrependReactor("list", resource, func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, broken })
		return c, dumped{}
	}
	c, got := fail("configmaps")
	if err := c.Dump(t.Context(), got.open, nil); !errors.Is(err, broken) || !strings.Contains(err.Error(), "objects of configmaps") || got["deployments.apps"] == nil {
		t.Errorf("error %v, dumped %v", err, got)
	}
	c, got = fail("secrets")
	if err := c.Dump(t.Context(), got.open, nil); !errors.Is(err, broken) || len(got) > 0 {
		t.Errorf("without secrets: error %v, dumped %v", err, got)
	}
	c, _ = fail("none")
	if err := c.Dump(t.Context(), func(string) (io.WriteCloser, error) { return nil, broken }, nil); !errors.Is(err, broken) {
		t.Errorf("no place: error %v", err)
	}
}
