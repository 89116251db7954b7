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

// addressFile holds the address that the node had at its last boot.
const addressFile = "/petri/address"

// address repairs what kubeadm bound to the node's address, where the engine
// gives it another one than at the last boot: as on a network on which it is
// free to choose, which is kind's. petri's own clusters keep theirs. The new
// address is written down last, so that a repair that was cut short is taken
// up at the next boot.
func address(ctx context.Context, m *Machine) error {
	own, err := m.ownAddr()
	if err != nil {
		return err
	}
	known, err := os.ReadFile(m.path(addressFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	old, err := netip.ParseAddr(strings.TrimSpace(string(known)))
	if err == nil && old != own {
		if err := m.rebind(ctx, old, own); err != nil {
			return fmt.Errorf("repair what was at %s: %w", old, err)
		}
	}
	if old == own {
		return nil
	}
	return m.write(addressFile, own.String()+"\n")
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

// rebind puts the new address in the place of the old one in what the node was
// told, and on a control plane has kubeadm make the rest anew from that.
func (m *Machine) rebind(ctx context.Context, old, own netip.Addr) error {
	for _, path := range boundFiles {
		if err := m.replaceAddr(path, old, own); err != nil {
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

// replaceAddr replaces an address in a file, and not those that begin or end
// like it. A file that is not there is none that names it.
func (m *Machine) replaceAddr(path string, old, own netip.Addr) error {
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
	whole := regexp.MustCompile(`\b` + regexp.QuoteMeta(old.String()) + `\b`)
	return os.WriteFile(m.path(path), whole.ReplaceAll(text, []byte(own.String())), info.Mode().Perm())
}
