package bootstrap

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// makeEncryptionKey makes the key by which the API server encrypts Secrets
// before etcd has them. It leaves the node with the keys that control planes
// share, and no other way.
func (n *Node) makeEncryptionKey(plan nodeimage.Plan) error {
	if !plan.Hardened {
		return nil
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // it never fails
	type object = map[string]any
	data, err := yaml.Marshal(object{
		"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
		"resources": []any{object{
			"resources": []string{"secrets"},
			"providers": []any{
				object{"secretbox": object{"keys": []any{object{"name": "petri", "secret": key}}}},
				object{"identity": object{}},
			},
		}},
	})
	if err != nil {
		return err
	}
	path := n.path(nodeimage.EncryptionPath)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

// approverUnit keeps "petri-node approver" running on a control plane.
const approverUnit = `[Unit]
Description=Approve the serving certificates of kubelets
After=network.target

[Service]
ExecStart=` + nodeimage.HelperPath + ` approver
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
`

const unitsDir = "/etc/systemd/system"

// startApprover has the control plane approve the serving certificates of
// kubelets, now and whenever the node boots.
func (c *controlPlane) startApprover(ctx context.Context) error {
	if !c.plan.ServingCertificates {
		return nil
	}
	const unit = "petri-approver.service"
	wants := filepath.Join(unitsDir, "multi-user.target.wants")
	if err := os.MkdirAll(c.path(wants), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(c.path(filepath.Join(unitsDir, unit)), []byte(approverUnit), 0o600); err != nil {
		return err
	}
	err := os.Symlink("../"+unit, c.path(filepath.Join(wants, unit)))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return exec.Run(ctx, c.Runner, "systemctl", "start", unit)
}

// secure is the end of making a node: files are for those alone who need them,
// and the kubelet serves with the certificate that it asked for.
func (n *Node) secure(ctx context.Context, plan nodeimage.Plan) error {
	if err := n.tightenModes(plan); err != nil {
		return err
	}
	if !plan.ServingCertificates {
		return nil
	}
	defer n.Events.phase("node/serving-certificate")()
	err := await(ctx, func(context.Context) error {
		_, err := os.Stat(n.path(kubeletPKIDir + "/kubelet-server-current.pem"))
		return err
	})
	if err != nil {
		return fmt.Errorf("the kubelet's serving certificate: %w", err)
	}
	return nil
}

// tightenModes takes rights away from files that others than root can read and
// need not. Where there is none, all is well.
func (n *Node) tightenModes(plan nodeimage.Plan) error {
	patterns := []string{
		"/var/lib/kubelet/config.yaml", "/var/lib/kubelet/instance-config.yaml", "/var/lib/kubelet/kubeadm-flags.env",
		unitsDir + "/kubelet.service", unitsDir + "/kubelet.service.d/*.conf",
	}
	if plan.Hardened {
		patterns = append(patterns, nodeimage.CertificatesDir+"/*.crt", nodeimage.CertificatesDir+"/etcd/*.crt")
	}
	var errs []error
	for _, pattern := range patterns {
		paths, err := filepath.Glob(n.path(pattern))
		errs = append(errs, err)
		for _, path := range paths {
			errs = append(errs, os.Chmod(path, 0o600))
		}
	}
	return errors.Join(errs...)
}

// API is a client of the cluster's API as its administrator, and the URL that it
// asks. What it asks may take as long as it does.
func (n *Node) API() (*http.Client, string, error) {
	user, err := n.readKubeconfig(nodeimage.AdminConfPath)
	if err != nil {
		return nil, "", err
	}
	client, err := user.client(nodeimage.AdminConfPath)
	if err != nil {
		return nil, "", err
	}
	client.Timeout = 0
	return client, user.Server, nil
}
