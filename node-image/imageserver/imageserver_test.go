package imageserver

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/petri-cluster/petri/pkg/cluster/clustertest"
	"github.com/petri-cluster/petri/pkg/image/imagetest"
	"github.com/petri-cluster/petri/pkg/provider/fake"
)

const app = "docker.io/library/app:1"

// engine is one that does something else before it gives an image away.
type engine struct {
	*fake.Provider
	meanwhile func()
}

func (e *engine) SaveImage(ctx context.Context, ref, platform string) (io.ReadCloser, error) {
	if do := e.meanwhile; do != nil {
		e.meanwhile = nil
		do()
	}
	return e.Provider.SaveImage(ctx, ref, platform)
}

// scene is a server for an engine with an image, and the directory it writes to.
type scene struct {
	*engine
	*Server
	url, dir string
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{engine: &engine{Provider: fake.New()}, dir: t.TempDir()}
	s.add("first")
	s.Server = New(s.engine, "amd64", s.dir, slog.New(slog.NewTextHandler(io.Discard, nil)))
	server := httptest.NewServer(s.Server)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// add builds the image anew.
func (s *scene) add(version string) {
	s.AddImage(app, clustertest.AppImage(imagetest.Image{Name: "app:1", Layers: [][]byte{
		imagetest.Layer("base", make([]byte, 10_000)), imagetest.Layer("version", []byte(version)),
	}}))
}

func (s *scene) do(t *testing.T, method, path string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response
}

// asContainerd says which registry is meant, as containerd does for mirrors.
type asContainerd struct{}

func (asContainerd) RoundTrip(r *http.Request) (*http.Response, error) {
	r.URL.RawQuery = "ns=docker.io"
	return http.DefaultTransport.RoundTrip(r)
}

// A client of registries gets the image whole, and the new one once it was built.
func TestPull(t *testing.T) {
	s := newScene(t)
	ref, err := name.ParseReference(strings.TrimPrefix(s.url, "http://")+"/library/app:1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, version := range []string{"first", "first", "second"} {
		s.add(version)
		got, err := remote.Image(ref, remote.WithTransport(asContainerd{}), remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		layers, err := got.Layers()
		if err != nil || len(layers) != 2 {
			t.Fatalf("%s: %d layers, %v", version, len(layers), err)
		}
		for _, l := range layers {
			content, err := l.Compressed() // as it is sent; the client checks its digest
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, content); err != nil {
				t.Errorf("%s: %v", version, err)
			}
		}
		id, err := got.ConfigName()
		if err != nil {
			t.Fatal(err)
		}
		ids[id.String()] = true
	}
	if len(ids) != 2 {
		t.Errorf("images are %v", ids)
	}
	saves := 0
	for _, call := range s.Calls() {
		if strings.HasPrefix(call, "save") {
			saves++
		}
	}
	if saves != 2 {
		t.Errorf("the engine was asked %d times for an image: %q", saves, s.Calls())
	}
}

func TestAnswers(t *testing.T) {
	s := newScene(t)
	other := clustertest.AppImage(imagetest.Image{Name: "other:1", Arch: "arm64", Layers: [][]byte{imagetest.Layer("x", nil)}})
	s.AddImage("docker.io/library/other:1", other)
	for _, test := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/v2/", 200},
		{"HEAD", "/v2/library/app/manifests/1?ns=docker.io", 200},
		{"HEAD", "/v2/library/app/manifests/1?ns=ghcr.io", 404},
		{"GET", "/v2/library/none/manifests/1?ns=docker.io", 404},
		{"GET", "/v2/library/app/manifests/1", 404},
		{"GET", "/v2/library/other/manifests/1?ns=docker.io", 404}, // for another platform
		{"GET", "/v2/library/app/manifests/sha256:" + strings.Repeat("0", 64), 404},
		{"GET", "/v2/library/app/blobs/sha256:" + strings.Repeat("0", 64), 404},
		{"GET", "/v2/library/app/blobs/..%2f..%2fetc%2fpasswd", 404},
		{"GET", "/v2/UPPER/manifests/1?ns=docker.io", 404},
		{"GET", "/v2/_catalog", 404},
		{"GET", "/images/json", 404},
		{"PUT", "/v2/library/app/manifests/1?ns=docker.io", 405},
		{"POST", "/v2/library/app/blobs/uploads/", 405},
		{"DELETE", "/v2/library/app/manifests/1", 405},
	} {
		if got := s.do(t, test.method, test.path); got.StatusCode != test.want {
			t.Errorf("%s %s: %s, want %d", test.method, test.path, got.Status, test.want)
		}
	}
}

// What fails leaves nothing, and is tried again with the next request.
func TestEngineFails(t *testing.T) {
	for n := 1; ; n++ {
		s := newScene(t)
		s.FailAt(n, errors.New("engine broke"))
		const path = "/v2/library/app/manifests/1?ns=docker.io"
		got := s.do(t, "GET", path)
		if got.StatusCode == http.StatusOK {
			if n < 3 {
				t.Errorf("only %d calls could fail: %q", n-1, s.Calls())
			}
			return
		}
		if left, err := os.ReadDir(s.dir); got.StatusCode != http.StatusBadGateway || len(left) > 0 || err != nil {
			t.Errorf("call %d: %s, and left are %v (%v)", n, got.Status, left, err)
		}
		if got := s.do(t, "GET", path); got.StatusCode != http.StatusOK {
			t.Errorf("after call %d: %s", n, got.Status)
		}
	}
}

// An image that is built while the one before is read is not taken for that one.
func TestBuiltMeanwhile(t *testing.T) {
	s := newScene(t)
	const path = "/v2/library/app/manifests/1?ns=docker.io"
	s.add("second")
	want := s.do(t, "GET", path).Header.Get("Docker-Content-Digest")
	s.forget(time.Now().Add(time.Minute))
	s.add("first")
	s.meanwhile = func() { s.add("second") }
	if got := s.do(t, "GET", path); got.StatusCode != http.StatusOK || got.Header.Get("Docker-Content-Digest") != want {
		t.Errorf("got %s, want %s", got.Header.Get("Docker-Content-Digest"), want)
	}
	s.add("first")
	if got := s.do(t, "GET", path).Header.Get("Docker-Content-Digest"); got == want {
		t.Error("the first one is the second")
	}
}

func TestForget(t *testing.T) {
	s := newScene(t)
	digest := s.do(t, "GET", "/v2/library/app/manifests/1?ns=docker.io").Header.Get("Docker-Content-Digest")
	s.forget(time.Now().Add(-time.Minute))
	if got := s.do(t, "GET", "/v2/library/app/manifests/"+digest); got.StatusCode != http.StatusOK {
		t.Errorf("what was used lately: %s", got.Status)
	}
	s.forget(time.Now().Add(time.Minute))
	left, err := os.ReadDir(s.dir)
	if got := s.do(t, "GET", "/v2/library/app/manifests/"+digest); got.StatusCode != http.StatusNotFound || len(left) > 0 || err != nil {
		t.Errorf("what is not used: %s, and left are %v (%v)", got.Status, left, err)
	}
}
