//go:build e2e && linux

package netguard

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/petri-cluster/petri/pkg/exec"
)

// The test's machines: a pod behind a node, whose default route leads to the
// world, where nothing for the cluster's ranges may ever arrive.
//
//	pod 10.244.7.2 -- 10.244.7.1 node 192.0.2.2 -- 192.0.2.1 world
const (
	podAddr    = "10.244.7.2"
	noPod      = "10.244.9.9:80"
	service    = "10.96.0.10:80" // translated to the pod
	noService  = "10.96.0.11:80" // nobody has it
	prompt     = 500 * time.Millisecond
	unanswered = 300 * time.Millisecond
)

func TestGuardInNamespaces(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	n := newNetwork(t)
	pods, services := prefixes("10.244.0.0/16"), prefixes("10.96.0.0/16")

	// without the guard the sender waits, and the world hears of it
	for _, to := range []string{noPod, noService} {
		if err := n.node.dial(to, unanswered); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("unguarded, dialing %s: %v, want a timeout", to, err)
		}
	}
	if heard := n.heard(); len(heard) == 0 {
		t.Fatal("unguarded, the world heard nothing: this test could not fail")
	}
	if err := n.node.dial(service, prompt); err != nil {
		t.Fatalf("unguarded, dialing the translated service: %v", err)
	}

	n.node.do(func() {
		for range 2 {
			if err := Apply(t.Context(), pods, services); err != nil {
				t.Fatal(err)
			}
		}
	})
	// a local sender of a datagram learns of it from the system call itself
	udp := map[*place]error{n.node: unix.EPERM, n.pod: unix.ECONNREFUSED}
	for _, from := range []*place{n.node, n.pod} {
		for _, c := range []struct {
			to   string
			want error
		}{
			{noPod, unix.EHOSTUNREACH},
			{noService, unix.ECONNREFUSED},
			{service, nil},
		} {
			start := time.Now()
			err := from.dial(c.to, prompt)
			t.Logf("from %s to %s: %v in %v", from.name, c.to, err, time.Since(start))
			if !errors.Is(err, c.want) {
				t.Errorf("from %s, dialing %s: %v, want %v", from.name, c.to, err, c.want)
			}
		}
		if err := from.askUDP("10.96.0.11:53"); !errors.Is(err, udp[from]) {
			t.Errorf("from %s, UDP to an unserved service: %v, want %v", from.name, err, udp[from])
		}
	}
	if heard := n.heard(); len(heard) != 0 {
		t.Errorf("packets left by the default route, to %v", heard)
	}

	n.node.do(func() {
		for range 2 {
			if err := Clear(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
	if err := n.node.dial(noService, unanswered); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("cleared, dialing %s: %v, want a timeout", noService, err)
	}
}

// place is a network namespace with a thread of its own.
type place struct {
	t    *testing.T
	name string
	ns   netns.NsHandle
	work chan func()
}

func newPlace(t *testing.T, name string) *place {
	p := &place{t: t, name: name, work: make(chan func())}
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
		defer close(done)
		f()
	}
	<-done
	if p.t.Failed() {
		p.t.FailNow()
	}
}

func (p *place) dial(to string, timeout time.Duration) (err error) {
	p.do(func() {
		c, dialErr := net.DialTimeout("tcp", to, timeout)
		if dialErr == nil {
			c.Close()
		}
		if e, ok := errors.AsType[net.Error](dialErr); ok && e.Timeout() {
			dialErr = os.ErrDeadlineExceeded
		}
		err = dialErr
	})
	return err
}

// askUDP sends a datagram and gives the error that comes back.
func (p *place) askUDP(to string) (err error) {
	p.do(func() {
		c, dialErr := net.DialTimeout("udp", to, prompt)
		if dialErr != nil {
			err = dialErr
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(prompt))
		if _, err = c.Write([]byte("?")); err == nil {
			_, err = c.Read(make([]byte, 1))
		}
	})
	return err
}

// link adds the address to the link of that name and sets it up.
func (p *place) link(name, addr string) {
	p.do(func() {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err == nil && addr != "" {
			a, _ := netlink.ParseAddr(addr)
			err = netlink.AddrAdd(l, a)
		}
		if err != nil {
			p.t.Errorf("link %s in %s: %v", name, p.name, err)
		}
	})
}

func (p *place) defaultRoute(via string) {
	p.do(func() {
		if err := netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(via)}); err != nil {
			p.t.Errorf("default route of %s: %v", p.name, err)
		}
	})
}

func (p *place) forward(value string) {
	p.do(func() {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte(value), 0); err != nil {
			p.t.Errorf("forwarding of %s: %v", p.name, err)
		}
	})
}

// network is the test's machines and an ear in the world.
type network struct {
	t                *testing.T
	pod, node, world *place
	ear              int // packet socket
}

func newNetwork(t *testing.T) *network {
	n := &network{t: t, pod: newPlace(t, "pod"), node: newPlace(t, "node"), world: newPlace(t, "world")}
	n.node.connect("to-pod", n.pod)
	n.node.connect("to-world", n.world)
	for _, p := range []*place{n.pod, n.node, n.world} {
		p.link("lo", "")
	}
	n.pod.link("eth0", podAddr+"/24")
	n.node.link("to-pod", "10.244.7.1/24")
	n.node.link("to-world", "192.0.2.2/24")
	n.world.link("eth0", "192.0.2.1/24")
	n.pod.defaultRoute("10.244.7.1")
	n.node.defaultRoute("192.0.2.1")
	n.node.forward("1")
	n.world.forward("0") // it would answer that it has no route: a VPN is silent
	n.node.nft(kubeProxy)
	n.listen()
	return n
}

// connect makes a pair of links, name here and eth0 there.
func (p *place) connect(name string, other *place) {
	p.do(func() {
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(other.ns)}
		if err := netlink.LinkAdd(pair); err != nil {
			p.t.Errorf("link %s of %s: %v", name, p.name, err)
		}
	})
}

// kubeProxy is what kube-proxy does in its nftables mode: it translates a
// Service that has endpoints, and drops what is for an address nobody has.
const kubeProxy = `table ip proxy {
	chain nat-prerouting { type nat hook prerouting priority -100; ip daddr 10.96.0.10 tcp dport 80 dnat to 10.244.7.2:8080; }
	chain nat-output { type nat hook output priority -100; ip daddr 10.96.0.10 tcp dport 80 dnat to 10.244.7.2:8080; }
	chain nat-postrouting { type nat hook postrouting priority 100; ip saddr 10.244.7.2 ip daddr 10.244.7.2 masquerade; }
	chain filter-output { type filter hook output priority 0; ip daddr 10.96.0.0/16 drop; }
	chain filter-forward { type filter hook forward priority 0; ip daddr 10.96.0.0/16 drop; }
}
`

func (p *place) nft(rules string) {
	p.do(func() {
		cmd := exec.Cmd{Args: []string{"nft", "-f", "-"}, Stdin: strings.NewReader(rules)}
		if err := (exec.Host{}).Run(p.t.Context(), cmd); err != nil {
			p.t.Error(err)
		}
	})
}

// listen serves TCP in the pod and opens the ear in the world.
func (n *network) listen() {
	n.pod.do(func() {
		l, err := net.Listen("tcp", podAddr+":8080")
		if err != nil {
			n.t.Error(err)
			return
		}
		n.t.Cleanup(func() { l.Close() })
	})
	n.world.do(func() {
		const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // network order
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, all&0xffff)
		if err != nil {
			n.t.Errorf("packet socket: %v", err)
			return
		}
		n.ear = fd
		n.t.Cleanup(func() { unix.Close(fd) })
	})
}

// heard gives the cluster's addresses that packets in the world were for since
// it was last asked.
func (n *network) heard() []netip.Addr {
	var out []netip.Addr
	packet := make([]byte, 2048)
	for {
		size, _, err := unix.Recvfrom(n.ear, packet, 0)
		if errors.Is(err, unix.EAGAIN) {
			return out
		}
		if err != nil {
			n.t.Fatalf("packet socket: %v", err)
		}
		if size < 20 || packet[0]>>4 != 4 {
			continue
		}
		to := netip.AddrFrom4([4]byte(packet[16:20]))
		if netip.MustParsePrefix("10.0.0.0/8").Contains(to) {
			out = append(out, to)
		}
	}
}
