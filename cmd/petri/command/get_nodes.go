package command

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
)

type getNodesOptions struct {
	name   string
	all    bool
	format string
}

func (a *App) getNodes() *cobra.Command {
	o := &getNodesOptions{}
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "List the nodes of a cluster, as the engine sees them",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runGetNodes(cmd.Context(), o)
		},
	}
	a.nameFlag(cmd, &o.name)
	cmd.Flags().BoolVarP(&o.all, "all-clusters", "A", false, "the nodes of all clusters")
	outputFlag(cmd, &o.format)
	return cmd
}

// nodeSummary is a node in "get nodes".
type nodeSummary struct {
	Name       string    `json:"name"`
	Cluster    string    `json:"cluster"`
	Role       string    `json:"role"`
	State      string    `json:"state"`
	Addresses  []string  `json:"addresses"`
	Image      string    `json:"image"`
	Privileges string    `json:"privileges"`
	Created    time.Time `json:"created"`
}

func (a *App) runGetNodes(ctx context.Context, o *getNodesOptions) error {
	if err := checkFormat(o.format); err != nil {
		return err
	}
	manager, printer, err := a.manager(ctx)
	if err != nil {
		return err
	}
	defer printer.Close()
	names := []string{o.name}
	if o.all {
		if names, err = manager.List(ctx); err != nil {
			return err
		}
	}
	summaries := []nodeSummary{}
	for _, name := range names {
		nodes, err := manager.Nodes(ctx, name)
		if a.kind && errdefs.Is(err, errdefs.ClassNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		for _, n := range nodes {
			summaries = append(summaries, summarize(n))
		}
	}
	if a.kind && o.format == "" {
		return a.kindNodes(o, summaries)
	}
	t := table{columns: []string{"NAME", "ROLE", "STATE", "ADDRESS", "CLUSTER", "IMAGE", "PRIVILEGES", "AGE"}, narrow: 4, value: summaries, empty: "There are no nodes."}
	for _, s := range summaries {
		t.rows = append(t.rows, []string{s.Name, s.Role, s.State, strings.Join(s.Addresses, ","), s.Cluster, s.Image, s.Privileges, age(s.Created)})
	}
	return a.print(o.format, t)
}

func summarize(n node.Node) nodeSummary {
	s := nodeSummary{
		Name: n.Name, Cluster: n.Cluster, Role: n.Role, State: string(n.State), Addresses: []string{},
		Image: n.Image, Privileges: n.Privileges, Created: n.Created.UTC(),
	}
	for _, addr := range n.Addrs {
		s.Addresses = append(s.Addresses, addr.String())
	}
	return s
}

// age is how long ago t was, in one unit as kubectl has it.
func age(t time.Time) string {
	switch d := time.Since(t); {
	case t.IsZero():
		return ""
	case d < 2*time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h"
	default:
		return strconv.Itoa(int(d.Hours()/24)) + "d"
	}
}
