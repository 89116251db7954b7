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
	for name, c := range map[string]struct {
		ready     corev1.ConditionStatus
		since     time.Duration
		container corev1.ContainerStatus
		fails     bool
		says      string
	}{
		"ready":                 {corev1.ConditionTrue, time.Hour, corev1.ContainerStatus{RestartCount: 3, LastTerminationState: ended}, false, ""},
		"starting":              {corev1.ConditionFalse, time.Second, corev1.ContainerStatus{State: waiting("ContainerCreating")}, false, "ContainersNotReady"},
		"starting for long":     {corev1.ConditionFalse, time.Hour, corev1.ContainerStatus{State: waiting("ContainerCreating")}, true, "ContainersNotReady"},
		"started anew":          {corev1.ConditionFalse, time.Second, corev1.ContainerStatus{State: waiting("ContainerCreating"), RestartCount: 1, LastTerminationState: ended}, false, "1 restarts"},
		"ended just now":        {corev1.ConditionFalse, time.Second, corev1.ContainerStatus{State: ended}, false, "exit code 1"},
		"going round":           {corev1.ConditionFalse, time.Second, corev1.ContainerStatus{Name: "c", State: waiting("CrashLoopBackOff")}, true, "container c: CrashLoopBackOff"},
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
