package container

import (
	"bufio"
	"context"
	"io"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// consoleTail is how many console lines an error carries.
const consoleTail = 50

var (
	bootLine = regexp.MustCompile(nodeimage.BootLine)
	// escapes are a terminal's control sequences: colours, and the operating
	// system commands in which newer versions of systemd mark their units.
	escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b[@-Z\\-_]`)
)

// boot is a node on its way from started to booted.
type boot struct {
	done chan struct{}
	err  error // valid once done is closed
}

// watchBoot reads a node's console until the boot line. It takes over the
// console, closes it after the limit at the latest, and calls ended last.
func watchBoot(console io.ReadCloser, name string, limit time.Duration, ended func(error)) *boot {
	b := &boot{done: make(chan struct{})}
	var late atomic.Bool
	timer := time.AfterFunc(limit, func() {
		late.Store(true)
		console.Close()
	})
	go func() {
		booted, tail := readConsole(console, bootLine)
		timer.Stop()
		console.Close()
		switch {
		case booted:
		case late.Load():
			b.err = errdefs.New(errdefs.ClassTimeout, "NODE-BOOT-TIMEOUT", "node %s did not boot within %s", name, limit).
				WithHint("The machine may be short of CPU, memory or inotify instances: look with: docker stats, sysctl fs.inotify.").
				WithLog(tail)
		default:
			b.err = errdefs.New(errdefs.ClassFailed, "NODE-DIED", "node %s stopped before it had booted", name).
				WithHint("%s", diedHint(tail)).
				WithLog(tail)
		}
		ended(b.err)
		close(b.done)
	}()
	return b
}

// diedHint says what to do about a node that ended with this on its console.
func diedHint(tail string) string {
	if strings.Contains(strings.ToLower(tail), "too many open files") {
		return "The machine is out of inotify instances, of which each node takes some 14: sysctl -w fs.inotify.max_user_instances=512"
	}
	return "Its console tells why. Is the image a node image?"
}

// readConsole reads lines up to one that matches, or to the end; then it also
// returns the last lines.
func readConsole(console io.Reader, until *regexp.Regexp) (found bool, tail string) {
	var lines []string
	r := bufio.NewReader(console)
	for {
		raw, _, err := r.ReadLine()
		line := strings.TrimRight(escapes.ReplaceAllString(string(raw), ""), "\r")
		if until.MatchString(line) {
			return true, ""
		}
		if line != "" {
			lines = append(lines, line)
		}
		if len(lines) > consoleTail {
			lines = lines[1:]
		}
		if err != nil {
			return false, strings.Join(lines, "\n")
		}
	}
}

// onFailure calls fn when the boot fails, unless stop is called before.
func (b *boot) onFailure(fn func()) (stop func()) {
	stopped := make(chan struct{})
	go func() {
		select {
		case <-b.done:
			if b.err != nil {
				fn()
			}
		case <-stopped:
		}
	}()
	return func() { close(stopped) }
}

// wait returns once the node has booted, with an error if it will not.
func (b *boot) wait(ctx context.Context) error {
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
