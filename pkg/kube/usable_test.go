package kube

import (
	"context"
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func readyNode(name string, status corev1.ConditionStatus) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if status != "" {
		n.Status.Conditions = []corev1.NodeCondition{
			{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse},
			{Type: corev1.NodeReady, Status: status, Reason: "KubeletNotReady", Message: "cni plugin not initialized"},
		}
	}
	return n
}

func coreDNS(available int32, condition corev1.ConditionStatus) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "coredns", Namespace: "kube-system"}}
	d.Spec.Replicas = new(int32(2))
	d.Status.AvailableReplicas = available
	if condition != "" {
		d.Status.Conditions = []appsv1.DeploymentCondition{
			{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue},
			{Type: appsv1.DeploymentAvailable, Status: condition},
		}
	}
	return d
}

func defaultAccount() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: "default"}}
}

func storageClass(isDefault string) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{
		Name: "standard", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": isDefault},
	}}
}

func TestConditions(t *testing.T) {
	withoutReplicas := coreDNS(0, "")
	withoutReplicas.Spec.Replicas = nil
	two := []string{"a", "b"}
	tests := map[string]struct {
		condition Condition
		state     State
		want      string // "" when it holds
	}{
		"ready":               {NodesReady(two), State{Nodes: []*corev1.Node{readyNode("b", "True"), readyNode("a", "True")}}, ""},
		"more than asked for": {NodesReady([]string{"a"}), State{Nodes: []*corev1.Node{readyNode("b", "False"), readyNode("a", "True")}}, ""},
		"no nodes at all":     {NodesReady(two), State{}, "a is not registered; b is not registered"},
		"one not ready": {NodesReady(two), State{Nodes: []*corev1.Node{readyNode("a", "False"), readyNode("b", "True")}},
			"a: KubeletNotReady: cni plugin not initialized"},
		"unknown is not ready":    {NodesReady([]string{"a"}), State{Nodes: []*corev1.Node{readyNode("a", "Unknown")}}, "a: KubeletNotReady: cni plugin not initialized"},
		"no status":               {NodesReady([]string{"a"}), State{Nodes: []*corev1.Node{readyNode("a", "")}}, "a: it has reported no status yet"},
		"registered":              {NodesRegistered(two), State{Nodes: []*corev1.Node{readyNode("a", "False"), readyNode("b", "")}}, ""},
		"not registered":          {NodesRegistered(two), State{Nodes: []*corev1.Node{readyNode("a", "True")}}, "b is not registered"},
		"DNS":                     {DNSServing(), State{CoreDNS: coreDNS(1, "True")}, ""},
		"no DNS":                  {DNSServing(), State{}, "there is no Deployment coredns in kube-system"},
		"DNS not available":       {DNSServing(), State{CoreDNS: coreDNS(1, "False")}, "1 of 2 replicas are available"},
		"DNS said nothing":        {DNSServing(), State{CoreDNS: coreDNS(0, "")}, "0 of 2 replicas are available"},
		"available without a pod": {DNSServing(), State{CoreDNS: coreDNS(0, "True")}, "0 of 2 replicas are available"},
		"DNS without replicas":    {DNSServing(), State{CoreDNS: withoutReplicas}, "0 of 1 replicas are available"},
		"account":                 {DefaultServiceAccount(), State{ServiceAccounts: []*corev1.ServiceAccount{defaultAccount()}}, ""},
		"no account":              {DefaultServiceAccount(), State{}, "the controller-manager has not made it yet"},
		"storage":                 {DefaultStorageClass(), State{StorageClasses: []*storagev1.StorageClass{storageClass("true")}}, ""},
		"storage, but no default": {DefaultStorageClass(), State{StorageClasses: []*storagev1.StorageClass{storageClass("false")}}, "no StorageClass is marked as the default"},
		"no storage":              {DefaultStorageClass(), State{}, "no StorageClass is marked as the default"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := test.condition.Check(test.state); err != nil {
				got = err.Error()
			}
			diff(t, test.want, got)
		})
	}
}

// watched is a client of a cluster in memory, and a function that returns when
// its objects are watched: what changes before that may go unseen.
func watched(t *testing.T, objects ...runtime.Object) (*Client, *fake.Clientset, func()) {
	t.Helper()
	set := fake.NewClientset(objects...)
	begun := make(chan string, 100)
	set.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		w, err := set.Tracker().Watch(action.GetResource(), action.GetNamespace())
		begun <- action.GetResource().Resource
		return true, w, err
	})
	return &Client{typed: set}, set, func() {
		for seen := map[string]bool{}; len(seen) < 4; {
			select {
			case resource := <-begun:
				seen[resource] = true
			case <-t.Context().Done():
				t.Fatal("not everything is watched")
			}
		}
	}
}

func TestWait(t *testing.T) {
	c, set, ready := watched(t, readyNode("a", "False"), defaultAccount())
	met := make(chan string, 10)
	done := make(chan error, 1)
	go func() {
		done <- c.Wait(t.Context(), []Condition{
			NodesReady([]string{"a"}), DNSServing(), DefaultServiceAccount(), DefaultStorageClass(),
		}, func(name string) { met <- name })
	}()
	ready()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	next := func(want string) {
		t.Helper()
		if got := <-met; got != want {
			t.Errorf("met %q, want %q", got, want)
		}
	}
	next("the default ServiceAccount is there")
	must(set.StorageV1().StorageClasses().Create(t.Context(), storageClass("true"), metav1.CreateOptions{}))
	next("a default StorageClass is there")
	must(set.AppsV1().Deployments("kube-system").Create(t.Context(), coreDNS(0, ""), metav1.CreateOptions{}))
	must(set.CoreV1().Nodes().UpdateStatus(t.Context(), readyNode("a", "True"), metav1.UpdateOptions{}))
	next("every node is Ready")
	select {
	case err := <-done:
		t.Fatalf("did not wait for CoreDNS: %v", err)
	default:
	}
	must(set.AppsV1().Deployments("kube-system").UpdateStatus(t.Context(), coreDNS(1, "True"), metav1.UpdateOptions{}))
	next("CoreDNS is serving")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(met) > 0 {
		t.Errorf("%q was told twice", <-met)
	}
}

func TestWaitEndsWithWhatIsMissing(t *testing.T) {
	c, _, ready := watched(t, readyNode("a", "True"))
	cause := errors.New("it took too long")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		ready()
		cancel(cause)
	}()
	err := c.Wait(ctx, []Condition{NodesRegistered([]string{"a", "b"}), DefaultStorageClass()}, nil)
	unmet, ok := errors.AsType[*Unmet](err)
	if !ok || !errors.Is(err, cause) {
		t.Fatalf("got %v, want an *Unmet with the cause", err)
	}
	if len(unmet.Conditions) != 2 || !strings.Contains(unmet.Conditions[0], "b is not registered") {
		t.Errorf("missing: %q", unmet.Conditions)
	}
	if got := err.Error(); !strings.HasPrefix(got, "it took too long; every node is registered: not yet (") ||
		!strings.HasSuffix(got, "a default StorageClass is there: not yet (no StorageClass is marked as the default)") {
		t.Errorf("message %q", got)
	}
}

func TestWaitForNothing(t *testing.T) {
	c, _, _ := watched(t)
	if err := c.Wait(t.Context(), nil, nil); err != nil {
		t.Error(err)
	}
}

func TestUnmet(t *testing.T) {
	conditions := []Condition{NodesReady([]string{"a"}), DNSServing(), DefaultServiceAccount(), DefaultStorageClass()}
	unmet := func(c *Client) []Shortfall {
		got, err := c.Unmet(t.Context(), conditions)
		if err != nil {
			t.Error(err)
		}
		return got
	}
	diff(t, []Shortfall(nil), unmet(&Client{typed: fake.NewClientset(readyNode("a", "True"), coreDNS(1, "True"), defaultAccount(), storageClass("true"))}))
	diff(t, []Shortfall{
		{"every node is Ready", "a: KubeletNotReady: cni plugin not initialized"},
		{"CoreDNS is serving", "there is no Deployment coredns in kube-system"},
	}, unmet(&Client{typed: fake.NewClientset(readyNode("a", "False"), defaultAccount(), storageClass("true"))}))

	set := fake.NewClientset()
	set.PrependReactor("list", "storageclasses", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("no answer")
	})
	if got, err := (&Client{typed: set}).Unmet(t.Context(), conditions); err == nil || err.Error() != "list storage classes: no answer" {
		t.Errorf("a cluster that does not answer: %v, %v", got, err)
	}
}
