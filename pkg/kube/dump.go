package kube

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/yaml"
)

// dumpPage is how many objects are asked for, and held in memory, at once.
const dumpPage = 250

// hidden stands for a value of a Secret.
const hidden = "REDACTED"

// Dump writes all objects of the cluster as YAML, but for events, which
// Observe has. Open gives the place for the objects of a resource
// ("deployments.apps"), of which there are some; it is closed after them. Of
// Secrets, secret is told every value that is one, and only the names of values
// are written. What cannot be listed is named in the error, and the rest is
// written all the same.
func (c *Client) Dump(ctx context.Context, open func(resource string) (io.WriteCloser, error), secret func(value string)) error {
	if err := c.dumpSecrets(ctx, open, secret); err != nil {
		return err // without them nothing else can be written safely
	}
	resources, err := c.listable()
	errs := []error{err}
	for _, r := range resources {
		if err := c.dump(ctx, r, open, func(*unstructured.Unstructured) {}); err != nil {
			errs = append(errs, fmt.Errorf("objects of %s: %w", r.GroupResource(), err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// listable are the resources that a dump has, but for Secrets, sorted by name.
func (c *Client) listable() ([]schema.GroupVersionResource, error) {
	lists, err := discovery.ServerPreferredResources(c.typed.Discovery())
	var out []schema.GroupVersionResource
	for _, list := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list"}}, lists) {
		group, parseErr := schema.ParseGroupVersion(list.GroupVersion)
		if parseErr != nil {
			return nil, errors.Join(err, parseErr)
		}
		for _, r := range list.APIResources {
			// figures of the moment, and what the API keeps for old clients alone
			if group.Group == "metrics.k8s.io" || slices.Contains([]string{"events", "secrets", "componentstatuses"}, r.Name) {
				continue
			}
			out = append(out, group.WithResource(r.Name))
		}
	}
	slices.SortFunc(out, func(a, b schema.GroupVersionResource) int { return strings.Compare(a.String(), b.String()) })
	if err != nil {
		err = fmt.Errorf("ask for the kinds of objects: %w", err)
	}
	return out, err
}

// dumpSecrets writes Secrets without their values.
func (c *Client) dumpSecrets(ctx context.Context, open func(string) (io.WriteCloser, error), secret func(string)) error {
	err := c.dump(ctx, schema.GroupVersionResource{Version: "v1", Resource: "secrets"}, open, func(o *unstructured.Unstructured) {
		kind, _, _ := unstructured.NestedString(o.Object, "type")
		data, _, _ := unstructured.NestedStringMap(o.Object, "data")
		for key, value := range data {
			if plain, err := base64.StdEncoding.DecodeString(value); err == nil && isSecret(kind, key, string(plain)) {
				secret(string(plain))
			}
			data[key] = hidden
		}
		if len(data) > 0 {
			_ = unstructured.SetNestedStringMap(o.Object, data, "data") // of strings, it cannot fail
		}
		o.SetAnnotations(nil) // kubectl keeps the whole object in one
	})
	if err != nil {
		return fmt.Errorf("objects of secrets: %w", err)
	}
	return nil
}

// publicKeys are the parts of Secrets that are no secrets, and often words
// that a log is full of.
var publicKeys = []string{
	"namespace", "ca.crt", "tls.crt", "token-id", "username", "user", "host", "port", "expiration", "description",
	"auth-extra-groups", "usage-bootstrap-authentication", "usage-bootstrap-signing",
}

// isSecret reports whether a value of a Secret must not be seen.
func isSecret(kind, key, value string) bool {
	if kind == "helm.sh/release.v1" { // a chart, of which each line would count
		return false
	}
	return !slices.Contains(publicKeys, key) && value != "true" && value != "false" && !strings.HasPrefix(value, "-----BEGIN CERTIFICATE-----")
}

// dump writes the objects of a resource, page by page, as edit leaves them.
func (c *Client) dump(ctx context.Context, r schema.GroupVersionResource, open func(string) (io.WriteCloser, error), edit func(*unstructured.Unstructured)) (err error) {
	var out io.WriteCloser
	defer func() {
		if out != nil {
			err = errors.Join(err, out.Close())
		}
	}()
	for next := ""; ; {
		page, err := c.dynamic.Resource(r).List(ctx, metav1.ListOptions{Limit: dumpPage, Continue: next})
		if err != nil {
			return err
		}
		for i := range page.Items {
			if out == nil {
				if out, err = open(r.GroupResource().String()); err != nil {
					return err
				}
			}
			edit(&page.Items[i])
			if err := writeObject(out, &page.Items[i]); err != nil {
				return err
			}
		}
		if next = page.GetContinue(); next == "" {
			return nil
		}
	}
}

// writeObject writes an object without who changed what of it when.
func writeObject(w io.Writer, o *unstructured.Unstructured) error {
	o.SetManagedFields(nil)
	data, err := yaml.Marshal(o.Object)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "---\n%s", data)
	return err
}
