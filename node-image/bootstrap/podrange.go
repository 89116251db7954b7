package bootstrap

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/netip"
	"time"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// rangeInterval is how often the cluster is asked for the node's ranges of pods.
const rangeInterval = 50 * time.Millisecond

// rangePatience is how long a node that has joined waits for its ranges. The CNI
// agent sees to it otherwise.
const rangePatience = 5 * time.Second

// withPodNetwork runs join, and beside it writes the CNI configuration as soon as
// the cluster has given the node its ranges of pods: the node's own CNI agent,
// which would do it, is a pod that starts two seconds later. Until then pods of
// other nodes are reached by way of the first control plane.
func (n *Node) withPodNetwork(ctx context.Context, plan nodeimage.Plan, c cluster, join func() error) error {
	if len(plan.PodGateways) == 0 {
		return join()
	}
	asking, stop := context.WithCancel(ctx)
	defer stop()
	tried := make(chan struct{})
	go func() {
		defer close(tried)
		_ = n.layPodNetwork(asking, plan.Name, c) // the agent does it, and says what is in its way
	}()
	if err := join(); err != nil {
		return err
	}
	select {
	case <-tried:
		return nil
	case <-time.After(rangePatience):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// layPodNetwork asks for the node's ranges, as its kubelet, until it has some.
func (n *Node) layPodNetwork(ctx context.Context, name string, c cluster) error {
	tick := time.NewTicker(rangeInterval)
	defer tick.Stop()
	var client *http.Client
	for {
		if client == nil {
			client = n.kubeletClient(c)
		}
		if client != nil {
			if ranges := podRanges(ctx, client, c.Server+"/api/v1/nodes/"+name); len(ranges) > 0 {
				client.CloseIdleConnections()
				return n.PodNetwork(ranges)
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// kubeletClient is nil until the kubelet has its certificate.
func (n *Node) kubeletClient(c cluster) *http.Client {
	path := n.path(kubeletClientPath)
	pair, err := tls.LoadX509KeyPair(path, path)
	if err != nil {
		return nil
	}
	client, err := clientOf(c.CA, pair)
	if err != nil {
		return nil
	}
	return client
}

// podRanges are those that a node has; none when there is no such node yet.
func podRanges(ctx context.Context, client *http.Client, url string) []netip.Prefix {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil
	}
	response, err := client.Do(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	var node struct {
		Spec struct{ PodCIDRs []netip.Prefix }
	}
	if err := json.NewDecoder(response.Body).Decode(&node); err != nil {
		return nil
	}
	return node.Spec.PodCIDRs
}
