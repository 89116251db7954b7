package gate

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// clientOf is the name of the process of this node that has a connection from
// an address, when it is one of those whose connections are held. The kernel
// knows a connection by a number, and the process by what it has open.
func clientOf(proc string, from net.Addr) string {
	addr, err := netip.ParseAddrPort(from.String())
	if err != nil {
		return ""
	}
	inode := inodeOf(proc, netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()))
	if inode == "" {
		return ""
	}
	names, _ := filepath.Glob(filepath.Join(proc, "[0-9]*", "comm")) // the pattern is well formed
	for _, path := range names {
		name, err := os.ReadFile(path)
		if err != nil {
			continue // it ended
		}
		text := strings.TrimSpace(string(name))
		if _, held := heldUntil[text]; held && hasOpen(filepath.Dir(path), "socket:["+inode+"]") {
			return text
		}
	}
	return ""
}

// inodeOf finds the number of the socket from a local address to an API server in
// the kernel's tables (Documentation/networking/proc_net_tcp.rst of Linux).
func inodeOf(proc string, local netip.AddrPort) string {
	table := "tcp"
	if local.Addr().Is6() {
		table = "tcp6"
	}
	f, err := os.Open(filepath.Join(proc, "self/net", table))
	if err != nil {
		return ""
	}
	defer f.Close()
	want, api := kernelText(local), fmt.Sprintf(":%04X", nodeimage.APIServerPort)
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		// one whose connection has ended has no number
		if len(fields) > 9 && fields[1] == want && strings.HasSuffix(fields[2], api) && fields[9] != "0" {
			return fields[9]
		}
	}
	return ""
}

// kernelText is an address as the kernel prints it: words of four bytes, the
// last byte first, and the port.
func kernelText(a netip.AddrPort) string {
	var b strings.Builder
	bytes := a.Addr().AsSlice()
	for ; len(bytes) > 0; bytes = bytes[4:] {
		fmt.Fprintf(&b, "%02X%02X%02X%02X", bytes[3], bytes[2], bytes[1], bytes[0])
	}
	fmt.Fprintf(&b, ":%04X", a.Port())
	return b.String()
}

// hasOpen reports whether a process has a file open, by what its links say.
func hasOpen(process, file string) bool {
	links, err := os.ReadDir(filepath.Join(process, "fd"))
	if err != nil {
		return false
	}
	for _, l := range links {
		if target, err := os.Readlink(filepath.Join(process, "fd", l.Name())); err == nil && target == file {
			return true
		}
	}
	return false
}
