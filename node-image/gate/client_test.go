package gate

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// lay makes a /proc with some processes, each with one socket open.
func lay(t *testing.T, tables map[string]string, processes map[string][2]string) string {
	t.Helper()
	proc := t.TempDir()
	for name, line := range tables {
		put(t, filepath.Join(proc, "self/net", name), "  sl  local_address rem_address   st\n"+line)
	}
	for pid, p := range processes {
		put(t, filepath.Join(proc, pid, "comm"), p[0]+"\n")
		fds := filepath.Join(proc, pid, "fd")
		if err := os.MkdirAll(fds, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(fmt.Sprintf("socket:[%s]", p[1]), filepath.Join(fds, "7")); err != nil {
			t.Fatal(err)
		}
	}
	return proc
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestClientOf finds processes by their addresses, in the form of the kernel.
func TestClientOf(t *testing.T) {
	proc := lay(t, map[string]string{
		"tcp": "   0: 0200C90A:A0B2 0200C90A:192B 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000\n" +
			"   1: 0200C90A:A0B2 0300C90A:01BB 01 00000000:00000000 00:00000000 00000000     0        0 4714 1 0000\n" +
			"   2: 0200C90A:A0B4 0200C90A:192B 06 00000000:00000000 00:00000000 00000000     0        0 0 1 0000\n" +
			"   1: 0200C90A:A0B3 0200C90A:192B 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000\n",
		"tcp6": "   0: 000000FD000000000000000002000000:A0B2 000000FD000000000000000002000000:192B 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0000\n",
	}, map[string][2]string{"12": {"kubelet", "4711"}, "13": {"kubeadm", "4712"}, "14": {"kube-scheduler", "4713"}})
	for addr, want := range map[string]string{
		"10.201.0.2:41138":          "kubelet",
		"[::ffff:10.201.0.2]:41138": "kubelet",
		"10.201.0.2:41139":          "", // whose connections nobody holds
		"10.201.0.2:41140":          "", // nobody's any more
		"10.201.0.2:41141":          "", // nobody's
		"[fd00::2]:41138":           "kube-scheduler",
		"[fd00::3]:41138":           "",
	} {
		if got := clientOf(proc, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))); got != want {
			t.Errorf("%s: got %q, want %q", addr, got, want)
		}
	}
	if got := clientOf(t.TempDir(), &net.TCPAddr{IP: net.IPv4(10, 201, 0, 2), Port: 41138}); got != "" {
		t.Errorf("got %q without a /proc", got)
	}
	if got := clientOf(proc, &net.UnixAddr{Name: "x"}); got != "" {
		t.Errorf("got %q for what is no address", got)
	}
}
