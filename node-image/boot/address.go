package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// addressFile holds the addresses that the node had at its last boot, one in a
// line.
const addressFile = "/petri/address"

// address repairs what kubeadm bound to the node's addresses, where the engine
// gives it others than at the last boot: as on a network on which it is free to
// choose, which is kind's. petri's own clusters keep theirs. The new addresses
// are written down last, so that a repair that was cut short is taken up at the
// next boot.
func address(ctx context.Context, m *Machine) error {
	own, err := m.ownAddrs()
	if err != nil {
		return err
	}
	known, err := os.ReadFile(m.path(addressFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	moved := map[netip.Addr]netip.Addr{}
	var lines strings.Builder
	for _, addr := range own {
		fmt.Fprintln(&lines, addr)
		for text := range strings.Lines(string(known)) {
			old, err := netip.ParseAddr(strings.TrimSpace(text))
			if err == nil && old != addr && old.Is4() == addr.Is4() {
				moved[old] = addr
			}
		}
	}
	if len(moved) > 0 {
		if err := m.rebind(ctx, moved); err != nil {
			return fmt.Errorf("repair what was at other addresses (%v): %w", moved, err)
		}
	}
	if lines.String() == string(known) {
		return nil
	}
	return m.write(addressFile, lines.String())
}

// boundFiles name the node's address, and are kubeadm's input or the kubelet's.
// On a control plane the kubelet's kubeconfig leads to the API server beside
// it, with a certificate that is renewed and must not be made anew.
var boundFiles = []string{
	nodeimage.KubeadmConfigPath, nodeimage.PlanPath, "/var/lib/kubelet/kubeadm-flags.env", "/etc/kubernetes/kubelet.conf",
}

// boundPhases make what kubeadm would not make while there is an older one:
// the files that each phase begins without.
var boundPhases = []struct {
	phase string
	files []string // below /etc/kubernetes
}{
	{"certs apiserver", []string{"pki/apiserver.crt", "pki/apiserver.key"}},
	{"certs etcd-server", []string{"pki/etcd/server.crt", "pki/etcd/server.key"}},
	{"certs etcd-peer", []string{"pki/etcd/peer.crt", "pki/etcd/peer.key"}},
	{"kubeconfig controller-manager", []string{"controller-manager.conf"}},
	{"kubeconfig scheduler", []string{"scheduler.conf"}},
	{"control-plane apiserver", nil},
	{"etcd local", nil},
}

// rebind puts new addresses in the place of old ones in what the node was
// told, and on a control plane has kubeadm make the rest anew from that.
func (m *Machine) rebind(ctx context.Context, moved map[netip.Addr]netip.Addr) error {
	for _, path := range boundFiles {
		if err := m.replaceAddrs(path, moved); err != nil {
			return err
		}
	}
	if err := m.readPlan(); err != nil {
		return err
	}
	const etc = "/etc/kubernetes"
	if _, err := os.Stat(m.path(etc + "/manifests/kube-apiserver.yaml")); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, p := range boundPhases {
		for _, file := range p.files {
			if err := os.Remove(m.path(filepath.Join(etc, file))); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		args := append([]string{"kubeadm", "init", "phase"}, strings.Fields(p.phase)...)
		if err := exec.Run(ctx, m.Runner, append(args, "--config="+nodeimage.KubeadmConfigPath)...); err != nil {
			return err
		}
	}
	return nil
}

// wholeAddr is as much as may belong to an address, of either family.
var wholeAddr = regexp.MustCompile(`[0-9A-Za-z.:]+`)

// port is a port after an IPv4 address.
var port = regexp.MustCompile(`:[0-9]+$`)

// replaceAddrs replaces addresses in a file, and not those that begin or end
// like them. A file that is not there is none that names them.
func (m *Machine) replaceAddrs(path string, moved map[netip.Addr]netip.Addr) error {
	text, err := os.ReadFile(m.path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(m.path(path))
	if err != nil {
		return err
	}
	replaced := wholeAddr.ReplaceAllFunc(text, func(word []byte) []byte {
		return replaceAddr(word, moved)
	})
	return os.WriteFile(m.path(path), replaced, info.Mode().Perm())
}

// replaceAddr replaces a word that is an address, with a port or without.
func replaceAddr(word []byte, moved map[netip.Addr]netip.Addr) []byte {
	if addr, err := netip.ParseAddr(string(word)); err == nil {
		if own, ok := moved[addr]; ok {
			return []byte(own.String())
		}
		return word
	}
	rest := port.Find(word)
	addr, err := netip.ParseAddr(string(word[:len(word)-len(rest)]))
	if own, ok := moved[addr]; ok && err == nil && addr.Is4() {
		return append([]byte(own.String()), rest...)
	}
	return word
}
