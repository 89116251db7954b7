package bootstrap

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/cluster/clustertest"
	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/provider/fake"
)

// imageEnv is a cluster whose nodes have these images, on an engine.
func imageEnv(p provider.Provider, version string, images ...string) *Env {
	c := &config.Cluster{Name: "dev", KubernetesVersion: version}
	role := "control-plane"
	for _, image := range images {
		c.Nodes = append(c.Nodes, config.Node{Name: "dev-node", Role: role, Image: image})
		role = "worker"
	}
	return &Env{Config: c, Provider: p, Reporter: progress.NewRecorder()}
}

func (e *Env) check(t *testing.T) error {
	t.Helper()
	return checkImages(t.Context(), e, progress.Start(e.Reporter, "image", "", ""))
}

const foreign = "example.com/kind/node:v1.34.2"

func foreignImage(files map[string][]byte) fake.Image { return fake.Image{Files: files} }

// TestImagesWithoutABalancer: one control plane needs none, several do in each
// node.
func TestImagesWithoutABalancer(t *testing.T) {
	p := fake.New()
	p.AddImage(clustertest.Image, clustertest.NodeImage("v1.36.3"))
	p.AddImage(foreign, foreignImage(map[string][]byte{"/kind/version": []byte("v1.36.3\n")}))
	env := imageEnv(p, "", clustertest.Image, clustertest.Image, foreign)
	env.NodeHelper = func(string) ([]byte, error) { return []byte("helper"), nil }
	if err := env.check(t); err != nil {
		t.Fatal(err)
	}
	env.Config.Nodes[1].Role = "control-plane"
	env.foreign = nil
	err := env.check(t)
	if e, ok := errors.AsType[*errdefs.Error](err); !ok || e.ID != "NO-BALANCER" || e.Class != errdefs.ClassUsage || !strings.Contains(e.Error(), foreign) {
		t.Errorf("error %v", err)
	}
}

// An image of another petri's is refused before anything is made of it.
func TestImageOfAnotherContract(t *testing.T) {
	p := fake.New()
	image := clustertest.NodeImage("v1.36.3")
	image.Labels = map[string]string{nodeimage.LabelKubernetes: "v1.36.3"}
	p.AddImage(clustertest.Image, image)
	err := imageEnv(p, "", clustertest.Image).check(t)
	if e, ok := errors.AsType[*errdefs.Error](err); !ok || e.ID != "OLD-NODE-IMAGE" || e.Class != errdefs.ClassUsage || !strings.Contains(e.Hint, "petri build node-image v1.36.3 --image "+clustertest.Image) {
		t.Errorf("error %v", err)
	}
}

func TestImageVersions(t *testing.T) {
	p := fake.New()
	p.AddImage(clustertest.Image, clustertest.NodeImage("v1.36.3"))
	p.AddImage(foreign, foreignImage(map[string][]byte{"/kind/version": []byte("v1.34.2\n")}))
	env := imageEnv(p, "", clustertest.Image, foreign, clustertest.Image)
	env.NodeHelper = func(arch string) ([]byte, error) { return []byte("helper for " + arch), nil }
	if err := env.check(t); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{foreign}, env.foreign); diff != "" || string(env.nodeHelper) != "helper for amd64" {
		t.Errorf("images that bring no helper (-want +got):\n%s\nthe helper is %q", diff, env.nodeHelper)
	}
	want := map[string]string{clustertest.Image: "v1.36.3", foreign: "v1.34.2"}
	if diff := cmp.Diff(want, env.versions); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
	wantCalls := []string{
		"info", "inspect image " + clustertest.Image, "inspect image " + foreign,
		"read /kind/version of image " + foreign,
	}
	if diff := cmp.Diff(wantCalls, p.Calls()); diff != "" {
		t.Errorf("each image is asked once, a labelled one by its label (-want +got):\n%s", diff)
	}
	if _, err := env.version("other"); err == nil {
		t.Error("an image that was not checked has a version")
	}
}

func TestImagePulled(t *testing.T) {
	p := fake.New()
	p.AddRemoteImage(foreign, clustertest.NodeImage("v1.34.2"))
	env := imageEnv(p, "v1.34.2", foreign)
	if err := env.check(t); err != nil {
		t.Fatal(err)
	}
	events := env.Reporter.(*progress.Recorder).Events()
	if !slices.ContainsFunc(events, func(e progress.Event) bool { return e.Message == "pulling "+foreign }) {
		t.Errorf("pulling is not reported: %v", events)
	}
}

func TestImageProblems(t *testing.T) {
	arm := clustertest.NodeImage("v1.36.3")
	arm.Architecture = "arm64"
	for name, c := range map[string]struct {
		image   string
		there   *fake.Image
		version string
		class   errdefs.Class
		id      string
		text    string
		hint    string
	}{
		"own image missing": {
			image: "petri/node:v1.36.3", class: errdefs.ClassNotFound, id: "NODE-IMAGE-MISSING",
			text: "the engine has no node image petri/node:v1.36.3", hint: "petri build node-image v1.36.3",
		},
		"other image missing": {
			image: foreign, class: errdefs.ClassNotFound, id: "NODE-IMAGE-MISSING", text: "not in any registry",
		},
		"wrong architecture": {
			image: clustertest.Image, there: &arm, class: errdefs.ClassUsage, id: "NODE-IMAGE-ARCH",
			text: "is for arm64, and the engine runs on amd64", hint: "--arch amd64",
		},
		"wrong version": {
			image: clustertest.Image, there: new(clustertest.NodeImage("v1.36.3")), version: "v1.35.0",
			class: errdefs.ClassUsage, id: "KUBERNETES-VERSION",
			text: "carries Kubernetes v1.36.3, and v1.35.0 is asked for", hint: "petri build node-image v1.35.0",
		},
		"no node image": {
			image: foreign, there: new(foreignImage(nil)), class: errdefs.ClassUsage, id: "NOT-A-NODE-IMAGE",
			text: "has no /kind/version",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := fake.New()
			if c.there != nil {
				p.AddImage(c.image, *c.there)
			}
			err := imageEnv(p, c.version, c.image).check(t)
			e, ok := errors.AsType[*errdefs.Error](err)
			if !ok || e.Class != c.class || e.ID != c.id || !strings.Contains(e.Error(), c.text) || !strings.Contains(e.Hint, c.hint) {
				t.Errorf("error %#v (%v), want %s of class %d that says %q and hints at %q", e, err, c.id, c.class, c.text, c.hint)
			}
			if own := strings.HasPrefix(c.image, nodeimage.LocalPrefix); own && slices.Contains(p.Calls(), "pull image "+c.image) {
				t.Error("an image that is never published was pulled")
			}
		})
	}
}

// withoutImages is an engine that keeps none.
type withoutImages struct{ provider.Provider }

func TestNoImageStore(t *testing.T) {
	err := imageEnv(withoutImages{fake.New()}, "", clustertest.Image).check(t)
	if e, ok := errors.AsType[*errdefs.Error](err); !ok || e.ID != "NO-IMAGE-STORE" {
		t.Errorf("error %v", err)
	}
}
