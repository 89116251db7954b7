package kube

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Observation is what is wrong in a cluster, and what has happened in it.
type Observation struct {
	Troubles []Trouble
	Moments  []Moment // by time
}

// TroubleKind says what is wrong.
type TroubleKind string

// The kinds of trouble, the gravest first.
const (
	NodeNotReady TroubleKind = "node not ready"
	OutOfMemory  TroubleKind = "out of memory"
	PodFailing   TroubleKind = "pod failing"
	Restarting   TroubleKind = "containers restarting"
)

var gravity = []TroubleKind{NodeNotReady, OutOfMemory, PodFailing, Restarting}

// Trouble is one thing that is wrong.
type Trouble struct {
	Kind TroubleKind
	Node string
	What string // "node dev-worker", "pod default/web-1, container app"
	Why  string
	// Log is the folder of the container's logs below the node's /var/log;
	// empty when it has none.
	Log string
}

// Moment is something that happened.
type Moment struct {
	Time time.Time
	What string // "Pod default/web-1"
	Text string
}

// Observe looks at all nodes, pods and events.
func (c *Client) Observe(ctx context.Context) (Observation, error) {
	var o Observation
	nodes, err := c.typed.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return o, fmt.Errorf("list nodes: %w", err)
	}
	for i := range nodes.Items {
		o.node(&nodes.Items[i])
	}
	pods, err := c.typed.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return o, fmt.Errorf("list pods: %w", err)
	}
	for i := range pods.Items {
		o.pod(&pods.Items[i])
	}
	events, err := c.typed.CoreV1().Events(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return o, fmt.Errorf("list events: %w", err)
	}
	for i := range events.Items {
		o.event(&events.Items[i])
	}
	slices.SortStableFunc(o.Troubles, func(a, b Trouble) int {
		return cmp.Or(cmp.Compare(slices.Index(gravity, a.Kind), slices.Index(gravity, b.Kind)), cmp.Compare(a.What, b.What))
	})
	slices.SortStableFunc(o.Moments, func(a, b Moment) int { return a.Time.Compare(b.Time) })
	return o, nil
}

func (o *Observation) node(n *corev1.Node) {
	if why := notReady(n); why != "" {
		o.Troubles = append(o.Troubles, Trouble{Kind: NodeNotReady, Node: n.Name, What: "node " + n.Name, Why: why})
	}
	for _, c := range n.Status.Conditions {
		o.moment(c.LastTransitionTime.Time, "Node "+n.Name, fmt.Sprintf("%s=%s %s", c.Type, c.Status, c.Reason))
		if c.Type != corev1.NodeReady && c.Status == corev1.ConditionTrue {
			o.Troubles = append(o.Troubles, Trouble{Kind: NodeNotReady, Node: n.Name, What: "node " + n.Name, Why: string(c.Type) + ": " + c.Message})
		}
	}
}

func (o *Observation) pod(p *corev1.Pod) {
	what := p.Namespace + "/" + p.Name
	o.moment(p.CreationTimestamp.Time, "Pod "+what, "created")
	for _, c := range p.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			o.moment(c.LastTransitionTime.Time, "Pod "+what, string(c.Type))
		}
	}
	containers := slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses)
	before := len(o.Troubles)
	for i := range containers {
		o.container(p, &containers[i])
	}
	if why := podFailing(p); why != "" && len(o.Troubles) == before {
		o.Troubles = append(o.Troubles, Trouble{Kind: PodFailing, Node: p.Spec.NodeName, What: "pod " + what, Why: why})
	}
}

// container tells how one container is: at most one trouble of it.
func (o *Observation) container(p *corev1.Pod, s *corev1.ContainerStatus) {
	what := p.Namespace + "/" + p.Name + ", container " + s.Name
	for _, end := range []*corev1.ContainerStateTerminated{s.LastTerminationState.Terminated, s.State.Terminated} {
		if end != nil {
			o.moment(end.FinishedAt.Time, "Pod "+what, ended(end))
		}
	}
	if s.State.Running != nil {
		o.moment(s.State.Running.StartedAt.Time, "Pod "+what, "started")
	}
	t := Trouble{Node: p.Spec.NodeName, What: "pod " + what, Log: fmt.Sprintf("pods/%s_%s_%s/%s", p.Namespace, p.Name, logID(p), s.Name)}
	if t.Kind, t.Why = containerTrouble(s); t.Kind != "" {
		o.Troubles = append(o.Troubles, t)
	}
}

// logID is the identity of a pod in the names of its logs: that of a static pod
// is the kubelet's own.
func logID(p *corev1.Pod) string {
	return cmp.Or(p.Annotations["kubernetes.io/config.hash"], string(p.UID))
}

func containerTrouble(s *corev1.ContainerStatus) (TroubleKind, string) {
	last := cmp.Or(s.State.Terminated, s.LastTerminationState.Terminated)
	restarts := fmt.Sprintf("%d restarts", s.RestartCount)
	switch {
	case last != nil && last.Reason == "OOMKilled":
		return OutOfMemory, fmt.Sprintf("it took more memory than it may; %s", restarts)
	case s.State.Waiting != nil && !onItsWay(s.State.Waiting):
		return PodFailing, fmt.Sprintf("%s: %s", s.State.Waiting.Reason, s.State.Waiting.Message)
	case s.State.Terminated != nil && s.State.Terminated.ExitCode != 0:
		return PodFailing, ended(s.State.Terminated)
	case s.RestartCount > 0 && last != nil:
		return Restarting, restarts + "; last: " + ended(last)
	}
	return "", ""
}

// unreadServices is what a kubelet says that has just started, and tries again
// (k8s.io/kubernetes pkg/kubelet/kubelet_pods.go).
const unreadServices = "services have not yet been read at least once"

// onItsWay reports whether a container that waits is being started.
func onItsWay(w *corev1.ContainerStateWaiting) bool {
	return w.Reason == "ContainerCreating" || w.Reason == "PodInitializing" || strings.Contains(w.Message, unreadServices)
}

func ended(t *corev1.ContainerStateTerminated) string {
	text := fmt.Sprintf("ended with exit code %d (%s)", t.ExitCode, t.Reason)
	if t.Message != "" {
		text += ": " + t.Message
	}
	return text
}

// podFailing says why a pod does not do what it is for, though no container of
// it tells; empty when it does, or has done it.
func podFailing(p *corev1.Pod) string {
	if p.Status.Phase == corev1.PodSucceeded {
		return ""
	}
	if p.Status.Phase == corev1.PodFailed {
		return fmt.Sprintf("Failed: %s %s", p.Status.Reason, p.Status.Message)
	}
	for _, c := range p.Status.Conditions {
		if c.Status == corev1.ConditionFalse && (c.Type == corev1.PodScheduled || c.Type == corev1.PodReady) {
			return fmt.Sprintf("%s: %s %s", p.Status.Phase, c.Reason, c.Message)
		}
	}
	return ""
}

func (o *Observation) event(e *corev1.Event) {
	when := e.LastTimestamp.Time
	if when.IsZero() {
		when = e.EventTime.Time
	}
	if when.IsZero() {
		when = e.CreationTimestamp.Time
	}
	text := fmt.Sprintf("%s %s: %s", e.Type, e.Reason, e.Message)
	if e.Count > 1 {
		text += fmt.Sprintf(" (%d times since %s)", e.Count, e.FirstTimestamp.UTC().Format(time.RFC3339))
	}
	if e.Reason == "SystemOOM" || e.Reason == "OOMKilling" {
		o.Troubles = append(o.Troubles, Trouble{Kind: OutOfMemory, Node: e.Source.Host, What: "node " + e.InvolvedObject.Name, Why: e.Message})
	}
	o.moment(when, e.InvolvedObject.Kind+" "+namespaced(e.InvolvedObject), text)
}

func namespaced(o corev1.ObjectReference) string {
	if o.Namespace == "" {
		return o.Name
	}
	return o.Namespace + "/" + o.Name
}

func (o *Observation) moment(when time.Time, what, text string) {
	if !when.IsZero() {
		o.Moments = append(o.Moments, Moment{when, what, text})
	}
}
