package bootstrap

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestAsk(t *testing.T) {
	const namespace = "/api/v1/namespaces/kube-system"
	for name, test := range map[string]struct {
		ok    map[string]bool // of paths; others are refused
		other int
		want  apiState
	}{
		"starting":       {nil, http.StatusInternalServerError, apiAnswers},
		"refusing":       {nil, http.StatusForbidden, apiAnswers},
		"has namespaces": {map[string]bool{namespace: true}, http.StatusInternalServerError, apiHasNamespaces},
		"takes pods":     {map[string]bool{namespace: true, priorityClasses: true}, http.StatusInternalServerError, apiTakesPods},
		"ready":          {map[string]bool{namespace: true, priorityClasses: true, "/readyz": true}, http.StatusInternalServerError, apiReady},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !test.ok[r.URL.Path] {
					w.WriteHeader(test.other)
				}
			}))
			defer server.Close()
			if got := ask(t.Context(), server.Client(), server.URL); got != test.want {
				t.Errorf("got state %d, want %d", got, test.want)
			}
			server.Close()
			if got := ask(t.Context(), server.Client(), server.URL); got != apiDown {
				t.Errorf("got state %d of a server that is gone", got)
			}
		})
	}
}
