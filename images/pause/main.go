// Command pause is the process of a pod's sandbox: it holds the namespaces
// that the pod's containers share and does nothing until it is told to end.
// With a shared process namespace it is process 1 and reaps orphans. One runs
// per pod, so it imports little and keeps to one processor.
//
// With -v it ends at once, as the original does: the job with which "kubeadm
// upgrade" tests whether a cluster runs pods waits for that.
package main

import (
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
)

func main() {
	if slices.Contains(os.Args[1:], "-v") {
		println("pause of petri")
		return
	}
	// Nothing runs at the same time, and nothing is allocated after the start.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		reap()
	}
}

// reap collects every child that has ended: signals of the same kind merge, so
// one may stand for several.
func reap() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if pid <= 0 || err != nil {
			return
		}
	}
}
