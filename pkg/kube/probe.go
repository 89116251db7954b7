package kube

import (
	"bytes"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/tools/watch"
)

// Server is the address of the API, as the kubeconfig or the caller of Connect
// gave it: "https://127.0.0.1:6443".
func (c *Client) Server() string { return c.config.Host }

// WaitService watches until a Service exists.
func (c *Client) WaitService(ctx context.Context, namespace, name string) error {
	one := func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
	}
	err := c.watchUntil(ctx, "services", namespace, one, &corev1.Service{}, func(runtime.Object) bool { return true })
	if err != nil {
		return fmt.Errorf("wait for Service %s in %s: %w", name, namespace, err)
	}
	return nil
}

// WaitPodReady watches until a pod with these labels is Ready, and returns its
// name.
func (c *Client) WaitPodReady(ctx context.Context, namespace string, with map[string]string) (string, error) {
	name := ""
	labelled := func(o *metav1.ListOptions) { o.LabelSelector = labels.SelectorFromSet(with).String() }
	err := c.watchUntil(ctx, "pods", namespace, labelled, &corev1.Pod{}, func(o runtime.Object) bool {
		pod, ok := o.(*corev1.Pod)
		if !ok || !podReady(pod) {
			return false
		}
		name = pod.Name
		return true
	})
	if err != nil {
		return "", fmt.Errorf("wait for a pod in %s that is Ready: %w", namespace, err)
	}
	return name, nil
}

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil
		}
	}
	return false
}

// watchUntil lists and watches until an object that is there satisfies done.
func (c *Client) watchUntil(ctx context.Context, resource, namespace string, which func(*metav1.ListOptions), kind runtime.Object, done func(runtime.Object) bool) error {
	lw := cache.NewFilteredListWatchFromClient(c.typed.CoreV1().RESTClient(), resource, namespace, which)
	_, err := watch.UntilWithSync(ctx, lw, kind, nil, func(event apiwatch.Event) (bool, error) {
		return event.Type != apiwatch.Deleted && done(event.Object), nil
	})
	return err
}

// Exec runs a command in the first container of a pod and returns what it
// wrote to standard output. A command that exits with another code than 0 is
// an error with what it wrote to standard error.
func (c *Client) Exec(ctx context.Context, namespace, pod string, args ...string) ([]byte, error) {
	request := c.typed.CoreV1().RESTClient().Get().Namespace(namespace).Resource("pods").Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: args, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(c.config, "GET", request.URL().String())
	if err != nil {
		return nil, err
	}
	var out, errs bytes.Buffer
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &errs}); err != nil {
		return out.Bytes(), fmt.Errorf("run %s in pod %s: %w\n%s", args[0], pod, err, bytes.TrimSpace(errs.Bytes()))
	}
	return out.Bytes(), nil
}
