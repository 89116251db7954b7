// Package registry says how the nodes of a cluster reach registries: it renders
// containerd's hosts.toml files and credentials, the configuration of the
// registries that petri runs, and the ConfigMap by which tools find one. It
// makes texts of values; who runs registries and writes files is elsewhere.
package registry

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/containerdconf"
)

// Local is a registry that petri runs.
type Local struct {
	Port     uint16 // of the host
	Endpoint string // "http://host:port" on the networks of clusters
	Upstream string // URL of the registry that it caches; empty: of none
}

// Host is the registry that the names of its images begin with.
func (l Local) Host() string {
	if l.Upstream == "" {
		return "localhost:" + strconv.Itoa(int(l.Port))
	}
	return UpstreamHost(l.Upstream)
}

// Docker Hub has another name in images than on the network.
const (
	dockerHub    = "docker.io"
	dockerHubAPI = "registry-1.docker.io"
)

// UpstreamHost is the registry, as the names of images have it, that a URL
// leads to.
func UpstreamHost(upstream string) string {
	u, err := url.Parse(upstream)
	if err != nil || u.Host == dockerHubAPI {
		return dockerHub
	}
	return u.Host
}

// UpstreamURL is the URL of a registry that is named by one, or as the names of
// images have it.
func UpstreamURL(text string) (string, error) {
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return "", fmt.Errorf("it is neither a host nor an http or https URL")
	case u.User != nil:
		return "", fmt.Errorf("it has a user")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("it has more than a host")
	case u.Host == dockerHub:
		u.Host = dockerHubAPI
	}
	return u.Scheme + "://" + u.Host, nil
}

// Setup is all that nodes are told of registries.
type Setup struct {
	Registries []config.Registry
	Local      []Local
	// ImageServer is the URL of what serves the engine's images; empty: nobody.
	ImageServer string
	// CA are the certificates of registries, by host.
	CA map[string][]byte
}

// imageServerPatience bounds the connecting to what serves the engine's images:
// one that is down must not keep a pull waiting.
const imageServerPatience = "1s"

// Files are the files that a node has, by path.
func (s Setup) Files() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, host := range s.hosts() {
		data, err := s.hostsFile(host)
		if err != nil {
			return nil, err
		}
		files[HostsPath(host)] = data
		if ca := s.CA[host]; ca != nil {
			files[CAPath(host)] = ca
		}
	}
	return files, nil
}

// anyHost is the directory of hosts for registries that have none of their own.
const anyHost = "_default"

// HostsPath and CAPath are where nodes have what they know of a registry.
func HostsPath(host string) string { return path.Join(containerdconf.CertsDir, host, "hosts.toml") }

// CAPath is where nodes have the certificates of a registry.
func CAPath(host string) string { return path.Join(containerdconf.CertsDir, host, "ca.pem") }

// hosts are the registries that there is something to say of.
func (s Setup) hosts() []string {
	hosts := map[string]struct{}{}
	for _, r := range s.Registries {
		if len(r.Mirrors) > 0 || r.CAFile != "" {
			hosts[r.Host] = struct{}{}
		}
	}
	for _, l := range s.Local {
		hosts[l.Host()] = struct{}{}
	}
	if s.ImageServer != "" {
		hosts[anyHost] = struct{}{}
	}
	return slices.Sorted(maps.Keys(hosts))
}

// hostsFile says who is asked for the images of a registry: the engine first,
// which has what was built last, then caches on this machine, then mirrors. A
// registry for pushing to holds what was pushed, and nobody else is asked.
func (s Setup) hostsFile(host string) ([]byte, error) {
	itself := containerdconf.Server{CA: s.caPath(host)}
	var mirrors []containerdconf.Server
	if s.ImageServer != "" {
		mirrors = append(mirrors, containerdconf.Server{URL: s.ImageServer, DialTimeout: imageServerPatience})
	}
	for _, l := range s.Local {
		switch {
		case l.Host() != host:
		case l.Upstream == "":
			return containerdconf.HostsFile(nil, containerdconf.Server{URL: l.Endpoint})
		default:
			mirrors = append(mirrors, containerdconf.Server{URL: l.Endpoint})
			if strings.HasPrefix(l.Upstream, "http://") {
				itself.URL = l.Upstream
			}
		}
	}
	for _, r := range s.Registries {
		if r.Host != host {
			continue
		}
		for _, mirror := range r.Mirrors {
			u, err := url.Parse(mirror)
			if err != nil {
				return nil, err
			}
			mirrors = append(mirrors, containerdconf.Server{URL: mirror, CA: s.caPath(u.Host)})
		}
	}
	return containerdconf.HostsFile(mirrors, itself)
}

func (s Setup) caPath(host string) string {
	if s.CA[host] == nil {
		return ""
	}
	return CAPath(host)
}

// Credentials are who nodes are for a registry.
type Credentials struct{ Username, Password string }

// Auth is a patch of containerd's configuration with credentials by registry,
// for any version of it; empty when there are none. It is a secret.
func Auth(by map[string]Credentials) (string, error) {
	if len(by) == 0 {
		return "", nil
	}
	type table = map[string]any
	configs := table{}
	for host, c := range by {
		if host == dockerHub {
			host = dockerHubAPI
		}
		configs[host] = table{"auth": table{"username": c.Username, "password": c.Password}}
	}
	data, err := toml.Marshal(table{"plugins": table{"io.containerd.grpc.v1.cri": table{"registry": table{"configs": configs}}}})
	return string(data), err
}

// Passwords are the credentials in a configuration of containerd or a patch of
// one, wherever they are in it, so that no version's places need be known. The
// error does not quote the text, which is a secret.
func Passwords(auth string) ([]Credentials, error) {
	var document map[string]any
	if err := toml.Unmarshal([]byte(auth), &document); err != nil {
		return nil, errors.New("not TOML")
	}
	return passwords(document), nil
}

// passwords are the credentials in a value and below it.
func passwords(value any) []Credentials {
	var out []Credentials
	switch value := value.(type) {
	case []any:
		for _, one := range value {
			out = append(out, passwords(one)...)
		}
	case map[string]any:
		out = credentialsOf(value)
		for _, key := range slices.Sorted(maps.Keys(value)) {
			out = append(out, passwords(value[key])...)
		}
	}
	return out
}

// credentialsOf are those that a table itself gives, in any of containerd's
// three ways. It reads keys in any case.
func credentialsOf(table map[string]any) []Credentials {
	given := map[string]string{}
	for key, value := range table {
		if text, ok := value.(string); ok {
			given[strings.ToLower(key)] = text
		}
	}
	var out []Credentials
	if password := given["password"]; password != "" {
		out = append(out, Credentials{given["username"], password})
	}
	if token := given["identitytoken"]; token != "" {
		out = append(out, Credentials{Password: token})
	}
	if both := given["auth"]; both != "" {
		plain, err := base64.StdEncoding.DecodeString(both)
		user, password, ok := strings.Cut(strings.Trim(string(plain), "\x00"), ":")
		if err != nil || !ok {
			user, password = "", both
		}
		out = append(out, Credentials{user, password})
	}
	return out
}

// Where a registry that petri runs has its configuration and its data.
const (
	ConfigPath = "/petri/registry.yml"
	DataDir    = "/var/lib/registry"
)

// Serving is the regular expression of the line by which a registry says that it
// serves.
const Serving = `listening on `

// Config is the configuration of a registry that petri runs, which caches an
// upstream when that is not empty. With credentials it is a secret.
func Config(port int, upstream string, c Credentials) ([]byte, error) {
	conf := map[string]any{
		"version": "0.1",
		"log":     map[string]any{"accesslog": map[string]any{"disabled": true}},
		"storage": map[string]any{
			"filesystem": map[string]any{"rootdirectory": DataDir},
			"delete":     map[string]any{"enabled": true},
		},
		"http": map[string]any{"addr": ":" + strconv.Itoa(port)},
	}
	if upstream != "" {
		proxy := map[string]any{"remoteurl": upstream}
		if c.Username != "" {
			proxy["username"], proxy["password"] = c.Username, c.Password
		}
		conf["proxy"] = proxy
	}
	return yaml.Marshal(conf)
}

// Hosting is what the ConfigMap local-registry-hosting in kube-public says
// (KEP-1755): where tools push, and where nodes and pods find what was pushed.
// It knows one registry, the first that can be pushed to; empty: there is none.
func Hosting(local []Local) (string, error) {
	for _, l := range local {
		if l.Upstream != "" {
			continue
		}
		inside := strings.TrimPrefix(l.Endpoint, "http://")
		data, err := yaml.Marshal(map[string]string{
			"host": l.Host(), "hostFromContainerRuntime": inside, "hostFromClusterNetwork": inside,
		})
		return string(data), err
	}
	return "", nil
}
