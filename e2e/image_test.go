//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func cleanupContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// The same inputs give the same image, by its ID.
func TestImageIsReproducible(t *testing.T) {
	if image() != "" {
		t.Skip("the image under test was not built from this tree")
	}
	c := &cluster{kubeconfig: t.TempDir() + "/none"}
	var ids []string
	for _, tag := range []string{"petri/node:e2e-once", "petri/node:e2e-again"} {
		t.Cleanup(func() { run(cleanupContext(t), "", "", "docker", "rmi", tag) })
		r := c.petri(t.Context(), "build", "node-image", "--image", tag, "--progress", "plain")
		if r.code != 0 {
			t.Fatalf("build node-image: exit code %d\n%s", r.code, r.stderr)
		}
		ids = append(ids, docker(t, "inspect", "-f", "{{.Id}}", tag))
	}
	if ids[0] != ids[1] {
		t.Errorf("built twice, the image is %s and %s", ids[0], ids[1])
	}
}

// nodeImage is the node image under test by name, the default one too.
func nodeImage(t *testing.T) string {
	t.Helper()
	if image() != "" {
		return image()
	}
	var v struct{ NodeImage string }
	r := run(t.Context(), "", "", petriBinary(), "version", "-o", "json")
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil || v.NodeImage == "" {
		t.Fatalf("petri version: %v\n%s%s", err, r.stdout, r.stderr)
	}
	return v.NodeImage
}

// The image says what it consists of: every program with version and source,
// every preloaded image with its digest.
func TestImageManifest(t *testing.T) {
	t.Parallel()
	c := &cluster{kubeconfig: t.TempDir() + "/none"}
	args := []string{"get", "image", "-o", "json"}
	if image() != "" {
		args = append(args, image())
	}
	r := c.petri(t.Context(), args...)
	if r.code != 0 {
		t.Fatalf("exit code %d\n%s", r.code, r.stderr)
	}
	var m struct {
		Kubernetes, Architecture string
		Components               []struct{ Name, Version, Source, Checksum string }
		Images                   []struct {
			Name, Digest string
			Size         int64
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &m); err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, component := range m.Components {
		have[component.Name] = component.Version != "" && component.Source != ""
		if component.Source != "debian" && component.Name != "petri" && component.Checksum == "" {
			t.Errorf("component %s has no checksum", component.Name)
		}
	}
	for _, want := range []string{"kubernetes", "etcd", "etcdctl", "coredns", "containerd", "runc", "cni-plugins", "cri-tools", "local-path-provisioner", "petri", "debian/systemd"} {
		if !have[want] {
			t.Errorf("component %s is missing or incomplete", want)
		}
	}
	var names []string
	for _, i := range m.Images {
		names = append(names, i.Name)
		if !strings.HasPrefix(i.Digest, "sha256:") || i.Size == 0 {
			t.Errorf("image %s has no digest or size", i.Name)
		}
	}
	for _, want := range []string{"kube-apiserver:", "kube-controller-manager:", "kube-scheduler:", "kube-proxy:", "etcd:", "coredns/coredns:", "pause:", "petri/cni:", "local-path-provisioner:", "local-path-helper:"} {
		if !strings.Contains(strings.Join(names, " "), want) {
			t.Errorf("image %s is not preloaded: %v", want, names)
		}
	}
}
