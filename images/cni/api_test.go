//go:build linux

package main

import (
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// nodesAPI is an API server with one node, whose range of pods is assigned
// while it is being watched.
func nodesAPI(t *testing.T) http.Handler {
	typed := func(pods ...string) *corev1.Node {
		n := node("a", "172.18.0.2", pods...)
		n.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}
		n.ResourceVersion = "2"
		return n
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); r.URL.Path != "/api/v1/nodes" || got != "Bearer of the pod" {
			t.Errorf("%s with Authorization %q", r.URL, got)
		}
		w.Header().Set("Content-Type", "application/json")
		out := json.NewEncoder(w)
		query := r.URL.Query()
		switch {
		case query.Has("sendInitialEvents"): // as servers do that cannot stream lists
			w.WriteHeader(http.StatusUnprocessableEntity)
			out.Encode(metav1.Status{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
				Status:   metav1.StatusFailure, Reason: metav1.StatusReasonInvalid, Code: http.StatusUnprocessableEntity,
			})
		case query.Has("watch"):
			out.Encode(map[string]any{"type": "MODIFIED", "object": typed("10.244.0.0/24")})
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		default:
			out.Encode(corev1.NodeList{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NodeList"},
				ListMeta: metav1.ListMeta{ResourceVersion: "1"},
				Items:    []corev1.Node{*typed()},
			})
		}
	})
}

func TestWatchNodes(t *testing.T) {
	server := httptest.NewTLSServer(nodesAPI(t))
	t.Cleanup(server.Close) // after the context's end, which ends the watch
	dir := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for name, data := range map[string][]byte{"ca.crt": ca, "token": []byte("of the pod")} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config, err := restConfig(strings.TrimPrefix(server.URL, "https://"), dir)
	if err != nil {
		t.Fatal(err)
	}
	client, err := nodeClient(config)
	if err != nil {
		t.Fatal(err)
	}
	s := newMembers()
	go watchNodes(t.Context(), client, s, slog.New(slog.DiscardHandler))
	for len(s.pods("a")) == 0 {
		select {
		case <-s.changed:
		case <-t.Context().Done():
			t.Fatal("the watch never told of the range of pods")
		}
	}
}

func (s *members) pods(name string) []string {
	all, _ := s.list()
	var out []string
	for _, p := range all[name].pods {
		out = append(out, p.String())
	}
	return out
}

func TestRestConfigWithoutCredentials(t *testing.T) {
	_, err := restConfig("cluster-control-plane:6443", t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "service account") {
		t.Errorf("error is %v, want one about the service account", err)
	}
}

func TestRestConfigOutsideACluster(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	_, err := restConfig("", t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "CONTROL_PLANE_ENDPOINT") {
		t.Errorf("error is %v, want one that names CONTROL_PLANE_ENDPOINT", err)
	}
}
