package kube

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestFailing wants pods told apart that fail and that have just begun.
func TestFailing(t *testing.T) {
	now := time.Now()
	waiting := func(reason string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
	}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error"}}
	endedBefore := func(d time.Duration) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, FinishedAt: metav1.NewTime(now.Add(-d))}}
	}
	for name, c := range map[string]struct {
		ready     corev1.ConditionStatus
		since     time.Duration
		container corev1.ContainerStatus
		fails     bool
		says      string
	}{
		"ready":                 {corev1.ConditionTrue, time.Hour, corev1.ContainerStatus{RestartCount: 3, LastTerminationState: ended}, false, ""},
		"starting":              {corev1.ConditionFalse, time.Second, corev1.ContainerStatus{State: waiting("ContainerCreating")}, false, "ContainersNotReady"},
		"kubelet has begun":     {corev1.ConditionFalse, time.Second, corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CreateContainerConfigError", Message: "services have not yet been read at least once, cannot construct envvars"}}}, false, "ContainersNotReady"},
		"starting for long":     {corev1.ConditionFalse, time.Hour, corev1.ContainerStatus{State: waiting("ContainerCreating")}, true, "ContainersNotReady"},
		"started anew":          {corev1.ConditionFalse, time.Second, corev1.ContainerStatus{State: waiting("ContainerCreating"), RestartCount: 1, LastTerminationState: ended}, false, "1 restarts"},
		"ended just now":        {corev1.ConditionFalse, time.Second, corev1.ContainerStatus{State: ended}, false, "exit code 1"},
		"going round":           {corev1.ConditionFalse, time.Second, corev1.ContainerStatus{Name: "c", State: waiting("CrashLoopBackOff")}, true, "container c: CrashLoopBackOff"},
		"ended twice":           {corev1.ConditionFalse, time.Second, corev1.ContainerStatus{State: endedBefore(time.Second), LastTerminationState: endedBefore(time.Minute)}, true, "exit code 1"},
		"ended long ago too":    {corev1.ConditionFalse, time.Second, corev1.ContainerStatus{State: endedBefore(time.Second), LastTerminationState: endedBefore(time.Hour)}, false, "exit code 1"},
		"image cannot be had":   {corev1.ConditionFalse, time.Second, corev1.ContainerStatus{State: waiting("ImagePullBackOff")}, true, "ImagePullBackOff"},
		"killed for its memory": {corev1.ConditionFalse, time.Second, corev1.ContainerStatus{State: waiting("CrashLoopBackOff"), LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "OOMKilled"}}}, true, "more memory"},
	} {
		t.Run(name, func(t *testing.T) {
			why, fails := failing(&corev1.Pod{Status: corev1.PodStatus{
				Phase: corev1.PodRunning,
				Conditions: []corev1.PodCondition{{
					Type: corev1.PodReady, Status: c.ready, Reason: "ContainersNotReady", LastTransitionTime: metav1.NewTime(now.Add(-c.since)),
				}},
				ContainerStatuses: []corev1.ContainerStatus{c.container},
			}}, now)
			if fails != c.fails || !strings.Contains(why, c.says) || (why == "") != (c.says == "") {
				t.Errorf("fails: %t, %q; want %t, %q", fails, why, c.fails, c.says)
			}
		})
	}
}

// TestFailedPods wants a pod that has failed for good to be its controller's
// affair, and that of nobody to fail.
func TestFailedPods(t *testing.T) {
	p := &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Conditions: []corev1.PodCondition{{
		Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(time.Now().Add(-time.Hour)),
	}}}}
	if why, fails := failing(p, time.Now()); !fails || !strings.Contains(why, "Evicted") {
		t.Errorf("without a controller: fails: %t, %q", fails, why)
	}
	p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "coredns-5d78", Controller: new(true)}}
	if why, fails := failing(p, time.Now()); fails || !strings.Contains(why, "Evicted") {
		t.Errorf("with a controller: fails: %t, %q", fails, why)
	}
}

func TestController(t *testing.T) {
	for want, p := range map[string]corev1.Pod{
		"":                     {},
		"DaemonSet/kube-proxy": {ObjectMeta: owned("DaemonSet", "kube-proxy", "")},
		"Deployment/coredns":   {ObjectMeta: owned("ReplicaSet", "coredns-5d78", "5d78")},
		"ReplicaSet/mine-5d78": {ObjectMeta: owned("ReplicaSet", "mine-5d78", "")},
		"Node/dev-worker":      {ObjectMeta: owned("Node", "dev-worker", "")},
	} {
		if got := controller(&p); got != want {
			t.Errorf("controller %q, want %q", got, want)
		}
	}
}

func owned(kind, name, hash string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{Kind: kind, Name: name, Controller: new(true)}}}
	if hash != "" {
		m.Labels = map[string]string{"pod-template-hash": hash}
	}
	return m
}
