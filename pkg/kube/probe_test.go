package kube

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// watchServer is an API with one kind of object: what is there when a watch
// begins, and the events that come after.
func watchServer(t *testing.T, path, selector, kind, there, then string) *Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.URL.Path != path || q.Get("fieldSelector")+q.Get("labelSelector") != selector || q.Get("sendInitialEvents") != "true" {
			t.Errorf("asked for %s", r.URL)
		}
		w.Header().Set("Content-Type", "application/json")
		if there != "" {
			fmt.Fprintf(w, `{"type":"ADDED","object":%s}`, there)
		}
		fmt.Fprintf(w, `{"type":"BOOKMARK","object":{"kind":%q,"apiVersion":"v1",
			"metadata":{"resourceVersion":"1","annotations":{"k8s.io/initial-events-end":"true"}}}}`, kind)
		fmt.Fprint(w, then)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	c, err := Connect([]byte(kubeconfig), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWaitService(t *testing.T) {
	const service = `{"kind":"Service","apiVersion":"v1","metadata":{"name":"kube-dns","namespace":"kube-system","resourceVersion":"2"}}`
	for name, test := range map[string]struct{ there, then string }{
		"there already": {there: service},
		"made later":    {then: `{"type":"ADDED","object":` + service + `}`},
	} {
		t.Run(name, func(t *testing.T) {
			c := watchServer(t, "/api/v1/namespaces/kube-system/services", "metadata.name=kube-dns", "Service", test.there, test.then)
			if err := c.WaitService(t.Context(), "kube-system", "kube-dns"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWaitPodReady(t *testing.T) {
	pod := func(name, ready string) string {
		return fmt.Sprintf(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":%q,"namespace":"default","resourceVersion":"2"},
			"status":{"conditions":[{"type":"Initialized","status":"True"},{"type":"Ready","status":%q}]}}`, name, ready)
	}
	events := `{"type":"MODIFIED","object":` + pod("app-1", "False") + `}{"type":"ADDED","object":` + pod("app-2", "True") + `}`
	c := watchServer(t, "/api/v1/namespaces/default/pods", "app=app", "Pod", pod("app-1", "False"), events)
	name, err := c.WaitPodReady(t.Context(), "default", map[string]string{"app": "app"})
	if err != nil || name != "app-2" {
		t.Errorf("got %q, %v", name, err)
	}
}

func TestExecNamesWhatFailed(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	c, err := Connect([]byte(kubeconfig), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Exec(t.Context(), "default", "app-1", "nslookup", "kubernetes")
	if err == nil || !strings.Contains(err.Error(), "run nslookup in pod app-1: ") {
		t.Errorf("got %v", err)
	}
}
