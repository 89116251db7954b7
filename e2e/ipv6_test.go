//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// server is a pod that answers with its node's name at port 8080, and at port
// 8081 of the node.
func server(name, node string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata:
  name: %[1]s
  labels: {app: web}
spec:
  nodeName: %[2]s
  terminationGracePeriodSeconds: 0
  restartPolicy: Always
  containers:
  - name: web
    image: %[3]s
    command: [/usr/bin/busybox, sh, -c, "mkdir -p /tmp/www && echo %[2]s > /tmp/www/index.html && exec busybox httpd -f -p 8080 -h /tmp/www"]
    ports: [{containerPort: 8080, hostPort: 8081}]
---
`, name, node, shell)
}

// service is a Service of the servers, with more said of its families.
func service(name, families string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: %s}, spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}], %s}}\n---\n", name, families)
}

// families is a cluster whose addresses are not of IPv4 alone.
type families struct{ *cluster }

// addresses are those that a field of an object has, with blanks between.
func (c families) addresses(t *testing.T, kind, name, path string) []netip.Addr {
	t.Helper()
	var out []netip.Addr
	for _, text := range strings.Fields(c.must(t, "get", kind, name, "-o", "jsonpath="+path)) {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}

func (c families) podIPs(t *testing.T, pod string) []netip.Addr {
	t.Helper()
	return c.addresses(t, "pod", pod, "{.status.podIPs[*].ip}")
}

// answers asks for a page from within a pod until there is one.
func (c families) answers(t *testing.T, from, host string) {
	t.Helper()
	url := "http://" + host + "/"
	eventually(t, 60*time.Second, func() error {
		if r := c.kubectl(t.Context(), t, "", "exec", from, "--", "busybox", "wget", "-qO-", "-T", "5", url); r.code != 0 {
			return fmt.Errorf("%s from %s: %s", url, from, r.stderr)
		}
		return nil
	})
}

// nodesHave holds the addresses that petri and the API give for each node
// against the families that are wanted, and gives those of the API by node.
func (c families) nodesHave(t *testing.T, api []bool) map[string][]netip.Addr {
	t.Helper()
	r := c.petri(t.Context(), "get", "nodes", "--name", c.name, "-o", "json")
	var known []struct {
		Name      string
		Addresses []netip.Addr
	}
	if err := json.Unmarshal([]byte(r.stdout), &known); err != nil {
		t.Fatalf("%v\n%s%s", err, r.stdout, r.stderr)
	}
	out := map[string][]netip.Addr{}
	for _, n := range known {
		if !slices.Equal(is6(n.Addresses), []bool{false, true}) {
			t.Errorf("petri says that %s is at %v", n.Name, n.Addresses)
		}
		out[n.Name] = c.addresses(t, "node", n.Name, `{.status.addresses[?(@.type=="InternalIP")].address}`)
		if !slices.Equal(is6(out[n.Name]), api) || !slices.Contains(n.Addresses, out[n.Name][0]) {
			t.Errorf("the API says that %s is at %v, petri that it is at %v", n.Name, out[n.Name], n.Addresses)
		}
	}
	return out
}

func is6(addrs []netip.Addr) []bool {
	var out []bool
	for _, a := range addrs {
		out = append(out, a.Is6())
	}
	return out
}

func (c families) restart(t *testing.T) {
	t.Helper()
	c.timed(t, "stop", "cluster")
	c.timed(t, "start", "cluster", "--wait", "3m")
}

// createFrom makes a cluster from a file.
func createFrom(t *testing.T, text string) families {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return families{create(t, "--config", path)}
}

// In a cluster of both families, pods and nodes have an address of each,
// Services those that they ask for, and all of them work, also after a stop and
// a start.
func TestDualStack(t *testing.T) {
	t.Parallel()
	c := createFrom(t, "{apiVersion: petri.dev/v1alpha1, kind: Cluster, networking: {ipFamily: dual}, nodes: [{}, {role: worker}]}\n")
	cp, worker := c.name+"-control-plane", c.name+"-worker"
	c.apply(t, server("far", cp)+server("near", worker)+service("four", "ipFamilies: [IPv4]")+
		service("six", "ipFamilies: [IPv6]")+service("both", "ipFamilyPolicy: PreferDualStack"))
	c.waitReady(t, "default", "pod/far")
	c.waitReady(t, "default", "pod/near")
	both := c.addresses(t, "service", "both", "{.spec.clusterIPs[*]}")
	if !slices.Equal(is6(both), []bool{false, true}) {
		t.Errorf("a Service of both families is at %v", both)
	}
	before := c.nodesHave(t, []bool{false, true})
	check := func() {
		for _, pod := range []string{"far", "near"} {
			ips := c.podIPs(t, pod)
			if !slices.Equal(is6(ips), []bool{false, true}) {
				t.Fatalf("pod %s is at %v", pod, ips)
			}
			from := map[string]string{"far": "near", "near": "far"}[pod]
			for _, ip := range ips {
				c.answers(t, from, netip.AddrPortFrom(ip, 8080).String())
			}
		}
		services := slices.Concat(both, c.addresses(t, "service", "four", "{.spec.clusterIPs[*]}"), c.addresses(t, "service", "six", "{.spec.clusterIPs[*]}"))
		if !slices.Equal(is6(services), []bool{false, true, false, true}) {
			t.Errorf("Services are at %v", services)
		}
		for _, ip := range services {
			c.answers(t, "near", netip.AddrPortFrom(ip, 80).String())
		}
		for _, name := range []string{"four", "six", "both"} {
			c.answers(t, "near", name)
		}
	}
	check()
	path, err := kubectlBinary()
	if err != nil {
		t.Fatal(err)
	}
	for _, nowhere := range []string{"[fd00:10:96::dead]", "[fd00:10:244:f0::7]", "10.96.201.201"} {
		refused(t, "from a node", "docker", "exec", worker, "curl", "-sS", "-g", "--max-time", "8", "http://"+nowhere+"/")
		refused(t, "from a pod", path, "--kubeconfig", c.kubeconfig, "exec", "near", "--", "busybox", "wget", "-T", "8", "-qO-", "http://"+nowhere+"/")
	}
	c.restart(t)
	for name, addrs := range c.nodesHave(t, []bool{false, true}) {
		if !slices.Equal(addrs, before[name]) {
			t.Errorf("%s was at %v, and is at %v", name, before[name], addrs)
		}
	}
	c.waitReady(t, "default", "pod/far")
	c.waitReady(t, "default", "pod/near")
	check()
}

// A configuration of kind's for IPv6 alone: the API is reached from the host,
// Services and names within, and nodes come and go.
func TestIPv6(t *testing.T) {
	t.Parallel()
	c := createFrom(t, "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnetworking:\n  ipFamily: ipv6\nnodes:\n- role: control-plane\n- role: worker\n")
	cp, worker := c.name+"-control-plane", c.name+"-worker"
	if got := c.must(t, "config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"); !strings.HasPrefix(got, "https://[::1]:") {
		t.Errorf("the API is at %s", got)
	}
	before := c.nodesHave(t, []bool{true})
	if got := c.addresses(t, "service", "kubernetes", "{.spec.clusterIPs[*]}"); !slices.Equal(got, []netip.Addr{netip.MustParseAddr("fd00:10:96::1")}) {
		t.Errorf("Service kubernetes is at %v", got)
	}
	c.apply(t, server("far", cp)+server("near", worker)+service("web", "ipFamilies: [IPv6]"))
	c.waitReady(t, "default", "pod/far")
	c.waitReady(t, "default", "pod/near")
	for _, host := range []string{
		netip.AddrPortFrom(c.podIPs(t, "far")[0], 8080).String(),
		netip.AddrPortFrom(c.addresses(t, "service", "web", "{.spec.clusterIP}")[0], 80).String(),
		"web", "web.default.svc.cluster.local",
		netip.AddrPortFrom(before[cp][0], 8081).String(), // a host port
		cp + ":8081", // a name that only the engine's DNS server knows
	} {
		c.answers(t, "near", host)
	}
	t.Run("nodes come and go", func(t *testing.T) {
		c.timed(t, "create", "node")
		added := worker + "2"
		if got := c.nodesHave(t, []bool{true}); len(got) != 3 {
			t.Errorf("the nodes are %v", got)
		}
		c.apply(t, server("new", added))
		c.waitReady(t, "default", "pod/new")
		c.answers(t, "near", netip.AddrPortFrom(c.podIPs(t, "new")[0], 8080).String())
		c.must(t, "delete", "pod", "new") // a node with a pod that nothing makes anew is kept
		c.timed(t, "scale", "cluster", "--workers", "1")
		if got := c.nodesHave(t, []bool{true}); len(got) != 2 {
			t.Errorf("the nodes are %v", got)
		}
	})
	c.restart(t)
	c.waitReady(t, "default", "pod/far")
	c.waitReady(t, "default", "pod/near")
	c.answers(t, "near", "web")
	c.answers(t, "near", cp+":8081")
}
