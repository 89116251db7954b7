package container

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"
	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// TestSubnetRanges keeps petri's ranges clear of what others take first.
func TestSubnetRanges(t *testing.T) {
	for owner, taken := range map[string][]netip.Prefix{
		"Docker's first bridges": prefixes("172.17.0.0/16", "172.18.0.0/15", "172.20.0.0/14"),
		"home routers":           prefixes("192.168.0.0/17", "10.0.0.0/16", "10.1.0.0/16"),
		"OpenVPN and WireGuard":  prefixes("10.6.0.0/16", "10.8.0.0/16", "10.13.13.0/24", "10.200.0.0/16"),
		"overlay VPNs":           prefixes("100.64.0.0/10", "172.16.0.0/16"),
		"Kubernetes":             prefixes("10.96.0.0/12", "10.244.0.0/16", "10.42.0.0/15", "192.168.0.0/17"),
		"podman and libvirt":     prefixes("10.88.0.0/16", "10.89.0.0/16", "192.168.122.0/24"),
	} {
		for _, r := range subnetRanges() {
			if overlapsAny(r, taken) {
				t.Errorf("range %v is where %s are", r, owner)
			}
		}
	}
}

func TestFreeSubnets(t *testing.T) {
	taken := prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.200.0/24")
	var all []netip.Prefix
	for subnet := range freeSubnets("a", taken) {
		if overlapsAny(subnet, taken) || slices.Contains(all, subnet) || subnet.Bits() != 24 || subnet != subnet.Masked() {
			t.Fatalf("%v is taken, or came twice, or is no subnet", subnet)
		}
		all = append(all, subnet)
	}
	if want := 63 + 512; len(all) != want {
		t.Errorf("%d subnets, want %d", len(all), want)
	}
	first := func(name string) netip.Prefix {
		for subnet := range freeSubnets(name, nil) {
			return subnet
		}
		return netip.Prefix{}
	}
	a, again, b := first("a"), first("a"), first("b")
	if a != again || a == b {
		t.Errorf("first for a: %v, then %v; for b: %v", a, again, b)
	}
}

// rangeOf is a range without addresses for nodes.
func rangeOf(text string) addressing {
	subnet := netip.MustParsePrefix(text)
	return addressing{subnet: subnet, gateway: nthAddr(subnet, 1)}
}

// IPv6 subnets are unique local ones, the same for a name each time, and clash
// with nothing.
func TestFreeSubnets6(t *testing.T) {
	all := func(name string, taken ...netip.Prefix) []netip.Prefix {
		return slices.Collect(freeSubnets6(name, taken))
	}
	a := all("a")
	if !slices.Equal(a, all("a")) || a[0] == all("b")[0] {
		t.Errorf("first for a: %v; for b: %v", a[0], all("b")[0])
	}
	for _, subnet := range a {
		if !netip.MustParsePrefix("fd00::/8").Overlaps(subnet) || subnet.Bits() != 64 || subnet != subnet.Masked() {
			t.Errorf("%v is no unique local subnet", subnet)
		}
	}
	if got := all("a", a[0], a[2]); slices.Contains(got, a[0]) || slices.Contains(got, a[2]) || got[0] != a[1] {
		t.Errorf("with %v and %v taken: %v", a[0], a[2], got)
	}
}

func TestAssign(t *testing.T) {
	n := clusterNetwork{name: "n", v4: rangeOf("10.0.0.0/29"), v6: rangeOf("fd5a::/64")}
	taken := []netip.Addr{netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("fd5a::2")}
	if err := n.assign(3, firstFree, taken); err != nil {
		t.Fatal(err)
	}
	want := []string{"[10.0.0.2 fd5a::3]", "[10.0.0.4 fd5a::4]", "[10.0.0.5 fd5a::5]"}
	for i := range want {
		if got := fmt.Sprint(n.addrsOf(i)); got != want[i] {
			t.Errorf("the %d. node is at %s, want %s", i, got, want[i])
		}
	}
	full := clusterNetwork{name: "n", v4: rangeOf("10.0.0.0/29")}
	if err := full.assign(6, firstFree, nil); !errdefs.Is(err, errdefs.ClassUsage) {
		t.Errorf("six nodes in a /29: %v, want class usage", err)
	}
}

func TestProxyEnv(t *testing.T) {
	env := map[string]string{"https_proxy": "http://proxy:3128", "NO_PROXY": "corp, .svc"}
	got := proxyEnv(func(name string) string { return env[name] }, []string{"10.201.0.0/24", ".svc"})
	want := []string{
		"HTTPS_PROXY=http://proxy:3128", "https_proxy=http://proxy:3128",
		"NO_PROXY=corp,.svc,10.201.0.0/24", "no_proxy=corp,.svc,10.201.0.0/24",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("with a proxy (-want +got):\n%s", diff)
	}
	delete(env, "https_proxy")
	if got := proxyEnv(func(name string) string { return env[name] }, nil); got != nil {
		t.Errorf("without a proxy: %q", got)
	}
}

func TestNodeConfig(t *testing.T) {
	p := fakeProvider(t, newFakeEngine())
	spec := specOf(0)
	spec.Nodes[0].Ports = []node.Port{{ContainerPort: 80, HostPort: 8080}}
	spec.Nodes[0].Mounts = []provider.Mount{
		{HostPath: "/src", ContainerPath: "/dst", ReadOnly: true, SelinuxRelabel: true, Propagation: "Bidirectional"},
	}
	pl, err := p.place(t.Context(), spec, clusterNetwork{name: "n", v4: addressing{addrs: []netip.Addr{netip.MustParseAddr("10.0.0.2")}}})
	if err != nil {
		t.Fatal(err)
	}
	info := system.Info{Driver: "btrfs", SecurityOptions: []string{"name=seccomp,profile=default", "name=userns", "name=rootless"}}
	c := p.nodeConfig(pl, 0, modePrivileged, info)
	if !c.host.Privileged || c.host.UsernsMode != "host" || len(c.host.Devices) != 1 || c.host.Devices[0].PathOnHost != "/dev/fuse" {
		t.Errorf("host config %+v", c.host)
	}
	for _, bind := range []string{"/src:/dst:ro,Z,rshared", "/dev/mapper:/dev/mapper"} {
		if !slices.Contains(c.host.Binds, bind) {
			t.Errorf("binds %q lack %s", c.host.Binds, bind)
		}
	}
	if got := c.host.PortBindings["80/tcp"]; len(got) != 1 || got[0].HostIP != "127.0.0.1" || got[0].HostPort != "8080" {
		t.Errorf("port 80 is published as %v", got)
	}
	port := c.host.PortBindings["6443/tcp"][0].HostPort
	want := map[string]string{
		"team":                 "lab",
		nodeimage.LabelCluster: "a", nodeimage.LabelKindCluster: "a",
		nodeimage.LabelRole: nodeimage.RoleControlPlane, nodeimage.LabelKindRole: nodeimage.RoleControlPlane,
		nodeimage.LabelVersion: "v0", nodeimage.LabelMode: modePrivileged,
		nodeimage.LabelPort: port, labelAddress: "127.0.0.1",
	}
	if diff := cmp.Diff(want, c.config.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if volume := c.host.Mounts[0]; volume.Target != "/var" || volume.Source != "" || volume.VolumeOptions.Labels[nodeimage.LabelCluster] != "a" {
		t.Errorf("volume %+v", volume)
	}
}

// TestProgramConfig: what runs one program gets nothing of what a machine needs.
func TestProgramConfig(t *testing.T) {
	p := fakeProvider(t, newFakeEngine())
	spec := specOf(0)
	spec.Nodes = append(spec.Nodes, provider.NodeSpec{
		Name: "a-external-load-balancer", Role: nodeimage.RoleLoadBalancer, Image: "img", Command: []string{"/bin/serve", "it"},
	})
	addrs := []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")}
	pl, err := p.place(t.Context(), spec, clusterNetwork{name: "n", v4: addressing{addrs: addrs}})
	if err != nil {
		t.Fatal(err)
	}
	c := p.nodeConfig(pl, 1, modeNone, system.Info{Driver: "btrfs", SecurityOptions: []string{"name=userns", "name=rootless"}})
	if diff := cmp.Diff([]string{"/bin/serve", "it"}, []string(c.config.Entrypoint)); diff != "" || c.config.StopSignal != "SIGTERM" {
		t.Errorf("ends by %s; command (-want +got):\n%s", c.config.StopSignal, diff)
	}
	h := c.host
	if h.Privileged || len(h.CapAdd)+len(h.SecurityOpt)+len(h.Mounts)+len(h.Binds)+len(h.Devices)+len(h.DeviceCgroupRules) > 0 || h.UsernsMode != "" {
		t.Errorf("host config %+v", h)
	}
	if h.RestartPolicy.Name != container.RestartPolicyUnlessStopped {
		t.Errorf("restart policy %+v", h.RestartPolicy)
	}
	// it is what serves the API to the host
	if len(h.PortBindings["6443/tcp"]) != 1 || c.config.Labels[nodeimage.LabelPort] == "" || c.config.Labels[nodeimage.LabelMode] != modeNone {
		t.Errorf("ports %v, labels %v", h.PortBindings, c.config.Labels)
	}
}

func TestArchiveRefuses(t *testing.T) {
	for _, path := range []string{"", "/", "x", "/tmp/x", "/run/x", "/var/run/x", "/etc/../run/x", "/dev/x"} {
		if _, err := archive([]provider.File{{Path: path}}); !errdefs.Is(err, errdefs.ClassUsage) {
			t.Errorf("file %q: %v, want class usage", path, err)
		}
	}
	if _, err := archive([]provider.File{{Path: "/runner/x"}}); err != nil {
		t.Error(err)
	}
}

func TestReadConsole(t *testing.T) {
	var console bytes.Buffer
	for range 60 {
		console.WriteString("line\r\n")
	}
	console.WriteString("last")
	booted, tail := readConsole(&console, bootLine)
	if lines := strings.Split(tail, "\n"); booted || len(lines) != consoleTail || lines[consoleTail-1] != "last" {
		t.Errorf("booted %v, %d lines, %q", booted, len(lines), tail)
	}
}

func TestReadMessages(t *testing.T) {
	err := readMessages(strings.NewReader(`{"status":"Loading"}{"error":"no space left","errorDetail":{}}`), func(message) {})
	if err == nil || err.Error() != "no space left" {
		t.Errorf("got %v, want the stream's error", err)
	}
	if err := readMessages(strings.NewReader(`{"status":`), func(message) {}); err == nil {
		t.Error("torn stream: no error")
	}
}

func TestCurrentContext(t *testing.T) {
	dir := t.TempDir()
	env := map[string]string{"DOCKER_CONFIG": dir}
	dial := func() (string, error) {
		cli, err := dialDocker(func(name string) string { return env[name] })
		if err != nil {
			return "", err
		}
		return cli.DaemonHost(), nil
	}
	t.Setenv(client.EnvOverrideHost, "")
	if host, err := dial(); err != nil || host != client.DefaultDockerHost {
		t.Errorf("default: %s, %v", host, err)
	}
	// The folder is named by the SHA-256 of "lab".
	meta := filepath.Join(dir, "contexts", "meta", "a51146d38077ff992eba84cf1d5e9b249073503eb74868699016153b031a38f7")
	write(t, filepath.Join(dir, "config.json"), `{"currentContext":"lab"}`)
	if _, err := dial(); !errdefs.Is(err, errdefs.ClassUsage) {
		t.Errorf("context that is not there: %v, want class usage", err)
	}
	write(t, filepath.Join(meta, "meta.json"), `{"Name":"lab","Endpoints":{"docker":{"Host":"unix:///lab.sock"}}}`)
	if host, err := dial(); err != nil || host != "unix:///lab.sock" {
		t.Errorf("current context: %s, %v", host, err)
	}
	write(t, filepath.Join(meta, "meta.json"), `{"Endpoints":{"docker":{"Host":"ssh://lab"}}}`)
	if _, err := dial(); !errdefs.Is(err, errdefs.ClassUsage) {
		t.Errorf("ssh: %v, want class usage", err)
	}
	env["DOCKER_CONTEXT"] = "default"
	if host, err := dial(); err != nil || host != client.DefaultDockerHost {
		t.Errorf("DOCKER_CONTEXT: %s, %v", host, err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestUnreachable(t *testing.T) {
	cli, err := client.NewClientWithOpts(client.WithHost("unix://" + filepath.Join(t.TempDir(), "none.sock")))
	if err != nil {
		t.Fatal(err)
	}
	p := newProvider(cli, docker(), Options{})
	_, err = p.Check(t.Context())
	failed, ok := errors.AsType[*errdefs.Error](err)
	if !ok || failed.ID != "ENGINE-UNREACHABLE" || failed.Class != errdefs.ClassUnavailable || failed.Hint == "" {
		t.Errorf("got %#v, want ENGINE-UNREACHABLE with a hint", err)
	}
}

func TestRegistryAuth(t *testing.T) {
	dir := t.TempDir()
	p := newProvider(nil, docker(), Options{Getenv: func(name string) string {
		return map[string]string{"DOCKER_CONFIG": dir}[name]
	}})
	write(t, filepath.Join(dir, "config.json"), `{"auths":{"registry.test":{"auth":"dTpw"}}}`)
	if auth, err := p.registryAuth("registry.test/x:1"); err != nil || auth == "" {
		t.Errorf("known registry: %q, %v", auth, err)
	}
	if auth, err := p.registryAuth("x:1"); err != nil || auth != "" {
		t.Errorf("unknown registry: %q, %v", auth, err)
	}
}
