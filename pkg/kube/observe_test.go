package kube

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

// podWith is a pod with one container in a state.
func podWith(name string, phase corev1.PodPhase, s corev1.ContainerStatus) *corev1.Pod {
	p := podOn(name, "a", "")
	p.UID, p.Status.Phase = "1-2", phase
	s.Name = "app"
	p.Status.ContainerStatuses = []corev1.ContainerStatus{s}
	return p
}

func terminated(code int32, reason string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, FinishedAt: metav1.NewTime(time.Unix(200, 0))}}
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func running() corev1.ContainerState {
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(time.Unix(300, 0))}}
}

func TestObserve(t *testing.T) {
	sick := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
		{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady", Message: "no network"},
		{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue, Message: "full"},
	}}}
	well := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
		{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"},
		{Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse},
	}}}
	unscheduled := podOn("unscheduled", "", "")
	unscheduled.Status = corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/2 nodes"},
	}}
	static := podWith("static", corev1.PodRunning, corev1.ContainerStatus{RestartCount: 2, State: running(), LastTerminationState: terminated(1, "Error")})
	static.Annotations = map[string]string{"kubernetes.io/config.hash": "abc"}
	c, _ := clientOn(sick, well, unscheduled, static,
		podWith("crashing", corev1.PodRunning, corev1.ContainerStatus{State: waiting("CrashLoopBackOff", "back-off"), LastTerminationState: terminated(3, "Error"), RestartCount: 4}),
		podWith("greedy", corev1.PodRunning, corev1.ContainerStatus{State: running(), LastTerminationState: terminated(137, "OOMKilled"), RestartCount: 1}),
		podWith("done", corev1.PodSucceeded, corev1.ContainerStatus{State: terminated(0, "Completed")}),
		podWith("starting", corev1.PodPending, corev1.ContainerStatus{State: waiting("ContainerCreating", "")}),
		podWith("fine", corev1.PodRunning, corev1.ContainerStatus{State: running()}),
		&corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "default"}, Type: "Warning", Reason: "BackOff", Message: "again", Count: 3,
			FirstTimestamp: metav1.NewTime(time.Unix(90, 0)), LastTimestamp: metav1.NewTime(time.Unix(100, 0)),
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "crashing"},
		},
	)
	got, err := c.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Trouble{
		{NodeNotReady, "a", "node a", "KubeletNotReady: no network", ""},
		{NodeNotReady, "a", "node a", "DiskPressure: full", ""},
		{OutOfMemory, "a", "pod default/greedy, container app", "it took more memory than it may; 1 restarts", "pods/default_greedy_1-2/app"},
		{PodFailing, "a", "pod default/crashing, container app", "CrashLoopBackOff: back-off", "pods/default_crashing_1-2/app"},
		{PodFailing, "", "pod default/unscheduled", "Pending: Unschedulable 0/2 nodes", ""},
		{Restarting, "a", "pod default/static, container app", "2 restarts; last: ended with exit code 1 (Error)", "pods/default_static_abc/app"},
	}
	if diff := cmp.Diff(want, got.Troubles); diff != "" {
		t.Errorf("troubles (-want +got):\n%s", diff)
	}
	if first := got.Moments[0]; first.What != "Pod default/crashing" || first.Text != "Warning BackOff: again (3 times since 1970-01-01T00:01:30Z)" {
		t.Errorf("the first moment is %+v", first)
	}
	if last := got.Moments[len(got.Moments)-1]; last.Time.Unix() != 300 || last.Text != "started" {
		t.Errorf("the last moment is %+v", last)
	}
}

func TestObserveFails(t *testing.T) {
	for _, resource := range []string{"nodes", "pods", "events"} {
		broken := errors.New("it broke")
		c, set := clientOn()
		set.PrependReactor("list", resource, func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, broken })
		if _, err := c.Observe(t.Context()); !errors.Is(err, broken) || !strings.Contains(err.Error(), "list "+resource) {
			t.Errorf("%s: %v", resource, err)
		}
	}
}
