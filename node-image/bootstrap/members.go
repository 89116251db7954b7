package bootstrap

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// sharedCertificates are what kubeadm wants to be the same on all control
// planes, and the key for Secrets, where there is one. kubeadm makes everything
// else on each from these.
var sharedCertificates = []string{
	"ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "sa.pub", "etcd/ca.crt", "etcd/ca.key",
	strings.TrimPrefix(nodeimage.EncryptionPath, nodeimage.CertificatesDir+"/"),
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
		mode := fs.FileMode(0o600)
		if ext := filepath.Ext(name); ext == ".crt" || ext == ".pub" {
			mode = 0o644
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
	if len(c.plan.EtcdMembers) == 0 {
		return nil
	}
	if !c.hasEtcd() {
		return nil // it is elsewhere
	}
	defer c.Events.phase("node/etcd-members")()
	endpoint := ownEtcd(c.plan)
	for _, name := range slices.Sorted(maps.Keys(c.plan.EtcdMembers)) {
		if name == c.plan.Name {
			continue
		}
		err := exec.Run(ctx, c.Runner, etcdctl(endpoint, "member", "add", name, "--learner", "--peer-urls="+c.plan.EtcdMembers[name])...)
		if err != nil {
			return fmt.Errorf("announce etcd member %s: %w", name, err)
		}
	}
	return nil
}

// peerClient asks members of etcd as one of them.
func (n *Node) peerClient() (*http.Client, error) {
	file := func(name string) string { return n.path(nodeimage.CertificatesDir + "/etcd/" + name) }
	pair, err := tls.LoadX509KeyPair(file("peer.crt"), file("peer.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(file("ca.crt"))
	if err != nil {
		return nil, err
	}
	return clientOf(ca, pair)
}

// ownEtcd is where the node's member of etcd serves clients: kubeadm takes the
// loopback of the family of the node's address.
func ownEtcd(plan nodeimage.Plan) string {
	if strings.Contains(plan.Address, ":") {
		return "https://[::1]:2379"
	}
	return "https://127.0.0.1:2379"
}

// etcdctl is a command about the member that serves at an endpoint.
func etcdctl(endpoint string, args ...string) []string {
	const pki = nodeimage.CertificatesDir + "/etcd/"
	return append([]string{
		"etcdctl", "--endpoints=" + endpoint,
		"--cacert=" + pki + "ca.crt", "--cert=" + pki + "healthcheck-client.crt", "--key=" + pki + "healthcheck-client.key",
	}, args...)
}

// Members writes the members of etcd as a list of nodeimage.EtcdMember; an
// empty one when etcd is not the cluster's own. Without a majority of them etcd
// cannot tell, and it fails.
func (n *Node) Members(ctx context.Context, to io.Writer) error {
	plan, err := n.plan()
	if err != nil {
		return err
	}
	members := []nodeimage.EtcdMember{}
	if n.hasEtcd() {
		if members, err = n.members(ctx, ownEtcd(plan)); err != nil {
			return err
		}
	}
	var all sync.WaitGroup
	for i := range members {
		all.Go(func() { members[i].Healthy = n.answers(ctx, members[i]) })
	}
	all.Wait()
	return json.NewEncoder(to).Encode(members)
}

// members are the members of etcd by the one at an endpoint.
func (n *Node) members(ctx context.Context, endpoint string) ([]nodeimage.EtcdMember, error) {
	out, err := exec.Output(ctx, n.Runner, etcdctl(endpoint, "member", "list", "--write-out=json")...)
	if err != nil {
		return nil, err
	}
	members, err := readMembers(out)
	if err != nil {
		return nil, fmt.Errorf("read the members of etcd: %w", err)
	}
	return members, nil
}

// readMembers reads what etcdctl writes.
func readMembers(data []byte) ([]nodeimage.EtcdMember, error) {
	var list struct {
		Members []struct {
			ID         uint64
			Name       string
			PeerURLs   []string
			ClientURLs []string
			IsLearner  bool
		}
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	out := []nodeimage.EtcdMember{}
	for _, m := range list.Members {
		out = append(out, nodeimage.EtcdMember{
			ID: strconv.FormatUint(m.ID, 16), Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, Learner: m.IsLearner,
		})
	}
	return out, nil
}

// answers reports whether a member of etcd takes part. One that has not begun
// has no address for clients.
func (n *Node) answers(ctx context.Context, m nodeimage.EtcdMember) bool {
	if len(m.ClientURLs) == 0 {
		return false
	}
	return exec.Run(ctx, n.Runner, etcdctl(m.ClientURLs[0], "endpoint", "health")...) == nil
}

// RemoveMember takes a member out of etcd by its ID.
func (n *Node) RemoveMember(ctx context.Context, id string) error {
	plan, err := n.plan()
	if err != nil {
		return err
	}
	return exec.Run(ctx, n.Runner, etcdctl(ownEtcd(plan), "member", "remove", id)...)
}
