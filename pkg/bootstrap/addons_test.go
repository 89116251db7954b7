package bootstrap

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/cluster/clustertest"
	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// cniEnv is a cluster with a CNI, whose node image has the usual manifests.
func cniEnv(cni string) *Env {
	e := &Env{Config: &config.Cluster{
		Name:  "dev",
		Nodes: []config.Node{{Name: "dev-control-plane", Role: nodeimage.RoleControlPlane}},
		Networking: config.Networking{
			CNI:            cni,
			PodSubnets:     []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd01::/56")},
			ServiceSubnets: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/16"), netip.MustParsePrefix("fd02::/112")},
		},
	}}
	e.manifests.put(nodeimage.CNIManifestPath, clustertest.CNIManifest)
	e.manifests.put(nodeimage.StorageManifestPath, clustertest.StorageManifest)
	return e
}

func TestDefaultCNI(t *testing.T) {
	manifest, err := cniEnv("default").cniManifest()
	if err != nil {
		t.Fatal(err)
	}
	objects, err := kube.Decode(manifest)
	if err != nil || len(objects) != 1 {
		t.Fatalf("%d objects: %v", len(objects), err)
	}
	spec := objects[0].Object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
	got := spec["containers"].([]any)[0].(map[string]any)["env"]
	want := []any{
		map[string]any{"name": "POD_SUBNET", "value": "10.1.0.0/16,fd01::/56"},
		map[string]any{"name": "CONTROL_PLANE_ENDPOINT", "value": "dev-control-plane:6443"},
		map[string]any{"name": "SERVICE_SUBNET", "value": "10.2.0.0/16,fd02::/112"},
	}
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("environment of the agent (-want +got):\n%s", diff)
	}
}

func TestDefaultCNIBroken(t *testing.T) {
	for name, manifest := range map[string]string{
		"no template":   "{{",
		"unknown field": "{{ .Nodes }}",
		"no manifest":   "kind: DaemonSet",
		"no containers": "{kind: DaemonSet, metadata: {name: cni}}",
	} {
		e := cniEnv("default")
		e.manifests.put(nodeimage.CNIManifestPath, manifest)
		if out, err := e.cniManifest(); err == nil {
			t.Errorf("%s: no error, and manifest %q", name, out)
		}
	}
	e := cniEnv("default")
	e.manifests.files = nil
	if _, err := e.cniManifest(); err == nil || !strings.Contains(err.Error(), nodeimage.CNIManifestPath) {
		t.Errorf("image without a CNI: %v", err)
	}
}

func TestOtherCNI(t *testing.T) {
	const manifest = "kind: ConfigMap\nmetadata: {name: cni}\ndata: {x: '{{ is no template }}'}\n"
	file := filepath.Join(t.TempDir(), "cni.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/cni.yaml":
			io.WriteString(w, manifest)
		case "/empty":
		case "/nonsense":
			io.WriteString(w, "<html>")
		case "/large":
			io.CopyN(w, zeros{}, maxManifest+1)
		case "/cut":
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, "short")
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	for _, cni := range []string{file, server.URL + "/cni.yaml"} {
		e := cniEnv(cni)
		if err := readCNI(t.Context(), e, nil); err != nil {
			t.Errorf("%s: %v", cni, err)
		}
		if got, err := e.cniManifest(); err != nil || string(got) != manifest {
			t.Errorf("%s: %q, %v", cni, got, err)
		}
	}
	if got, err := cniEnv("none").cniManifest(); got != nil || err != nil {
		t.Errorf("none: %q, %v", got, err)
	}
	for cni, want := range map[string]string{
		file + ".not":                 "no such file",
		server.URL + "/empty":         "no objects",
		server.URL + "/nonsense":      "read manifest",
		server.URL + "/nothing":       "404",
		server.URL + "/large":         "larger than",
		server.URL + "/cut":           "unexpected EOF",
		"http://127.0.0.1:1/cni.yaml": "fetch CNI manifest",
	} {
		if err := readCNI(t.Context(), cniEnv(cni), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want it to say %q", cni, err, want)
		}
	}
	if err := readCNI(t.Context(), cniEnv(server.URL+"/nothing"), nil); !errdefs.Is(err, errdefs.ClassFailed) {
		t.Errorf("error %v has no class", err)
	}
}

// zeros reads for ever.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// applied is an API that only applies.
type applied struct {
	API
	manifests chan string
	err       error
}

func (a applied) Apply(_ context.Context, manifest []byte) error {
	a.manifests <- string(manifest)
	return a.err
}

func TestInstallAddons(t *testing.T) {
	api := applied{manifests: make(chan string, 2)}
	e := cniEnv("none")
	e.kube = api
	if err := installAddons(t.Context(), e, nil); err != nil {
		t.Fatal(err)
	}
	if got := <-api.manifests; got != clustertest.StorageManifest || len(api.manifests) != 0 {
		t.Errorf("without a CNI, %q and %d more were applied", got, len(api.manifests))
	}
	api.err = errBroken
	e.kube = api
	if err := installAddons(t.Context(), e, nil); !errors.Is(err, errBroken) {
		t.Errorf("error %v", err)
	}
	e.manifests.files = nil
	if err := installAddons(t.Context(), e, nil); err == nil || !strings.Contains(err.Error(), nodeimage.StorageManifestPath) {
		t.Errorf("image without storage: %v", err)
	}
}
