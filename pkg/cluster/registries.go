package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/petri-cluster/petri/pkg/bootstrap"
	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/containerdconf"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/registry"
	"github.com/petri-cluster/petri/pkg/version"
)

// RegistryOptions say what registry is made.
type RegistryOptions struct {
	// Port of the host; 0: a free one is picked and kept.
	Port uint16
	// Image is a node image, whose registry program is run.
	Image string
	// Upstream is the registry that it caches, as the names of images have it
	// or as a URL; empty: none, and images are pushed to it.
	Upstream string
	// Username is who the registry is for its upstream; PasswordFile or
	// PasswordEnv says where the password is.
	Username, PasswordFile, PasswordEnv string
}

// Registry is a registry at a glance, as the engine sees it.
type Registry struct {
	Name     string   `json:"name"`
	State    string   `json:"state"`
	Endpoint string   `json:"endpoint"`           // on the host, "localhost:5001"
	Upstream string   `json:"upstream,omitempty"` // that it caches
	Clusters []string `json:"clusters"`           // that have a network with it
	Image    string   `json:"image"`
}

// CreateRegistry makes a registry, and returns when it serves. One of that name
// is an error of class exists, and is left alone.
func (m *Manager) CreateRegistry(ctx context.Context, name string, opts RegistryOptions) (Registry, error) {
	keeper, err := m.registries()
	if err != nil {
		return Registry{}, err
	}
	if !config.ValidRegistryName(name) {
		return Registry{}, errdefs.New(errdefs.ClassUsage, "REGISTRY-NAME", "%q is not a name for a registry", name).
			WithHint("use lower-case letters, digits and dashes, a letter or digit at both ends, at most 40 in all")
	}
	spec, err := registrySpec(name, opts)
	if err != nil {
		return Registry{}, err
	}
	release, err := lock("registry." + name)
	if err != nil {
		return Registry{}, err
	}
	defer release()
	made, err := keeper.CreateRegistry(ctx, spec, m.reporter)
	if err != nil {
		return Registry{}, err
	}
	return atAGlance(made), nil
}

// registrySpec is the registry that is asked for.
func registrySpec(name string, opts RegistryOptions) (provider.RegistrySpec, error) {
	spec := provider.RegistrySpec{
		Name: name, Image: opts.Image, Command: []string{nodeimage.RegistryProgram, "serve", registry.ConfigPath},
		DataDir: registry.DataDir, Serving: registry.Serving,
		// its traces have nowhere to go
		Env:     []string{"OTEL_TRACES_EXPORTER=none"},
		Publish: provider.Publish{Address: "127.0.0.1", Port: opts.Port},
		Labels:  map[string]string{nodeimage.LabelVersion: version.String()},
	}
	var credentials registry.Credentials
	var err error
	if opts.Upstream != "" {
		if spec.Upstream, err = registry.UpstreamURL(opts.Upstream); err != nil {
			return spec, errdefs.New(errdefs.ClassUsage, "REGISTRY-UPSTREAM", "the registry to cache: %w", err).
				WithHint("name it as images do (docker.io) or by its URL (https://registry.example); a user goes into --username")
		}
	}
	if opts.Username != "" || opts.PasswordFile != "" || opts.PasswordEnv != "" {
		if credentials, err = upstreamCredentials(opts); err != nil {
			return spec, err
		}
	}
	conf, err := registry.Config(provider.RegistryPort, spec.Upstream, credentials)
	spec.Files = []provider.File{{Path: registry.ConfigPath, Data: conf, Mode: 0o600}}
	return spec, err
}

func upstreamCredentials(opts RegistryOptions) (registry.Credentials, error) {
	if opts.Upstream == "" || opts.Username == "" || (opts.PasswordFile == "") == (opts.PasswordEnv == "") {
		return registry.Credentials{}, errdefs.New(errdefs.ClassUsage, "REGISTRY-CREDENTIALS",
			"credentials are a user and one place of a password, for a registry that is cached")
	}
	password, err := bootstrap.Password(opts.PasswordFile, opts.PasswordEnv)
	if err != nil {
		return registry.Credentials{}, errdefs.New(errdefs.ClassUsage, "REGISTRY-FILE", "read the password for %s: %w", opts.Upstream, err)
	}
	return registry.Credentials{Username: opts.Username, Password: password}, nil
}

func (m *Manager) registries() (provider.Registries, error) {
	keeper, ok := m.provider.(provider.Registries)
	if !ok {
		return nil, errdefs.New(errdefs.ClassUnavailable, "NO-REGISTRIES", "provider %s runs no registries", m.provider.Name())
	}
	return keeper, nil
}

// atAGlance is what is told of a registry.
func atAGlance(r provider.Registry) Registry {
	host := r.Address
	if host == "127.0.0.1" {
		host = "localhost" // as the names of images have it
	}
	return Registry{
		Name: r.Name, State: r.State, Endpoint: net.JoinHostPort(host, strconv.Itoa(int(r.Port))),
		Upstream: r.Upstream, Clusters: append([]string{}, r.Clusters...), Image: r.Image,
	}
}

// Registries returns all registries, sorted by name.
func (m *Manager) Registries(ctx context.Context) ([]Registry, error) {
	keeper, err := m.registries()
	if err != nil {
		return nil, err
	}
	found, err := keeper.Registries(ctx)
	out := []Registry{}
	for _, r := range found {
		out = append(out, atAGlance(r))
	}
	return out, err
}

// DeleteRegistry removes a registry and the images in it. What is not there is
// no error, so that it can be repeated. One that clusters use is removed when
// it is forced; their nodes then do not find it.
func (m *Manager) DeleteRegistry(ctx context.Context, name string, force bool) error {
	keeper, err := m.registries()
	if err != nil {
		return err
	}
	release, err := lock("registry." + name)
	if err != nil {
		return err
	}
	defer release()
	found, err := keeper.Registries(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(found, func(r provider.Registry) bool { return r.Name == name })
	if i >= 0 && len(found[i].Clusters) > 0 && !force {
		users := strings.Join(found[i].Clusters, ", ")
		return errdefs.New(errdefs.ClassFailed, "REGISTRY-IN-USE", "registry %q is used by clusters: %s", name, users).
			WithHint("disconnect it (petri disconnect registry %s --name %s), delete them, or use --force", name, found[i].Clusters[0])
	}
	task := progress.Start(m.reporter, "delete", "Deleting registry "+name, "")
	return task.Done(keeper.DeleteRegistry(ctx, name))
}

// ConnectRegistry lets a running cluster use a registry, as if it had been made
// with it: new nodes use it too. It can be repeated.
func (m *Manager) ConnectRegistry(ctx context.Context, cluster, name string) error {
	return m.changeRegistries(ctx, cluster, "Connecting registry "+name, func(s *members, keeper provider.Registries) error {
		before := s.config.LocalRegistries
		after := before
		if !slices.Contains(before, name) {
			after = append(slices.Clone(before), name)
		}
		if _, missing, err := bootstrap.LocalRegistries(ctx, s.provider, []string{name}); err != nil || missing != nil {
			return cmp.Or(err, missing)
		}
		if err := keeper.ConnectRegistry(ctx, name, cluster); err != nil {
			return err
		}
		// what was written and forgotten is written again
		return s.useRegistries(ctx, name, slices.DeleteFunc(slices.Clone(before), func(n string) bool { return n == name }), after)
	})
}

// DisconnectRegistry ends what ConnectRegistry began. A cluster that does not use
// the registry is left alone.
func (m *Manager) DisconnectRegistry(ctx context.Context, cluster, name string) error {
	return m.changeRegistries(ctx, cluster, "Disconnecting registry "+name, func(s *members, keeper provider.Registries) error {
		without := slices.DeleteFunc(slices.Clone(s.config.LocalRegistries), func(n string) bool { return n == name })
		if err := s.useRegistries(ctx, name, append(slices.Clone(without), name), without); err != nil {
			return err
		}
		return keeper.DisconnectRegistry(ctx, name, cluster)
	})
}

// changeRegistries changes which registries a cluster uses, all of whose nodes
// must run to be told.
func (m *Manager) changeRegistries(ctx context.Context, cluster, title string, change func(*members, provider.Registries) error) error {
	keeper, err := m.registries()
	if err != nil {
		return err
	}
	return m.withMembers(ctx, cluster, nil, func(s *members) error {
		for _, n := range s.nodes {
			if n.State != node.Running {
				return errdefs.New(errdefs.ClassFailed, "NODE-NOT-RUNNING", "node %s is %s: it cannot be told of a registry", n.Name, n.State).
					WithHint("start it: petri start cluster --name %s", cluster)
			}
		}
		task := progress.Start(m.reporter, "registry", title, "")
		return task.Done(change(s, keeper))
	})
}

// useRegistries tells nodes, tools and the cluster itself which registries it
// uses now, of which one has come or gone. Files that are the same as before are
// left alone, and what nodes still know of that one from elsewhere is put right:
// it may have been deleted, and made anew on another port.
func (s *members) useRegistries(ctx context.Context, changed string, before, after []string) error {
	old, earlier, err := s.registryFiles(ctx, before)
	if err != nil {
		return err
	}
	files, local, err := s.registryFiles(ctx, after)
	if err != nil {
		return err
	}
	endpoint := provider.RegistryEndpoint(changed)
	err = together(s.nodes, func(_ int, n node.Node) error { return tellRegistries(ctx, n, endpoint, old, files) })
	if err != nil {
		return err
	}
	if err := s.announce(ctx, earlier, local); err != nil {
		return err
	}
	c := *s.config
	c.LocalRegistries = after
	return s.keep(ctx, &c)
}

// announce tells tools where to push images now. What somebody else has said is
// left alone while the cluster has no registry of petri's to push to.
func (s *members) announce(ctx context.Context, before, after []registry.Local) error {
	said, err := registry.Hosting(before)
	if err != nil {
		return err
	}
	hosting, err := registry.Hosting(after)
	if err != nil || said == "" && hosting == "" {
		return err
	}
	return s.api.AnnounceRegistry(ctx, hosting)
}

// registryFiles are the files of a node of a cluster that uses some registries.
// Certificates, which do not change, are empty.
func (s *members) registryFiles(ctx context.Context, names []string) (map[string][]byte, []registry.Local, error) {
	local, _, err := bootstrap.LocalRegistries(ctx, s.provider, names)
	if err != nil {
		return nil, nil, err
	}
	ca := map[string][]byte{}
	for _, r := range s.config.Registries {
		if r.CAFile != "" {
			ca[r.Host] = []byte{}
		}
	}
	files, err := bootstrap.RegistrySetup(s.config, local, ca).Files()
	return files, local, err
}

// tellRegistries makes the files of a node those that are wanted, also those that
// name an endpoint. containerd reads them at each pull.
func tellRegistries(ctx context.Context, n node.Node, endpoint string, old, wanted map[string][]byte) error {
	naming, err := filesNaming(ctx, n, endpoint)
	if err != nil {
		return err
	}
	for file, data := range wanted {
		if bytes.Equal(old[file], data) && !slices.Contains(naming, file) {
			continue
		}
		install := exec.Cmd{Args: []string{"install", "-D", "-m", "600", "/dev/stdin", file}, Stdin: bytes.NewReader(data)}
		if err := n.Run(ctx, install); err != nil {
			return fmt.Errorf("node %s: write %s: %w", n.Name, file, err)
		}
	}
	for _, file := range slices.AppendSeq(naming, maps.Keys(old)) {
		if _, stays := wanted[file]; stays {
			continue
		}
		if err := exec.Run(ctx, n, "rm", "-rf", path.Dir(file)); err != nil {
			return fmt.Errorf("node %s: remove %s: %w", n.Name, file, err)
		}
	}
	return nil
}

// filesNaming are the files of a node about registries that name an endpoint.
func filesNaming(ctx context.Context, n node.Node, endpoint string) ([]string, error) {
	found, err := exec.Output(ctx, n, "grep", "-rlsF", endpoint, containerdconf.CertsDir)
	if e, ok := errors.AsType[*exec.Error](err); ok && e.Code == 1 {
		return nil, nil // none
	}
	if err != nil {
		return nil, fmt.Errorf("node %s: look for what it knows of registries: %w", n.Name, err)
	}
	return strings.Fields(string(found)), nil
}

// registrySecrets are what a node knows of registries that stands in no
// configuration, for new nodes: the files that it was read from may be gone.
func (s *members) registrySecrets(ctx context.Context) (bootstrap.RegistrySecrets, error) {
	out := bootstrap.RegistrySecrets{CA: map[string][]byte{}}
	for _, r := range s.config.Registries {
		if r.CAFile == "" {
			continue
		}
		data, err := s.first.ReadFile(ctx, registry.CAPath(r.Host))
		if err != nil {
			return out, err
		}
		out.CA[r.Host] = data
	}
	if !slices.ContainsFunc(s.config.Registries, func(r config.Registry) bool { return r.Username != "" }) {
		return out, nil
	}
	told, err := plan(ctx, s.first)
	out.Auth = told.RegistryAuth
	return out, err
}
