package kube

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func heard(name string, at time.Time) *corev1.Node {
	n := readyNode(name, corev1.ConditionTrue)
	for i := range n.Status.Conditions {
		n.Status.Conditions[i].LastHeartbeatTime = metav1.NewTime(at)
	}
	return n
}

func dnsPod(node string, ready corev1.ConditionStatus, containers ...*corev1.ContainerStateRunning) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: "coredns-1", Namespace: "kube-system", Labels: map[string]string{"k8s-app": "kube-dns"},
	}}
	p.Spec.NodeName = node
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	for _, c := range containers {
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{State: corev1.ContainerState{Running: c}})
	}
	return p
}

func TestSinceStart(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 600e6, time.UTC)
	before, second, after := start.Add(-time.Second), start.Truncate(time.Second), start.Add(time.Second)
	running := func(at time.Time) *corev1.ContainerStateRunning {
		return &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(at)}
	}
	on := map[string]time.Time{"a": start}
	both := map[string]time.Time{"a": start, "b": start}
	for name, test := range map[string]struct {
		condition Condition
		state     State
		want      string // "" when it holds
	}{
		"heard since":             {NodesReported(both), State{Nodes: []*corev1.Node{heard("a", after), heard("b", second)}}, ""},
		"heard before":            {NodesReported(both), State{Nodes: []*corev1.Node{heard("a", before), heard("b", after)}}, "nothing was heard of a"},
		"never heard":             {NodesReported(both), State{Nodes: []*corev1.Node{readyNode("a", ""), heard("b", before)}}, "nothing was heard of a, b"},
		"not registered":          {NodesReported(on), State{}, "nothing was heard of a"},
		"none was started":        {NodesReported(nil), State{}, ""},
		"DNS since":               {DNSStarted(on), State{DNSPods: []*corev1.Pod{dnsPod("a", "True", running(second), running(after))}}, ""},
		"DNS before":              {DNSStarted(on), State{DNSPods: []*corev1.Pod{dnsPod("a", "True", running(after), running(before))}}, "none of its 1 pods has"},
		"DNS is not ready":        {DNSStarted(on), State{DNSPods: []*corev1.Pod{dnsPod("a", "False", running(after))}}, "none of its 1 pods has"},
		"DNS does not run":        {DNSStarted(on), State{DNSPods: []*corev1.Pod{dnsPod("a", "True", nil)}}, "none of its 1 pods has"},
		"DNS without a container": {DNSStarted(on), State{DNSPods: []*corev1.Pod{dnsPod("a", "True")}}, "none of its 1 pods has"},
		"no DNS":                  {DNSStarted(on), State{}, "none of its 0 pods has"},
		"one of two":              {DNSStarted(both), State{DNSPods: []*corev1.Pod{dnsPod("a", "True", running(before)), dnsPod("b", "True", running(after))}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.condition.Check(test.state)
			if test.want == "" && err != nil {
				t.Errorf("it does not hold: %v", err)
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}
