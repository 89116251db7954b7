package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/petri-cluster/petri/pkg/cluster"
)

// The commands in this file act on registries: create, get, delete, connect
// and disconnect.

// defaultRegistry is the name of a registry that is not given one.
const defaultRegistry = "local"

// registryName is the only argument of a command, or the default.
func registryName(args []string) string {
	if len(args) == 0 {
		return defaultRegistry
	}
	return args[0]
}

func (a *App) createRegistry() *cobra.Command {
	o := cluster.RegistryOptions{}
	cmd := &cobra.Command{
		Use:   "registry [NAME]",
		Short: "Make a registry that clusters use, and which outlives them",
		Long: `Make a registry on this machine, called "` + defaultRegistry + `" unless it is given a name. Images
are pushed to localhost:PORT by the host, and found under the same name by the
nodes of clusters that use it (petri create cluster --registry NAME, petri
connect registry NAME). It listens on the loopback address only, and runs out of
the node image. What is stored in it stays until petri delete registry.

With --mirror it caches another registry instead: clusters that use it ask it
first for images of that one, and what was pulled once comes from this machine.`,
		Example: `  petri create registry --port 5001
  petri create registry hub --mirror docker.io
  petri create registry corp --mirror https://registry.example --username me --password-file token`,
		Args: oneArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runCreateRegistry(cmd.Context(), registryName(args), o)
		},
	}
	f := cmd.Flags()
	f.Uint16Var(&o.Port, "port", 0, "port of the host; 0 takes a free one and keeps it")
	f.StringVar(&o.Image, "image", defaultImage(), "node image, whose registry program is run")
	f.StringVar(&o.Upstream, "mirror", "", "registry to cache: a host as in names of images (docker.io), or a URL")
	f.StringVar(&o.Username, "username", "", "user for the registry that is cached")
	f.StringVar(&o.PasswordFile, "password-file", "", "file with the password or token for it")
	f.StringVar(&o.PasswordEnv, "password-env", "", "variable of the environment with the password or token for it")
	return cmd
}

func (a *App) runCreateRegistry(ctx context.Context, name string, o cluster.RegistryOptions) error {
	return a.withManager(ctx, func(m *cluster.Manager) error {
		made, err := m.CreateRegistry(ctx, name, o)
		if err != nil {
			return err
		}
		fmt.Fprintln(a.Out, made.Endpoint)
		return nil
	})
}

func (a *App) getRegistries() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "registries",
		Short: "List registries, and the clusters that use them",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runGetRegistries(cmd.Context(), format)
		},
	}
	outputFlag(cmd, &format)
	return cmd
}

func (a *App) runGetRegistries(ctx context.Context, format string) error {
	if err := checkFormat(format); err != nil {
		return err
	}
	return a.withManager(ctx, func(m *cluster.Manager) error {
		registries, err := m.Registries(ctx)
		if err != nil {
			return err
		}
		t := table{
			columns: []string{"NAME", "STATE", "ENDPOINT", "MIRRORS", "CLUSTERS", "IMAGE"}, narrow: 5,
			value: registries, empty: "There are no registries. Make one: petri create registry",
		}
		for _, r := range registries {
			t.rows = append(t.rows, []string{r.Name, r.State, r.Endpoint, r.Upstream, strings.Join(r.Clusters, ","), r.Image})
		}
		return a.print(format, t)
	})
}

func (a *App) deleteRegistry() *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Use:   "registry [NAME]",
		Short: "Remove a registry, and the images in it",
		Long: `Remove a registry, and the images in it. What is not there is no error. Refused
is one that clusters use, which are named; --force removes it all the same, and
their nodes do not find it then.`,
		Args: oneArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withManager(cmd.Context(), func(m *cluster.Manager) error {
				return m.DeleteRegistry(cmd.Context(), registryName(args), force)
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also one that clusters use")
	return cmd
}

func (a *App) connectRegistry() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "registry [NAME]",
		Short: "Let a running cluster use a registry",
		Long: `Let a running cluster use a registry, as if it had been made with --registry:
its nodes find what was pushed to localhost:PORT, nodes that are added later do
too, and the ConfigMap local-registry-hosting tells tools. Nothing is restarted.
A cluster that uses it already is told again.`,
		Args: oneArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withManager(cmd.Context(), func(m *cluster.Manager) error {
				return m.ConnectRegistry(cmd.Context(), name, registryName(args))
			})
		},
	}
	a.nameFlag(cmd, &name)
	return cmd
}

func (a *App) disconnectRegistry() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "registry [NAME]",
		Short: "End the use of a registry by a running cluster",
		Long: `End the use of a registry by a running cluster. Images that nodes have stay. A
cluster that does not use it is no error.`,
		Args: oneArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withManager(cmd.Context(), func(m *cluster.Manager) error {
				return m.DisconnectRegistry(cmd.Context(), name, registryName(args))
			})
		},
	}
	a.nameFlag(cmd, &name)
	return cmd
}

// withManager connects to the provider for one call.
func (a *App) withManager(ctx context.Context, do func(*cluster.Manager) error) error {
	manager, printer, err := a.manager(ctx)
	if err != nil {
		return err
	}
	defer printer.Close()
	return do(manager)
}
