package provider

import (
	"context"
	"time"

	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/progress"
)

// Power is the ability to stop, start and freeze nodes, one by one. A node
// keeps its disk, its addresses and its published ports all the while. What a
// node is already is no error, so that every call can be repeated. All
// container providers have it.
type Power interface {
	// Stop tells the node to shut down, and ends what has not ended within the
	// limit. A paused node goes on first, so that it can. The node stays
	// stopped until Start, also when the engine is restarted in between.
	Stop(ctx context.Context, n node.Node, limit time.Duration) error
	// Start boots a stopped node, and lets a paused one go on. As with Create,
	// commands on the node that it returns wait for the boot, and it does not.
	Start(ctx context.Context, n node.Node, r progress.Reporter) (node.Node, error)
	// Pause freezes all that runs in the node. A stopped node has nothing to
	// freeze, and is an error.
	Pause(ctx context.Context, n node.Node) error
	// Unpause lets a paused node go on. One that is not paused is left alone.
	Unpause(ctx context.Context, n node.Node) error
	// Started is when a running node was last started, by the engine's clock;
	// zero for one that does not run.
	Started(ctx context.Context, n node.Node) (time.Time, error)
}

// Growth is the ability to change which nodes a cluster has. All container
// providers have it.
type Growth interface {
	// Add makes more nodes of a cluster that is there, at once, on its network,
	// with addresses that none of its other nodes has, and starts them. Of the
	// spec, Network and Subnets are not read: the cluster has its own. Nor is API,
	// unless a load balancer is among the nodes: it publishes the API there, and
	// nobody else may do so any more. A Placement names the cluster's other
	// nodes too. It fails with class not found when there is no such cluster. On
	// error it leaves what it made: Remove is the undo.
	Add(ctx context.Context, spec Spec, r progress.Reporter) ([]node.Node, error)
	// Remove removes a node of a cluster with its volumes, running or not. One
	// that is not there is no error.
	Remove(ctx context.Context, cluster, name string) error
}
