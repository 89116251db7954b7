package bootstrap

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestAsk(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		want   apiState
	}{
		"starting":   {http.StatusInternalServerError, "[+]ping ok\n[-]poststarthook/scheduling/bootstrap-system-priority-classes failed: reason withheld\nreadyz check failed", apiAnswers},
		"takes pods": {http.StatusInternalServerError, "[+]poststarthook/scheduling/bootstrap-system-priority-classes ok\n[-]poststarthook/rbac/bootstrap-roles failed: reason withheld\n", apiTakesPods},
		"ready":      {http.StatusOK, "ok", apiReady},
		"refusing":   {http.StatusForbidden, "forbidden", apiAnswers},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.body)
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
