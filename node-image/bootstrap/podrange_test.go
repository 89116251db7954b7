package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// kubeletPair gives a node a client certificate, which nobody checks here.
func kubeletPair(t *testing.T, node *Node) {
	t.Helper()
	if err := node.selfSignKubelet(nodeimage.Plan{Name: "a-worker"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	var pair []byte
	for _, path := range []string{servingCertPath, servingKeyPath} {
		data, err := os.ReadFile(node.path(path))
		if err != nil {
			t.Fatal(err)
		}
		pair = append(pair, data...)
	}
	if err := os.WriteFile(node.path(kubeletClientPath), pair, 0o600); err != nil {
		t.Fatal(err)
	}
}

// nodesAPI answers what its n-th answer is; the last one stays.
func nodesAPI(t *testing.T, answers ...string) (*httptest.Server, string) {
	t.Helper()
	var asked atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/nodes/a-worker" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		fmt.Fprint(w, answers[min(int(asked.Add(1)), len(answers))-1])
	}))
	t.Cleanup(server.Close)
	return server, endpointOf(server)
}

// TestJoinLaysThePodNetwork: the configuration is written when the node has its
// ranges, which may be after it was registered.
func TestJoinLaysThePodNetwork(t *testing.T) {
	_, discovery := nodesAPI(t, `{"kind":"Status"}`, `{"spec":{}}`, `{"spec":{"podCIDRs":["10.244.3.0/24","fd00:1::/64"]}}`)
	node, fake, _ := newNode(t, nodeimage.Plan{Name: "a-worker", PodGateways: []string{"10.201.0.2", "fd5a::2"}}, "")
	fake.kubeadm = func(context.Context, exec.Cmd) error {
		kubeletPair(t, node)
		return nil
	}
	var laid []netip.Prefix
	node.PodNetwork = func(ranges []netip.Prefix) error {
		laid = ranges
		return nil
	}
	if err := node.Join(t.Context(), joinInput(t, discovery, nil)); err != nil {
		t.Fatal(err)
	}
	diff(t, "[10.244.3.0/24 fd00:1::/64]", fmt.Sprint(laid))
}

// TestJoinWithoutPodNetwork: with another CNI nobody asks, and a node whose
// kubeadm fails does not wait for ranges.
func TestJoinWithoutPodNetwork(t *testing.T) {
	broken := errors.New("kubeadm failed")
	for name, test := range map[string]struct {
		plan nodeimage.Plan
		err  error
	}{
		"another CNI": {nodeimage.Plan{Name: "a-worker"}, nil},
		"failed":      {nodeimage.Plan{Name: "a-worker", PodGateways: []string{"10.201.0.2"}}, broken},
	} {
		t.Run(name, func(t *testing.T) {
			_, discovery := nodesAPI(t, `{"spec":{}}`)
			node, fake, _ := newNode(t, test.plan, "")
			fake.kubeadm = func(context.Context, exec.Cmd) error { return test.err }
			node.PodNetwork = func([]netip.Prefix) error {
				t.Error("a configuration was written")
				return nil
			}
			if err := node.Join(t.Context(), joinInput(t, discovery, nil)); !errors.Is(err, test.err) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestPodNetworkFails: a configuration that cannot be written is left to the agent.
func TestPodNetworkFails(t *testing.T) {
	_, discovery := nodesAPI(t, `{"spec":{"podCIDRs":["10.244.3.0/24"]}}`)
	node, fake, _ := newNode(t, nodeimage.Plan{Name: "a-worker", PodGateways: []string{"10.201.0.2"}}, "")
	fake.kubeadm = func(context.Context, exec.Cmd) error { kubeletPair(t, node); return nil }
	asked := 0
	node.PodNetwork = func([]netip.Prefix) error { asked++; return errors.New("disk full") }
	if err := node.Join(t.Context(), joinInput(t, discovery, nil)); err != nil || asked != 1 {
		t.Errorf("got %v after %d attempts", err, asked)
	}
}
