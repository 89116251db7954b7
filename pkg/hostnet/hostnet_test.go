package hostnet

import (
	"io/fs"
	"net/netip"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestRoutes(t *testing.T) {
	const table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n" +
		"eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"tun0\t00000080\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n" +
		"docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n" +
		"tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n" +
		"broken\n"
	const table6 = "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n" +
		"20010db8000000000000000000000000 20 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000100 00000001 00000000 00000003     tun0\n" +
		"00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n" +
		"80000000000000000000000000000000 01 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000100 00000001 00000000 00000003     tun0\n" +
		"broken\nfd00 40\n"
	want := []Route{
		{"docker0", netip.MustParsePrefix("172.17.0.0/16")},
		{"tun0", netip.MustParsePrefix("10.0.0.0/8")},
		{"eth0", netip.MustParsePrefix("fd00::/64")},
		{"tun0", netip.MustParsePrefix("2001:db8::/32")},
	}
	got := Routes(fstest.MapFS{"proc/net/route": {Data: []byte(table)}, "proc/net/ipv6_route": {Data: []byte(table6)}})
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := Routes(fstest.MapFS{}); got != nil {
		t.Errorf("of a machine that says nothing: %v", got)
	}
}

func TestListener(t *testing.T) {
	const table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
		"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n" +
		"   1: 0100007F:1F91 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 4712 1\n" +
		"   2: 0100007F:1F92 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1\n"
	root := fstest.MapFS{
		"proc/net/tcp":      {Data: []byte(table)},
		"proc/812/comm":     {Data: []byte("nginx\n")},
		"proc/812/fd/3":     {Data: []byte("/dev/null"), Mode: fs.ModeSymlink},
		"proc/812/fd/4":     {Data: []byte("socket:[4711]"), Mode: fs.ModeSymlink},
		"proc/sys/whatever": {},
	}
	for port, want := range map[uint16]string{
		8080: "nginx (process 812)",
		8081: "", // it is connected, and does not listen
		8082: "", // whose is not to be seen
		8083: "",
	} {
		if got := Listener(root, "tcp", port); got != want {
			t.Errorf("port %d: got %q, want %q", port, got, want)
		}
	}
}
