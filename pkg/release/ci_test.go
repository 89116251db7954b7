package release

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// TestCI follows markers to archives on a server of its own.
func TestCI(t *testing.T) {
	const version = "v1.36.3"
	s := &site{hits: map[string]int{}, files: map[string][]byte{
		"/ci/latest.txt":      []byte(version + "\n"),
		"/ci/latest-1.36.txt": []byte(version),
		"/ci/odd.txt":         []byte("<html>"),
		"/ci/gone.txt":        []byte("v1.99.0-alpha.0.1+0123456789"),
		"/ci/" + version + "/kubernetes-server-linux-amd64.tar.gz": archive(t, serverEntries(t)),
	}}
	server := httptest.NewServer(s)
	defer server.Close()
	for marker, want := range map[string]string{
		"": "", "ci/latest": "", "latest-1.36": "", "ci/latest.txt": "",
		"ci/odd": "is no version", "ci/none": "there is no marker ci/none", "ci/gone": "404",
	} {
		t.Run(marker, func(t *testing.T) {
			b, _ := newFakeBuilder(t)
			k, err := CI{Marker: marker, Site: server.URL, Builder: b}.Fetch(t.Context(), "amd64", nil)
			if want != "" {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want an error with %q", err, want)
				}
				return
			}
			if err != nil || k.Version != version || !strings.HasPrefix(k.Components[0].Source, server.URL+"/ci/"+version) {
				t.Errorf("got %s from %+v, %v", k.Version, k.Components, err)
			}
		})
	}
}
