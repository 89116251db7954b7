package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/petri-cluster/petri/pkg/cluster"
	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/kubeconfig"
	"github.com/petri-cluster/petri/pkg/progress"
)

type createClusterOptions struct {
	name, config, image, kubernetes, profile string
	controlPlanes, workers                   int
	wait                                     time.Duration
	retain, ephemeral                        bool
	kubeconfig, timeline                     string
	registries                               []string
	changed                                  func(flag string) bool
}

func (a *App) createCluster() *cobra.Command {
	o := &createClusterOptions{}
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Make a cluster and wait until it can be used",
		Long: `Make a cluster and wait until it can be used: every node is Ready, CoreDNS
serves, the default ServiceAccount and StorageClass are there. If anything
fails, or you interrupt it, everything is removed again (--retain keeps it).`,
		Example: `  petri create cluster
  petri create cluster --name two --workers 2
  petri create cluster --name ha --control-planes 3 --workers 3
  petri create cluster --profile hardened
  petri create cluster --config cluster.yaml --wait 5m`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.changed = cmd.Flags().Changed
			return a.runCreateCluster(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	a.nameFlag(cmd, &o.name)
	f.StringVar(&o.config, "config", "", "configuration file, petri's or kind's, - for standard input")
	f.StringVar(&o.image, "image", "", "node image for all nodes (default "+defaultImage()+")")
	f.StringVar(&o.kubernetes, "kubernetes-version", "", "Kubernetes version that the node image must carry, for example v1.36.3")
	f.StringVar(&o.profile, "profile", "", "profile of security: default, or hardened: audit log, encrypted Secrets, restricted pods, signed kubelet certificates")
	f.IntVar(&o.controlPlanes, "control-planes", 1, "number of control planes, best an odd one; several come with a load balancer")
	f.IntVar(&o.workers, "workers", 0, "number of workers")
	f.DurationVar(&o.wait, "wait", a.defaultWait(), "how long the cluster may take to become usable; 0 does not wait")
	f.BoolVar(&o.retain, "retain", false, "keep the nodes when creation fails")
	f.BoolVar(&o.ephemeral, "ephemeral", false, "keep etcd's data in memory: a little faster, and lost when the cluster stops")
	f.StringSliceVar(&o.registries, "registry", nil, "names of registries (petri create registry) that the cluster uses, separated by commas")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file to write (default $KUBECONFIG or ~/.kube/config)")
	f.StringVar(&o.timeline, "timeline", "", "write a picture of all phases on all nodes to this SVG file")
	return cmd
}

func (a *App) runCreateCluster(ctx context.Context, o *createClusterOptions) (err error) {
	start := time.Now()
	var notes []string
	c, err := a.loadConfig(o, func(line string) { notes = append(notes, line) })
	if err != nil {
		return err
	}
	target, err := kubeconfigTarget(o.kubeconfig)
	if err != nil {
		return err
	}
	recorder := progress.NewRecorder()
	manager, printer, err := a.manager(ctx, recorder)
	if err != nil {
		return err
	}
	defer func() {
		printer.Close()
		if o.timeline != "" {
			if terr := writeTimeline(o.timeline, c.Name, recorder); err == nil {
				err = terr
			}
		}
	}()
	for _, line := range notes {
		printer.Report(progress.Event{Time: start, Status: progress.Note, Message: "note: " + line})
	}
	printer.Report(progress.Event{Time: start, Status: progress.Note, Message: a.creating(c)})
	err = manager.Create(ctx, c, cluster.CreateOptions{Kubeconfig: target, Wait: o.wait, Retain: o.retain})
	if err != nil {
		return err
	}
	entry := kubeconfig.EntryName(a.dialect(), c.Name)
	made := fmt.Sprintf("Cluster %q is %s after %.1fs. Try:\n\n  kubectl --context %s get pods -A\n",
		c.Name, outcome(o.wait), time.Since(start).Seconds(), entry)
	if a.kind {
		made = kindMade(entry, o.kubeconfig)
	}
	printer.Report(progress.Event{Time: time.Now(), Status: progress.Note, Message: made})
	return nil
}

// defaultWait is how long "create cluster" waits when it is not told: petri
// returns with a cluster that can be used, kind with one that was made.
func (a *App) defaultWait() time.Duration {
	if a.kind {
		return 0
	}
	return 3 * time.Minute
}

func outcome(wait time.Duration) string {
	if wait == 0 {
		return "made, and not waited for,"
	}
	return "ready to use"
}

func (a *App) creating(c *config.Cluster) string {
	if a.kind {
		return fmt.Sprintf("Creating cluster %q ...", c.Name)
	}
	return fmt.Sprintf("Creating cluster %q: %s", c.Name, describe(c))
}

func describe(c *config.Cluster) string {
	text := plural(len(c.ControlPlanes()), "control plane")
	if n := len(c.Workers()); n > 0 {
		text += " and " + plural(n, "worker")
	}
	return text
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// loadConfig reads the file and lays the flags that were given over it.
func (a *App) loadConfig(o *createClusterOptions, note func(string)) (*config.Cluster, error) {
	data, filename, dir, err := a.readConfig(o.config)
	if err != nil {
		return nil, err
	}
	opts := config.Options{DefaultName: a.defaultName(), DefaultImage: imageFor, Dir: dir, Note: note}
	if o.changed("name") || o.config == "" || os.Getenv(a.nameVariable()) != "" {
		opts.Overrides.Name = o.name
	}
	opts.Overrides.Image = o.image
	opts.Overrides.KubernetesVersion = o.kubernetes
	opts.Overrides.Profile = o.profile
	opts.Overrides.Ephemeral = o.ephemeral
	opts.Overrides.LocalRegistries = o.registries
	if o.changed("control-planes") {
		opts.Overrides.ControlPlanes = &o.controlPlanes
	}
	if o.changed("workers") {
		opts.Overrides.Workers = &o.workers
	}
	return config.Load(data, filename, opts)
}

// readConfig gives the content, the name for messages, and the directory that
// relative paths in it are meant from.
func (a *App) readConfig(path string) (data []byte, name, dir string, err error) {
	if dir, err = os.Getwd(); err != nil {
		return nil, "", "", err
	}
	switch path {
	case "":
		return nil, "flags", dir, nil
	case "-":
		data, err = io.ReadAll(a.In)
		return data, "standard input", dir, err
	}
	data, err = os.ReadFile(path)
	if err != nil {
		return nil, "", "", usagef("read the configuration: %w", err)
	}
	return data, path, dir, nil
}

// kubeconfigTarget is the one file that gets a new entry.
func kubeconfigTarget(explicit string) (string, error) {
	home, err := os.UserHomeDir()
	if err != nil && explicit == "" && os.Getenv("KUBECONFIG") == "" {
		return "", usagef("no home directory for the kubeconfig: %w", err).WithHint("say where with --kubeconfig or $KUBECONFIG")
	}
	write, _ := kubeconfig.Paths(explicit, os.Getenv("KUBECONFIG"), home)
	return write, nil
}

func writeTimeline(path, name string, r *progress.Recorder) error {
	var b strings.Builder
	if err := r.Timeline(&b, "petri create cluster "+name); err != nil {
		return fmt.Errorf("draw timeline: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
