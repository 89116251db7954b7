//go:build linux

// Command petri-cni is the agent of petri's default network: one runs on each
// node and keeps four things as they should be: the CNI configuration that
// containerd reads, routes to the pods of other nodes, masquerading of what
// pods send out of the cluster, and the refusal of what has nowhere to go
// (package netguard). Pods themselves are connected by the standard CNI
// plugins ptp, host-local and portmap. It stands on the Nodes of the API,
// netlink and the nft program, and knows no network policies.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"sigs.k8s.io/knftables"

	"github.com/petri-cluster/petri/pkg/netguard"
	"github.com/petri-cluster/petri/pkg/podnet"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	err := run(ctx, log)
	stop()
	if err != nil {
		log.Error("the agent cannot run", "error", err)
		os.Exit(1)
	}
}

// run works until ctx ends. It fails only on what no retry would mend: its
// environment, its credentials, or a node without nftables.
func run(ctx context.Context, log *slog.Logger) error {
	s, err := settingsFrom(os.Getenv)
	if err != nil {
		return err
	}
	config, err := restConfig(s.endpoint, serviceAccountDir)
	if err != nil {
		return err
	}
	client, err := nodeClient(config)
	if err != nil {
		return fmt.Errorf("make API client: %w", err)
	}
	nft, err := knftables.New(knftables.InetFamily, masqTable, knftables.NoObjectCommentEmulation)
	if err != nil {
		return fmt.Errorf("use nftables: %w", err)
	}
	log.Info("starting", "node", s.node, "pods", s.pods, "services", s.services, "api", config.Host)
	a := &agent{
		settings: s,
		members:  newMembers(),
		kernel:   netlinkKernel{},
		nft:      nft,
		guard: func(ctx context.Context) error {
			return netguard.Apply(ctx, s.pods, s.services)
		},
		conflist: podnet.ConflistPath,
		log:      log,
	}
	go watchNodes(ctx, client, a.members, log)
	a.run(ctx)
	log.Info("ended", "reason", context.Cause(ctx))
	return nil
}
