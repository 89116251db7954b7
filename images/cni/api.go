//go:build linux

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// serviceAccountDir is where kubelet puts a pod's credentials.
const serviceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// restConfig gives access to the API at endpoint with the credentials of the
// pod, or, without an endpoint, to the API at its Service address.
func restConfig(endpoint, dir string) (*rest.Config, error) {
	if endpoint == "" {
		c, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("find the API (CONTROL_PLANE_ENDPOINT is not set): %w", err)
		}
		return c, nil
	}
	c := &rest.Config{
		Host:            "https://" + endpoint,
		BearerTokenFile: filepath.Join(dir, "token"),
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(dir, "ca.crt")},
	}
	for _, file := range []string{c.BearerTokenFile, c.CAFile} {
		if _, err := os.Stat(file); err != nil {
			return nil, fmt.Errorf("credentials of the service account: %w", err)
		}
	}
	return c, nil
}

// nodeClient knows the core group only: the clientset would bring every type
// of Kubernetes into the memory of every node.
func nodeClient(config *rest.Config) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	c := rest.CopyConfig(config)
	c.APIPath = "/api"
	c.GroupVersion = &corev1.SchemeGroupVersion
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	c.ContentType = runtime.ContentTypeProtobuf
	c.UserAgent = "petri-cni"
	return rest.RESTClientFor(c)
}

// watchNodes fills store until ctx ends. Between attempts it waits two seconds
// at most: after a restart of the cluster's machine the API comes up later
// than the agent, and pods on other nodes cannot be reached meanwhile.
func watchNodes(ctx context.Context, client rest.Interface, store cache.ReflectorStore, log *slog.Logger) {
	nodes := cache.NewListWatchFromClient(client, "nodes", metav1.NamespaceAll, fields.Everything())
	r := cache.NewReflectorWithOptions(nodes, &corev1.Node{}, store, cache.ReflectorOptions{
		Name:    "nodes",
		Logger:  new(logr.FromSlogHandler(log.Handler())),
		Backoff: &wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 5, Cap: 2 * time.Second},
	})
	r.RunWithContext(ctx)
}
