package bootstrap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
)

// waitAPI waits until the API answers the host.
func waitAPI(ctx context.Context, env *Env, _ *progress.Task) error {
	admin, err := env.superuser.get(ctx)
	if err != nil {
		return err
	}
	if env.kube, err = env.Connect(admin, env.endpoint); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, apiTimeout, errAPI)
	defer cancel()
	return apiTimedOut(env.kube.WaitServing(ctx))
}

// apiTimeout is longer than kubeadm itself waits for the API: if it has not
// answered by then, the host cannot reach it.
const apiTimeout = 5 * time.Minute

var errAPI = errors.New("the API did not answer in time")

// apiTimedOut says what it means when a wait for the API ran out.
func apiTimedOut(err error) error {
	if !errors.Is(err, errAPI) {
		return err
	}
	return errdefs.New(errdefs.ClassTimeout, "API-UNREACHABLE", "%w", err).
		WithHint("keep the nodes with --retain and look: petri export logs")
}

// ownCNI reports why there is no manifest of the user's to read.
func ownCNI(env *Env) string {
	if cni := env.Config.Networking.CNI; cni == "none" || cni == "default" {
		return "not asked for"
	}
	return ""
}

// readCNI reads the manifest that the configuration names, before anything is
// made for it.
func readCNI(ctx context.Context, env *Env, _ *progress.Task) (err error) {
	cni := env.Config.Networking.CNI
	if strings.Contains(cni, "://") {
		env.cni, err = download(ctx, cni)
	} else {
		env.cni, err = os.ReadFile(cni)
	}
	if err != nil {
		return err
	}
	objects, err := kube.Decode(env.cni)
	if err == nil && len(objects) == 0 {
		err = errors.New("it holds no objects")
	}
	if err != nil {
		return errdefs.New(errdefs.ClassUsage, "CNI-MANIFEST", "networking.cni: %s: %w", cni, err)
	}
	return nil
}

// addonTimeout bounds the applying of manifests: what waits for a namespace or
// a kind that never comes would wait for ever.
const addonTimeout = 90 * time.Second

var errAddons = errors.New("not everything could be applied in time")

// installAddons applies what kubeadm has no opinion on, each in one pass.
func installAddons(ctx context.Context, env *Env, _ *progress.Task) error {
	ctx, cancel := context.WithTimeoutCause(ctx, addonTimeout, errAddons)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		manifest, err := env.cniManifest()
		if err != nil || manifest == nil {
			return err
		}
		return env.kube.Apply(ctx, manifest)
	})
	group.Go(func() error {
		manifest, ok := env.manifests.get(nodeimage.StorageManifestPath)
		if !ok {
			return fmt.Errorf("the node image has no %s", nodeimage.StorageManifestPath)
		}
		return env.kube.Apply(ctx, []byte(manifest))
	})
	group.Go(func() error { return announceRegistries(ctx, env) })
	err := group.Wait()
	if errors.Is(err, errAddons) {
		return errdefs.New(errdefs.ClassTimeout, "ADDONS-NOT-APPLIED", "%w", err).
			WithHint("a namespace or a kind that the manifest needs may be missing from it")
	}
	return err
}

// UpdateAddons applies the default storage of a node image, and the default CNI
// where the cluster has it, to a cluster that is there. Files are the manifests
// of the image, by path.
func UpdateAddons(ctx context.Context, c *config.Cluster, api API, files map[string]string) error {
	env := &Env{Config: c, kube: api}
	env.manifests.files = files
	return installAddons(ctx, env, nil)
}

// cniManifest is the manifest of the chosen CNI; nil when there is none.
func (e *Env) cniManifest() ([]byte, error) {
	switch e.Config.Networking.CNI {
	case "none":
		return nil, nil
	case "default":
		return e.defaultCNI()
	}
	return e.cni, nil
}

// defaultCNI fills the image's template in, as kind would.
func (e *Env) defaultCNI() ([]byte, error) {
	text, ok := e.manifests.get(nodeimage.CNIManifestPath)
	if !ok {
		return nil, fmt.Errorf("the node image has no %s", nodeimage.CNIManifestPath)
	}
	t, err := template.New("cni").Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s of the node image: %w", nodeimage.CNIManifestPath, err)
	}
	var out bytes.Buffer
	err = t.Execute(&out, struct{ PodSubnet string }{config.Joined(e.Config.Networking.PodSubnets)})
	if err != nil {
		return nil, fmt.Errorf("%s of the node image: %w", nodeimage.CNIManifestPath, err)
	}
	return e.patchCNI(out.Bytes())
}

// patchCNI tells the default CNI's agent what it cannot know: where the API is
// before kube-proxy serves it, and which ranges are the cluster's own.
func (e *Env) patchCNI(manifest []byte) ([]byte, error) {
	objects, err := kube.Decode(manifest)
	if err != nil {
		return nil, err
	}
	return kube.SetEnv(objects, "DaemonSet", map[string]string{
		"CONTROL_PLANE_ENDPOINT": e.controlPlaneEndpoint(),
		"SERVICE_SUBNET":         config.Joined(e.Config.Networking.ServiceSubnets),
	})
}

// downloadTimeout bounds the reading of a manifest from a URL.
const downloadTimeout = 30 * time.Second

var errDownload = errors.New("the server did not answer in time")

// maxManifest bounds what is read from a URL.
const maxManifest = 16 << 20

func download(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, downloadTimeout, errDownload)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("fetch CNI manifest: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, errdefs.New(errdefs.ClassFailed, "CNI-MANIFEST", "fetch CNI manifest %s: %s", url, response.Status)
	}
	manifest, err := io.ReadAll(io.LimitReader(response.Body, maxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("fetch CNI manifest %s: %w", url, err)
	}
	if len(manifest) > maxManifest {
		return nil, errdefs.New(errdefs.ClassFailed, "CNI-MANIFEST", "fetch CNI manifest %s: it is larger than %d bytes", url, maxManifest)
	}
	return manifest, nil
}
