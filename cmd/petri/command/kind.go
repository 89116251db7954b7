package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/petri-cluster/petri/pkg/cluster"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// Called as kind, or with --compat=kind, petri has kind's command line: its
// names, defaults, environment variables, standard output and exit codes. The
// commands are the same ones; here is what is said differently.

// KindVersion is the version of kind whose command line petri has.
const KindVersion = "0.33.0"

// kindNodeImage is what kind calls the image that it builds.
const kindNodeImage = "kindest/node:latest"

// kindNetwork is the network that all clusters of kind are on.
const kindNetwork = "kind"

// compatibility finds out whose command line this is: that of the name which
// the program was called by, unless a flag says it.
func (a *App) compatibility(args []string) error {
	called := strings.TrimSuffix(filepath.Base(a.Program), ".exe")
	a.kind = called == nodeimage.DialectKind
	var compat string
	flags := pflag.NewFlagSet("compat", pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.StringVar(&compat, "compat", "", "")
	if err := flags.Parse(args); err != nil && !errors.Is(err, pflag.ErrHelp) {
		return nil // the command itself will say what is wrong
	}
	switch compat {
	case "":
	case nodeimage.DialectKind, nodeimage.DialectPetri:
		a.kind = compat == nodeimage.DialectKind
	default:
		return usagef("--compat %q is not a command line that petri has", compat).WithHint("use kind, or leave it out")
	}
	return nil
}

// dialect is whose names new clusters get.
func (a *App) dialect() string {
	if a.kind {
		return nodeimage.DialectKind
	}
	return nodeimage.DialectPetri
}

// asKind makes the command tree kind's.
func (a *App) asKind(root *cobra.Command) {
	root.Use = nodeimage.DialectKind
	root.Version = KindVersion
	root.Short = "Real Kubernetes clusters on your machine, with kind's commands"
	root.Long = `petri, with the commands, flags, defaults and environment variables of kind
` + KindVersion + `: https://kind.sigs.k8s.io. What petri adds is marked "` + strings.TrimSpace(beyondKind) + `".`
	root.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "nothing on standard error")
	root.PersistentFlags().Int32VarP(&a.verbosity, "verbosity", "v", 0, "more than 0: progress as plain lines, also on a terminal")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.kindSettings() }
	a.speakKind(root)
	markBeyond(root)
}

// kindSettings takes over kind's flags and environment.
func (a *App) kindSettings() error {
	if a.quiet {
		a.progressMode, a.Err = "none", io.Discard
	} else if a.verbosity > 0 {
		a.progressMode = "plain"
	}
	switch name := os.Getenv("KIND_EXPERIMENTAL_PROVIDER"); name {
	case "", "docker":
		return nil
	default:
		return usagef("KIND_EXPERIMENTAL_PROVIDER is %q, and petri talks to Docker's API only", name).
			WithHint("unset it; for an engine that offers Docker's API, set DOCKER_HOST to its socket")
	}
}

// kindManager gives new clusters kind's names and network.
func kindManager(m *cluster.Manager) {
	m.Dialect = nodeimage.DialectKind
	m.Network = kindNetwork
	if name := os.Getenv("KIND_EXPERIMENTAL_DOCKER_NETWORK"); name != "" {
		m.Network = name
	}
	// kind passes this one on to its nodes
	if name, ok := os.LookupEnv(nodeimage.SnapshotterVariable); ok {
		m.NodeEnv = append(m.NodeEnv, nodeimage.SnapshotterVariable+"="+name)
	}
}

// kindErrors begin the errors of commands as kind's do, with %q of the
// cluster's name.
var kindErrors = map[string]string{
	"create cluster":   "failed to create cluster: ",
	"delete cluster":   "failed to delete cluster %q: ",
	"build node-image": "error building node image: ",
}

// kindNotFound are kind's words for a cluster that is not there.
var kindNotFound = map[string]string{
	"export logs":        "unknown cluster %q",
	"get kubeconfig":     "could not locate any control plane nodes for cluster named %q. Use the --name option to select a different cluster",
	"export kubeconfig":  "could not locate any control plane nodes for cluster named %q. Use the --name option to select a different cluster",
	"load docker-image":  "no nodes found for cluster %q",
	"load image-archive": "no nodes found for cluster %q",
}

// kindBegins and kindEnds are what kind says on standard error before and
// after, with %s of the cluster's name.
var (
	kindBegins = map[string]string{"delete cluster": "Deleting cluster %q ..."}
	kindEnds   = map[string]string{"export kubeconfig": "Set kubectl context to \"kind-%s\""}
)

// speakKind makes all commands below c say what kind says.
func (a *App) speakKind(c *cobra.Command) {
	for _, child := range c.Commands() {
		a.speakKind(child)
	}
	run := c.RunE
	if run == nil || c.HasSubCommands() {
		return
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		path, name := commandOf(cmd), ""
		if flag := cmd.Flags().Lookup("name"); flag != nil {
			name = flag.Value.String()
		}
		a.tell(kindBegins[path], name)
		if err := run(cmd, args); err != nil {
			return kindWords(err, path, name)
		}
		a.tell(kindEnds[path], name)
		return nil
	}
}

// commandOf is a command without the program's name: "create cluster".
func commandOf(c *cobra.Command) string {
	_, path, _ := strings.Cut(c.CommandPath(), " ")
	return path
}

func (a *App) tell(format, name string) {
	if format != "" {
		fmt.Fprintf(a.Err, format+"\n", name)
	}
}

// kindWords gives an error the words that scripts for kind look for.
func kindWords(err error, path, name string) error {
	begin := strings.ReplaceAll(kindErrors[path], "%q", fmt.Sprintf("%q", name))
	e, known := errors.AsType[*errdefs.Error](err)
	if known && e.ID == "CLUSTER-EXISTS" {
		return fmt.Errorf("%snode(s) already exist for a cluster with the name %q", begin, name)
	}
	if words := kindNotFound[path]; known && e.ID == "CLUSTER-NOT-FOUND" && words != "" {
		return fmt.Errorf(words, name)
	}
	if begin == "" {
		return err
	}
	return fmt.Errorf("%s%w", begin, err)
}

// kindMade is what kind says when a cluster is made.
func kindMade(entry, kubeconfig string) string {
	command := "kubectl cluster-info --context " + entry
	if kubeconfig != "" {
		command += " --kubeconfig " + quoted(kubeconfig)
	}
	return fmt.Sprintf("Set kubectl context to %q\nYou can now use your cluster with:\n\n%s\n", entry, command)
}

// quoted is a word for a shell to copy.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-=:@%+", r)
	}
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'"'"'`) + "'"
}

// kindVersion prints what kind does: scripts look for the version in it.
func (a *App) kindVersion() error {
	if a.quiet {
		_, err := fmt.Fprintln(a.Out, KindVersion)
		return err
	}
	_, err := fmt.Fprintf(a.Out, "kind v%s %s %s/%s\n", KindVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// kindClusters prints the names of clusters, one a line.
func (a *App) kindClusters(ctx context.Context, m *cluster.Manager) error {
	names, err := m.List(ctx)
	if err == nil && len(names) == 0 {
		fmt.Fprintln(a.Err, "No kind clusters found.")
	}
	for _, name := range names {
		fmt.Fprintln(a.Out, name)
	}
	return err
}

// kindNodes prints the names of nodes, one a line.
func (a *App) kindNodes(o *getNodesOptions, nodes []nodeSummary) error {
	switch {
	case len(nodes) == 0 && o.all:
		fmt.Fprintln(a.Err, "No kind nodes for any cluster.")
	case len(nodes) == 0:
		fmt.Fprintf(a.Err, "No kind nodes found for cluster %q.\n", o.name)
	}
	for _, n := range nodes {
		fmt.Fprintln(a.Out, n.Name)
	}
	return nil
}

// kindSource is what kind builds when no source is named: the checkout of
// Kubernetes around the working directory, or where GOPATH has it.
func kindSource() (string, error) {
	places := []string{"."}
	gopath := os.Getenv("GOPATH")
	if home, err := os.UserHomeDir(); gopath == "" && err == nil {
		gopath = filepath.Join(home, "go")
	}
	for _, dir := range filepath.SplitList(gopath) {
		places = append(places, filepath.Join(dir, "src", "k8s.io", "kubernetes"))
	}
	for _, dir := range places {
		if _, err := os.Stat(filepath.Join(dir, "cmd", "kubeadm")); err == nil {
			return dir, nil
		}
	}
	return "", usagef("no Kubernetes source: neither the working directory nor GOPATH has a checkout").
		WithHint("name one, or a version such as v1.36.3, an archive or its URL")
}

// beyondKind marks in help what kind does not have.
const beyondKind = " (beyond kind)"

// markBeyond marks the commands and flags that kind does not have.
func markBeyond(root *cobra.Command) {
	has := map[string]bool{}
	for _, item := range KindSurface() {
		has[item.Kind+" "+item.Name] = true
		group, _, _ := strings.Cut(item.Name, " ")
		has["command "+group] = has["command "+group] || item.Kind == "command"
	}
	visitCommands(root, func(c *cobra.Command) {
		path := commandOf(c)
		if path == "" || strings.HasPrefix(path, "completion") || c.Name() == "help" {
			return
		}
		if !has["command "+path] {
			c.Short += beyondKind
			return // so are all of its flags
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !has["flag "+path+" --"+f.Name] {
				f.Usage += beyondKind
			}
		})
	})
	for _, name := range []string{"provider", "progress", "compat"} {
		root.PersistentFlags().Lookup(name).Usage += beyondKind
	}
}

// visitCommands calls fn for a command and all below it.
func visitCommands(c *cobra.Command, fn func(*cobra.Command)) {
	fn(c)
	for _, child := range c.Commands() {
		visitCommands(child, fn)
	}
}
