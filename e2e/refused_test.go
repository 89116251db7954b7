//go:build e2e

package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Packets for Service and Pod addresses that nobody has are refused at once,
// from nodes and from pods, with kube-proxy and without, and none of them is
// seen on the cluster's bridge.
func TestNowhereToGoIsRefused(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("capturing on the bridge needs root")
	}
	s := shared.get(t)
	c, ns := s.cluster, s.cluster.namespace(t)
	if r := c.kubectl(t.Context(), t, pod("client", "e2e-shared-worker"), "-n", ns, "apply", "-f", "-"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	c.waitReady(t, ns, "pod/client")
	nowhere := []netip.Addr{
		netip.MustParseAddr("10.96.201.201"),  // no Service has it
		netip.MustParseAddr("10.244.240.7"),   // no node has its range
		netip.MustParseAddr("10.244.241.200"), // nor this
	}
	checkCapture(t, c.name, "e2e-shared-worker")
	seen := capture(t, c.name, nowhere)
	for _, addr := range nowhere {
		refused(t, "from a node", "docker", "exec", "e2e-shared-worker", "curl", "-sS", "--max-time", "8", "http://"+addr.String()+"/")
		path, err := kubectlBinary()
		if err != nil {
			t.Fatal(err)
		}
		refused(t, "from a pod", path, "--kubeconfig", c.kubeconfig, "-n", ns, "exec", "client", "--", "busybox", "wget", "-T", "8", "-qO-", "http://"+addr.String()+"/")
	}
	time.Sleep(200 * time.Millisecond) // let what was sent arrive
	if left := seen(); len(left) > 0 {
		t.Errorf("on the bridge were packets for addresses with nowhere to go: %v", left)
	}
}

// Before kube-proxy is up, and where there is none, the same holds.
func TestNowhereToGoWithoutKubeProxy(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("capturing on the bridge needs root")
	}
	config := t.TempDir() + "/none.yaml"
	text := "apiVersion: petri.dev/v1alpha1\nkind: Cluster\nname: " + testName(t) + "\nnetworking:\n  kubeProxyMode: none\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c := create(t, "--config", config)
	services := netip.MustParseAddr("10.96.0.1") // kubernetes: it exists, and nobody serves it
	seen := capture(t, c.name, []netip.Addr{services})
	refused(t, "from a node", "docker", "exec", c.name+"-control-plane", "curl", "-ksS", "--max-time", "8", "https://10.96.0.1/")
	time.Sleep(200 * time.Millisecond)
	if left := seen(); len(left) > 0 {
		t.Errorf("on the bridge were packets for a Service address: %v", left)
	}
}

// checkCapture makes sure that a packet between nodes is seen on the bridge:
// else nothing would be, and every test of it would pass.
func checkCapture(t *testing.T, name, node string) {
	t.Helper()
	other := netip.MustParseAddr(docker(t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name+"-control-plane"))
	seen := capture(t, name, []netip.Addr{other})
	docker(t, "exec", node, "ping", "-c1", "-W2", other.String())
	time.Sleep(200 * time.Millisecond)
	if len(seen()) == 0 {
		t.Error("the capture does not see packets that are sent")
	}
}

// refusal is how programs say that a connection was refused.
var refusal = regexp.MustCompile(`(?i)refused|no route to host|unreachable|couldn't connect|failed to connect`)

// refused runs a command that must fail long before its own limit.
func refused(t *testing.T, from string, args ...string) {
	t.Helper()
	start := time.Now()
	r := run(t.Context(), "", "", args...)
	took := time.Since(start)
	if r.code == 0 {
		t.Errorf("%s: %v was answered: %s", from, args, r.stdout)
	}
	if !refusal.MatchString(r.stderr) {
		t.Errorf("%s: %v failed, and not because it was refused: %s", from, args, r.stderr)
	}
	if took > 4*time.Second || strings.Contains(r.stderr, "timed out") {
		t.Errorf("%s: %v failed after %s, not at once: %s", from, args, took, r.stderr)
	}
}

// capture listens on a cluster's bridge for IPv4 packets to the addresses, and
// returns a function that ends it and says what was seen.
func capture(t *testing.T, name string, addrs []netip.Addr) func() []string {
	t.Helper()
	id := docker(t, "network", "ls", "--no-trunc", "-q", "--filter", "label=dev.petri.cluster="+name)
	bridge, err := net.InterfaceByName("br-" + id[:min(len(id), 12)])
	if err != nil {
		t.Fatalf("the cluster's bridge: %v", err)
	}
	const all = 0x0300 // ETH_P_ALL in network order
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_DGRAM, all)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrLinklayer{Protocol: all, Ifindex: bridge.Index}); err != nil {
		t.Fatal(err)
	}
	// without it a bridge shows only what is for the host, not what it passes on
	promiscuous := unix.PacketMreq{Ifindex: int32(bridge.Index), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &promiscuous); err != nil {
		t.Fatal(err)
	}
	timeout := syscall.Timeval{Usec: 100_000}
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &timeout); err != nil {
		t.Fatal(err)
	}
	wanted := map[netip.Addr]bool{}
	for _, a := range addrs {
		wanted[a] = true
	}
	stop, done := make(chan struct{}), make(chan []string)
	go func() { done <- listen(fd, wanted, stop) }()
	end := sync.OnceValue(func() []string {
		close(stop)
		found := <-done
		syscall.Close(fd)
		return found
	})
	t.Cleanup(func() { end() })
	return end
}

func listen(fd int, wanted map[netip.Addr]bool, stop chan struct{}) []string {
	var found []string
	buf := make([]byte, 2048)
	for {
		select {
		case <-stop:
			return found
		default:
		}
		n, _, err := syscall.Recvfrom(fd, buf, 0)
		if err != nil {
			if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
				continue
			}
			return append(found, "capture failed: "+err.Error())
		}
		if n < 20 || buf[0]>>4 != 4 {
			continue
		}
		src, dst := netip.AddrFrom4([4]byte(buf[12:16])), netip.AddrFrom4([4]byte(buf[16:20]))
		if wanted[dst] {
			found = append(found, fmt.Sprintf("%s -> %s protocol %d, %d bytes", src, dst, buf[9], binary.BigEndian.Uint16(buf[2:4])))
		}
	}
}
