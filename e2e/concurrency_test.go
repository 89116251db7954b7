//go:build e2e

package e2e

import (
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Four clusters are made at once, with one kubeconfig: all of them are there,
// no two have the same subnet or port, and each goes its own way.
func TestConcurrentClusters(t *testing.T) {
	t.Parallel()
	kubeconfig := t.TempDir() + "/kubeconfig"
	var clusters []*cluster
	for _, name := range []string{"a", "b", "c", "d"} {
		clusters = append(clusters, &cluster{name: "e2e-side-" + name, kubeconfig: kubeconfig})
	}
	for _, c := range clusters {
		t.Cleanup(func() { c.remove(t) })
	}
	for i, r := range atOnce(clusters, func(c *cluster) result {
		return c.petri(t.Context(), withImage([]string{"create", "cluster", "--name", c.name, "--wait", "10m"})...)
	}) {
		if r.code != 0 {
			t.Fatalf("create %s: exit code %d\n%s", clusters[i].name, r.code, r.stderr)
		}
	}
	var subnets, ports []string
	listed := clusters[0].petri(t.Context(), "get", "clusters", "-o", "name").stdout
	for _, c := range clusters {
		if got := c.must(t, "--context", "petri-"+c.name, "get", "nodes", "-o", "name"); got != "node/"+c.name+"-control-plane" {
			t.Errorf("context petri-%s shows %q", c.name, got)
		}
		if !strings.Contains(listed, c.name+"\n") {
			t.Errorf("get clusters does not list %s:\n%s", c.name, listed)
		}
		subnets = append(subnets, docker(t, "network", "inspect", "--format", "{{range .IPAM.Config}}{{.Subnet}} {{end}}", "petri-"+c.name))
		ports = append(ports, docker(t, "port", c.name+"-control-plane", "6443/tcp"))
	}
	for _, given := range [][]string{subnets, ports} {
		if slices.Sort(given); len(slices.Compact(slices.Clone(given))) != len(clusters) {
			t.Errorf("something was given out twice: %q", given)
		}
	}
	t.Run("kubeconfig", func(t *testing.T) { manyExports(t, clusters) })
	t.Run("one name", func(t *testing.T) { sameName(t, clusters[3]) })
	clusters[0].petri(t.Context(), "delete", "cluster", "--name", clusters[0].name)
	clusters[1].must(t, "--context", "petri-"+clusters[1].name, "get", "--raw", "/readyz")
}

// atOnce does the same to all clusters at once.
func atOnce(clusters []*cluster, do func(*cluster) result) []result {
	results := make([]result, len(clusters))
	var all sync.WaitGroup
	for i, c := range clusters {
		all.Go(func() { results[i] = do(c) })
	}
	all.Wait()
	return results
}

// manyExports has 20 processes write one kubeconfig at once, one of which is
// killed: every entry is there, and nothing is in the way afterwards.
func manyExports(t *testing.T, clusters []*cluster) {
	dir := t.TempDir()
	shared := dir + "/config"
	const foreign = "apiVersion: v1\nkind: Config\nclusters:\n- cluster: {server: 'https://elsewhere.example'} # mine\n  name: elsewhere\n"
	if err := os.WriteFile(shared, []byte(foreign), 0o600); err != nil {
		t.Fatal(err)
	}
	twenty := slices.Repeat(clusters, 5)
	doomed := osexec.CommandContext(t.Context(), petriBinary(), "export", "kubeconfig", "--name", clusters[0].name, "--kubeconfig", shared)
	if err := doomed.Start(); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(100*time.Millisecond, func() { _ = doomed.Process.Kill() })
	for i, r := range atOnce(twenty, func(c *cluster) result {
		return c.petri(t.Context(), "export", "kubeconfig", "--name", c.name, "--kubeconfig", shared)
	}) {
		if r.code != 0 {
			t.Errorf("export %d: exit code %d\n%s", i, r.code, r.stderr)
		}
	}
	_ = doomed.Wait()
	text, err := os.ReadFile(shared)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range clusters {
		if n := strings.Count(string(text), "name: petri-"+c.name+"\n"); n != 3 {
			t.Errorf("the cluster, the context and the user of %s are there %d times", c.name, n)
		}
	}
	if !strings.Contains(string(text), "- cluster: {server: 'https://elsewhere.example'} # mine\n  name: elsewhere\n") {
		t.Errorf("what is not petri's has changed:\n%s", text)
	}
	// a lock that a killed process left is not waited for for ever
	if err := os.WriteFile(shared+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := clusters[0].petri(t.Context(), "export", "kubeconfig", "--name", clusters[0].name, "--kubeconfig", shared); r.code != 0 {
		t.Errorf("beside an abandoned lock: exit code %d\n%s", r.code, r.stderr)
	}
	if locks, err := filepath.Glob(shared + ".*"); err != nil || len(locks) > 0 {
		t.Errorf("left are %v (%v)", locks, err)
	}
}

// sameName has processes at once on one name. c is there, and is not at the end.
func sameName(t *testing.T, c *cluster) {
	// two deletions: both find nothing at the end
	for i, r := range atOnce([]*cluster{c, c}, func(c *cluster) result {
		return c.petri(t.Context(), "delete", "cluster", "--name", c.name)
	}) {
		if r.code != 0 {
			t.Errorf("deletion %d: exit code %d\n%s", i, r.code, r.stderr)
		}
	}
	if left := owned(t, c.name); len(left) > 0 {
		t.Errorf("two deletions left %v", left)
	}
	// two creations: one wins, and the other one says who
	results := atOnce([]*cluster{c, c}, func(c *cluster) result {
		begin := time.Now()
		r := c.petri(t.Context(), withImage([]string{"create", "cluster", "--name", c.name})...)
		if took := time.Since(begin); r.code != 0 && took > 20*time.Second {
			t.Errorf("the creation that lost took %s", took)
		}
		return r
	})
	slices.SortFunc(results, func(a, b result) int { return a.code - b.code })
	if results[0].code != 0 {
		t.Fatalf("no creation succeeded:\n%s", results[0].stderr)
	}
	host, _ := os.Hostname()
	for _, want := range []string{"error LOCKED", "held by process", " on " + host, "create cluster --name " + c.name} {
		if results[1].code != 3 || !strings.Contains(results[1].stderr, want) {
			t.Errorf("the creation that lost ended with exit code %d, and does not say %q:\n%s", results[1].code, want, results[1].stderr)
		}
	}
	c.must(t, "--context", "petri-"+c.name, "get", "--raw", "/readyz")
	c.petri(t.Context(), "delete", "cluster", "--name", c.name)
	c.deletedWhileCreated(t)
}

// deletedWhileCreated: a deletion beside a creation touches nothing, and says
// so; nor does a creation beside a deletion.
func (c *cluster) deletedWhileCreated(t *testing.T) {
	create := osexec.CommandContext(t.Context(), petriBinary(), withImage([]string{"create", "cluster", "--name", c.name})...)
	create.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig)
	if err := create.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, func() error {
		if len(owned(t, c.name)) == 0 {
			return fmt.Errorf("nothing is made yet")
		}
		return nil
	})
	r := c.petri(t.Context(), "delete", "cluster", "--name", c.name)
	if r.code != 3 || !strings.Contains(r.stderr, "error LOCKED") || !strings.Contains(r.stderr, fmt.Sprintf("held by process %d", create.Process.Pid)) {
		t.Errorf("a deletion beside a creation: exit code %d\n%s", r.code, r.stderr)
	}
	if err := create.Process.Signal(syscall.SIGINT); err != nil {
		t.Error(err)
	}
	_ = create.Wait()
	if code := create.ProcessState.ExitCode(); code != 130 {
		t.Errorf("the creation ended with exit code %d", code)
	}
	if left := owned(t, c.name); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}
