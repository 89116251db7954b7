package hostnet

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Listener names the process that listens on a port, "nginx (process 812)", as
// far as this process may know; else it is "".
func Listener(root fs.FS, protocol string, port uint16) string {
	inodes := listening(root, protocol, port)
	if len(inodes) == 0 {
		return ""
	}
	processes, err := fs.ReadDir(root, "proc")
	if err != nil {
		return ""
	}
	for _, p := range processes {
		if _, err := strconv.Atoi(p.Name()); err == nil && holds(root, path.Join("proc", p.Name(), "fd"), inodes) {
			name, _ := fs.ReadFile(root, path.Join("proc", p.Name(), "comm"))
			return strings.TrimSpace(fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), p.Name()))
		}
	}
	return ""
}

// listening are the sockets, by inode, that take what comes to a port.
func listening(root fs.FS, protocol string, port uint16) map[string]bool {
	const listen, unconnected = "0A", "07" // of tcp and of udp
	suffix := fmt.Sprintf(":%04X", port)
	inodes := map[string]bool{}
	for _, version := range []string{"", "6"} {
		table, err := fs.ReadFile(root, "proc/net/"+protocol+version)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(table)) {
			fields := strings.Fields(line)
			if len(fields) < 10 || !strings.HasSuffix(fields[1], suffix) || fields[3] != listen && fields[3] != unconnected {
				continue
			}
			inodes["socket:["+fields[9]+"]"] = true
		}
	}
	return inodes
}

// holds reports whether one of the open files in a directory of them is one of
// the sockets.
func holds(root fs.FS, dir string, sockets map[string]bool) bool {
	files, err := fs.ReadDir(root, dir)
	if err != nil {
		return false // another user's
	}
	for _, f := range files {
		if target, err := fs.ReadLink(root, path.Join(dir, f.Name())); err == nil && sockets[target] {
			return true
		}
	}
	return false
}
