package gate

import (
	"net"
	"net/netip"
	"testing"
)

// TestOwnClient finds this very process in the kernel's own tables.
func TestOwnClient(t *testing.T) {
	l, err := net.Listen("tcp", "127.64.43.1:6443")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	inode := inodeOf("/proc", netip.MustParseAddrPort(conn.LocalAddr().String()))
	if inode == "" || !hasOpen("/proc/self", "socket:["+inode+"]") {
		t.Errorf("socket %q is not found", inode)
	}
}
