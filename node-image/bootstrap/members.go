package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// sharedCertificates are what kubeadm wants to be the same on all control
// planes. It makes everything else on each from these.
var sharedCertificates = []string{
	"ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "sa.pub", "etcd/ca.crt", "etcd/ca.key",
}

// Certificates writes what this control plane shares with others, as
// nodeimage.Certificates. What it does not have itself, as the key of a CA that
// is kept elsewhere, is left out: kubeadm says what it misses.
func (n *Node) Certificates(to io.Writer) error {
	out := nodeimage.Certificates{}
	for _, name := range sharedCertificates {
		data, err := os.ReadFile(n.path(filepath.Join(nodeimage.CertificatesDir, name)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		out[name] = data
	}
	if len(out) == 0 {
		return fmt.Errorf("there are no certificates in %s", nodeimage.CertificatesDir)
	}
	return json.NewEncoder(to).Encode(out)
}

func (n *Node) keepCertificates(certificates nodeimage.Certificates) error {
	for name, data := range certificates {
		if !slices.Contains(sharedCertificates, name) {
			return fmt.Errorf("%q is no certificate that control planes share", name)
		}
		mode := fs.FileMode(0o644)
		if strings.HasSuffix(name, ".key") {
			mode = 0o600
		}
		path := n.path(filepath.Join(nodeimage.CertificatesDir, name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, mode); err != nil {
			return err
		}
	}
	return nil
}

// announceEtcdPeers tells the first member of etcd of all others, as learners,
// while none of them runs. Each is then started with the same list of members,
// and they join at once. One after the other, which is kubeadm's way, etcd would
// want each to have been there for five seconds before it takes the next
// (HealthInterval, go.etcd.io/etcd server/etcdserver/server.go). A learner has no
// vote, so that the cluster works whether they come or not.
func (c *controlPlane) announceEtcdPeers(ctx context.Context) error {
	if len(c.plan.EtcdPeers) == 0 {
		return nil
	}
	if _, err := os.Stat(c.path(filepath.Join(manifestsDir, "etcd.yaml"))); errors.Is(err, fs.ErrNotExist) {
		return nil // etcd is elsewhere
	}
	defer c.Events.phase("node/etcd-members")()
	pki := nodeimage.CertificatesDir + "/etcd/"
	client := "https://127.0.0.1:2379"
	if strings.Contains(c.plan.Address, ":") { // kubeadm takes the loopback of that family
		client = "https://[::1]:2379"
	}
	for _, name := range slices.Sorted(maps.Keys(c.plan.EtcdPeers)) {
		err := exec.Run(ctx, c.Runner, "etcdctl", "--endpoints="+client,
			"--cacert="+pki+"ca.crt", "--cert="+pki+"healthcheck-client.crt", "--key="+pki+"healthcheck-client.key",
			"member", "add", name, "--learner", "--peer-urls="+c.plan.EtcdPeers[name])
		if err != nil {
			return fmt.Errorf("announce etcd member %s: %w", name, err)
		}
	}
	return nil
}
