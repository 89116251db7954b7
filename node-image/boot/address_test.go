package boot

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// bound are the files of a node that was at 172.18.0.2.
func bound(more map[string]string) map[string]string {
	files := map[string]string{
		nodeimage.KubeadmConfigPath:               "advertiseAddress: 172.18.0.2\nnode-ip: 172.18.0.2,172.18.0.20\n",
		nodeimage.PlanPath:                        `{"name": "a", "address": "172.18.0.2"}`,
		"/var/lib/kubelet/kubeadm-flags.env":      "KUBELET_KUBEADM_ARGS=\"--node-ip=172.18.0.2\"\n",
		"/etc/kubernetes/kubelet.conf":            "server: https://172.18.0.2:6443\n",
		"/etc/kubernetes/controller-manager.conf": "server: https://172.18.0.2:6443\n",
		"/etc/kubernetes/pki/apiserver.crt":       "for 172.18.0.2",
		"/etc/kubernetes/pki/ca.crt":              "CA",
	}
	for name, content := range more {
		files[name] = content
	}
	return files
}

func moveTo(m *Machine, prefix string) {
	m.addrs = func() ([]net.Addr, error) { return []net.Addr{addr("127.0.0.1/8"), addr(prefix)}, nil }
}

func TestAddressStays(t *testing.T) {
	m, _ := machine(t, bound(map[string]string{"/etc/kubernetes/manifests/kube-apiserver.yaml": "x"}))
	twice(t, m, address)
	if got := read(t, m, addressFile); got != "172.18.0.2\n" {
		t.Errorf("the address that is known is %q", got)
	}
	if commands := m.Runner.(*fakeRunner).commands; len(commands) > 0 {
		t.Errorf("ran %q", commands)
	}
}

func TestAddressOfControlPlane(t *testing.T) {
	m, _ := machine(t, bound(map[string]string{"/etc/kubernetes/manifests/kube-apiserver.yaml": "x"}))
	if err := address(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	moveTo(m, "172.18.0.7/16")
	runner := m.Runner.(*fakeRunner)
	runner.err = errors.New("no kubeadm")
	if err := address(t.Context(), m); !errors.Is(err, runner.err) {
		t.Fatalf("error %v", err)
	}
	runner.err, runner.commands = nil, nil
	twice(t, m, address) // the first is the boot after the one that failed
	want := []string{
		"kubeadm init phase certs apiserver --config=/kind/kubeadm.conf",
		"kubeadm init phase certs etcd-server --config=/kind/kubeadm.conf",
		"kubeadm init phase certs etcd-peer --config=/kind/kubeadm.conf",
		"kubeadm init phase kubeconfig controller-manager --config=/kind/kubeadm.conf",
		"kubeadm init phase kubeconfig scheduler --config=/kind/kubeadm.conf",
		"kubeadm init phase control-plane apiserver --config=/kind/kubeadm.conf",
		"kubeadm init phase etcd local --config=/kind/kubeadm.conf",
	}
	if diff := cmp.Diff(want, runner.commands); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{
		nodeimage.KubeadmConfigPath:          "advertiseAddress: 172.18.0.7\nnode-ip: 172.18.0.7,172.18.0.20\n",
		"/var/lib/kubelet/kubeadm-flags.env": "KUBELET_KUBEADM_ARGS=\"--node-ip=172.18.0.7\"\n",
		"/etc/kubernetes/kubelet.conf":       "server: https://172.18.0.7:6443\n",
		"/etc/kubernetes/pki/ca.crt":         "CA",
		"/etc/kubernetes/pki/apiserver.crt":  "",
		addressFile:                          "172.18.0.7\n",
	} {
		if got := read(t, m, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if m.Plan == nil || m.Plan.Address != "172.18.0.7" {
		t.Errorf("plan %+v", m.Plan)
	}
}

func TestAddressOfWorker(t *testing.T) {
	m, _ := machine(t, map[string]string{addressFile: "172.18.0.9\n", "/var/lib/kubelet/kubeadm-flags.env": "--node-ip=172.18.0.9"})
	twice(t, m, address)
	if got := read(t, m, "/var/lib/kubelet/kubeadm-flags.env"); got != "--node-ip=172.18.0.2" {
		t.Errorf("the kubelet's flags are %q", got)
	}
	if commands := m.Runner.(*fakeRunner).commands; len(commands) > 0 {
		t.Errorf("ran %q", commands)
	}
}

// Addresses of both families may change; those that only look alike stay.
func TestAddressesOfBothFamilies(t *testing.T) {
	const conf = "advertiseAddress: %[2]s\nnode-ip: %[2]s,%[1]s\ncertSANs: [fd5a::20, fd5a::2:1, \"::1\"]\nserver: https://[%[2]s]:6443 https://%[1]s:6443\n"
	text := func(v4, v6 string) string { return fmt.Sprintf(conf, v4, v6) }
	m, _ := machine(t, map[string]string{
		addressFile:                 "172.18.0.2\nfd5a::2\n",
		nodeimage.KubeadmConfigPath: text("172.18.0.2", "fd5a::2"),
	})
	for _, now := range []struct{ v4, v6 string }{{"172.18.0.2", "fd5a::7"}, {"172.18.0.8", "fd5a::8"}, {"172.18.0.9", "fd5a::8"}} {
		m.addrs = func() ([]net.Addr, error) {
			return []net.Addr{addr("::1/128"), addr("fe80::1/64"), addr(now.v6 + "/64"), addr(now.v4 + "/16")}, nil
		}
		twice(t, m, address)
		if got, want := read(t, m, nodeimage.KubeadmConfigPath), text(now.v4, now.v6); got != want {
			t.Errorf("at %v kubeadm is told\n%s, want\n%s", now, got, want)
		}
		if got, want := read(t, m, addressFile), now.v4+"\n"+now.v6+"\n"; got != want {
			t.Errorf("the addresses that are known are %q, want %q", got, want)
		}
	}
}
