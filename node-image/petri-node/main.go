// Command petri-node is the one program of petri's own in a node: called as
// "entrypoint" it boots the node and becomes the init system; its other
// commands bootstrap Kubernetes, change what a control plane shares with others,
// prepare cgroups, start or change the balancer, pass DNS on, hold connections, approve certificates,
// settle a node that is up, and end pods at shutdown. It wires packages together
// and decides nothing.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/petri-cluster/petri/node-image/approver"
	"github.com/petri-cluster/petri/node-image/balancer"
	"github.com/petri-cluster/petri/node-image/boot"
	"github.com/petri-cluster/petri/node-image/bootstrap"
	"github.com/petri-cluster/petri/node-image/gate"
	"github.com/petri-cluster/petri/node-image/resolver"
	"github.com/petri-cluster/petri/node-image/settle"
	"github.com/petri-cluster/petri/node-image/shutdown"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, filepath.Base(os.Args[0]), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "petri-node:", err)
		os.Exit(1)
	}
}

const usage = "usage: entrypoint INIT [ARG...] | petri-node init | petri-node certificates | petri-node join <INPUT | " +
	"petri-node extend <EXTENSION | petri-node members | petri-node remove-member ID | " +
	"petri-node balancer | petri-node balance <CONFIGURATION | petri-node resolver | petri-node gate ADDRESS | petri-node approver | petri-node kubelet-cgroup | petri-node settle | petri-node shutdown"

func run(ctx context.Context, name string, args []string) error {
	if name == "entrypoint" {
		return entrypoint(ctx, args)
	}
	if len(args) == 0 || len(args) != arguments(args[0]) {
		return errors.New(usage)
	}
	node := &bootstrap.Node{Root: "/", Runner: exec.Host{}, Events: bootstrap.NewEvents(os.Stdout)}
	node.Adopt = func(ctx context.Context) error { return boot.Adopt(ctx, machine()) }
	node.PodNetwork = func(ranges []netip.Prefix) error { return boot.PodNetwork(machine(), ranges) }
	switch args[0] {
	case "init":
		return node.Init(ctx)
	case "certificates":
		return node.Certificates(os.Stdout)
	case "join":
		return node.Join(ctx, os.Stdin)
	case "extend":
		node.Lead = lead
		return node.Extend(ctx, os.Stdin)
	case "members":
		return node.Members(ctx, os.Stdout)
	case "remove-member":
		return node.RemoveMember(ctx, args[1])
	case "balancer":
		if err := machine().AwaitFiles(); err != nil {
			return err
		}
		return balancer.Serve(os.Stdout)
	case "balance":
		return ownBalancer().Change(ctx, os.Stdin)
	case "resolver":
		listen, err := resolver.ReadListen(nodeimage.ResolverPath)
		if err != nil {
			return err
		}
		return resolver.Relay{Listen: listen, Server: net.JoinHostPort(nodeimage.EngineResolver, "53")}.Serve(ctx)
	case "approver":
		return approve(ctx, node)
	case "gate":
		own, err := netip.ParseAddr(args[1])
		if err != nil {
			return err
		}
		return gate.Serve(ctx, own, exec.Host{}, os.Stdin, os.Stdout)
	case "kubelet-cgroup":
		return boot.KubeletCgroup("/")
	case "settle":
		return settle.Run("/")
	case "shutdown":
		return shutdown.Run(ctx, "/", exec.Host{})
	}
	return fmt.Errorf("unknown command; %s", usage)
}

// arguments is how many words a command has, with its name.
func arguments(command string) int {
	if command == "remove-member" || command == "gate" {
		return 2
	}
	return 1
}

func ownBalancer() *balancer.Node {
	return &balancer.Node{Root: "/", Runner: exec.Host{}, Signal: syscall.Kill}
}

// approve approves serving certificates. The name server of the node is the
// engine's, who knows the machines; search domains would add others.
func approve(ctx context.Context, node *bootstrap.Node) error {
	a := &approver.Approver{API: node.API, Log: slog.New(slog.NewTextHandler(os.Stdout, nil))}
	a.Lookup = func(ctx context.Context, name string) ([]netip.Addr, error) {
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name+".")
		for i := range addrs {
			addrs[i] = addrs[i].Unmap()
		}
		return addrs, err
	}
	return a.Run(ctx)
}

// lead starts the node's own balancer, and lets the name of the endpoint lead
// to it.
func lead(ctx context.Context, name string, configuration []byte) error {
	if err := ownBalancer().Change(ctx, bytes.NewReader(configuration)); err != nil {
		return err
	}
	if err := exec.Run(ctx, exec.Host{}, "systemctl", "start", "petri-balancer"); err != nil {
		return err
	}
	return boot.Endpoint(machine(), name)
}

// machine is the node that this process is in.
func machine() *boot.Machine {
	return &boot.Machine{Root: "/", Mounts: boot.Kernel{}, Runner: exec.Host{}, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
}

// entrypoint boots the node and replaces this process with the init system.
func entrypoint(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("no init system given; %s", usage)
	}
	if err := boot.Run(ctx, machine()); err != nil {
		return err
	}
	return fmt.Errorf("start %s: %w", args[0], syscall.Exec(args[0], args, os.Environ()))
}
