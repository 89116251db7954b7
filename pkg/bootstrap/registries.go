package bootstrap

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/registry"
)

// RegistrySecrets are what nodes are told of registries beside the
// configuration, which only names where it stands.
type RegistrySecrets struct {
	// CA are certificates in PEM form, by host.
	CA map[string][]byte
	// Auth is a patch of containerd's configuration with passwords.
	Auth string
}

// noRegistries reports why nothing has to be found out about registries.
func noRegistries(env *Env) string {
	c := env.Config
	if len(c.Registries)+len(c.LocalRegistries) == 0 && !c.ShareEngine {
		return "not asked for"
	}
	return ""
}

// findRegistries finds out what nodes are to be told of registries, before
// anything is made.
func findRegistries(ctx context.Context, env *Env, _ *progress.Task) (err error) {
	if env.adding == nil {
		if env.secrets, err = readSecrets(env.Config.Registries); err != nil {
			return err
		}
	}
	local, missing, err := LocalRegistries(ctx, env.Provider, env.Config.LocalRegistries)
	if err != nil {
		return err
	}
	if missing != nil && env.adding == nil {
		return missing
	}
	if missing != nil {
		// the cluster's nodes go on without it, and so do new ones
		env.Reporter.Report(progress.Event{Time: time.Now(), Status: progress.Note, Message: "note: " + missing.Error()})
	}
	env.registries = RegistrySetup(env.Config, local, env.secrets.CA)
	return nil
}

// RegistrySetup is what nodes of a cluster are told of registries.
func RegistrySetup(c *config.Cluster, local []registry.Local, ca map[string][]byte) registry.Setup {
	setup := registry.Setup{Registries: c.Registries, Local: local, CA: ca}
	if c.ShareEngine {
		setup.ImageServer = "http://" + net.JoinHostPort(ImageServerName(c.Name), strconv.Itoa(nodeimage.ImageServerPort))
	}
	return setup
}

// LocalRegistries are registries that petri runs, by name. Those that are not
// there are left out, and named by the error missing.
func LocalRegistries(ctx context.Context, p provider.Provider, names []string) (local []registry.Local, missing, err error) {
	if len(names) == 0 {
		return nil, nil, nil
	}
	keeper, ok := p.(provider.Registries)
	if !ok {
		return nil, nil, errdefs.New(errdefs.ClassUnavailable, "NO-REGISTRIES", "provider %s runs no registries", p.Name())
	}
	all, err := keeper.Registries(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		i := slices.IndexFunc(all, func(r provider.Registry) bool { return r.Name == name })
		if i < 0 {
			missing = errdefs.New(errdefs.ClassNotFound, "REGISTRY-NOT-FOUND", "there is no registry %q", name).
				WithHint("make it: petri create registry %s", name)
			continue
		}
		local = append(local, registry.Local{Port: all[i].Port, Endpoint: provider.RegistryEndpoint(name), Upstream: all[i].Upstream})
	}
	return local, missing, nil
}

// readSecrets reads what the configuration names: certificates and passwords.
func readSecrets(registries []config.Registry) (RegistrySecrets, error) {
	out := RegistrySecrets{CA: map[string][]byte{}}
	credentials := map[string]registry.Credentials{}
	for _, r := range registries {
		if r.CAFile != "" {
			data, err := os.ReadFile(r.CAFile)
			if err != nil {
				return out, errdefs.New(errdefs.ClassUsage, "REGISTRY-FILE", "read the certificates of registry %s: %w", r.Host, err)
			}
			out.CA[r.Host] = data
		}
		if r.Username == "" {
			continue
		}
		password, err := Password(r.PasswordFile, r.PasswordEnv)
		if err != nil {
			return out, errdefs.New(errdefs.ClassUsage, "REGISTRY-FILE", "read the password for registry %s: %w", r.Host, err)
		}
		credentials[r.Host] = registry.Credentials{Username: r.Username, Password: password}
	}
	var err error
	out.Auth, err = registry.Auth(credentials)
	return out, err
}

// Password is what a file, or else a variable of the environment, holds.
func Password(file, variable string) (string, error) {
	password := os.Getenv(variable)
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		password = strings.TrimRight(string(data), "\r\n")
	}
	if password == "" {
		return "", fmt.Errorf("%s is empty", cmp.Or(file, "$"+variable))
	}
	return password, nil
}

// registryFiles are what a node knows of registries from its first moment on.
// Nobody but root may read them.
func (e *Env) registryFiles() ([]provider.File, error) {
	files, err := e.registries.Files()
	if err != nil {
		return nil, err
	}
	var out []provider.File
	for _, path := range slices.Sorted(maps.Keys(files)) {
		out = append(out, provider.File{Path: path, Data: files[path], Mode: 0o600})
	}
	return out, nil
}

// connectRegistries puts the registries on the cluster's network.
func (e *Env) connectRegistries(ctx context.Context) error {
	for _, name := range e.Config.LocalRegistries {
		// findRegistries has seen that the provider can
		if err := e.Provider.(provider.Registries).ConnectRegistry(ctx, name, e.Config.Name); err != nil {
			return err
		}
	}
	return nil
}

// ImageServerName is the name of what serves the engine's images to a cluster.
func ImageServerName(cluster string) string { return cluster + "-" + nodeimage.RoleImageServer }

// imageServer serves the engine's images to the nodes. It runs one program of
// the node image.
func (e *Env) imageServer() provider.NodeSpec {
	return provider.NodeSpec{
		Name: ImageServerName(e.Config.Name), Role: nodeimage.RoleImageServer,
		Image:   e.Config.ControlPlanes()[0].Image,
		Command: []string{nodeimage.ImageServerProgram},
		Engine:  true,
	}
}

// checkImageServer wants the program that serves the engine's images to be in
// the image of the first control plane.
func (e *Env) checkImageServer() error {
	image := e.Config.ControlPlanes()[0].Image
	if !e.Config.ShareEngine || e.adding != nil || !slices.Contains(e.foreign, image) {
		return nil
	}
	return errdefs.New(errdefs.ClassUsage, "NO-IMAGE-SERVER", "images.share: image %s is not petri's, and has no program to serve the engine's images", image).
		WithHint("use an image of petri build node-image, or load images: petri load image")
}

// announceRegistries tells tools, through the cluster, where to push images.
func announceRegistries(ctx context.Context, env *Env) error {
	hosting, err := registry.Hosting(env.registries.Local)
	if err != nil {
		return fmt.Errorf("describe the registry: %w", err)
	}
	if hosting == "" {
		return nil
	}
	return env.kube.AnnounceRegistry(ctx, hosting)
}
