//go:build e2e && linux

package main

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"sigs.k8s.io/knftables"

	"github.com/petri-cluster/petri/pkg/netguard"
)

// The node of this test has a pod's address on its loopback interface, and a
// neighbour that is another node at one address and a stranger at the other:
//
//	node 192.0.2.2 (pod 10.244.0.5) -- neighbour 192.0.2.3 and 192.0.2.1
const (
	nodeAddr     = "192.0.2.2"
	podAddr      = "10.244.0.5"
	otherNode    = "192.0.2.3"
	stranger     = "192.0.2.1"
	testMTU      = 1432
	dialDeadline = 2 * time.Second
)

func TestAgentInNamespaces(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	neighbour, node := newPlace(t), newPlace(t)
	connect(t, node, neighbour)
	seen := serve(t, neighbour)

	node.do(func() {
		nft, err := knftables.New(knftables.InetFamily, masqTable, knftables.NoObjectCommentEmulation)
		if err != nil {
			t.Fatal(err)
		}
		a := newAgent(t, nil)
		a.kernel, a.nft = netlinkKernel{}, nft
		a.log = slog.New(slog.NewTextHandler(t.Output(), nil))
		a.guard = func(ctx context.Context) error { return netguard.Apply(ctx, a.settings.pods, nil) }
		reconcileTwice(t, a)

		for _, c := range []struct{ from, to, want string }{
			{podAddr, stranger, nodeAddr},  // leaves the cluster
			{podAddr, otherNode, podAddr},  // a node has a route back
			{nodeAddr, stranger, nodeAddr}, // the node itself
		} {
			if got := dialFrom(t, c.from, c.to, seen); got != c.want {
				t.Errorf("%s dialing %s is seen as %s, want %s", c.from, c.to, got, c.want)
			}
		}
	})
}

// reconcileTwice runs the agent's work for a cluster that loses a node.
func reconcileTwice(t *testing.T, a *agent) {
	own := node("a", nodeAddr, "10.244.0.0/24")
	b := node("b", otherNode, "10.244.1.0/24")
	a.members.Replace([]any{own, b, node("c", stranger, "10.244.2.0/24")}, "")
	check := func(want ...string) {
		t.Helper()
		if err := a.guard(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := a.reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		routes, err := a.kernel.Routes()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range routes {
			got = append(got, r.to.String()+" via "+r.via.String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("routes (-want +got):\n%s", diff)
		}
	}
	check("10.244.1.0/24 via 192.0.2.3", "10.244.2.0/24 via 192.0.2.1")
	a.members.Replace([]any{own, b}, "")
	check("10.244.1.0/24 via 192.0.2.3")
	conf, err := os.ReadFile(a.conflist)
	if err != nil || !strings.Contains(string(conf), `"mtu": 1432`) {
		t.Errorf("%s: %s, error %v; want the MTU of the default route", filepath.Base(a.conflist), conf, err)
	}
}

// dialFrom says as whom the neighbour sees from.
func dialFrom(t *testing.T, from, to string, seen <-chan netip.Addr) string {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: dialDeadline}
	c, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(to, "80"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return (<-seen).String()
}

// serve gives the address of every client of the neighbour.
func serve(t *testing.T, p *place) <-chan netip.Addr {
	seen := make(chan netip.Addr, 1)
	p.do(func() {
		l, err := net.Listen("tcp4", ":80")
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				seen <- c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
				c.Close()
			}
		}()
	})
	return seen
}

// place is a network namespace with a thread of its own.
type place struct {
	t    *testing.T
	ns   netns.NsHandle
	work chan func()
}

func newPlace(t *testing.T) *place {
	p := &place{t: t, work: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		for f := range p.work {
			f()
		}
	}()
	p.do(func() {
		var err error
		if p.ns, err = netns.New(); err != nil {
			t.Errorf("new network namespace: %v", err)
		}
	})
	t.Cleanup(func() {
		close(p.work)
		p.ns.Close()
	})
	return p
}

// do runs f in the namespace.
func (p *place) do(f func()) {
	p.t.Helper()
	done := make(chan struct{})
	p.work <- func() {
		defer close(done) // also when f ends its goroutine by t.FailNow
		f()
	}
	<-done
	if p.t.Failed() {
		p.t.FailNow()
	}
}

// connect joins node and neighbour and gives both their addresses and routes.
func connect(t *testing.T, node, neighbour *place) {
	node.do(func() {
		pair := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "eth0", MTU: testMTU},
			PeerName:  "eth0", PeerNamespace: netlink.NsFd(neighbour.ns),
		}
		if err := netlink.LinkAdd(pair); err != nil {
			t.Errorf("link: %v", err)
		}
	})
	node.addresses("lo", podAddr+"/32")
	node.addresses("eth0", nodeAddr+"/24")
	neighbour.addresses("eth0", stranger+"/24", otherNode+"/24")
	node.route("0.0.0.0/0", stranger)
	neighbour.route("10.244.0.0/24", nodeAddr)
}

func (p *place) addresses(name string, addrs ...string) {
	p.do(func() {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		for _, text := range addrs {
			if err == nil {
				a, _ := netlink.ParseAddr(text)
				err = netlink.AddrAdd(l, a)
			}
		}
		if err != nil {
			p.t.Errorf("link %s: %v", name, err)
		}
	})
}

func (p *place) route(to, via string) {
	p.do(func() {
		_, dst, _ := net.ParseCIDR(to)
		if err := netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(via)}); err != nil {
			p.t.Errorf("route to %s: %v", to, err)
		}
	})
}
