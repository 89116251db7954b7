package bootstrap

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"

	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// announceManifests hands the default addons to the host.
func (n *Node) announceManifests() {
	for _, path := range []string{nodeimage.CNIManifestPath, nodeimage.StorageManifestPath} {
		if data, err := os.ReadFile(n.path(path)); err == nil {
			n.Events.Send(nodeimage.NodeEvent{Kind: nodeimage.ManifestFound, Name: path, Data: string(data)})
		}
	}
}

// announceCredentials hands the two administrators' credentials to the host.
func (n *Node) announceCredentials() error {
	admin, err := os.ReadFile(n.path(nodeimage.AdminConfPath))
	if err != nil {
		return fmt.Errorf("kubeadm made no credentials: %w", err)
	}
	super, err := os.ReadFile(n.path(nodeimage.SuperAdminConfPath))
	if err != nil {
		return fmt.Errorf("kubeadm made no credentials: %w", err)
	}
	n.Events.Send(nodeimage.NodeEvent{Kind: nodeimage.AdminReady, Data: string(admin)})
	n.Events.Send(nodeimage.NodeEvent{Kind: nodeimage.KubeconfigReady, Data: string(super)})
	return nil
}

// announceJoin hands what a joining node must know to the host, in the form of
// kubeadm's own cluster-info: a file that comes from here needs no signature,
// for which the controller-manager would have to run first.
func (n *Node) announceJoin() error {
	c, err := n.readKubeconfig(nodeimage.SuperAdminConfPath)
	if err != nil {
		return err
	}
	discovery, err := yaml.Marshal(kubeconfig{APIVersion: "v1", Kind: "Config", Clusters: []namedCluster{{
		Cluster: cluster{Server: c.Server, CA: c.CA},
	}}})
	if err != nil {
		return err
	}
	n.Events.Send(nodeimage.NodeEvent{Kind: nodeimage.JoinReady, Data: string(discovery)})
	return nil
}

// superuserHere is the path of a kubeconfig of the superuser by which kubeadm
// reaches this node's API server. The endpoint of a cluster with several leads
// to one that is ready, and the superuser is needed before that.
func (c *controlPlane) superuserHere() (path string, remove func(), err error) {
	if c.plan.Balanced == "" {
		return nodeimage.SuperAdminConfPath, func() {}, nil
	}
	super, err := c.readKubeconfig(nodeimage.SuperAdminConfPath)
	if err != nil {
		return "", nil, err
	}
	data, err := os.ReadFile(c.path(nodeimage.SuperAdminConfPath))
	if err != nil {
		return "", nil, err
	}
	own := "https://" + net.JoinHostPort(c.plan.Address, strconv.Itoa(nodeimage.APIServerPort))
	path = nodeimage.SuperAdminConfPath + ".here"
	if err := os.WriteFile(c.path(path), bytes.ReplaceAll(data, []byte(super.Server), []byte(own)), 0o600); err != nil {
		return "", nil, err
	}
	return path, func() { _ = os.Remove(c.path(path)) }, nil
}

// kubeconfig is the part of a kubeconfig that is used here. Data is embedded.
type kubeconfig struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Clusters   []namedCluster `json:"clusters"`
	Users      []namedUser    `json:"users,omitempty"`
}

type (
	namedCluster struct {
		Name    string  `json:"name"`
		Cluster cluster `json:"cluster"`
	}
	cluster struct {
		Server string `json:"server"`
		CA     []byte `json:"certificate-authority-data"`
	}
	namedUser struct {
		User user `json:"user"`
	}
	user struct {
		Certificate []byte `json:"client-certificate-data"`
		Key         []byte `json:"client-key-data"`
	}
)

// credentials are the first cluster and user of a kubeconfig.
type credentials struct {
	cluster
	user
}

// readKubeconfig reads a kubeconfig that kubeadm wrote: it holds one cluster
// and one user.
func (n *Node) readKubeconfig(path string) (credentials, error) {
	data, err := os.ReadFile(n.path(path))
	if err != nil {
		return credentials{}, err
	}
	var conf kubeconfig
	if err := yaml.Unmarshal(data, &conf); err != nil {
		return credentials{}, fmt.Errorf("%s: %w", path, err)
	}
	if len(conf.Clusters) == 0 || len(conf.Users) == 0 || len(conf.Users[0].User.Key) == 0 {
		return credentials{}, fmt.Errorf("%s has no credentials in it", path)
	}
	return credentials{conf.Clusters[0].Cluster, conf.Users[0].User}, nil
}
