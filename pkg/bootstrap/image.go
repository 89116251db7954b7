package bootstrap

import (
	"context"
	"fmt"
	"strings"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/nodehelper"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

// checkImages makes sure that the engine has every node image, for its own
// architecture, and finds out which Kubernetes each carries. What else must be
// so before anything is made is looked at first: it needs the same answer of
// the engine.
func checkImages(ctx context.Context, env *Env, task *progress.Task) error {
	store, ok := env.Provider.(provider.ImageStore)
	if !ok {
		return errdefs.New(errdefs.ClassUnavailable, "NO-IMAGE-STORE", "provider %s keeps no images", env.Provider.Name())
	}
	info, err := env.Provider.Check(ctx)
	if err != nil {
		return err
	}
	if env.Preflight != nil {
		if err := env.Preflight(info); err != nil {
			return err
		}
	}
	env.versions, env.cgroupV1 = map[string]string{}, info.CgroupVersion == 1
	for _, n := range env.making() {
		if _, seen := env.versions[n.Image]; seen {
			continue
		}
		version, foreign, err := CheckImage(ctx, store, n.Image, info.Architecture, task)
		if err == nil && foreign && env.nodeHelper == nil {
			env.nodeHelper, err = env.helperFor(info.Architecture)
		}
		if err != nil {
			return err
		}
		env.versions[n.Image] = version
		if foreign {
			env.foreign = append(env.foreign, n.Image)
		}
	}
	if err := env.checkVersions(); err != nil {
		return err
	}
	if err := env.checkImageServer(); err != nil {
		return err
	}
	return env.checkBalancers()
}

func (e *Env) helperFor(arch string) ([]byte, error) {
	if e.NodeHelper != nil {
		return e.NodeHelper(arch)
	}
	return nodehelper.Program(arch)
}

// CheckImage returns the version of Kubernetes that a node image carries, and
// whether the image is not petri's. It pulls one that the engine does not have,
// and fails when it is for another architecture than arch, the engine's, or when
// it is petri's and of another contract.
func CheckImage(ctx context.Context, store provider.ImageStore, ref, arch string, task *progress.Task) (version string, foreign bool, err error) {
	image, err := store.Image(ctx, ref)
	if errdefs.Is(err, errdefs.ClassNotFound) {
		image, err = fetchImage(ctx, store, ref, task)
	}
	if err != nil {
		return "", false, err
	}
	if arch != "" && image.Architecture != "" && image.Architecture != arch {
		return "", false, errdefs.New(errdefs.ClassUsage, "NODE-IMAGE-ARCH", "node image %s is for %s, and the engine runs on %s", ref, image.Architecture, arch).
			WithHint("build one for it: petri build node-image --arch %s", arch)
	}
	if v := image.Labels[nodeimage.LabelKubernetes]; v != "" {
		if image.Labels[nodeimage.LabelContract] != nodeimage.Contract {
			return "", false, errdefs.New(errdefs.ClassUsage, "OLD-NODE-IMAGE", "node image %s was built by another version of petri, which this one cannot work with", ref).
				WithHint("build it again: petri build node-image %s --image %s", v, ref)
		}
		return v, false, nil
	}
	// an image of kind's or of somebody else's says it in a file only
	data, err := store.ReadImageFile(ctx, ref, nodeimage.VersionPath)
	if err != nil {
		return "", false, errdefs.New(errdefs.ClassUsage, "NOT-A-NODE-IMAGE", "%s is not a node image: it has no %s: %w", ref, nodeimage.VersionPath, err)
	}
	return strings.TrimSpace(string(data)), true, nil
}

func fetchImage(ctx context.Context, store provider.ImageStore, ref string, task *progress.Task) (provider.Image, error) {
	missing := func(err error) error {
		return errdefs.New(errdefs.ClassNotFound, "NODE-IMAGE-MISSING", "the engine has no node image %s: %w", ref, err)
	}
	if version, ok := strings.CutPrefix(ref, nodeimage.LocalPrefix); ok {
		return provider.Image{}, errdefs.New(errdefs.ClassNotFound, "NODE-IMAGE-MISSING", "the engine has no node image %s", ref).
			WithHint("build it: petri build node-image %s", version)
	}
	task.Update("pulling " + ref)
	if err := store.PullImage(ctx, ref, task); err != nil {
		return provider.Image{}, missing(err)
	}
	return store.Image(ctx, ref)
}

// checkVersions holds the images against the configuration and each other.
func (e *Env) checkVersions() error {
	for _, n := range e.making() {
		have := e.versions[n.Image]
		if want := e.Config.KubernetesVersion; want != "" && have != want {
			return errdefs.New(errdefs.ClassUsage, "KUBERNETES-VERSION", "node %s: image %s carries Kubernetes %s, and %s is asked for", n.Name, n.Image, have, want).
				WithHint("build an image of that version: petri build node-image %s", want)
		}
	}
	return nil
}

// checkBalancers wants a balancer in every node of several control planes.
func (e *Env) checkBalancers() error {
	if !e.balanced() || len(e.foreign) == 0 {
		return nil
	}
	return errdefs.New(errdefs.ClassUsage, "NO-BALANCER", "several control planes need haproxy in every node, and image %s is not petri's", e.foreign[0]).
		WithHint("use an image of petri build node-image, or one control plane")
}

// version is the Kubernetes version of a node's image.
func (e *Env) version(image string) (string, error) {
	v, ok := e.versions[image]
	if !ok {
		return "", fmt.Errorf("image %s was not checked", image)
	}
	return v, nil
}
