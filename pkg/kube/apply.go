package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
)

// fieldManager owns what petri applies.
const fieldManager = "petri"

// Apply applies every object of a YAML or JSON stream by server-side apply,
// in order. It goes on trying while the server is not there, and while a
// namespace or a kind that comes with the same stream is not known yet, until
// ctx ends; an object that the server refuses ends it at once.
func (c *Client) Apply(ctx context.Context, manifest []byte) error {
	objects, err := Decode(manifest)
	if err != nil {
		return err
	}
	for _, o := range objects {
		var refused error
		err := retry(ctx, func(ctx context.Context) error {
			refused = c.applyOne(ctx, o)
			if refused != nil && waitable(refused) {
				return refused
			}
			return nil
		})
		if err == nil {
			err = refused
		}
		if err != nil {
			return fmt.Errorf("apply %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}

// waitable reports whether time alone can mend err.
func waitable(err error) bool {
	return Transient(err) || meta.IsNoMatchError(err) ||
		apierrors.IsNotFound(err) || apierrors.IsServiceUnavailable(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) ||
		apierrors.IsInternalError(err) || apierrors.IsForbidden(err)
}

func (c *Client) applyOne(ctx context.Context, o *unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	resource, err := c.resource(o)
	if err != nil {
		return err
	}
	_, err = resource.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	return err
}

// known saves the discovery of the kinds that petri's own manifests use.
var known = map[schema.GroupKind]struct {
	resource   string
	namespaced bool
}{
	{Kind: "Namespace"}:                                              {"namespaces", false},
	{Kind: "ServiceAccount"}:                                         {"serviceaccounts", true},
	{Kind: "ConfigMap"}:                                              {"configmaps", true},
	{Group: "apps", Kind: "DaemonSet"}:                               {"daemonsets", true},
	{Group: "apps", Kind: "Deployment"}:                              {"deployments", true},
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}:        {"clusterroles", false},
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}: {"clusterrolebindings", false},
	{Group: "rbac.authorization.k8s.io", Kind: "Role"}:               {"roles", true},
	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}:        {"rolebindings", true},
	{Group: "storage.k8s.io", Kind: "StorageClass"}:                  {"storageclasses", false},
}

func (c *Client) resource(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := o.GroupVersionKind()
	if k, ok := known[gvk.GroupKind()]; ok {
		return c.scoped(gvk.GroupVersion().WithResource(k.resource), k.namespaced, o), nil
	}
	mapping, err := c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset() // its definition may have been applied just now
	}
	if err != nil {
		return nil, err
	}
	return c.scoped(mapping.Resource, mapping.Scope.Name() == meta.RESTScopeNameNamespace, o), nil
}

func (c *Client) scoped(gvr schema.GroupVersionResource, namespaced bool, o *unstructured.Unstructured) dynamic.ResourceInterface {
	if !namespaced {
		return c.dynamic.Resource(gvr)
	}
	namespace := o.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	return c.dynamic.Resource(gvr).Namespace(namespace)
}

// Decode reads the objects of a YAML or JSON stream; lists are taken apart.
func Decode(manifest []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read manifest: %w", err)
		}
		switch {
		case len(o.Object) == 0: // an empty document
		case o.IsList():
			err := o.EachListItem(func(item runtime.Object) error {
				out = append(out, item.(*unstructured.Unstructured))
				return nil
			})
			if err != nil {
				return nil, err
			}
		case o.GetKind() == "" || o.GetName() == "":
			return nil, fmt.Errorf("read manifest: object %d has no kind or no name", len(out)+1)
		default:
			out = append(out, o)
		}
	}
}
