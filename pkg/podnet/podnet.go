// Package podnet is the CNI configuration of petri's default network, as
// containerd reads it: the standard plugins ptp, host-local and portmap. The
// node's entrypoint writes it where the node's range of pods is known ahead,
// so that the node is Ready as soon as it is registered; the CNI agent writes
// it elsewhere, and puts it right. It knows neither nodes nor the API.
package podnet

import (
	"encoding/json"
	"net/netip"
)

// ConflistPath is where containerd finds the configuration; a node is Ready
// only once it is there.
const ConflistPath = "/etc/cni/net.d/10-petri.conflist"

// RouteProtocol marks routes to pods of other nodes, which are the CNI agent's to
// change. It is not one of the numbers that iproute2 knows a routing daemon by,
// nor netguard's.
const RouteProtocol = 112

// ipamDir keeps which addresses are taken. It is on a tmpfs: no pod outlives a
// restart of the node, and neither may its address.
const ipamDir = "/run/cni-ipam-state"

// The CNI configuration, as far as it is used here.
type (
	conflist struct {
		CNIVersion string `json:"cniVersion"`
		Name       string `json:"name"`
		Plugins    []any  `json:"plugins"`
	}
	ptpPlugin struct {
		Type string `json:"type"`
		MTU  int    `json:"mtu,omitempty"`
		IPAM ipam   `json:"ipam"`
	}
	ipam struct {
		Type    string        `json:"type"`
		DataDir string        `json:"dataDir"`
		Ranges  [][]ipamRange `json:"ranges"`
		Routes  []ipamRoute   `json:"routes"`
	}
	ipamRange struct {
		Subnet string `json:"subnet"`
	}
	ipamRoute struct {
		Dst string `json:"dst"`
	}
	portmapPlugin struct {
		Type         string          `json:"type"`
		Backend      string          `json:"backend"`
		Capabilities map[string]bool `json:"capabilities"`
	}
)

// Conflist gives pods an address of each of the node's ranges, a default route
// of each family, and their host ports. An mtu of 0 is the kernel's.
func Conflist(pods []netip.Prefix, mtu int) ([]byte, error) {
	ptp := ptpPlugin{Type: "ptp", MTU: mtu, IPAM: ipam{Type: "host-local", DataDir: ipamDir}}
	for _, p := range pods {
		anywhere := "0.0.0.0/0"
		if !p.Addr().Is4() {
			anywhere = "::/0"
		}
		ptp.IPAM.Ranges = append(ptp.IPAM.Ranges, []ipamRange{{p.String()}})
		ptp.IPAM.Routes = append(ptp.IPAM.Routes, ipamRoute{anywhere})
	}
	// the plugin would take iptables where it finds it
	portmap := portmapPlugin{Type: "portmap", Backend: "nftables", Capabilities: map[string]bool{"portMappings": true}}
	out, err := json.MarshalIndent(conflist{"1.0.0", "petri", []any{ptp, portmap}}, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(out, '\n'), nil
}
