package kube

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// What a cluster says of itself outlives the machines that it was said of: a
// node that was stopped is Ready until somebody misses it. These conditions
// hold when what the others hold for was said since the machines were started.

// NodesReported holds when every node has reported its status since the time
// at which it was started, by name.
func NodesReported(started map[string]time.Time) Condition {
	return Condition{"every node has reported since it was started", func(s State) error {
		var missing []string
		for _, name := range slices.Sorted(maps.Keys(started)) {
			i := slices.IndexFunc(s.Nodes, func(n *corev1.Node) bool { return n.Name == name })
			if i < 0 || heartbeat(s.Nodes[i]).Before(started[name].Truncate(time.Second)) {
				missing = append(missing, name)
			}
		}
		if len(missing) > 0 {
			return errors.New("nothing was heard of " + strings.Join(missing, ", "))
		}
		return nil
	}}
}

// heartbeat is when a node last reported, in whole seconds.
func heartbeat(n *corev1.Node) time.Time {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.LastHeartbeatTime.Time
		}
	}
	return time.Time{}
}

// DNSStarted holds when a pod of CoreDNS is Ready whose containers were
// started after its node was.
func DNSStarted(started map[string]time.Time) Condition {
	return Condition{"CoreDNS was started since its node was", func(s State) error {
		for _, p := range s.DNSPods {
			if podReady(p) && startedSince(p, started[p.Spec.NodeName].Truncate(time.Second)) {
				return nil
			}
		}
		return fmt.Errorf("none of its %d pods has", len(s.DNSPods))
	}}
}

func startedSince(p *corev1.Pod, at time.Time) bool {
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Running == nil || c.State.Running.StartedAt.Time.Before(at) {
			return false
		}
	}
	return len(p.Status.ContainerStatuses) > 0
}
