package providertest

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

// stopLimit is longer than a node of the suite takes to stop.
const stopLimit = 20 * time.Second

func testPower(t *testing.T, s Subject) {
	power, ok := s.Provider.(provider.Power)
	if !ok {
		t.Skip("the provider does not stop nodes")
	}
	spec := newSpec(s, 1)
	made := create(t, s, spec)
	w := made[1]
	if err := w.WriteFile(t.Context(), "/var/lib/kept", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteFile(t.Context(), "/etc/kept", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	endpoint, err := s.Provider.Endpoint(t.Context(), spec.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	first := startedAt(t, power, w)

	for range 2 { // the second time it is stopped
		if err := power.Stop(t.Context(), w, stopLimit); err != nil {
			t.Fatal(err)
		}
		expectState(t, s, w, node.Stopped)
	}
	if at := startedAt(t, power, w); !at.IsZero() {
		t.Errorf("a stopped node was started %v", at)
	}
	if err := power.Pause(t.Context(), w); err == nil {
		t.Error("a stopped node can be paused")
	}
	if err := power.Unpause(t.Context(), w); err != nil {
		t.Errorf("unpause a stopped node: %v", err)
	}
	if err := exec.Run(t.Context(), w, "true"); err == nil {
		t.Error("a command in a stopped node: no error")
	}
	if got, err := s.Provider.Endpoint(t.Context(), spec.Cluster); err != nil || got != endpoint {
		t.Errorf("the endpoint was %s, and is %s, %v", endpoint, got, err)
	}

	for range 2 { // the second time it runs
		started, err := power.Start(t.Context(), w, progress.Discard)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/var/lib/kept", "/etc/kept"} {
			expectOutput(t, started, "kept", "cat", path)
		}
		expectState(t, s, w, node.Running)
	}
	if at := startedAt(t, power, w); !at.After(first) {
		t.Errorf("the node was started %v, and then %v", first, at)
	}
	expectSame(t, s, spec.Cluster, made)
}

// startedAt is when a node was started.
func startedAt(t *testing.T, power provider.Power, n node.Node) time.Time {
	t.Helper()
	at, err := power.Started(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func expectState(t *testing.T, s Subject, n node.Node, want node.State) {
	t.Helper()
	for _, l := range list(t, s, n.Cluster) {
		if l.Name == n.Name && l.State != want {
			t.Errorf("node %s is %s, want it %s", n.Name, l.State, want)
		}
	}
}

func list(t *testing.T, s Subject, cluster string) []node.Node {
	t.Helper()
	nodes, err := s.Provider.Nodes(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

// expectSame wants the nodes of a cluster to be as they were made.
func expectSame(t *testing.T, s Subject, cluster string, made []node.Node) {
	t.Helper()
	var want, got []nodeFacts
	for _, n := range made {
		want = append(want, facts(n))
	}
	for _, n := range list(t, s, cluster) {
		got = append(got, facts(n))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("nodes as made and now (-want +got):\n%s", diff)
	}
}

func testPause(t *testing.T, s Subject) {
	power, ok := s.Provider.(provider.Power)
	if !ok {
		t.Skip("the provider does not pause nodes")
	}
	n := create(t, s, newSpec(s, 0))[0]
	expectOutput(t, n, "on\n", "echo", "on") // it has booted
	before := startedAt(t, power, n)
	for range 2 { // the second time it is so already
		if err := power.Pause(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		expectState(t, s, n, node.Paused)
	}
	for range 2 {
		if err := power.Unpause(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		expectState(t, s, n, node.Running)
	}
	if at := startedAt(t, power, n); !at.Equal(before) {
		t.Errorf("a paused node was started again, %v after %v", at, before)
	}
	// a paused node starts by going on, and can be stopped
	if err := power.Pause(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if _, err := power.Start(t.Context(), n, progress.Discard); err != nil {
		t.Fatal(err)
	}
	expectOutput(t, n, "on\n", "echo", "on")
	if err := power.Pause(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if err := power.Stop(t.Context(), n, stopLimit); err != nil {
		t.Fatal(err)
	}
	expectState(t, s, n, node.Stopped)
}

// testNoNode wants verbs to say that a node is not there.
func testNoNode(t *testing.T, s Subject) {
	power, ok := s.Provider.(provider.Power)
	if !ok {
		t.Skip("the provider does not stop nodes")
	}
	spec := newSpec(s, 0)
	gone := node.Node{Cluster: spec.Cluster, Name: spec.Nodes[0].Name}
	_, startErr := power.Start(t.Context(), gone, progress.Discard)
	_, startedErr := power.Started(t.Context(), gone)
	for verb, err := range map[string]error{
		"stop": power.Stop(t.Context(), gone, stopLimit), "start": startErr, "pause": power.Pause(t.Context(), gone),
		"unpause": power.Unpause(t.Context(), gone), "started": startedErr,
	} {
		if err == nil {
			t.Errorf("%s a node that is not there: no error", verb)
		}
	}
}

func testGrowth(t *testing.T, s Subject) {
	growth, ok := s.Provider.(provider.Growth)
	if !ok {
		t.Skip("the provider does not add nodes")
	}
	spec := newSpec(s, 1)
	made := create(t, s, spec)
	if power, ok := s.Provider.(provider.Power); ok {
		// an address is not free because its node is stopped
		if err := power.Stop(t.Context(), made[1], stopLimit); err != nil {
			t.Fatal(err)
		}
	}
	endpoint, err := s.Provider.Endpoint(t.Context(), spec.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	more := provider.Spec{Cluster: spec.Cluster}
	for _, suffix := range []string{"-worker2", "-worker3"} {
		more.Nodes = append(more.Nodes, provider.NodeSpec{Name: spec.Cluster + suffix, Role: nodeimage.RoleWorker, Image: s.Image})
	}
	var mu sync.Mutex
	placed := map[string]provider.Placement{}
	more.Files = func(p provider.Placement) ([]provider.File, error) {
		mu.Lock()
		defer mu.Unlock()
		placed[p.Node.Name] = p
		return []provider.File{{Path: "/etc/name", Data: []byte(p.Node.Name)}}, nil
	}
	added, err := growth.Add(t.Context(), more, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, n := range slices.Concat(made, added) {
		if addr := n.Addr(false).String(); seen[addr] {
			t.Errorf("two nodes are at %s", addr)
		} else {
			seen[addr] = true
		}
	}
	for _, n := range added {
		expectOutput(t, n, n.Name, "cat", "/etc/name")
		p := placed[n.Name]
		if p.Endpoint.String() != endpoint || len(p.Nodes) != 4 || p.Nodes[made[0].Name].Of(false) != made[0].Addr(false) || !p.Subnet.Contains(p.Addrs.Of(false)) {
			t.Errorf("%s was placed at %+v", n.Name, p)
		}
	}
	expectSame(t, s, spec.Cluster, slices.Concat(made, added))

	for range 2 { // the second time it is gone
		if err := growth.Remove(t.Context(), spec.Cluster, made[1].Name); err != nil {
			t.Fatal(err)
		}
		expectSame(t, s, spec.Cluster, slices.Concat(made[:1], added))
	}
	if err := growth.Remove(t.Context(), "another", added[0].Name); err != nil {
		t.Fatal(err)
	}
	expectSame(t, s, spec.Cluster, slices.Concat(made[:1], added)) // it was another cluster's
}

func testGrowNothing(t *testing.T, s Subject) {
	growth, ok := s.Provider.(provider.Growth)
	if !ok {
		t.Skip("the provider does not add nodes")
	}
	if _, err := growth.Add(t.Context(), newSpec(s, 0), progress.Discard); !errdefs.Is(err, errdefs.ClassNotFound) {
		t.Errorf("add a node to no cluster: %v, want class not found", err)
	}
}

// testIPv6: nodes have an address of each family, those that come later too,
// and keep them while they are stopped.
func testIPv6(t *testing.T, s Subject) {
	spec := newSpec(s, 1)
	subnet := netip.MustParsePrefix("fd5a:77::/64")
	spec.IPv6, spec.Subnets = true, []netip.Prefix{subnet}
	made := create(t, s, spec)
	growth, ok := s.Provider.(provider.Growth)
	if !ok {
		t.Fatal("it cannot add nodes")
	}
	more := provider.Spec{Cluster: spec.Cluster, IPv6: true, Nodes: []provider.NodeSpec{
		{Name: spec.Cluster + "-worker2", Role: nodeimage.RoleWorker, Image: s.Image},
	}}
	more.Files = func(p provider.Placement) ([]provider.File, error) {
		if !subnet.Contains(p.Addrs.Of(true)) || !slices.Equal(p.Nodes[made[0].Name], made[0].Addrs) {
			t.Errorf("%s was placed at %+v", p.Node.Name, p)
		}
		return nil, nil
	}
	added, err := growth.Add(t.Context(), more, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Concat(made, added)
	seen := map[netip.Addr]bool{}
	for _, n := range all {
		if addr := n.Addr(true); len(n.Addrs) != 2 || !n.Addr(false).IsValid() || !subnet.Contains(addr) || seen[addr] {
			t.Errorf("%s is at %v beside %v", n.Name, n.Addrs, seen)
		}
		seen[n.Addr(true)] = true
	}
	expectSame(t, s, spec.Cluster, all)
	power, ok := s.Provider.(provider.Power)
	if !ok {
		t.Fatal("it cannot stop nodes")
	}
	if err := power.Stop(t.Context(), added[0], time.Second); err != nil {
		t.Fatal(err)
	}
	stopped, err := s.Provider.Nodes(t.Context(), spec.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range stopped {
		if !slices.Equal(n.Addrs, all[i].Addrs) {
			t.Errorf("%s was at %v, and is at %v", n.Name, all[i].Addrs, n.Addrs)
		}
	}
}
