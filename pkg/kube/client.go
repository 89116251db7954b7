// Package kube talks to the API of a cluster: it applies manifests, waits for
// named conditions by watching, and reads and writes the few objects that
// petri keeps there. It is the only package that imports client-go on the
// host's side, and it knows nothing of nodes as machines.
package kube

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

// Client is a connection to one cluster. It is safe for concurrent use.
type Client struct {
	config  *rest.Config
	typed   kubernetes.Interface
	dynamic dynamic.Interface
	mapper  meta.ResettableRESTMapper
}

// Connect makes a client from a kubeconfig, of which the current context
// counts. A server that is not empty takes the place of the file's, as the
// host reaches a cluster at another address than its nodes do. It does not
// contact the server.
func Connect(kubeconfig []byte, server string) (*Client, error) {
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	if server != "" {
		config.Host = server
	}
	config.UserAgent = "petri"
	// this client does a handful of calls; the default limits would queue them
	config.QPS, config.Burst = 200, 400
	// a cluster on this machine is not reached by way of a proxy
	config.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(typed.Discovery()))
	return &Client{config: config, typed: typed, dynamic: dyn, mapper: mapper}, nil
}

// untrusted reports whether err is of a server with another certificate than
// the one expected, which no waiting mends.
func untrusted(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

// retryInterval is how soon a server that does not answer is asked again. It
// has nothing to watch yet, and refuses connections at once.
const retryInterval = 50 * time.Millisecond

// attemptTimeout bounds one question, so that a server that accepted a
// connection and never answers is asked again.
const attemptTimeout = 5 * time.Second

// rolesCheck is the single check of an API server that holds among the last
// (k8s.io/kubernetes pkg/registry/rbac/rest/storage_rbac.go). It costs a server that
// is starting little; all checks at once cost it much.
const rolesCheck = "/readyz/poststarthook/rbac/bootstrap-roles"

// WaitServing returns when the API server says that it is ready, or with the
// last answer when ctx ends.
func (c *Client) WaitServing(ctx context.Context) error {
	var refused error
	err := retry(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
		defer cancel()
		err := c.get(ctx, rolesCheck)
		if err == nil || apierrors.IsNotFound(err) { // not every server makes roles
			err = c.get(ctx, "/readyz")
		}
		if untrusted(err) {
			refused = fmt.Errorf("the API at %s is another one than expected: %w", c.config.Host, err)
			return nil
		}
		return err
	})
	return errors.Join(err, refused)
}

func (c *Client) get(ctx context.Context, path string) error {
	return c.typed.Discovery().RESTClient().Get().AbsPath(path).Do(ctx).Error()
}

// retry calls fn until it returns nil. When ctx ends the last error of fn is
// in what it returns.
func retry(ctx context.Context, fn func(context.Context) error) error {
	tick := time.NewTicker(retryInterval)
	defer tick.Stop()
	for {
		err := fn(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last answer: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// Transient reports whether err is of a server that is not there yet or
// dropped the connection, as opposed to an answer. A certificate that does not
// fit is an answer.
func Transient(err error) bool {
	if untrusted(err) {
		return false
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
