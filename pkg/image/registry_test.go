package image_test

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/image"
	"github.com/petri-cluster/petri/pkg/image/imagetest"
)

// push puts the blobs of a layout into a registry, and its root under a tag.
func push(t *testing.T, server, repo, tag string, files map[string][]byte, root []byte, rootType string) {
	t.Helper()
	send := func(method, url, mediaType string, body []byte) {
		req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", mediaType)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode >= 300 {
			text, _ := io.ReadAll(resp.Body)
			t.Fatalf("%s %s: %s %s", method, url, resp.Status, text)
		}
	}
	base := server + "/v2/" + repo
	for name, content := range files {
		if !strings.HasPrefix(name, "blobs/") {
			continue
		}
		d := digest.FromBytes(content).String()
		if bytes.Contains(content, []byte(ocispec.MediaTypeImageManifest)) {
			send(http.MethodPut, base+"/manifests/"+d, ocispec.MediaTypeImageManifest, content)
			continue
		}
		send(http.MethodPost, base+"/blobs/uploads/?digest="+d, "application/octet-stream", content)
	}
	send(http.MethodPut, base+"/manifests/"+tag, rootType, root)
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	img := app("amd64")
	push(t, server.URL, "team/app", "1", imagetest.Layout(img), img.Manifest(), ocispec.MediaTypeImageManifest)

	src, err := image.FromRegistry(t.Context(), host+"/team/app:1", image.ForNodes("amd64"))
	images, content, err := read(src, err)
	if err != nil {
		t.Fatal(err)
	}
	i := images[0]
	if i.ID() != img.ID() || i.Names[0] != host+"/team/app:1" || i.Target().Digest != digest.FromBytes(img.Manifest()) {
		t.Errorf("got %+v", i)
	}
	for _, l := range i.Layers {
		if !content[l.Digest] {
			t.Errorf("layer %s was not read", l.Digest)
		}
	}
	for ref, class := range map[string]errdefs.Class{"/team/app:2": errdefs.ClassNotFound, "/none:1": errdefs.ClassNotFound} {
		if _, err := image.FromRegistry(t.Context(), host+ref, image.ForNodes("amd64")); !errdefs.Is(err, class) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if _, err := image.FromRegistry(t.Context(), host+"/team/app:1", image.ForNodes("arm64")); !errdefs.Is(err, errdefs.ClassNotFound) || !strings.Contains(err.Error(), "but for: linux/amd64") {
		t.Errorf("for another platform: %v", err)
	}
}
