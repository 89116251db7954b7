package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ClusterConfiguration is kubeadm's document of that name, as the cluster keeps
// it.
func (c *Client) ClusterConfiguration(ctx context.Context) ([]byte, error) {
	cm, err := c.typed.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, "kubeadm-config", metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the configuration that kubeadm keeps: %w", err)
	}
	return []byte(cm.Data["ClusterConfiguration"]), nil
}

// Redirect leads what runs on nodes and does not find the API as a Service,
// kube-proxy and the default CNI's agent, to another endpoint ("host:port"),
// and lets kubeadm tell it to whoever asks. Pods are replaced for it. What is
// not there has nothing to be told, and what is led there is left alone.
func (c *Client) Redirect(ctx context.Context, endpoint string) error {
	return errors.Join(
		c.redirectKubeconfig(ctx, metav1.NamespacePublic, "cluster-info", "kubeconfig", endpoint),
		c.redirectKubeconfig(ctx, metav1.NamespaceSystem, "kube-proxy", "kubeconfig.conf", endpoint),
		c.patchDaemonSet(ctx, "kube-proxy", object{"metadata": object{"annotations": object{endpointAnnotation: endpoint}}}),
		c.patchDaemonSet(ctx, "petri-cni", object{"spec": object{"containers": []object{{
			"name": "agent", "env": []object{{"name": "CONTROL_PLANE_ENDPOINT", "value": endpoint}},
		}}}}),
	)
}

// endpointAnnotation makes pods of another endpoint other pods.
const endpointAnnotation = "petri.dev/control-plane-endpoint"

type object = map[string]any

var serverLine = regexp.MustCompile(`(?m)^(\s*server:\s*)\S+$`)

// redirectKubeconfig changes the address in a kubeconfig that a ConfigMap holds.
func (c *Client) redirectKubeconfig(ctx context.Context, namespace, name, key, endpoint string) error {
	maps := c.typed.CoreV1().ConfigMaps(namespace)
	cm, err := maps.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("redirect %s: %w", name, err)
	}
	before := cm.Data[key]
	after := serverLine.ReplaceAllString(before, "${1}https://"+endpoint)
	if before == after {
		return nil
	}
	cm.Data[key] = after
	if _, err := maps.Update(ctx, cm, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
		return fmt.Errorf("redirect %s: %w", name, err)
	}
	return nil
}

// patchDaemonSet changes the template of the pods of a DaemonSet of the system.
func (c *Client) patchDaemonSet(ctx context.Context, name string, template object) error {
	patch, err := json.Marshal(object{"spec": object{"template": template}})
	if err != nil {
		return err
	}
	_, err = c.typed.AppsV1().DaemonSets(metav1.NamespaceSystem).
		Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("redirect %s: %w", name, err)
	}
	return nil
}
