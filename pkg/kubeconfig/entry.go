package kubeconfig

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// Entry is what one cluster contributes to a kubeconfig: a cluster, a user and
// a context, all of one name. Certificates and the key are PEM.
type Entry struct {
	Name                 string // of cluster, user and context: "petri-dev"
	Server               string // "https://127.0.0.1:6443"
	TLSServerName        string // the name the certificate is checked for, if not Server's host
	CertificateAuthority []byte
	ClientCertificate    []byte
	ClientKey            []byte `json:"-"`
}

// EntryName is the name of a cluster's entries in the names of a launcher:
// "petri-dev" for "dev" of "petri".
func EntryName(dialect, cluster string) string { return dialect + "-" + cluster }

// String names the entry and never shows its key.
func (e Entry) String() string { return e.Name + " at " + e.Server }

// GoString is String, so that no way of printing shows the key.
func (e Entry) GoString() string { return e.String() }

// FromAdmin makes an entry from the administrator's kubeconfig as kubeadm
// writes it, under a name and with a server of its own. It fails when the
// certificates or the key are not in it. Errors show nothing of the content.
func FromAdmin(admin []byte, name, server string) (Entry, error) {
	var file adminFile
	if err := yaml.Unmarshal(admin, &file); err != nil {
		return Entry{}, fmt.Errorf("read administrator's kubeconfig: %w", notAsWanted(err))
	}
	if len(file.Clusters) != 1 || len(file.Users) != 1 {
		return Entry{}, fmt.Errorf("read administrator's kubeconfig: want one cluster and one user, have %d and %d",
			len(file.Clusters), len(file.Users))
	}
	e := Entry{Name: name, Server: server, TLSServerName: file.Clusters[0].Cluster.TLSServerName}
	for _, f := range []struct {
		field, data string
		to          *[]byte
	}{
		{"certificate-authority-data", file.Clusters[0].Cluster.CA, &e.CertificateAuthority},
		{"client-certificate-data", file.Users[0].User.Certificate, &e.ClientCertificate},
		{"client-key-data", file.Users[0].User.Key, &e.ClientKey},
	} {
		data, err := base64.StdEncoding.DecodeString(f.data)
		if err != nil || len(data) == 0 {
			return Entry{}, fmt.Errorf("read administrator's kubeconfig: %s is missing or not base64", f.field)
		}
		*f.to = data
	}
	return e, e.check()
}

// adminFile is the part of kubeadm's admin.conf that is needed.
type adminFile struct {
	Clusters []struct {
		Cluster struct {
			CA            string `yaml:"certificate-authority-data"`
			TLSServerName string `yaml:"tls-server-name"`
		} `yaml:"cluster"`
	} `yaml:"clusters"`
	Users []struct {
		User struct {
			Certificate string `yaml:"client-certificate-data"`
			Key         string `yaml:"client-key-data"`
		} `yaml:"user"`
	} `yaml:"users"`
}

// Render is a complete kubeconfig with nothing but the entry in it. It is what
// Merge writes into an empty file. The entry must have a name and a server.
func Render(e Entry) ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	return add(nil, e)
}

func (e Entry) check() error {
	for _, f := range []struct{ field, value string }{{"name", e.Name}, {"server", e.Server}} {
		if f.value == "" {
			return fmt.Errorf("kubeconfig entry without a %s", f.field)
		}
		if strings.ContainsFunc(f.value+e.TLSServerName, unicode.IsControl) {
			return fmt.Errorf("kubeconfig entry with a control character in its %s", f.field)
		}
	}
	return nil
}

// items are the entry's list items by list, as YAML text in kubectl's order of
// fields.
func (e Entry) items() (cluster, context, user string) {
	name := scalar(e.Name)
	cluster = "- cluster:\n" +
		field("certificate-authority-data", encode64(e.CertificateAuthority)) +
		field("server", e.Server) +
		field("tls-server-name", e.TLSServerName) +
		"  name: " + name + "\n"
	context = "- context:\n" + field("cluster", e.Name) + field("user", e.Name) +
		"  name: " + name + "\n"
	credentials := field("client-certificate-data", encode64(e.ClientCertificate)) +
		field("client-key-data", encode64(e.ClientKey))
	if credentials == "" {
		return cluster, context, "- name: " + name + "\n  user: {}\n"
	}
	return cluster, context, "- name: " + name + "\n  user:\n" + credentials
}

func field(key, value string) string {
	if value == "" {
		return ""
	}
	return "    " + key + ": " + scalar(value) + "\n"
}

func encode64(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

// scalar is s as a YAML string on one line, quoted where it would otherwise
// be read as something else.
func scalar(s string) string {
	var n yaml.Node
	n.SetString(s)
	out, err := yaml.Marshal(&n)
	if err != nil || strings.Count(string(out), "\n") != 1 {
		return fmt.Sprintf("%q", s)
	}
	return strings.TrimSuffix(string(out), "\n")
}
