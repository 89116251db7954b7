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
		seen  bool // the namespace, before
		want  apiState
	}{
		"starting":            {nil, http.StatusInternalServerError, false, apiAnswers},
		"refusing":            {nil, http.StatusForbidden, false, apiAnswers},
		"has namespaces":      {map[string]bool{namespace: true}, http.StatusInternalServerError, false, apiHasNamespaces},
		"had them before":     {nil, http.StatusInternalServerError, true, apiHasNamespaces},
		"no priority classes": {map[string]bool{"/readyz": true}, http.StatusNotFound, false, apiReady},
		"takes pods":          {map[string]bool{namespace: true, priorityClasses: true}, http.StatusInternalServerError, false, apiTakesPods},
		"has no roles":        {map[string]bool{namespace: true, priorityClasses: true, "/readyz": true}, http.StatusInternalServerError, false, apiTakesPods},
		"ready":               {map[string]bool{namespace: true, priorityClasses: true, roles: true, "/readyz": true}, http.StatusInternalServerError, false, apiReady},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !test.ok[r.URL.Path] {
					w.WriteHeader(test.other)
				}
			}))
			defer server.Close()
			if got := ask(t.Context(), server.Client(), server.URL, test.seen); got != test.want {
				t.Errorf("got state %d, want %d", got, test.want)
			}
			server.Close()
			if got := ask(t.Context(), server.Client(), server.URL, test.seen); got != apiDown {
				t.Errorf("got state %d of a server that is gone", got)
			}
		})
	}
}
