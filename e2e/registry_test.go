//go:build e2e

package e2e

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/petri-cluster/petri/pkg/image/imagetest"
)

const (
	registryUser     = "puller"
	registryPassword = "correct-horse-battery"
)

// registryTest is a cluster, a registry for pushing, one that caches upstream,
// and upstream itself, which wants a password.
type registryTest struct {
	*cluster
	pause    []byte
	dir      string
	push     string // localhost:PORT
	upstream *httptest.Server
	at       string // of upstream, as containers reach it
}

// app is an image whose program runs for ever.
func (r *registryTest) app(name, version string) imagetest.Image {
	return imagetest.Image{Name: name, Arch: runtime.GOARCH, Entrypoint: []string{"/pause"}, Layers: [][]byte{
		imagetest.Layer("pause", r.pause), imagetest.Layer("version", []byte(version)),
	}}
}

// pushed pushes an image with the engine, which forgets it then.
func (r *registryTest) pushed(t *testing.T, name, version string) {
	t.Helper()
	onEngine(t, r.app(name, version))
	docker(t, "push", name)
	docker(t, "rmi", "--force", name)
}

// createRegistry makes a registry, and removes it when t ends.
func createRegistry(t *testing.T, args ...string) string {
	t.Helper()
	t.Cleanup(func() { run(cleanupContext(t), "", "", petriBinary(), "delete", "registry", args[0], "--force") })
	r := run(t.Context(), "", "", append([]string{petriBinary(), "create", "registry"}, withImage(args)...)...)
	if r.code != 0 {
		t.Fatalf("create registry: exit code %d\n%s", r.code, r.stderr)
	}
	return strings.TrimSpace(r.stdout)
}

// serveUpstream is a registry on this machine with two images, for containers
// with a password and for the host without.
func (r *registryTest) serveUpstream(t *testing.T) {
	t.Helper()
	images := registry.New()
	open := httptest.NewServer(images)
	defer open.Close()
	host := strings.TrimPrefix(open.URL, "http://127.0.0.1")
	for _, name := range []string{"cached", "private"} {
		r.pushed(t, "localhost"+host+"/"+name+":1", name)
	}
	// not of the network, which need not say: the engine has a default of its own
	gateway := docker(t, "inspect", "petri-registry-e2e", "--format", "{{.NetworkSettings.Networks.bridge.Gateway}}")
	listener, err := net.Listen("tcp", net.JoinHostPort(gateway, "0"))
	if err != nil {
		t.Fatal(err)
	}
	r.upstream = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		user, password, _ := q.BasicAuth()
		if subtle.ConstantTimeCompare([]byte(user+password), []byte(registryUser+registryPassword)) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="upstream"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		images.ServeHTTP(w, q)
	}))
	r.upstream.Listener = listener
	r.upstream.Start()
	t.Cleanup(r.upstream.Close)
	r.at = listener.Addr().String()
}

// runs starts a pod of each image on a node, and waits until all run.
func (r *registryTest) runs(t *testing.T, node string, images ...string) {
	t.Helper()
	var pods []string
	for n, image := range images {
		name := fmt.Sprintf("app-%d", n)
		pods = append(pods, "pod/"+name)
		r.apply(t, fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: %s}, spec: {
  nodeName: %s, terminationGracePeriodSeconds: 0, containers: [{name: app, image: "%s"}]}}`, name, node, image))
	}
	got := r.kubectl(t.Context(), t, "", append([]string{"wait", "--for=condition=Ready", "--timeout=120s"}, pods...)...)
	if got.code != 0 {
		t.Fatalf("pods of %v: %s\n%s", images, got.stderr, r.must(t, "describe", "pods"))
	}
	r.must(t, append([]string{"delete", "--wait=true"}, pods...)...)
}

// mustPetri runs petri, which must succeed.
func (r *registryTest) mustPetri(t *testing.T, args ...string) string {
	t.Helper()
	got := r.petri(t.Context(), args...)
	if got.code != 0 {
		t.Fatalf("petri %v: exit code %d\n%s", args, got.code, got.stderr)
	}
	return got.stdout
}

// Registries outlive clusters, which find in them what was pushed, and in the
// engine what was built; passwords stay where they belong.
func TestRegistry(t *testing.T) {
	t.Parallel()
	r := &registryTest{cluster: &cluster{name: testName(t), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}, pause: pauseProgram(t), dir: t.TempDir()}
	r.push = createRegistry(t, "e2e")
	r.pushed(t, r.push+"/app:1", "1")
	r.serveUpstream(t)
	password := filepath.Join(r.dir, "password")
	if err := os.WriteFile(password, []byte(registryPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cache := createRegistry(t, "e2e-cache", "--mirror", "http://"+r.at, "--username", registryUser, "--password-file", password)
	config := filepath.Join(r.dir, "cluster.yaml")
	text := fmt.Sprintf(`apiVersion: petri.dev/v1alpha1
kind: Cluster
localRegistries: [e2e-cache]
images: {share: engine}
registries:
- {host: private.example, mirrors: ["http://%[1]s"]}
- {host: "%[1]s", username: %s, passwordFile: %s}
`, r.at, registryUser, password)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.remove(t) })
	r.mustPetri(t, withImage([]string{"create", "cluster", "--name", r.name, "--config", config, "--registry", "e2e"})...)

	t.Run("pull", func(t *testing.T) { checkPulls(t, r, cache) })
	t.Run("load", func(t *testing.T) { checkLoadFromRegistry(t, r) })
	t.Run("passwords", func(t *testing.T) { checkPasswords(t, r) })
	t.Run("connect", func(t *testing.T) { checkConnect(t, r) })
	t.Run("wrong use", func(t *testing.T) { checkWrongRegistries(t, r) })
	t.Run("without cluster", func(t *testing.T) { checkOutlives(t, r) })
}

func checkPulls(t *testing.T, r *registryTest, cache string) {
	hosting := r.must(t, "-n", "kube-public", "get", "configmap", "local-registry-hosting", "-o", `jsonpath={.data.localRegistryHosting\.v1}`)
	if !strings.Contains(hosting, "host: "+r.push+"\n") {
		t.Errorf("the cluster says %q of its registry", hosting)
	}
	first := r.name + "-control-plane"
	onEngine(t, r.app("petri-e2e/shared:1", "engine"))
	onEngine(t, r.app("petri-e2e/shared:latest", "engine, latest"))
	r.runs(t, first, r.push+"/app:1", "petri-e2e/shared:1", "petri-e2e/shared", r.at+"/cached:1", "private.example/private:1")

	// without what serves the engine's images, and then without upstream, the
	// rest goes on
	docker(t, "stop", "--time", "1", r.name+"-image-server")
	r.mustPetri(t, "delete", "image", "--name", r.name, "private.example/private:1")
	r.runs(t, first, "private.example/private:1")
	docker(t, "start", r.name+"-image-server")
	r.upstream.Close()
	r.mustPetri(t, "delete", "image", "--name", r.name, r.at+"/cached:1")
	r.runs(t, first, r.at+"/cached:1")
	if tags := answer(t, "http://"+cache+"/v2/cached/manifests/1"); !strings.Contains(tags, "layers") {
		t.Errorf("the cache has %q", tags)
	}
}

// checkLoadFromRegistry loads an image that the host reads from the registry.
func checkLoadFromRegistry(t *testing.T, r *registryTest) {
	name := r.push + "/loaded:1"
	r.pushed(t, name, "loaded")
	r.mustPetri(t, "load", "image", "--from-registry", name, "--name", r.name)
	if list := r.mustPetri(t, "get", "images", "--name", r.name); !strings.Contains(list, r.push+"/loaded") {
		t.Errorf("the nodes have\n%s", list)
	}
	r.runs(t, r.name+"-control-plane", name)
	if got := r.petri(t.Context(), "load", "image", "--from-registry", r.push+"/none:1", "--name", r.name); got.code == 0 || !strings.Contains(got.stderr, "none:1") {
		t.Errorf("an image that is not there: exit code %d\n%s", got.code, got.stderr)
	}
}

// answer is the body that a registry answers with.
func answer(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/vnd.docker.distribution.manifest.v2+json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// checkPasswords looks for the password wherever people look.
func checkPasswords(t *testing.T, r *registryTest) {
	first := r.name + "-control-plane"
	logs := filepath.Join(r.dir, "logs")
	r.mustPetri(t, "export", "logs", logs, "--name", r.name)
	places := map[string]string{
		"get config": r.mustPetri(t, "get", "config", "--name", r.name),
		"ConfigMaps": r.must(t, "get", "configmaps", "-A", "-o", "yaml"),
		"inspect":    docker(t, "inspect", first, r.name+"-image-server", "petri-registry-e2e-cache"),
		"consoles":   docker(t, "logs", "petri-registry-e2e-cache"),
		"processes":  docker(t, "exec", first, "ps", "-ef") + docker(t, "top", "petri-registry-e2e-cache"),
	}
	err := filepath.WalkDir(logs, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		places[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for place, text := range places {
		if strings.Contains(text, registryPassword) {
			t.Errorf("the password is in %s", place)
		}
	}
	for _, path := range []string{"/etc/containerd/config.toml", "/petri/plan.json", "/etc/containerd/certs.d/_default/hosts.toml"} {
		if mode := docker(t, "exec", first, "stat", "-c", "%a", path); mode != "600" {
			t.Errorf("%s has mode %s", path, mode)
		}
	}
}

// checkConnect disconnects and connects, and wants a new node to be like others,
// and all to be so after a restart.
func checkConnect(t *testing.T, r *registryTest) {
	worker := r.name + "-worker"
	r.mustPetri(t, "disconnect", "registry", "e2e", "--name", r.name)
	if got := r.kubectl(t.Context(), t, "", "-n", "kube-public", "get", "configmap", "local-registry-hosting"); got.code == 0 {
		t.Error("the cluster still says where the registry is")
	}
	if known := docker(t, "exec", r.name+"-control-plane", "ls", "/etc/containerd/certs.d"); strings.Contains(known, r.push) || !strings.Contains(known, r.at) {
		t.Errorf("the node knows\n%s", known)
	}
	r.mustPetri(t, "connect", "registry", "e2e", "--name", r.name)
	r.mustPetri(t, "create", "node", "--name", r.name)
	r.pushed(t, r.push+"/app:2", "2")
	onEngine(t, r.app("petri-e2e/shared:1", "engine"))
	r.runs(t, worker, r.push+"/app:2", "petri-e2e/shared:1")
	r.mustPetri(t, "restart", "cluster", "--name", r.name)
	r.pushed(t, r.push+"/app:3", "3")
	onEngine(t, r.app("petri-e2e/shared:2", "engine 2"))
	r.runs(t, worker, r.push+"/app:3", "petri-e2e/shared:2")
}

func checkWrongRegistries(t *testing.T, r *registryTest) {
	docker(t, "create", "--name", "petri-registry-e2e-foreign", nodeImage(t), "true")
	t.Cleanup(func() { run(cleanupContext(t), "", "", "docker", "rm", "--force", "petri-registry-e2e-foreign") })
	_, port, _ := strings.Cut(r.push, ":")
	for want, args := range map[string][]string{
		"REGISTRY-EXISTS":     {"create", "registry", "e2e"},
		"REGISTRY-NAME-TAKEN": {"create", "registry", "e2e-foreign"},
		"PORT-TAKEN":          {"create", "registry", "e2e-port", "--port", port},
		"REGISTRY-UPSTREAM":   {"create", "registry", "e2e-nowhere", "--mirror", "http://" + r.at},
		"REGISTRY-NOT-FOUND":  {"connect", "registry", "e2e-none", "--name", r.name},
		"REGISTRY-IN-USE":     {"delete", "registry", "e2e"},
	} {
		if args[0] == "create" {
			args = withImage(args)
		}
		if got := r.petri(t.Context(), args...); got.code == 0 || !strings.Contains(got.stderr, want) {
			t.Errorf("petri %v: exit code %d, want %s\n%s", args, got.code, want, got.stderr)
		}
	}
	if left := docker(t, "ps", "--all", "--quiet", "--filter", "name=petri-registry-e2e-(port|nowhere)"); left != "" {
		t.Errorf("left are %s", left)
	}
}

// checkOutlives deletes the cluster, and then the registry.
func checkOutlives(t *testing.T, r *registryTest) {
	r.mustPetri(t, "delete", "cluster", "--name", r.name)
	if left := docker(t, "ps", "--all", "--quiet", "--filter", "label=dev.petri.cluster="+r.name); left != "" {
		t.Errorf("the cluster left %s", left)
	}
	if tags := answer(t, "http://"+r.push+"/v2/app/tags/list"); !strings.Contains(tags, `"1"`) || !strings.Contains(tags, `"3"`) {
		t.Errorf("the registry has %q", tags)
	}
	var list []struct {
		Name, Endpoint string
		Clusters       []string
	}
	if err := json.Unmarshal([]byte(r.mustPetri(t, "get", "registries", "--output", "json")), &list); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, one := range list {
		found = found || one.Name == "e2e" && one.Endpoint == r.push && len(one.Clusters) == 0
	}
	if !found {
		t.Errorf("listed are %+v", list)
	}
	for range 2 {
		r.mustPetri(t, "delete", "registry", "e2e")
	}
	if left := docker(t, "volume", "ls", "--quiet", "--filter", "label=dev.petri.registry=e2e"); left != "" {
		t.Errorf("the registry left volume %s", left)
	}
}
