package kubeconfig

import (
	"errors"
	"fmt"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// Discovery is what a joining node must know of a cluster: of the
// administrator's kubeconfig as kubeadm writes it, the address and the CA, and
// no credentials. Errors show nothing of the content.
func Discovery(admin []byte) ([]byte, error) {
	var file struct {
		Clusters []namedCluster `yaml:"clusters"`
	}
	if err := yaml.Unmarshal(admin, &file); err != nil {
		return nil, fmt.Errorf("read administrator's kubeconfig: %w", notAsWanted(err))
	}
	if len(file.Clusters) != 1 || file.Clusters[0].Cluster.Server == "" || file.Clusters[0].Cluster.CA == "" {
		return nil, fmt.Errorf("read administrator's kubeconfig: want one cluster with server and CA, have %d clusters", len(file.Clusters))
	}
	file.Clusters[0].Name = "" // without a context, kubeadm looks for the cluster of no name
	return yaml.Marshal(struct {
		APIVersion string         `yaml:"apiVersion"`
		Kind       string         `yaml:"kind"`
		Clusters   []namedCluster `yaml:"clusters"`
	}{"v1", "Config", file.Clusters})
}

var yamlLine = regexp.MustCompile(`line \d+`)

// notAsWanted says where a file with keys is wrong. What the parser says quotes
// names and values.
func notAsWanted(err error) error {
	if line := yamlLine.FindString(err.Error()); line != "" {
		return fmt.Errorf("%s: it is not YAML of the right form", line)
	}
	return errors.New("it is not YAML of the right form")
}

type namedCluster struct {
	Name    string `yaml:"name"`
	Cluster struct {
		Server string `yaml:"server"`
		CA     string `yaml:"certificate-authority-data"`
	} `yaml:"cluster"`
}
