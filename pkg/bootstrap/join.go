package bootstrap

import (
	"context"
	"encoding/json"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
)

// joinNodes runs the node helper on every node but the first, at once, as soon
// as the cluster takes them. Control planes wait for each other in their nodes
// where etcd wants it.
func joinNodes(ctx context.Context, env *Env, _ *progress.Task) error {
	discovery, err := env.discovery.get(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return env.join(ctx, env.Config.Workers(), nodeimage.JoinInput{Discovery: discovery})
	})
	if others := env.Config.ControlPlanes()[1:]; len(others) > 0 {
		group.Go(func() error {
			certificates, err := sharedCertificates(ctx, env.nodes[env.Config.ControlPlanes()[0].Name])
			if err != nil {
				return err
			}
			return env.join(ctx, others, nodeimage.JoinInput{Discovery: discovery, Certificates: certificates})
		})
	}
	return group.Wait()
}

// join runs the node helper on nodes, at once; the first error cancels the
// others.
func (e *Env) join(ctx context.Context, nodes []config.Node, with nodeimage.JoinInput) error {
	input, err := json.Marshal(with)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range nodes {
		group.Go(func() error {
			return e.helper(ctx, e.nodes[n.Name], "join", func(nodeimage.NodeEvent) {}, input, "join")
		})
	}
	return group.Wait()
}

// sharedCertificates reads what control planes share from one of them. They are
// secrets.
func sharedCertificates(ctx context.Context, from node.Node) (nodeimage.Certificates, error) {
	out, err := exec.Output(ctx, from, nodeimage.HelperPath, "certificates")
	if err != nil {
		return nil, fmt.Errorf("node %s: read its certificates: %w", from.Name, err)
	}
	var certificates nodeimage.Certificates
	if err := json.Unmarshal(out, &certificates); err != nil {
		return nil, fmt.Errorf("node %s: read its certificates: %w", from.Name, err)
	}
	return certificates, nil
}
