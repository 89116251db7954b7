package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
)

// Cordon says whether new pods may be scheduled to a node. A node that is not
// there is no error.
func (c *Client) Cordon(ctx context.Context, node string, cordoned bool) error {
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, cordoned)
	_, err := c.typed.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cordon node %s: %w", node, err)
	}
	return nil
}

// DeleteNode removes a node from the API. One that is not there is no error.
func (c *Client) DeleteNode(ctx context.Context, node string) error {
	err := c.typed.CoreV1().Nodes().Delete(ctx, node, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete node %s from the API: %w", node, err)
	}
	return nil
}

// OnlyHere lists what would be lost with a node: bound volumes that are on it
// and nowhere else, and pods that nobody would make again.
func (c *Client) OnlyHere(ctx context.Context, node string) ([]string, error) {
	var out []string
	volumes, err := c.typed.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	for _, v := range volumes.Items {
		if v.Status.Phase == corev1.VolumeBound && pinned(v, node) {
			out = append(out, fmt.Sprintf("volume of claim %s/%s", v.Spec.ClaimRef.Namespace, v.Spec.ClaimRef.Name))
		}
	}
	pods, err := c.podsOn(ctx, node)
	if err != nil {
		return nil, err
	}
	for _, p := range pods {
		if metav1.GetControllerOf(&p) == nil && !finished(&p) {
			out = append(out, fmt.Sprintf("pod %s/%s", p.Namespace, p.Name))
		}
	}
	slices.Sort(out)
	return out, nil
}

// pinned reports whether a volume can be used on one node only, and it is this
// one.
func pinned(v corev1.PersistentVolume, node string) bool {
	if v.Spec.ClaimRef == nil || v.Spec.NodeAffinity == nil || v.Spec.NodeAffinity.Required == nil {
		return false
	}
	for _, term := range v.Spec.NodeAffinity.Required.NodeSelectorTerms {
		for _, e := range append(term.MatchExpressions, term.MatchFields...) {
			if e.Operator == corev1.NodeSelectorOpIn && slices.Equal(e.Values, []string{node}) {
				return true
			}
		}
	}
	return false
}

// podsOn are the pods of a node that are to leave it when it is drained: not
// those that are part of the node, which its daemons and static pods are.
func (c *Client) podsOn(ctx context.Context, node string) ([]corev1.Pod, error) {
	on := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String()}
	pods, err := c.typed.CoreV1().Pods(metav1.NamespaceAll).List(ctx, on)
	if err != nil {
		return nil, fmt.Errorf("list pods on node %s: %w", node, err)
	}
	return slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool {
		_, static := p.Annotations[corev1.MirrorPodAnnotationKey]
		owner := metav1.GetControllerOf(&p)
		return static || (owner != nil && owner.Kind == "DaemonSet")
	}), nil
}

func finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// drainInterval is how often the pods of a node are looked at while they end,
// and asked again to go when a budget kept them.
const drainInterval = 250 * time.Millisecond

// Drain evicts the pods of a node and returns when all have gone. Budgets are
// respected: what they keep is asked again. When ctx ends first, the error is
// its cause, with the pods that are left. left is told how many are, whenever
// that changes.
func (c *Client) Drain(ctx context.Context, node string, left func(pods int)) error {
	return c.drain(ctx, node, func(*corev1.Pod) bool { return true }, left)
}

// Vacate is Drain for a node that comes back: pods that nobody would make again
// stay where they are.
func (c *Client) Vacate(ctx context.Context, node string, left func(pods int)) error {
	return c.drain(ctx, node, func(p *corev1.Pod) bool { return metav1.GetControllerOf(p) != nil }, left)
}

func (c *Client) drain(ctx context.Context, node string, goes func(*corev1.Pod) bool, left func(pods int)) error {
	tick := time.NewTicker(drainInterval)
	defer tick.Stop()
	before := -1
	for {
		pods, err := c.podsOn(ctx, node)
		pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool { return !goes(&p) })
		if err == nil && len(pods) == 0 {
			return nil
		}
		if err == nil {
			if len(pods) != before {
				before = len(pods)
				left(before)
			}
			err = c.evict(ctx, pods)
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("drain node %s: %w", node, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("drain node %s: %w; left are %s", node, context.Cause(ctx), podNames(pods))
		case <-tick.C:
		}
	}
}

// evict asks for the eviction of each pod that does not end yet. A budget that
// refuses it for now is no error.
func (c *Client) evict(ctx context.Context, pods []corev1.Pod) error {
	var errs []error
	for _, p := range pods {
		if p.DeletionTimestamp != nil {
			continue
		}
		err := c.typed.PolicyV1().Evictions(p.Namespace).Evict(ctx, &policyv1.Eviction{
			ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name},
		})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsTooManyRequests(err) {
			errs = append(errs, fmt.Errorf("evict pod %s/%s: %w", p.Namespace, p.Name, err))
		}
	}
	return errors.Join(errs...)
}

func podNames(pods []corev1.Pod) string {
	var names []string
	for _, p := range pods {
		names = append(names, p.Namespace+"/"+p.Name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
