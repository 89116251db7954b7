// Package command is petri's command line: one file per command, each with an
// options struct, a constructor that binds flags, and a run function that
// never sees cobra. Flags become values here and go down; errors come up and
// are printed here, once. Nothing below imports cobra, and nothing imports
// this package but main and the tools that write documentation.
package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	containerdlog "github.com/containerd/log"
	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/petri-cluster/petri/pkg/cluster"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodestore"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/provider/all"
	"github.com/petri-cluster/petri/pkg/version"
)

// App is what commands share: streams and the way to a provider.
type App struct {
	In       io.Reader
	Out, Err io.Writer
	// Program is what the process was called as. When its last part is "kind",
	// the command line is kind's.
	Program string
	// Detect picks the provider; tests put the fake one here.
	Detect func(ctx context.Context, name string) (provider.Provider, error)
	// Connect replaces the way to a cluster's API; nil: the real one.
	Connect func(kubeconfig []byte, server string) (cluster.API, error)
	// OpenStore replaces the way to a node's images; nil: the real one.
	OpenStore func(ctx context.Context, n node.Node) (*nodestore.Store, error)

	providerName string
	progressMode string
	args         []string

	jsonErrors bool // errors are printed for programs

	kind      bool // the command line is kind's
	quiet     bool
	verbosity int32
}

// Main runs the command line with the process's own streams and signals, and
// returns the exit code: 0, 1 failure, 2 usage, 3 not found or exists already,
// 4 the engine is not available, 5 a wait ran out, 130 or 143 interrupted. As
// kind it is 1 for all that fails, as kind's is.
func Main(program string, args []string) int {
	ctx, received, stop := signalContext()
	defer stop()
	app := &App{Program: program, In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Detect: all.Detect}
	err := app.Execute(ctx, args)
	if s := received(); s != 0 && err != nil {
		exit := 128 + int(s)
		app.interrupted(err, exit)
		return exit
	}
	return app.Fail(err)
}

// signalContext ends at the first SIGINT or SIGTERM, so that everything is
// undone in order. The second ends the process at once.
func signalContext() (context.Context, func() syscall.Signal, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	got := make(chan syscall.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for s := range signals {
			sys, _ := s.(syscall.Signal)
			if ctx.Err() != nil {
				fmt.Fprintln(os.Stderr, "petri: ended at once; what was begun is left as it is. Repeat the command, or remove the cluster: petri delete cluster --name NAME")
				os.Exit(128 + int(sys))
			}
			got <- sys
			fmt.Fprintln(os.Stderr, "petri: stopping and cleaning up; once more ends at once")
			cancel()
		}
	}()
	received := func() syscall.Signal {
		select {
		case s := <-got:
			return s
		default:
			return 0
		}
	}
	return ctx, received, func() { signal.Stop(signals); cancel() }
}

// Execute runs one command line.
func (a *App) Execute(ctx context.Context, args []string) error {
	klog.SetLogger(logr.Discard())      // client-go's log is not for users
	_ = containerdlog.SetLevel("error") // nor is containerd's; the level is one it knows
	root, err := a.Tree(args)
	if err != nil {
		return err
	}
	root.SetArgs(args)
	ran, err := root.ExecuteContextC(ctx)
	a.jsonErrors = a.progressMode == "json" || wantsJSON(ran, args)
	return err
}

// Tree builds the command tree for some arguments: kind's, when the program is
// called so or they ask for it.
func (a *App) Tree(args []string) (*cobra.Command, error) {
	a.args = args
	err := a.compatibility(args)
	return a.Root(), err
}

// Root builds the whole command tree.
func (a *App) Root() *cobra.Command {
	root := &cobra.Command{
		Use:   "petri",
		Short: "Real Kubernetes clusters on your machine, in seconds",
		Long: `petri makes real Kubernetes clusters out of containers on this machine:
bootstrapped by kubeadm, ready when the command returns, gone when you say so.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 not found or exists already,
4 the engine is not available, 5 a wait ran out, 130 interrupted, 143 terminated.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version.String(),
		Args:          noWord,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
		SuggestionsMinimumDistance: 2,
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		// after a wrong word every flag is unknown: the word is what is wrong
		if _, rest, findErr := root.Find(a.args); findErr == nil && cmd.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
			return noWord(cmd, rest)
		}
		return usagef("%w", err).WithHint("see %s --help", cmd.CommandPath())
	})
	root.PersistentFlags().StringVar(&a.providerName, "provider", os.Getenv("PETRI_PROVIDER"), "where nodes come from: docker (default: the first that answers)")
	root.PersistentFlags().String("compat", "", "whose command line this is: kind (default: petri's own, unless called as kind)")
	root.PersistentFlags().StringVar(&a.progressMode, "progress", "auto", "progress on standard error: auto, tty, plain, json or none")
	root.AddCommand(
		a.group("create", "Make a cluster or a registry, or add nodes to a cluster", a.createCluster(), a.createNode(), a.createRegistry()),
		a.group("delete", "Remove clusters, nodes, registries, or images from nodes", a.deleteCluster(), a.deleteClusters(), a.deleteNode(), a.deleteImage(), a.deleteRegistry()),
		a.group("get", "Show clusters, nodes, images, registries, kubeconfig, configuration or a node image", a.getClusters(), a.getNodes(), a.getImages(), a.getRegistries(), a.getKubeconfig(), a.getConfig(), a.getImage()),
		a.group("load", "Load images into the nodes of a cluster", a.loadImage(), a.loadImageArchive()),
		a.group("connect", "Let a running cluster use a registry", a.connectRegistry()),
		a.group("disconnect", "End the use of a registry by a running cluster", a.disconnectRegistry()),
		a.group("scale", "Change how many nodes a cluster has", a.scaleCluster()),
		a.group("upgrade", "Bring a cluster to another version of Kubernetes", a.upgradeCluster()),
		a.group("export", "Write a kubeconfig or logs to files", a.exportKubeconfig(), a.exportLogs()),
		a.group("build", "Build a node image", a.buildNodeImage(), a.buildAddImage()),
		a.group("config", "Check a configuration, or translate one of kind's", a.configMigrate(), a.configValidate()),
		a.bench(),
		a.doctor(),
		a.status(),
		a.versionCommand(),
	)
	root.AddCommand(a.powerCommands()...)
	root.InitDefaultCompletionCmd()
	if a.kind {
		a.asKind(root)
	}
	return root
}

// group is a command that only holds others.
func (a *App) group(name, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  noWord,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
		SuggestionsMinimumDistance: 2,
	}
	c.AddCommand(commands...)
	return c
}

// noWord refuses a word that is none of cmd's commands, and names the nearest.
func noWord(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := usagef("unknown command %q for %q", args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return err.WithHint("did you mean %s %s?", cmd.CommandPath(), near[0])
	}
	return err.WithHint("see %s --help", cmd.CommandPath())
}

// usagef is an error of use.
func usagef(format string, args ...any) *errdefs.Error {
	return errdefs.New(errdefs.ClassUsage, "USAGE", format, args...)
}

// noArgs refuses arguments with a usage error.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments, and got %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// someArgs refuses none with a usage error.
func someArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("%s takes names, and got none", cmd.CommandPath())
	}
	return nil
}

// oneArg refuses a second argument with a usage error.
func oneArg(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef("%s takes one argument, and got %d", cmd.CommandPath(), len(args))
	}
	return nil
}

// manager connects to the provider. The Printer must be closed at the end.
func (a *App) manager(ctx context.Context, also ...progress.Reporter) (*cluster.Manager, progress.Printer, error) {
	p, err := a.Detect(ctx, a.providerName)
	if err != nil {
		return nil, nil, err
	}
	printer, err := a.printer()
	if err != nil {
		return nil, nil, err
	}
	reporter := progress.Multi(append([]progress.Reporter{printer}, also...)...)
	m := cluster.New(p, reporter)
	m.Connect, m.OpenStore = a.Connect, a.OpenStore
	if a.kind {
		kindManager(m)
	}
	return m, printer, nil
}

func (a *App) printer() (progress.Printer, error) {
	mode, err := progress.ParseMode(a.progressMode)
	if err != nil {
		return nil, usagef("--progress: %w", err)
	}
	return progress.NewPrinter(a.Err, mode), nil
}

// nameFlag adds the flag that names a cluster.
func (a *App) nameFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVarP(name, "name", "n", a.defaultName(), "name of the cluster ($"+a.nameVariable()+")")
}

func (a *App) defaultName() string { return cmp.Or(os.Getenv(a.nameVariable()), a.dialect()) }

// nameVariable is the variable of the environment that names the cluster.
func (a *App) nameVariable() string {
	return strings.ToUpper(a.dialect()) + "_CLUSTER_NAME"
}
