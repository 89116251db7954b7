// Package balancer says how connections to the API of a cluster with several
// control planes find one that works: it renders the configuration of haproxy
// for a load balancer and for the balancer of each node, and gives running
// ones a new configuration. It stands on a node as a place to run commands;
// how haproxy is started is the node image's part.
package balancer

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"text/template"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// Backend is a control plane. Its address is of IPv4, which all nodes have: an
// API server listens on both families.
type Backend struct {
	Name string // of the node
	Addr netip.Addr
}

// Config is the configuration of the balancer in a node of a role, over
// control planes in their order. A load balancer listens on all addresses, of
// IPv6 too where it has one; any other node on its loopback alone.
func Config(role string, v6 bool, backends []Backend) ([]byte, error) {
	listen := []string{fmt.Sprintf("127.0.0.1:%d", nodeimage.BalancerPort)}
	if role == nodeimage.RoleLoadBalancer {
		everywhere := "*:%d"
		if v6 {
			everywhere = "[::]:%d v4v6"
		}
		listen = []string{fmt.Sprintf(everywhere, nodeimage.APIServerPort), fmt.Sprintf(everywhere, nodeimage.BalancerPort)}
	}
	type server struct{ Name, Address string }
	var servers []server
	for _, b := range backends {
		servers = append(servers, server{b.Name, netip.AddrPortFrom(b.Addr, nodeimage.APIServerPort).String()})
	}
	var out bytes.Buffer
	err := config.Execute(&out, struct {
		Listen  []string
		Servers []server
	}{listen, servers})
	if err != nil {
		return nil, fmt.Errorf("render configuration of a balancer: %w", err)
	}
	return out.Bytes(), nil
}

// config is haproxy's configuration. A control plane that is gone is found in
// three ways: it refuses a connection, does not answer one within a second, or
// fails its checks. The first two send a new connection to another one. The
// checks are for connections that are there already: those to a control plane
// that fails are ended, so that their clients come again. An API server that
// serves nobody anonymously says 401, which is a sign of life at least.
var config = template.Must(template.New("haproxy.cfg").Parse(`# petri wrote this file: connections to the API go to a control plane that is ready
global
    log stdout format raw daemon notice
    maxconn 2000
    nbthread 1
    user haproxy
    group haproxy
    # after a change of this file, connections end that were there before
    hard-stop-after 5m

defaults
    mode tcp
    log global
    retries 3
    option redispatch 1
    timeout connect 1s
    timeout check 1s
    # the API has connections on which nothing is said for hours
    timeout client 4h
    timeout server 4h
    option clitcpka
    option srvtcpka

frontend api
{{- range .Listen}}
    bind {{.}}
{{- end}}
    default_backend control-planes

backend control-planes
    balance roundrobin
    option httpchk GET /readyz
    http-check expect status 200,401
    default-server check check-ssl verify none inter 2s fastinter 500ms downinter 500ms rise 1 fall 2 on-marked-down shutdown-sessions
{{- range .Servers}}
    server {{.Name}} {{.Address}}
{{- end}}
`))

// Update makes the balancer in a node serve other control planes. New
// connections are accepted all the while, and those that are there may go on
// for five minutes. The node must run; a balancer that has stopped in it takes
// the change up when it starts.
func Update(ctx context.Context, n node.Node, backends []Backend) error {
	conf, err := Config(n.Role, n.Addr(true).IsValid(), backends)
	if err != nil {
		return err
	}
	err = n.Run(ctx, exec.Cmd{Args: []string{nodeimage.HelperPath, "balance"}, Stdin: bytes.NewReader(conf)})
	if err != nil {
		return fmt.Errorf("node %s: change its balancer: %w", n.Name, err)
	}
	return nil
}
