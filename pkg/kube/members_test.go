package kube

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// podOn is a pod of a node with a controller of a kind; none when it is empty.
func podOn(name, node, controller string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
	p.Spec.NodeName = node
	if controller != "" {
		p.OwnerReferences = []metav1.OwnerReference{{Kind: controller, Name: "c", Controller: new(true)}}
	}
	return p
}

func volumeOn(claim, node string, phase corev1.PersistentVolumePhase) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-" + claim}}
	v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "default", Name: claim}
	v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "kubernetes.io/hostname", Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
	}}}}
	v.Status.Phase = phase
	return v
}

// clientOn is a client of objects. Its API selects pods by node, which the
// fake clientset does not.
func clientOn(objects ...runtime.Object) (*Client, *fake.Clientset) {
	set := fake.NewClientset(objects...)
	set.PrependReactor("list", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		on := action.(clienttesting.ListAction).GetListRestrictions().Fields
		all, err := set.Tracker().List(action.GetResource(), corev1.SchemeGroupVersion.WithKind("Pod"), action.GetNamespace())
		if err != nil {
			return true, nil, err
		}
		list := all.(*corev1.PodList)
		selected := &corev1.PodList{}
		for _, p := range list.Items {
			if node, ok := on.RequiresExactMatch("spec.nodeName"); !ok || p.Spec.NodeName == node {
				selected.Items = append(selected.Items, p)
			}
		}
		return true, selected, nil
	})
	return &Client{typed: set}, set
}

func TestOnlyHere(t *testing.T) {
	done := podOn("done", "a", "")
	done.Status.Phase = corev1.PodSucceeded
	static := podOn("static", "a", "")
	static.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	anywhere := volumeOn("anywhere", "a", corev1.VolumeBound)
	anywhere.Spec.NodeAffinity = nil
	c, _ := clientOn(
		podOn("alone", "a", ""), podOn("elsewhere", "b", ""), podOn("owned", "a", "ReplicaSet"), podOn("daemon", "a", "DaemonSet"), done, static,
		volumeOn("data", "a", corev1.VolumeBound), volumeOn("other", "b", corev1.VolumeBound), volumeOn("released", "a", corev1.VolumeReleased), anywhere,
	)
	got, err := c.OnlyHere(t.Context(), "a")
	if diff := cmp.Diff([]string{"pod default/alone", "volume of claim default/data"}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestDrain evicts pods of which one has a budget that lets it go at the third
// time, and one ends by itself.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ending := podOn("ending", "a", "ReplicaSet")
		ending.DeletionTimestamp, ending.Finalizers = &metav1.Time{Time: time.Now()}, []string{"x/y"}
		c, set := clientOn(podOn("easy", "a", "ReplicaSet"), podOn("guarded", "a", "ReplicaSet"), podOn("daemon", "a", "DaemonSet"), podOn("elsewhere", "b", "ReplicaSet"), ending)
		asked := map[string]int{}
		set.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
			name := action.(clienttesting.CreateAction).GetObject().(*policyv1.Eviction).Name
			asked[name]++
			if name == "guarded" && asked[name] < 3 {
				return true, nil, apierrors.NewTooManyRequests("it has a budget", 1)
			}
			if name == "guarded" { // the other one has had its time too
				_ = set.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), "default", "ending")
			}
			return true, nil, set.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), "default", name)
		})
		var left []int
		if err := c.Drain(t.Context(), "a", func(n int) { left = append(left, n) }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]int{"easy": 1, "guarded": 3}, asked); diff != "" {
			t.Errorf("evictions (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]int{3, 2}, left); diff != "" {
			t.Errorf("left (-want +got):\n%s", diff)
		}
	})
}

func TestDrainEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, set := clientOn(podOn("guarded", "a", "ReplicaSet"))
		set.PrependReactor("create", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewTooManyRequests("it has a budget", 1)
		})
		why := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, why)
		defer cancel()
		err := c.Drain(ctx, "a", func(int) {})
		if !errors.Is(err, why) || !strings.Contains(err.Error(), "default/guarded") {
			t.Errorf("error %v", err)
		}
	})
}

func TestDrainFails(t *testing.T) {
	c, set := clientOn(podOn("web", "a", "ReplicaSet"))
	set.PrependReactor("create", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(corev1.Resource("pods"), "web", errors.New("no"))
	})
	if err := c.Drain(t.Context(), "a", func(int) {}); err == nil || !strings.Contains(err.Error(), "evict pod default/web") {
		t.Errorf("error %v", err)
	}
}

func TestCordonAndDeleteNode(t *testing.T) {
	c, set := clientOn(readyNode("a", corev1.ConditionTrue))
	if err := c.Cordon(t.Context(), "a", true); err != nil {
		t.Fatal(err)
	}
	if n, err := set.CoreV1().Nodes().Get(t.Context(), "a", metav1.GetOptions{}); err != nil || !n.Spec.Unschedulable {
		t.Errorf("cordoned: %v, %v", n.Spec.Unschedulable, err)
	}
	for range 2 { // the second time it is gone
		if err := c.DeleteNode(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Cordon(t.Context(), "a", false); err != nil {
		t.Errorf("cordon what is gone: %v", err)
	}
}
