// Package balancer is the part of a node that passes connections to the API on
// to a control plane that works: it starts haproxy as the only program of a
// load balancer, and changes the configuration of a running one, in a load
// balancer and in any other node. What is in the configuration is the host's
// business.
package balancer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// program is haproxy with a first process that stays, and starts others when
// it is told of a new configuration. The unit petri-balancer.service starts it
// the same way.
var program = []string{"/usr/sbin/haproxy", "-W", "-f", nodeimage.BalancerPath, "-p", nodeimage.BalancerPIDPath}

// bootLine tells the host that the load balancer may be entered. Nothing boots
// in it: see nodeimage.BootLine.
const bootLine = "Reached target load balancer, in place of Multi-User System."

// Serve writes the boot line to the console and becomes haproxy; it returns on
// error only.
func Serve(console io.Writer) error {
	if _, err := fmt.Fprintln(console, bootLine); err != nil {
		return err
	}
	return fmt.Errorf("start %s: %w", program[0], syscall.Exec(program[0], program, os.Environ()))
}

// Node is a node with a balancer. Files are below Root, "/" except in tests.
type Node struct {
	Root   string
	Runner exec.Runner
	// Signal sends a signal to a process: syscall.Kill.
	Signal func(pid int, signal syscall.Signal) error
}

// Change replaces the configuration by what it reads, and has the balancer take
// it up if it runs. A configuration that haproxy does not understand is
// refused, and the old one stays.
func (n *Node) Change(ctx context.Context, from io.Reader) error {
	conf, err := io.ReadAll(from)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if len(bytes.TrimSpace(conf)) == 0 {
		return errors.New("nobody said how to balance")
	}
	path := filepath.Join(n.Root, nodeimage.BalancerPath)
	next := path + ".next"
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(next, conf, 0o644); err != nil {
		return err
	}
	if err := exec.Run(ctx, n.Runner, program[0], "-c", "-f", next); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	return n.reload()
}

// reload tells the first process of the balancer. One that is not there reads
// the file when it starts.
func (n *Node) reload() error {
	text, err := os.ReadFile(filepath.Join(n.Root, nodeimage.BalancerPIDPath))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("%s: %w", nodeimage.BalancerPIDPath, err)
	}
	if err := n.Signal(pid, syscall.SIGUSR2); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("tell process %d of the balancer: %w", pid, err)
	}
	return nil
}
