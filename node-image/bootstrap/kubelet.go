package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/selfsigned"
)

// Files that kubeadm and the kubelet know.
const (
	kubeletConfPath   = "/etc/kubernetes/kubelet.conf"
	kubeletPKIDir     = "/var/lib/kubelet/pki"
	kubeletClientPath = kubeletPKIDir + "/kubelet-client-current.pem"
	kubeletConfigPath = "/var/lib/kubelet/config.yaml"
)

// keepKubeletCertificate puts the kubelet's first client certificate where the
// kubelet would put it at its first start. kubeadm points kubelet.conf there when it
// finds the file, and need not restart the kubelet for it later.
func (n *Node) keepKubeletCertificate(now time.Time) error {
	c, err := n.readKubeconfig(kubeletConfPath)
	if err != nil {
		return err
	}
	return n.keepClientCertificate(c.Certificate, c.Key, now)
}

// keepClientCertificate puts a client certificate of the kubelet's and its key, as
// PEM, where the kubelet puts its own, as it does it
// (k8s.io/client-go/util/certificate, certificate_store.go).
func (n *Node) keepClientCertificate(certificate, key []byte, now time.Time) error {
	if err := os.MkdirAll(n.path(kubeletPKIDir), 0o750); err != nil {
		return err
	}
	name := filepath.Join(kubeletPKIDir, now.UTC().Format("kubelet-client-2006-01-02-15-04-05.pem"))
	if err := os.WriteFile(n.path(name), slices.Concat(certificate, key), 0o600); err != nil {
		return err
	}
	made := n.path(kubeletClientPath) + ".new"
	if err := os.Symlink(name, made); err != nil {
		return err
	}
	return os.Rename(made, n.path(kubeletClientPath))
}

// The files of the kubelet's own serving certificate, and how long it holds:
// those that the kubelet would make (k8s.io/kubernetes cmd/kubelet/app,
// InitializeTLS).
const (
	servingCertPath = kubeletPKIDir + "/kubelet.crt"
	servingKeyPath  = kubeletPKIDir + "/kubelet.key"
	servingValidity = 365 * 24 * time.Hour
)

// selfSignKubelet makes the certificate that the kubelet would sign by
// itself at its first start, with an RSA key, which takes a tenth of a second in
// which nothing else goes on. One that is there is left alone; where the
// cluster signs such certificates there is none.
func (n *Node) selfSignKubelet(plan nodeimage.Plan, now time.Time) error {
	if plan.ServingCertificates {
		return nil
	}
	if _, err := os.Stat(n.path(servingKeyPath)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	certificate, key, err := selfsigned.Serving(fmt.Sprintf("%s@%d", plan.Name, now.Unix()), strings.ToLower(plan.Name), now, servingValidity)
	if err != nil {
		return err
	}
	return errors.Join(
		os.MkdirAll(n.path(kubeletPKIDir), 0o750),
		os.WriteFile(n.path(servingCertPath), certificate, 0o644),
		os.WriteFile(n.path(servingKeyPath), key, 0o600),
	)
}

// kubeletPatience is how long the kubelet may take to serve before nobody waits
// for it any more.
const kubeletPatience = 3 * time.Second

// waitKubelet returns when the kubelet serves, and so watches its directory of
// static pods: a file that came between its first look and the watch would be
// seen 20 seconds later. It gives up after a while: then nothing worse happens.
func (n *Node) waitKubelet(ctx context.Context) error {
	address, err := n.kubeletAddress()
	if err != nil {
		return err
	}
	return until(ctx, kubeletPatience, bootInterval, func() bool {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

// kubeletAddress is where the kubelet will say that it is healthy. kubeadm has
// written it, and the user's patches may have changed it.
func (n *Node) kubeletAddress() (string, error) {
	data, err := os.ReadFile(n.path(kubeletConfigPath))
	if err != nil {
		return "", err
	}
	conf := struct {
		HealthzBindAddress string
		HealthzPort        int
	}{"127.0.0.1", 10248} // the kubelet's defaults
	if err := yaml.Unmarshal(data, &conf); err != nil {
		return "", fmt.Errorf("%s: %w", kubeletConfigPath, err)
	}
	return net.JoinHostPort(conf.HealthzBindAddress, strconv.Itoa(conf.HealthzPort)), nil
}

// podGroups are the groups of pods with requests, on cgroup v1, in the hierarchy
// in which systemd removes what is empty.
const podGroups = "/sys/fs/cgroup/devices/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/*.slice"

// groupPatience bounds the wait for the first pod's group.
const groupPatience = time.Second

// waitPodGroup returns when the kubelet has made the group of the first pod, on a
// node of another image, where systemd makes groups. On cgroup v1 the kubelet
// makes a directory below one that systemd removes at the same moment, when
// another pod comes: the first two must not come together. The kubelet would try again
// after ten seconds or more.
func (n *Node) waitPodGroup(ctx context.Context) {
	if _, err := os.Stat(n.path("/sys/fs/cgroup/devices")); err != nil {
		return // cgroup v2
	}
	_ = until(ctx, groupPatience, bootInterval, func() bool {
		found, _ := filepath.Glob(n.path(podGroups)) // the pattern is well formed
		return len(found) > 0
	})
}

// warmed are the programs on whose start a cluster waits, in order: the one
// that is all daemons of Kubernetes, and CoreDNS.
var warmed = []string{"/usr/bin/kubelet", nodeimage.StoreSnapshots + "/coredns/fs/coredns"}

// warm reads these programs while the node boots, before they are started: on a
// file system in user space each of their pages would be waited for. A program
// that is elsewhere is not read.
func (n *Node) warm() {
	buf := make([]byte, 1<<20)
	for _, path := range warmed {
		f, err := os.Open(n.path(path))
		if err != nil {
			continue
		}
		for err == nil {
			_, err = f.Read(buf)
		}
		f.Close()
	}
}
