package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ServerVersion is the version of the API server that answers: "v1.36.3".
func (c *Client) ServerVersion(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	var info struct{ GitVersion string }
	data, err := c.typed.Discovery().RESTClient().Get().AbsPath("/version").DoRaw(ctx)
	if err == nil {
		err = json.Unmarshal(data, &info)
	}
	if err != nil {
		return "", fmt.Errorf("ask the API server for its version: %w", err)
	}
	return info.GitVersion, nil
}

// Annotate sets annotations of a node; those with an empty value are removed.
func (c *Client) Annotate(ctx context.Context, node string, annotations map[string]string) error {
	values := map[string]any{}
	for key, value := range annotations {
		if values[key] = value; value == "" {
			values[key] = nil
		}
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": values}})
	if err != nil {
		return err
	}
	_, err = c.typed.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil {
		return fmt.Errorf("annotate node %s: %w", node, err)
	}
	return nil
}

// Unsettled reports whether err is of an API that is not there at the moment,
// as while its server is exchanged.
func Unsettled(err error) bool {
	return Transient(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsInternalError(err)
}

// Forbidden reports whether err is of an API that does not let us.
func Forbidden(err error) bool { return apierrors.IsForbidden(err) }

// NodeRuns holds when a node reports this version of kubelet and, where that
// can be, is Ready.
func NodeRuns(name, version string, ready bool) Condition {
	return Condition{name + " runs kubelet " + version, func(s State) error {
		if err := checkNodes(s, []string{name}, ready); err != nil {
			return err
		}
		i := slices.IndexFunc(s.Nodes, func(n *corev1.Node) bool { return n.Name == name })
		if has := s.Nodes[i].Status.NodeInfo.KubeletVersion; has != version {
			return fmt.Errorf("its kubelet is %s", has)
		}
		return nil
	}}
}
