package command

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/petri-cluster/petri/pkg/cluster"
	"github.com/petri-cluster/petri/pkg/progress"
)

type upgradeOptions struct {
	name, format string
	plan, yes    bool
	cluster.UpgradeOptions
}

func (a *App) upgradeCluster() *cobra.Command {
	o := &upgradeOptions{}
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Bring a cluster to another version of Kubernetes",
		Long: `Bring a cluster to the Kubernetes of a node image, in the nodes that it has:
control planes one by one, then workers one by one, whose pods move away
meanwhile. kubeadm does it (upgrade plan, apply and node), with etcd, CoreDNS and
kube-proxy; kubelet, kubeadm, kubectl and the preloaded images come from the
image. Volumes, addresses and the kubeconfig stay as they are.

A step that fails is taken back, and what ran before goes on. The same command
goes on where a failed or interrupted one stopped; when all is done already, it
does nothing. kubeadm goes up one minor version at a time, and not back.`,
		Example: `  petri upgrade cluster --kubernetes-version v1.36.3 --plan
  petri upgrade cluster --kubernetes-version v1.36.3 --yes
  petri upgrade cluster --name dev --image petri/node:v1.36.3-1_0123456789abcd --yes`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runUpgradeCluster(cmd.Context(), o)
		},
	}
	a.nameFlag(cmd, &o.name)
	outputFlag(cmd, &o.format)
	f := cmd.Flags()
	f.StringVar(&o.Image, "image", "", "node image with the Kubernetes to upgrade to")
	f.StringVar(&o.Version, "kubernetes-version", "", "Kubernetes to upgrade to, for example v1.36.3; without --image, of image petri/node:VERSION")
	f.BoolVar(&o.plan, "plan", false, "only say what would be done to each node and addon")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	f.DurationVar(&o.DrainTimeout, "drain-timeout", 2*time.Minute, "how long the pods of each worker may take to go")
	f.BoolVar(&o.Force, "force", false, "also when pods did not go in time")
	f.DurationVar(&o.Wait, "wait", 5*time.Minute, "how long each part may take to serve again before it is taken back")
	return cmd
}

func (a *App) runUpgradeCluster(ctx context.Context, o *upgradeOptions) error {
	start := time.Now()
	if err := checkFormat(o.format); err != nil {
		return err
	}
	if o.Image == "" {
		if o.Version == "" {
			return usagef("say what to upgrade to: --kubernetes-version VERSION or --image IMAGE")
		}
		o.Image = imageFor(o.Version)
	}
	if o.Wait <= 0 {
		return usagef("--wait %s: what is exchanged must have time to serve again", o.Wait)
	}
	manager, printer, err := a.manager(ctx)
	if err != nil {
		return err
	}
	defer printer.Close()
	plan, err := manager.PlanUpgrade(ctx, o.name, o.UpgradeOptions)
	if err != nil {
		return err
	}
	if o.plan {
		return a.printUpgrade(a.Out, o.format, plan)
	}
	if !plan.Done() && !o.yes {
		if err := a.confirmUpgrade(plan); err != nil {
			return err
		}
	}
	if err := manager.Upgrade(ctx, o.name, o.UpgradeOptions); err != nil {
		return err
	}
	done := fmt.Sprintf("Cluster %q runs Kubernetes %s after %.1fs.", o.name, plan.To, time.Since(start).Seconds())
	if plan.Done() {
		done = fmt.Sprintf("Cluster %q runs Kubernetes %s already.", o.name, plan.To)
	}
	printer.Report(progress.Event{Time: time.Now(), Status: progress.Note, Message: done})
	return nil
}

// printUpgrade writes a plan: for people nodes and then addons.
func (a *App) printUpgrade(to io.Writer, format string, plan cluster.UpgradePlan) error {
	t := table{columns: []string{"NODE", "ROLE", "FROM", "TO", "STEPS"}, value: plan}
	for _, n := range plan.Nodes {
		steps := strings.Join(n.Steps, ", ")
		if steps == "" {
			steps = "none, it is done"
		}
		t.rows = append(t.rows, []string{n.Name, n.Role, n.From, n.To, steps})
	}
	if format != "" && format != "wide" {
		return a.print(format, t)
	}
	if err := writeTable(to, t.columns, t.rows); err != nil || len(plan.Addons) == 0 {
		return err
	}
	fmt.Fprintln(to)
	var rows [][]string
	for _, addon := range plan.Addons {
		rows = append(rows, []string{addon.Name, addon.From, addon.To})
	}
	return writeTable(to, []string{"ADDON", "FROM", "TO"}, rows)
}

// confirmUpgrade asks on a terminal, and insists on --yes elsewhere.
func (a *App) confirmUpgrade(plan cluster.UpgradePlan) error {
	in, ok := a.In.(*os.File)
	if !ok || !isatty.IsTerminal(in.Fd()) {
		return usagef("nobody is here to be asked whether cluster %q goes to %s", plan.Cluster, plan.To).
			WithHint("look with --plan, and say --yes")
	}
	if err := a.printUpgrade(a.Err, "", plan); err != nil {
		return err
	}
	fmt.Fprintf(a.Err, "\nUpgrade cluster %q to %s? [y/N] ", plan.Cluster, plan.To)
	answer, err := bufio.NewReader(a.In).ReadString('\n')
	if err != nil && err != io.EOF {
		return err
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return usagef("not confirmed, nothing was changed")
	}
	return nil
}
