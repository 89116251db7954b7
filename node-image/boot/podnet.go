package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/podnet"
)

// podNetwork writes the CNI configuration where the node's range of pods is
// known before the API says so: the node is then Ready as soon as it is
// registered.
func podNetwork(_ context.Context, m *Machine) error {
	if m.Plan == nil || len(m.Plan.PodRanges) == 0 {
		return nil
	}
	ranges, err := prefixes(m.Plan.PodRanges)
	if err != nil {
		return err
	}
	return m.layPodNetwork(ranges)
}

// PodNetwork writes the CNI configuration of a node that has been told its ranges
// of pods. What is there already is the CNI agent's.
func PodNetwork(m *Machine, ranges []netip.Prefix) error {
	if err := m.readPlan(); err != nil {
		return err
	}
	return m.layPodNetwork(ranges)
}

func (m *Machine) layPodNetwork(ranges []netip.Prefix) error {
	if _, err := os.Stat(m.path(podnet.ConflistPath)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	mtu, err := m.mtu()
	if err != nil {
		return err
	}
	conflist, err := podnet.Conflist(ranges, mtu)
	if err != nil {
		return err
	}
	return m.writeSecret(podnet.ConflistPath, string(conflist)) // it is root's to know
}

// podRoutes leads to the pods of other nodes by the first control plane, which
// knows them all, until the node's own CNI agent runs. That takes the routes for
// its own, and has better ones.
func podRoutes(ctx context.Context, m *Machine) error {
	if m.Plan == nil || len(m.Plan.PodGateways) == 0 {
		return nil
	}
	pods, err := prefixes(m.Plan.PodSubnets)
	if err != nil {
		return err
	}
	var errs []error
	for i, gateway := range m.Plan.PodGateways {
		errs = append(errs, exec.Run(ctx, m.Runner, "ip", "route", "replace", pods[i].Masked().String(),
			"via", gateway, "proto", strconv.Itoa(podnet.RouteProtocol)))
	}
	return errors.Join(errs...)
}

// mtu is that of the interface with the node's address.
func (m *Machine) mtu() (int, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return 0, err
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			return 0, err
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().String() == m.Plan.Address {
				return i.MTU, nil
			}
		}
	}
	return 0, fmt.Errorf("no interface has the address %s", m.Plan.Address)
}

// apiService serves the address of Service kubernetes while nobody else does:
// what pods send there goes to the API server. kube-proxy's rules come before
// these in the same hooks, and what they translate is not seen here again.
func apiService(ctx context.Context, m *Machine) error {
	if m.Plan == nil || m.Plan.APIService == "" {
		return nil
	}
	service, err := netip.ParseAddr(m.Plan.APIService)
	if err != nil {
		return err
	}
	server, err := netip.ParseAddr(m.Plan.APIServer)
	if err != nil {
		return err
	}
	return m.Runner.Run(ctx, exec.Cmd{Args: []string{"nft", "-f", "-"}, Stdin: strings.NewReader(apiServiceRules(service, server))})
}

// apiServiceRules is a table of its own, replaced whole.
func apiServiceRules(service, server netip.Addr) string {
	family := "ip"
	if !service.Is4() {
		family = "ip6"
	}
	rule := fmt.Sprintf("%s daddr %s tcp dport 443 dnat to %s", family, service, netip.AddrPortFrom(server, nodeimage.APIServerPort))
	return fmt.Sprintf(`add table %[1]s petri-api
delete table %[1]s petri-api
table %[1]s petri-api {
	chain prerouting {
		type nat hook prerouting priority dstnat + 5; policy accept;
		%[2]s
	}
	chain output {
		type nat hook output priority -95; policy accept;
		%[2]s
	}
}
`, family, rule)
}
