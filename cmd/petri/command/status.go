package command

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/petri-cluster/petri/pkg/cluster"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/health"
)

func (a *App) status() *cobra.Command {
	var name, format string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how a cluster is; exit code 0 when it can be used",
		Long: `The engine, each node and the API are asked at once, and what hangs is given up:
it takes 15 seconds at most. What is broken is named at the end, each with its
ID, the node, the last lines that explain it, and what mends it. --output json
has the same as "problems".

Exit codes: 0 it can be used, 1 it cannot, 3 there is no such cluster.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runStatus(cmd.Context(), name, format)
		},
	}
	a.nameFlag(cmd, &name)
	outputFlag(cmd, &format)
	return cmd
}

// statusTimeout bounds the asking of a cluster that may be broken.
const statusTimeout = 15 * time.Second

func (a *App) runStatus(ctx context.Context, name, format string) error {
	if err := checkFormat(format); err != nil {
		return err
	}
	manager, printer, err := a.manager(ctx)
	if err != nil {
		return err
	}
	defer printer.Close()
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	s, err := manager.Status(ctx, name)
	if err != nil {
		return err
	}
	if err := a.printStatus(format, s); err != nil {
		return err
	}
	if s.Usable {
		return nil
	}
	return notUsable(s)
}

func notUsable(s cluster.Status) error {
	var seen []string
	for _, p := range s.Problems {
		seen = append(seen, p.Seen)
	}
	return errdefs.New(errdefs.ClassFailed, "NOT-USABLE", "cluster %q cannot be used: %s", s.Name, strings.Join(seen, "; ")).
		WithHint("%s", cmp.Or(s.Problems[0].Fix, "petri export logs --name "+s.Name))
}

func (a *App) printStatus(format string, s cluster.Status) error {
	t := table{columns: []string{"NODE", "ROLE", "STATE", "READY", "VERSION", "ADDRESS", "AGE", "PRIVILEGES", "CPU", "MEMORY", "CONDITIONS", "IMAGE"}, narrow: 11, value: s}
	for _, n := range s.Nodes {
		created, _ := time.Parse(time.RFC3339, n.Created)
		t.rows = append(t.rows, []string{
			n.Name, n.Role, n.State, yesNo(n.Ready), n.Version, strings.Join(n.Addresses, ","), age(created), n.Privileges,
			n.Resources["cpu"], n.Resources["memory"], strings.Join(n.Conditions, ","), n.Image,
		})
	}
	if err := a.print(format, t); err != nil || (format != "" && format != "wide") {
		return err
	}
	fmt.Fprintln(a.Out)
	var rows [][]string
	for _, p := range s.Pods {
		rows = append(rows, []string{p.Name, fmt.Sprintf("%d/%d", p.Ready, p.Containers), p.Phase, strconv.Itoa(p.Restarts), p.Node})
	}
	if err := writeTable(a.Out, []string{"SYSTEM POD", "READY", "STATUS", "RESTARTS", "NODE"}, rows); err != nil {
		return err
	}
	for _, p := range s.Problems {
		a.printProblem(p)
	}
	return nil
}

// printProblem writes what is broken as doctor writes what it found.
func (a *App) printProblem(p health.Problem) {
	fmt.Fprintf(a.Out, "\nproblem %s: %s\n", p.ID, p.Seen)
	for line := range strings.Lines(p.Log) {
		fmt.Fprintf(a.Out, "  | %s\n", strings.TrimRight(line, "\r\n"))
	}
	if p.Fix != "" {
		fmt.Fprintf(a.Out, "  do: %s\n", p.Fix)
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
