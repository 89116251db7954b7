package engine

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace that lives as long as it is open.
type namespace struct{ file *os.File }

// threadNet is the network namespace of the calling thread.
const threadNet = "/proc/thread-self/ns/net"

// newNamespace makes a namespace whose loopback interface is up.
func newNamespace() (ns *namespace, err error) {
	outer := onThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return
		}
		if err = loopbackUp(); err != nil {
			return
		}
		var file *os.File
		if file, err = os.Open(threadNet); err == nil {
			ns = &namespace{file: file}
		}
	})
	return ns, errors.Join(outer, err)
}

// do calls fn on a thread of the namespace; what fn starts or opens is there.
func (n *namespace) do(fn func()) (err error) {
	outer := onThread(func() {
		if err = unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err == nil {
			fn()
		}
	})
	return errors.Join(outer, err)
}

func (n *namespace) close() error { return n.file.Close() }

// onThread calls fn on a thread that no other goroutine runs on, and puts the
// thread back to the network it came from. A thread for which that fails is
// left locked, and ends with its goroutine.
func onThread(fn func()) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		before, err := os.Open(threadNet)
		if err != nil {
			runtime.UnlockOSThread()
			result <- err
			return
		}
		defer before.Close()
		fn()
		if err = unix.Setns(int(before.Fd()), unix.CLONE_NEWNET); err == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	return nil
}
