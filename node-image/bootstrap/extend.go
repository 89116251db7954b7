package bootstrap

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// Extend makes a node of a cluster with one control plane fit for several: it
// reads a nodeimage.Extension. The node then finds the API by its own balancer,
// and the control plane says so to whoever joins. What is done already is done
// again and changes nothing; the plan is written last, and says that all of it
// is done.
func (n *Node) Extend(ctx context.Context, input io.Reader) error {
	var e nodeimage.Extension
	if err := json.NewDecoder(input).Decode(&e); err != nil {
		return fmt.Errorf("read what to extend to: %w", err)
	}
	plan, err := n.plan()
	if err != nil {
		return err
	}
	if err := n.Lead(ctx, e.Balanced, []byte(e.Balancer)); err != nil {
		return fmt.Errorf("lead to the control planes: %w", err)
	}
	if plan.Role == nodeimage.RoleControlPlane {
		if err := n.extendControlPlane(ctx, plan, e); err != nil {
			return err
		}
	}
	if err := n.redirect(ctx, plan, e.Endpoint); err != nil {
		return err
	}
	plan.Balanced = e.Balanced
	data, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		return err
	}
	return n.replace(nodeimage.PlanPath, data, 0o600)
}

// replace writes a file whole or not at all.
func (n *Node) replace(path string, data []byte, mode fs.FileMode) error {
	next := n.path(path) + ".next"
	if err := os.WriteFile(next, data, mode); err != nil {
		return err
	}
	return os.Rename(next, n.path(path))
}

// extendControlPlane gives the API server a certificate with the name of the
// endpoint, tells the cluster of it, and lets the controllers and etcd know
// that there will be others.
func (n *Node) extendControlPlane(ctx context.Context, plan nodeimage.Plan, e nodeimage.Extension) error {
	if err := n.keepClusterConfiguration(e.ClusterConfiguration); err != nil {
		return err
	}
	if err := n.renewServingCertificate(ctx, e.ClusterConfiguration, e.Balanced); err != nil {
		return fmt.Errorf("renew the API server's certificate: %w", err)
	}
	if err := n.initPhase(ctx, "upload-config kubeadm"); err != nil {
		return err
	}
	if err := n.restartComponents(ctx); err != nil {
		return fmt.Errorf("start the control plane again: %w", err)
	}
	if n.hasEtcd() {
		err := await(ctx, func(ctx context.Context) error {
			return exec.Run(ctx, n.Runner, etcdctl(ownEtcd(plan), "endpoint", "health")...)
		})
		if err != nil {
			return fmt.Errorf("wait for etcd: %w", err)
		}
	}
	return n.waitServing(ctx, e.Balanced)
}

// initPhase runs one phase of "kubeadm init" with the node's configuration.
func (n *Node) initPhase(ctx context.Context, phase string) error {
	args := append([]string{"kubeadm", "init", "phase"}, strings.Fields(phase)...)
	return exec.Run(ctx, n.Runner, append(args, "--config="+nodeimage.KubeadmConfigPath)...)
}

// kubeletTimeout bounds the start of the kubelet after something has failed.
const kubeletTimeout = 30 * time.Second

// restartComponents has kubeadm write manifests of static pods anew, and starts
// what they describe. The kubelet alone would need a minute: it has the API
// forget the pod of the old etcd before it starts the new one, and the API waits
// for etcd. So it is stopped meanwhile, and knows of no old pods when it starts.
func (n *Node) restartComponents(ctx context.Context) (err error) {
	if err := exec.Run(ctx, n.Runner, "systemctl", "stop", "kubelet"); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), kubeletTimeout)
		defer cancel()
		err = errors.Join(err, exec.Run(ctx, n.Runner, "systemctl", "start", "kubelet"))
	}()
	before, err := n.manifests()
	if err != nil {
		return err
	}
	phases := []string{"control-plane controller-manager", "control-plane scheduler"}
	if n.hasEtcd() {
		phases = append(phases, "etcd local")
	}
	for _, phase := range phases {
		if err := n.initPhase(ctx, phase); err != nil {
			return err
		}
	}
	after, err := n.manifests()
	if err != nil || maps.Equal(before, after) {
		return err
	}
	return n.killComponents(ctx)
}

// manifests are those of the static pods, by their files' names.
func (n *Node) manifests() (map[string]string, error) {
	out := map[string]string{}
	entries, err := os.ReadDir(n.path(manifestsDir))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		data, err := os.ReadFile(n.path(filepath.Join(manifestsDir, e.Name())))
		if err != nil {
			return nil, err
		}
		out[e.Name()] = string(data)
	}
	return out, nil
}

// killComponents ends the containers of the control plane, all of them: the API
// server finds an etcd that comes again after seconds only. What was
// acknowledged is on the disk.
func (n *Node) killComponents(ctx context.Context) error {
	out, err := exec.Output(ctx, n.Runner, "crictl", "ps", "--quiet",
		"--label=io.kubernetes.pod.namespace=kube-system", "--name=^("+strings.Join(components, "|")+")$")
	if err != nil {
		return err
	}
	ids := strings.Fields(string(out))
	if len(ids) == 0 {
		return nil
	}
	return exec.Run(ctx, n.Runner, append([]string{"crictl", "stop", "--timeout=0"}, ids...)...)
}

// hasEtcd reports whether a member of etcd is this node's own.
func (n *Node) hasEtcd() bool {
	_, err := os.Stat(n.path(filepath.Join(manifestsDir, etcdManifest)))
	return !errors.Is(err, fs.ErrNotExist)
}

// keepClusterConfiguration puts kubeadm's document of the cluster in the place
// of the one that the node was made with.
func (n *Node) keepClusterConfiguration(document string) error {
	conf, err := os.ReadFile(n.path(nodeimage.KubeadmConfigPath))
	if err != nil {
		return err
	}
	changed, err := replaceDocument(string(conf), "ClusterConfiguration", document)
	if err != nil {
		return fmt.Errorf("%s: %w", nodeimage.KubeadmConfigPath, err)
	}
	return n.replace(nodeimage.KubeadmConfigPath, []byte(changed), 0o600)
}

const documentStart = "---\n"

// replaceDocument puts a document in the place of those of its kind in a YAML
// stream.
func replaceDocument(stream, kind, document string) (string, error) {
	out := []string{strings.TrimSuffix(document, "\n")}
	for d := range strings.SplitSeq(strings.TrimPrefix(stream, documentStart), "\n"+documentStart) {
		var head struct{ Kind string }
		if err := yaml.Unmarshal([]byte(d), &head); err != nil {
			return "", err
		}
		if head.Kind != kind {
			out = append(out, strings.TrimSuffix(d, "\n"))
		}
	}
	return documentStart + strings.Join(out, "\n"+documentStart) + "\n", nil
}

// nextCertificates is where a certificate is made that is to replace another.
const nextCertificates = nodeimage.CertificatesDir + ".next"

// renewServingCertificate has kubeadm make the API server's certificate anew,
// beside the one that is used, and writes it in place: the server reads a file
// that it watches at once, and one that was gone for a moment a minute later.
func (n *Node) renewServingCertificate(ctx context.Context, configuration, name string) (err error) {
	next := n.path(nextCertificates)
	if err := errors.Join(os.RemoveAll(next), os.Mkdir(next, 0o700)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(next)) }()
	for _, file := range []string{"ca.crt", "ca.key"} {
		if err := copyFile(n.path(filepath.Join(nodeimage.CertificatesDir, file)), filepath.Join(next, file)); err != nil {
			return err
		}
	}
	if err := n.makeServingCertificate(ctx, configuration); err != nil {
		return err
	}
	for _, file := range []string{"apiserver.key", "apiserver.crt"} {
		if err := copyFile(filepath.Join(next, file), n.path(filepath.Join(nodeimage.CertificatesDir, file))); err != nil {
			return err
		}
	}
	return n.waitServing(ctx, name)
}

// copyFile writes a file in place, and gives a new one to its owner alone.
func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

// makeServingCertificate makes the certificate in nextCertificates.
func (n *Node) makeServingCertificate(ctx context.Context, configuration string) error {
	conf, err := os.ReadFile(n.path(nodeimage.KubeadmConfigPath))
	if err != nil {
		return err
	}
	var document map[string]any
	if err := yaml.Unmarshal([]byte(configuration), &document); err != nil {
		return err
	}
	document["certificatesDir"] = nextCertificates
	elsewhere, err := yaml.Marshal(document)
	if err != nil {
		return err
	}
	changed, err := replaceDocument(string(conf), "ClusterConfiguration", string(elsewhere))
	if err != nil {
		return err
	}
	const path = nextCertificates + "/kubeadm.conf"
	if err := os.WriteFile(n.path(path), []byte(changed), 0o600); err != nil {
		return err
	}
	return exec.Run(ctx, n.Runner, "kubeadm", "init", "phase", "certs", "apiserver", "--config="+path)
}

// servingTimeout bounds the wait for a component that was told of something new.
const servingTimeout = 2 * time.Minute

var errServing = errors.New("it did not serve in time")

// waitServing returns when this node's API server is ready and its certificate
// is good for a name.
func (n *Node) waitServing(ctx context.Context, name string) error {
	return await(ctx, func(ctx context.Context) error { return n.serves(ctx, name) })
}

// await returns when a check finds nothing wrong.
func await(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, servingTimeout, errServing)
	defer cancel()
	tick := time.NewTicker(bootInterval * 10)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// serves fails when the API server is not ready, or is not the named one by its
// certificate.
func (n *Node) serves(ctx context.Context, name string) error {
	ca, err := os.ReadFile(n.path(nodeimage.CertificatesDir + "/ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 2 * time.Second}, Config: &tls.Config{RootCAs: roots, ServerName: name}}
	conn, err := dialer.DialContext(ctx, "tcp", n.apiAddress())
	if err != nil {
		return err
	}
	if err := conn.Close(); err != nil {
		return err
	}
	probe := n.probe
	if probe == nil {
		if probe, err = n.newProbe(nodeimage.AdminConfPath); err != nil {
			return err
		}
	}
	if probe(ctx) != apiReady {
		return errors.New("it is not ready")
	}
	return nil
}

// apiAddress is where this node's API server listens.
func (n *Node) apiAddress() string {
	if n.api != "" {
		return n.api
	}
	return localAPI
}

// kubeconfigs are kubeadm's credentials that lead to the cluster's endpoint. On
// a control plane the kubelet's may lead to the API server beside it, and stay.
var kubeconfigs = []string{nodeimage.AdminConfPath, nodeimage.SuperAdminConfPath, kubeletConfPath}

var serverLine = regexp.MustCompile(`(?m)^(\s*server:\s*)(\S+)$`)

// redirect leads the node's own clients of the API to another endpoint. The
// kubelet reads its address once.
func (n *Node) redirect(ctx context.Context, plan nodeimage.Plan, endpoint string) error {
	restart := false
	for _, path := range kubeconfigs {
		before, err := os.ReadFile(n.path(path))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		own := "https://" + net.JoinHostPort(plan.Address, fmt.Sprint(nodeimage.APIServerPort))
		after := serverLine.ReplaceAllFunc(before, func(line []byte) []byte {
			parts := serverLine.FindSubmatch(line)
			if path == kubeletConfPath && string(parts[2]) == own {
				return line
			}
			return append(bytes.Clone(parts[1]), "https://"+endpoint...)
		})
		if bytes.Equal(before, after) {
			continue
		}
		if err := n.replace(path, after, 0o600); err != nil {
			return err
		}
		restart = restart || path == kubeletConfPath
	}
	if !restart {
		return nil
	}
	return exec.Run(ctx, n.Runner, "systemctl", "restart", "kubelet")
}
