package command

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/petri-cluster/petri/pkg/cluster"
	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/doctor"
	"github.com/petri-cluster/petri/pkg/errdefs"
)

type doctorOptions struct {
	create createClusterOptions
	format string
}

func (a *App) doctor() *cobra.Command {
	o := &doctorOptions{}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what would make a cluster fail; exit code 0 when nothing would",
		Long: `Look at the engine, at this machine where the engine runs on it, and at what a
configuration asks of both. Nothing is changed: each finding says what was seen,
why it matters and what mends it. "petri create cluster" makes the same checks
before it makes anything; it stops at what is fatal, and shows warnings in a
line each.

Exit codes: 0 a cluster can be made, 1 it cannot.`,
		Example: `  petri doctor
  petri doctor --config cluster.yaml
  petri doctor -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.create.changed = cmd.Flags().Changed
			return a.runDoctor(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	a.nameFlag(cmd, &o.create.name)
	f.StringVar(&o.create.config, "config", "", "configuration file of the cluster to be made, - for standard input")
	f.StringVar(&o.create.image, "image", "", "node image for all nodes (default "+defaultImage()+")")
	f.StringVar(&o.create.kubeconfig, "kubeconfig", "", "kubeconfig file to be written (default $KUBECONFIG or ~/.kube/config)")
	outputFlag(cmd, &o.format)
	return cmd
}

func (a *App) runDoctor(ctx context.Context, o *doctorOptions) error {
	if err := checkFormat(o.format); err != nil {
		return err
	}
	c, err := a.loadConfig(&o.create, func(string) {})
	if err != nil {
		return err
	}
	report, err := a.examine(ctx, c, o.create)
	if err != nil {
		return err
	}
	if err := a.printReport(o.format, report); err != nil {
		return err
	}
	if report.Works {
		return nil
	}
	return wouldFail(report)
}

// examine gives a report also where there is no engine.
func (a *App) examine(ctx context.Context, c *config.Cluster, o createClusterOptions) (doctor.Report, error) {
	target, err := kubeconfigTarget(o.kubeconfig)
	if err != nil {
		return doctor.Report{}, err
	}
	manager, printer, err := a.manager(ctx)
	if errdefs.Is(err, errdefs.ClassUnavailable) {
		return doctor.Examine(&doctor.Facts{Host: doctor.ThisHost(ctx), Cluster: c, EngineErr: err}), nil
	}
	if err != nil {
		return doctor.Report{}, err
	}
	defer printer.Close()
	named := o.config != "" || o.changed("name") || os.Getenv(a.nameVariable()) != ""
	return manager.Doctor(ctx, c, cluster.DoctorOptions{Kubeconfig: target, Named: named}), nil
}

func wouldFail(r doctor.Report) error {
	var ids []string
	for _, f := range r.Of(doctor.Fatal) {
		ids = append(ids, f.ID)
	}
	return errdefs.New(errdefs.ClassFailed, "CREATE-WOULD-FAIL", "petri create cluster would fail: %s", strings.Join(ids, ", ")).
		WithHint("do what is said at each, and ask again")
}

// printReport writes a line for each check, and for people what to do about
// those that found something.
func (a *App) printReport(format string, r doctor.Report) error {
	t := table{columns: []string{"CHECK", "RESULT", "SEEN"}, value: r}
	for _, f := range r.Findings {
		t.rows = append(t.rows, []string{f.Check, string(f.Severity), f.Seen})
	}
	if err := a.print(format, t); err != nil || (format != "" && format != "wide") {
		return err
	}
	for _, f := range r.Findings {
		if f.ID == "" {
			continue
		}
		fmt.Fprintf(a.Out, "\n%s %s: %s\n", f.Severity, f.ID, f.Seen)
		for _, line := range []struct{ name, text string }{{"why", f.Why}, {"do", f.Fix}} {
			if line.text != "" {
				fmt.Fprintf(a.Out, "  %s: %s\n", line.name, line.text)
			}
		}
	}
	return nil
}
