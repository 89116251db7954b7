// Package providertest is the behaviour that every provider must show, as one
// suite of tests: what the comments of the provider interface promise, and no
// more. It needs an image whose nodes know a few Unix commands: cat, cp, echo,
// false, hostname, ls, printenv, stat and true. A node image will do,
// and so will the tiny one that Archive builds without a registry.
package providertest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
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

// Subject is a provider under test, and a local image that its nodes are made
// of.
type Subject struct {
	Provider provider.Provider
	Image    string
}

// Run runs the suite. The factory is called for each test; the subjects may
// share an engine, and nothing is left on it.
func Run(t *testing.T, factory func(t *testing.T) Subject) {
	tests := []struct {
		name string
		run  func(*testing.T, Subject)
	}{
		{"Check", testCheck},
		{"Nothing", testNothing},
		{"Create", testCreate},
		{"Placement", testPlacement},
		{"Files", testFiles},
		{"FilesError", testFilesError},
		{"MissingImage", testMissingImage},
		{"Exists", testExists},
		{"Delete", testDelete},
		{"Side by side", testSideBySide},
		{"Endpoint", testEndpoint},
		{"Subnet", testSubnet},
		{"IPv6", testIPv6},
		{"Exec", testExec},
		{"ExecCancelled", testExecCancelled},
		{"ExecConcurrent", testExecConcurrent},
		{"Console", testConsole},
		{"Remains", testRemains},
		{"Image", testImage},
		{"ImageSource", testImageSource},
		{"Power", testPower},
		{"Pause", testPause},
		{"NoNode", testNoNode},
		{"Growth", testGrowth},
		{"GrowNothing", testGrowNothing},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, factory(t)) })
	}
}

// newSpec is a cluster of one control plane and the given number of workers,
// with a name that nobody else uses.
func newSpec(s Subject, workers int) provider.Spec {
	name := "pt-" + strings.ToLower(rand.Text()[:8])
	spec := provider.Spec{
		Cluster: name,
		API:     provider.Publish{Address: "127.0.0.1"},
		Nodes:   []provider.NodeSpec{{Name: name + "-control-plane", Role: nodeimage.RoleControlPlane, Image: s.Image}},
	}
	for i := range workers {
		spec.Nodes = append(spec.Nodes, provider.NodeSpec{
			Name: fmt.Sprintf("%s-worker%d", name, i+1), Role: nodeimage.RoleWorker, Image: s.Image,
		})
	}
	return spec
}

// create makes a cluster that is deleted when the test ends.
func create(t *testing.T, s Subject, spec provider.Spec) []node.Node {
	t.Helper()
	deleteLater(t, s, spec.Cluster)
	nodes, err := s.Provider.Create(t.Context(), spec, progress.Discard)
	if err != nil {
		t.Fatalf("create %s: %v", spec.Cluster, err)
	}
	return nodes
}

func deleteLater(t *testing.T, s Subject, cluster string) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := s.Provider.Delete(ctx, cluster); err != nil {
			t.Errorf("delete %s: %v", cluster, err)
		}
	})
}

func testCheck(t *testing.T, s Subject) {
	info, err := s.Provider.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Name != s.Provider.Name() || info.Name == "" {
		t.Errorf("info is of %q, the provider is %q", info.Name, s.Provider.Name())
	}
	if info.Version == "" || info.Architecture == "" || info.ID == "" {
		t.Errorf("info lacks version, architecture or ID: %+v", info)
	}
	if info.CgroupVersion != 1 && info.CgroupVersion != 2 {
		t.Errorf("cgroup version %d", info.CgroupVersion)
	}
}

func testNothing(t *testing.T, s Subject) {
	spec := newSpec(s, 0)
	nodes, err := s.Provider.Nodes(t.Context(), spec.Cluster)
	if err != nil || len(nodes) != 0 {
		t.Errorf("nodes of no cluster: %v, %v", nodes, err)
	}
	if err := s.Provider.Delete(t.Context(), spec.Cluster); err != nil {
		t.Errorf("delete no cluster: %v", err)
	}
	if _, err := s.Provider.Endpoint(t.Context(), spec.Cluster); !errdefs.Is(err, errdefs.ClassNotFound) {
		t.Errorf("endpoint of no cluster: %v, want class not found", err)
	}
}

func testCreate(t *testing.T, s Subject) {
	spec := newSpec(s, 2)
	// Names sort before the control plane's, which still comes first.
	spec.Nodes[2].Name = "a-" + spec.Nodes[2].Name
	created := create(t, s, spec)
	listed, err := s.Provider.Nodes(t.Context(), spec.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{spec.Nodes[0].Name, spec.Nodes[2].Name, spec.Nodes[1].Name}
	if diff := cmp.Diff(want, names(listed)); diff != "" {
		t.Errorf("listed nodes (-want +got):\n%s", diff)
	}
	for _, l := range listed {
		i := slices.IndexFunc(created, func(c node.Node) bool { return c.Name == l.Name })
		if i < 0 {
			t.Errorf("create did not return node %s", l.Name)
			continue
		}
		if diff := cmp.Diff(facts(created[i]), facts(l)); diff != "" {
			t.Errorf("node %s as created and as listed (-created +listed):\n%s", l.Name, diff)
		}
		if l.State != node.Running || l.Created.IsZero() || l.Privileges == "" {
			t.Errorf("node %s: state %q, created %v, privileges %q", l.Name, l.State, l.Created, l.Privileges)
		}
		expectOutput(t, l, l.Name+"\n", "hostname")
	}
	surveyed(t, s, spec)
	clusters, err := s.Provider.Clusters(t.Context())
	if err != nil || !slices.Contains(clusters, spec.Cluster) || !slices.IsSorted(clusters) {
		t.Errorf("clusters: %q, %v; want %s among them, sorted", clusters, err, spec.Cluster)
	}
	expectOutput(t, listed[0], nodeimage.AdminConfPath+"\n", "printenv", "KUBECONFIG")
}

// surveyed wants a cluster's nodes and its network in a survey.
func surveyed(t *testing.T, s Subject, spec provider.Spec) {
	t.Helper()
	survey, err := s.Provider.(provider.Surveyor).Survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var nodes []string
	for _, c := range survey.Containers {
		if c.Cluster == spec.Cluster {
			nodes = append(nodes, c.Name)
			if c.State != node.Running || c.Role == "" || c.Passing {
				t.Errorf("a survey shows node %s as %+v", c.Name, c)
			}
		}
	}
	if len(nodes) != len(spec.Nodes) || !slices.IsSorted(nodes) {
		t.Errorf("a survey shows nodes %q, want all %d, sorted", nodes, len(spec.Nodes))
	}
	if !slices.ContainsFunc(survey.Networks, func(n provider.Network) bool {
		return n.Cluster == spec.Cluster && len(n.Subnets) > 0 && n.Subnets[0].Addr().Is4()
	}) {
		t.Errorf("a survey shows no network of the cluster: %+v", survey.Networks)
	}
}

// nodeFacts are what create and list must agree on.
type nodeFacts struct {
	Cluster, Name, Role, Image string
	Addr                       string
	Ports                      []node.Port
	Privileges                 string
}

func facts(n node.Node) nodeFacts {
	return nodeFacts{n.Cluster, n.Name, n.Role, n.Image, fmt.Sprint(n.Addrs), n.Ports, n.Privileges}
}

func names(nodes []node.Node) []string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.Name)
	}
	return out
}

func expectOutput(t *testing.T, n node.Node, want string, args ...string) {
	t.Helper()
	got, err := exec.Output(t.Context(), n, args...)
	if err != nil {
		t.Errorf("%q on %s: %v", args, n.Name, err)
		return
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%q on %s (-want +got):\n%s", args, n.Name, diff)
	}
}

func testPlacement(t *testing.T, s Subject) {
	spec := newSpec(s, 1)
	spec.Nodes[1].Env = []string{"FLAVOUR=agar"}
	var mu sync.Mutex
	placed := map[string]provider.Placement{}
	spec.Files = func(p provider.Placement) ([]provider.File, error) {
		mu.Lock()
		defer mu.Unlock()
		placed[p.Node.Name] = p
		return nil, nil
	}
	nodes := create(t, s, spec)
	endpoint, err := s.Provider.Endpoint(t.Context(), spec.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		p, ok := placed[n.Name]
		if !ok {
			t.Fatalf("files of %s were not asked for", n.Name)
		}
		if !slices.Equal(p.Addrs, n.Addrs) || !slices.Equal(p.Nodes[n.Name], p.Addrs) || len(p.Nodes) != len(nodes) {
			t.Errorf("%s is at %v, its files were told %v, and of the others %v", n.Name, n.Addrs, p.Addrs, p.Nodes)
		}
		if addr := p.Addrs.Of(false); !p.Subnet.Contains(addr) || !p.Subnet.Contains(p.Gateway) || p.Gateway == addr {
			t.Errorf("%s: address %v, gateway %v, subnet %v", n.Name, addr, p.Gateway, p.Subnet)
		}
		if p.Endpoint.String() != endpoint {
			t.Errorf("%s was told endpoint %v, it is %s", n.Name, p.Endpoint, endpoint)
		}
	}
	expectOutput(t, nodes[1], "agar\n", "printenv", "FLAVOUR")
}

func testFiles(t *testing.T, s Subject) {
	spec := newSpec(s, 1)
	spec.Files = func(p provider.Placement) ([]provider.File, error) {
		return []provider.File{
			{Path: "/etc/petri-test/deep/name", Data: []byte(p.Node.Name)},
			{Path: "/var/lib/petri-test/secret", Data: []byte("s3cret"), Mode: 0o600},
			{Path: "/opt/petri-test/run", Data: []byte("#!"), Mode: 0o755},
		}, nil
	}
	for _, n := range create(t, s, spec) {
		data, err := n.ReadFile(t.Context(), "/etc/petri-test/deep/name")
		if err != nil || string(data) != n.Name {
			t.Errorf("%s: file holds %q, %v", n.Name, data, err)
		}
		expectOutput(t, n, "644\n", "stat", "-c", "%a", "/etc/petri-test/deep/name")
		expectOutput(t, n, "755\n", "stat", "-c", "%a", "/etc/petri-test")
		expectOutput(t, n, "s3cret", "cat", "/var/lib/petri-test/secret")
		expectOutput(t, n, "600\n", "stat", "-c", "%a", "/var/lib/petri-test/secret")
		expectOutput(t, n, "755\n", "stat", "-c", "%a", "/opt/petri-test/run")
	}
}

func testFilesError(t *testing.T, s Subject) {
	broken := errors.New("no template")
	for _, files := range []func(provider.Placement) ([]provider.File, error){
		func(provider.Placement) ([]provider.File, error) { return nil, broken },
		func(provider.Placement) ([]provider.File, error) {
			return []provider.File{{Path: "/run/lost", Data: []byte("x")}}, nil // empty at every start
		},
		func(provider.Placement) ([]provider.File, error) { return []provider.File{{Path: "relative"}}, nil },
	} {
		spec := newSpec(s, 1)
		spec.Files = files
		deleteLater(t, s, spec.Cluster)
		if _, err := s.Provider.Create(t.Context(), spec, progress.Discard); err == nil {
			t.Error("create with files that cannot be put into a node: no error")
		} else if !strings.Contains(err.Error(), spec.Cluster) {
			t.Errorf("the error names no node: %v", err)
		}
	}
}

func testMissingImage(t *testing.T, s Subject) {
	spec := newSpec(s, 1)
	spec.Nodes[1].Image = "petri.test/no-such-image:none"
	deleteLater(t, s, spec.Cluster)
	_, err := s.Provider.Create(t.Context(), spec, progress.Discard)
	if err == nil || !strings.Contains(err.Error(), spec.Nodes[1].Image) {
		t.Fatalf("create with an image that is not there: %v", err)
	}
	if err := s.Provider.Delete(t.Context(), spec.Cluster); err != nil {
		t.Fatalf("delete what a failed create left: %v", err)
	}
	expectGone(t, s, spec.Cluster)
}

func testExists(t *testing.T, s Subject) {
	spec := newSpec(s, 0)
	create(t, s, spec)
	other := newSpec(s, 0)
	other.Cluster = spec.Cluster // other names of nodes
	_, err := s.Provider.Create(t.Context(), other, progress.Discard)
	if !errdefs.Is(err, errdefs.ClassExists) {
		t.Errorf("create again: %v, want class exists", err)
	}
	nodes, err := s.Provider.Nodes(t.Context(), spec.Cluster)
	if diff := cmp.Diff([]string{spec.Nodes[0].Name}, names(nodes)); err != nil || diff != "" {
		t.Errorf("nodes after the refusal: %v (-want +got):\n%s", err, diff)
	}
}

func testDelete(t *testing.T, s Subject) {
	spec := newSpec(s, 1)
	create(t, s, spec)
	for range 2 { // the second time there is nothing
		if err := s.Provider.Delete(t.Context(), spec.Cluster); err != nil {
			t.Fatal(err)
		}
		expectGone(t, s, spec.Cluster)
	}
	create(t, s, spec)
}

func expectGone(t *testing.T, s Subject, cluster string) {
	t.Helper()
	nodes, err := s.Provider.Nodes(t.Context(), cluster)
	if err != nil || len(nodes) > 0 {
		t.Errorf("nodes of a deleted cluster: %q, %v", names(nodes), err)
	}
	clusters, err := s.Provider.Clusters(t.Context())
	if err != nil || slices.Contains(clusters, cluster) {
		t.Errorf("clusters still hold %s: %q, %v", cluster, clusters, err)
	}
}

func testSideBySide(t *testing.T, s Subject) {
	specs := []provider.Spec{newSpec(s, 1), newSpec(s, 1), newSpec(s, 0)}
	subnets := make([]netip.Prefix, len(specs))
	errs := make([]error, len(specs))
	var all sync.WaitGroup
	for i := range specs {
		specs[i].Files = func(p provider.Placement) ([]provider.File, error) {
			if p.Node.Role == nodeimage.RoleControlPlane {
				subnets[i] = p.Subnet
			}
			return nil, nil
		}
		deleteLater(t, s, specs[i].Cluster)
		all.Go(func() { _, errs[i] = s.Provider.Create(t.Context(), specs[i], progress.Discard) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	endpoints := map[string]bool{}
	for i, spec := range specs {
		for j := range i {
			if subnets[i].Overlaps(subnets[j]) {
				t.Errorf("subnets %v and %v overlap", subnets[i], subnets[j])
			}
		}
		endpoint, err := s.Provider.Endpoint(t.Context(), spec.Cluster)
		if err != nil || endpoints[endpoint] {
			t.Errorf("endpoint of %s: %s, %v; had %v", spec.Cluster, endpoint, err, endpoints)
		}
		endpoints[endpoint] = true
	}
	if err := s.Provider.Delete(t.Context(), specs[0].Cluster); err != nil {
		t.Fatal(err)
	}
	nodes, err := s.Provider.Nodes(t.Context(), specs[1].Cluster)
	if err != nil || len(nodes) != 2 {
		t.Errorf("the other cluster's nodes after a delete: %q, %v", names(nodes), err)
	}
	for _, n := range nodes {
		expectOutput(t, n, "alive\n", "echo", "alive")
	}
}

func testEndpoint(t *testing.T, s Subject) {
	spec := newSpec(s, 0)
	nodes := create(t, s, spec)
	endpoint, err := s.Provider.Endpoint(t.Context(), spec.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	at, err := netip.ParseAddrPort(endpoint)
	if err != nil || at.Addr() != netip.MustParseAddr("127.0.0.1") || at.Port() == 0 {
		t.Errorf("endpoint %q", endpoint)
	}
	want := node.Port{
		ContainerPort: nodeimage.APIServerPort, HostPort: at.Port(), ListenAddress: "127.0.0.1", Protocol: "tcp",
	}
	if !slices.Contains(nodes[0].Ports, want) {
		t.Errorf("published ports %v lack the endpoint's %v", nodes[0].Ports, want)
	}
}

func testSubnet(t *testing.T, s Subject) {
	spec := newSpec(s, 1)
	subnet := netip.MustParsePrefix("10.199.77.0/28")
	spec.Subnets = []netip.Prefix{subnet}
	spec.Avoid = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}
	for _, n := range create(t, s, spec) {
		if !subnet.Contains(n.Addr(false)) {
			t.Errorf("%s is at %v, outside of %v", n.Name, n.Addrs, subnet)
		}
	}
	other := newSpec(s, 0)
	other.Subnets = []netip.Prefix{netip.MustParsePrefix("10.199.77.0/29")}
	deleteLater(t, s, other.Cluster)
	if _, err := s.Provider.Create(t.Context(), other, progress.Discard); err == nil {
		t.Error("create in a subnet that is taken: no error")
	}
}

func testExec(t *testing.T, s Subject) {
	n := create(t, s, newSpec(s, 0))[0]
	ctx := t.Context()
	expectOutput(t, n, "two words\n", "echo", "two words")
	if err := exec.Run(ctx, n, "true"); err != nil {
		t.Errorf("true: %v", err)
	}
	expectFailure(t, exec.Run(ctx, n, "false"), 1, "")
	expectFailure(t, exec.Run(ctx, n, "ls", "/no-such-directory"), 2, "no-such-directory")
	if err := exec.Run(ctx, n, "no-such-command"); err == nil {
		t.Error("a command that does not exist: no error")
	} else if _, ok := errors.AsType[*exec.Error](err); !ok {
		t.Errorf("a command that does not exist: %v, want an *exec.Error", err)
	}
	if err := n.Run(ctx, exec.Cmd{}); err == nil {
		t.Error("no command: no error")
	}

	var stdout, stderr bytes.Buffer
	err := n.Run(ctx, exec.Cmd{Args: []string{"cat"}, Stdin: strings.NewReader("in"), Stdout: &stdout, Stderr: &stderr})
	if err != nil || stdout.String() != "in" || stderr.Len() > 0 {
		t.Errorf("cat of its input: %v, output %q, errors %q", err, &stdout, &stderr)
	}
	stdout.Reset()
	err = n.Run(ctx, exec.Cmd{Args: []string{"cat", "/no-such-file"}, Stdout: &stdout, Stderr: &stderr})
	expectFailure(t, err, 1, "no-such-file")
	if stdout.Len() > 0 || !strings.Contains(stderr.String(), "no-such-file") {
		t.Errorf("streams mixed: output %q, errors %q", &stdout, &stderr)
	}
	stdout.Reset()
	err = n.Run(ctx, exec.Cmd{Args: []string{"printenv", "COLOUR"}, Env: []string{"COLOUR=violet"}, Stdout: &stdout})
	if err != nil || stdout.String() != "violet\n" {
		t.Errorf("environment: %v, %q", err, &stdout)
	}

	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	if err := n.WriteFile(ctx, "/var/lib/big", big); err != nil {
		t.Fatal(err)
	}
	if got, err := n.ReadFile(ctx, "/var/lib/big"); err != nil || !bytes.Equal(got, big) {
		t.Errorf("a megabyte came back as %d bytes, %v", len(got), err)
	}
	broken := errors.New("pipe burst")
	err = n.Run(ctx, exec.Cmd{Args: []string{"cat"}, Stdin: &failingReader{err: broken}})
	if !errors.Is(err, broken) {
		t.Errorf("input that cannot be read: %v, want %v", err, broken)
	}
}

type failingReader struct{ err error }

func (f *failingReader) Read([]byte) (int, error) { return 0, f.err }

func expectFailure(t *testing.T, err error, code int, stderr string) {
	t.Helper()
	failed, ok := errors.AsType[*exec.Error](err)
	if !ok || failed.Code != code || !strings.Contains(string(failed.Stderr), stderr) {
		t.Errorf("got %v, want exit code %d and %q on standard error", err, code, stderr)
	}
}

func testExecCancelled(t *testing.T, s Subject) {
	n := create(t, s, newSpec(s, 0))[0]
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	// A command that certainly runs, because it answers, and that does not
	// end, because its input does not.
	in, out := io.Pipe()
	defer out.Close()
	go out.Write([]byte("x"))
	err := n.Run(ctx, exec.Cmd{Args: []string{"cat"}, Stdin: in, Stdout: onWrite(func() { cancel(why) })})
	if !errors.Is(err, why) {
		t.Errorf("cancelled command: %v, want the context's cause", err)
	}
	expectOutput(t, n, "on\n", "echo", "on")
	if err := exec.Run(ctx, n, "true"); !errors.Is(err, why) {
		t.Errorf("command under a cancelled context: %v, want the cause", err)
	}
}

// onWrite is a writer that calls itself on each write.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

func testExecConcurrent(t *testing.T, s Subject) {
	n := create(t, s, newSpec(s, 0))[0]
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() { expectOutput(t, n, fmt.Sprintln(i), "echo", fmt.Sprint(i)) })
	}
	all.Wait()
}

func testConsole(t *testing.T, s Subject) {
	logs, ok := s.Provider.(provider.LogCollector)
	if !ok {
		t.Skip("the provider collects no logs")
	}
	n := create(t, s, newSpec(s, 0))[0]
	if err := exec.Run(t.Context(), n, "true"); err != nil {
		t.Fatal(err)
	}
	var console, last bytes.Buffer
	if err := logs.Console(t.Context(), n, 0, &console); err != nil || !bytes.Contains(console.Bytes(), []byte("Multi-User System")) {
		t.Errorf("console %q, %v; want the boot line", console.Bytes(), err)
	}
	if err := logs.Console(t.Context(), n, 1, &last); err != nil || bytes.Count(last.Bytes(), []byte("\n")) > 1 {
		t.Errorf("last line of the console: %q, %v", last.Bytes(), err)
	}
	inspected, err := logs.Inspect(t.Context(), n)
	if err != nil || !bytes.Contains(inspected.Raw, []byte(n.Name)) || inspected.Started.IsZero() {
		t.Errorf("inspect: %+v, %v", inspected, err)
	}
}

func testRemains(t *testing.T, s Subject) {
	logs, ok := s.Provider.(provider.LogCollector)
	if !ok {
		t.Skip("the provider collects no logs")
	}
	power, ok := s.Provider.(provider.Power)
	if !ok {
		t.Skip("the provider does not stop nodes")
	}
	spec := newSpec(s, 0)
	spec.Files = func(provider.Placement) ([]provider.File, error) {
		return []provider.File{{Path: "/etc/petri-test/deep/given", Data: []byte("given"), Mode: 0o600}}, nil
	}
	n := create(t, s, spec)[0]
	if err := n.WriteFile(t.Context(), "/var/lib/kept", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	if err := power.Stop(t.Context(), n, stopLimit); err != nil {
		t.Fatal(err)
	}
	inspected, err := logs.Inspect(t.Context(), n)
	if err != nil || inspected.Finished.Before(inspected.Started) || inspected.OutOfMemory {
		t.Errorf("inspect a stopped node: %+v, %v", inspected, err)
	}
	expectNodeFiles(t, logs, n)
	place, release, err := logs.Remains(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	expectOutput(t, node.Node{Runner: place, Name: n.Name}, "kept", "cat", "/var/lib/kept")
	listed, err := s.Provider.Nodes(t.Context(), spec.Cluster)
	if err != nil || len(listed) != 1 || listed[0].State != node.Stopped {
		t.Errorf("while remains are looked at the nodes are %v, %v", listed, err)
	}
	if err := release(); err != nil {
		t.Errorf("release: %v", err)
	}
	if _, _, err := logs.Remains(t.Context(), node.Node{Name: n.Name + "-none", Image: n.Image}); err == nil {
		t.Error("remains of no node: no error")
	}
}

// expectNodeFiles reads a file of a node that does not run, by its own path and
// by that of a directory above it.
func expectNodeFiles(t *testing.T, logs provider.LogCollector, n node.Node) {
	t.Helper()
	const file = "/etc/petri-test/deep/given"
	for _, path := range []string{file, "/etc/petri-test"} {
		files, err := logs.ReadNodeFiles(t.Context(), n, path)
		if err != nil || len(files) != 1 || string(files[file]) != "given" {
			t.Errorf("files at %s: %q, %v", path, files, err)
		}
	}
	if _, err := logs.ReadNodeFiles(t.Context(), n, "/no-such-file"); !errdefs.Is(err, errdefs.ClassNotFound) {
		t.Errorf("no file in a node: %v, want class not found", err)
	}
}

func testImage(t *testing.T, s Subject) {
	store, ok := s.Provider.(provider.ImageStore)
	if !ok {
		t.Skip("the provider keeps no images")
	}
	img, err := store.Image(t.Context(), s.Image)
	if err != nil || !strings.HasPrefix(img.ID, "sha256:") || img.Architecture == "" {
		t.Errorf("image: %+v, %v", img, err)
	}
	if _, err := store.Image(t.Context(), "petri.test/no-such-image:none"); !errdefs.Is(err, errdefs.ClassNotFound) {
		t.Errorf("no image: %v, want class not found", err)
	}
	if _, err := store.ReadImageFile(t.Context(), s.Image, "/no-such-file"); !errdefs.Is(err, errdefs.ClassNotFound) {
		t.Errorf("no file in an image: %v, want class not found", err)
	}
	if files, ok := s.Provider.(provider.ImageFiles); ok {
		err := files.ReadImageFiles(t.Context(), s.Image, []string{"/no-such-file"}, func(string, io.Reader) error { return nil })
		if !errdefs.Is(err, errdefs.ClassNotFound) {
			t.Errorf("no files in an image: %v, want class not found", err)
		}
	}
	if err := store.LoadImage(t.Context(), strings.NewReader("not an archive")); err == nil {
		t.Error("load of no archive: no error")
	}
	err = store.ExtendImage(t.Context(), "petri.test/no-such-image:none", "petri.test/extended:none", bytes.NewReader(make([]byte, 1024)))
	if !errdefs.Is(err, errdefs.ClassNotFound) {
		t.Errorf("an image on top of none: %v, want class not found", err)
	}
}

func testImageSource(t *testing.T, s Subject) {
	source, ok := s.Provider.(provider.ImageSource)
	if !ok {
		t.Skip("the provider gives no images away")
	}
	saved, err := source.SaveImage(t.Context(), s.Image, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := saved.Close(); err != nil {
		t.Errorf("close an archive that was not read: %v", err)
	}
	if stream, err := source.SaveImage(t.Context(), "petri.test/no-such-image:none", ""); !errdefs.Is(err, errdefs.ClassNotFound) {
		t.Errorf("save no image: %v, %v, want class not found", stream, err)
	}
	if _, err := source.OpenImage(t.Context(), "sha256:"+strings.Repeat("0", 64)); !errdefs.Is(err, errdefs.ClassUnavailable) {
		t.Errorf("open no image: %v, want class unavailable", err)
	}
}
