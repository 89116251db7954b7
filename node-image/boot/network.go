package boot

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/netguard"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// engineResolver is where Docker's own DNS server listens inside a container
// on a user-defined network.
var engineResolver = netip.MustParseAddr(nodeimage.EngineResolver)

// resolver makes the engine's DNS server reachable from pods. It listens on a
// loopback address of the node, which means another place inside a pod, and
// CoreDNS would ask itself for ever. The node's own address takes its place in
// resolv.conf, and what is sent there goes on to the engine's server. At a
// restart the engine may write the file anew or leave it as it was, while the
// node gets another address and the server other ports: resolverMark tells.
// Pods without IPv4 ask at the node's IPv6 address, where the unit
// petri-resolver answers: rules cannot lead from one family to the other.
//
// The search domains are put in the place of the engine's at the same time.
func resolver(ctx context.Context, m *Machine) error {
	before, err := os.ReadFile(m.path("/etc/resolv.conf"))
	if err != nil {
		return err
	}
	own, err := m.ownAddrs()
	if err != nil {
		return err
	}
	conf := before
	if search, set := os.LookupEnv(nodeimage.EnvDNSSearch); set {
		conf = replaceSearch(conf, search)
	}
	at, pass := own[0], m.passOnDNS
	if len(own) > 1 && m.podsLackIPv4() {
		at, pass = own[1], m.relayDNS
	}
	if replaced, ours := replaceResolver(conf, at); ours {
		if err := pass(ctx, at); err != nil {
			return err
		}
		conf = replaced
	}
	if bytes.Equal(conf, before) {
		return nil
	}
	// the engine mounts the file: it must be written in place
	return os.WriteFile(m.path("/etc/resolv.conf"), conf, 0o644)
}

// passOnDNS leads what is sent to own to the engine's server.
func (m *Machine) passOnDNS(ctx context.Context, own netip.Addr) error {
	udp, err := m.boundPort("/proc/self/net/udp", engineResolver)
	if err != nil {
		return err
	}
	tcp, err := m.boundPort("/proc/self/net/tcp", engineResolver)
	if err != nil {
		return err
	}
	rules := resolverRules(own, udp, tcp)
	return m.Runner.Run(ctx, exec.Cmd{Args: []string{"nft", "-f", "-"}, Stdin: strings.NewReader(rules)})
}

// podsLackIPv4 reports whether the cluster is one of IPv6 alone.
func (m *Machine) podsLackIPv4() bool {
	return m.Plan != nil && len(m.Plan.PodSubnets) > 0 &&
		!slices.ContainsFunc(m.Plan.PodSubnets, func(text string) bool { return !strings.Contains(text, ":") })
}

// relayDNS has the unit petri-resolver answer at own.
func (m *Machine) relayDNS(_ context.Context, own netip.Addr) error {
	return m.write(nodeimage.ResolverPath, own.String()+"\n")
}

// replaceSearch puts search domains, with blanks between them, in the place of
// those in conf. None leaves none.
func replaceSearch(conf []byte, search string) []byte {
	var out strings.Builder
	if search != "" {
		out.WriteString("search " + search + "\n")
	}
	for line := range strings.Lines(string(conf)) {
		if fields := strings.Fields(line); len(fields) == 0 || (fields[0] != "search" && fields[0] != "domain") {
			out.WriteString(line)
		}
	}
	return []byte(out.String())
}

// resolverMark begins the comment in resolv.conf that names the address which
// stands for the engine's server.
const resolverMark = "# petri: the engine's resolver is at "

// replaceResolver puts own in the place of the engine's resolver, or of what
// an earlier boot put there. It reports false when conf has neither.
func replaceResolver(conf []byte, own netip.Addr) ([]byte, bool) {
	old := engineResolver.String()
	var kept []string
	for line := range strings.Lines(string(conf)) {
		if addr, ok := strings.CutPrefix(line, resolverMark); ok {
			old = strings.TrimSpace(addr)
			continue
		}
		kept = append(kept, line)
	}
	ours := false
	var out strings.Builder
	fmt.Fprintln(&out, resolverMark+own.String())
	for _, line := range kept {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "nameserver" &&
			(fields[1] == old || fields[1] == engineResolver.String()) {
			line, ours = "nameserver "+own.String()+"\n", true
		}
		out.WriteString(line)
	}
	return []byte(out.String()), ours
}

// resolverRules are nftables rules that pass DNS for own on to the ports of
// the engine's server. Adding the table before deleting it makes the document
// right whether it exists or not.
func resolverRules(own netip.Addr, udp, tcp uint16) string {
	var dnat strings.Builder
	fmt.Fprintf(&dnat, "\t\tip daddr %s udp dport 53 dnat ip to %s:%d\n", own, engineResolver, udp)
	fmt.Fprintf(&dnat, "\t\tip daddr %s tcp dport 53 dnat ip to %s:%d\n", own, engineResolver, tcp)
	return fmt.Sprintf(`add table ip petri-dns
delete table ip petri-dns
table ip petri-dns {
	chain prerouting {
		type nat hook prerouting priority dstnat - 5; policy accept;
%[1]s	}
	chain output {
		type nat hook output priority -105; policy accept;
%[1]s	}
}
`, dnat.String())
}

// unconnected is the remote address of a socket that waits for anybody.
const unconnected = "00000000:0000"

// boundPort finds the port that a socket of this network namespace holds on
// addr. The server is another process, so the kernel's table is asked.
func (m *Machine) boundPort(table string, addr netip.Addr) (uint16, error) {
	f, err := os.Open(m.path(table))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	a := addr.As4()
	want := fmt.Sprintf("%02X%02X%02X%02X:", a[3], a[2], a[1], a[0]) // host order, as the kernel prints it
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 3 || fields[2] != unconnected {
			continue
		}
		if hex, ok := strings.CutPrefix(fields[1], want); ok {
			port, err := strconv.ParseUint(hex, 16, 16)
			return uint16(port), err
		}
	}
	return 0, fmt.Errorf("no socket on %s in %s", addr, table)
}

// ownAddrs are the node's first addresses that others may know: one of IPv4,
// and one of IPv6 where it has any.
func (m *Machine) ownAddrs() ([]netip.Addr, error) {
	list := m.addrs
	if list == nil {
		list = net.InterfaceAddrs
	}
	addrs, err := list()
	if err != nil {
		return nil, err
	}
	var own [2]netip.Addr // of IPv4, and of IPv6
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		of := &own[0]
		if p.Addr().Is6() {
			of = &own[1]
		}
		if !of.IsValid() {
			*of = p.Addr()
		}
	}
	if !own[0].IsValid() {
		return nil, errors.New("the node has no IPv4 address")
	}
	if !own[1].IsValid() {
		return own[:1], nil
	}
	return own[:], nil
}

// guard refuses packets for the cluster's own ranges until somebody serves
// them, so that none leaves by the host and senders retry at once.
func guard(ctx context.Context, m *Machine) error {
	if m.Plan == nil {
		return nil // ranges are not known yet: the CNI agent does it
	}
	pods, err := prefixes(m.Plan.PodSubnets)
	if err != nil {
		return err
	}
	services, err := prefixes(m.Plan.ServiceSubnets)
	if err != nil {
		return err
	}
	apply := m.guard
	if apply == nil {
		apply = netguard.Apply
	}
	return apply(ctx, pods, services)
}

func prefixes(texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, t := range texts {
		p, err := netip.ParsePrefix(t)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}
