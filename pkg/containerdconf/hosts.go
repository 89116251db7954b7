package containerdconf

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// takeHosts takes mirrors of registries, and their TLS settings, out of the
// configuration and makes hosts.toml files of them: containerd does not start
// when it has both mirrors and a directory of such files, which nodes have. A
// configuration that gives the directory up keeps its mirrors.
func takeHosts(document table) (map[string][]byte, error) {
	registry := below(below(below(document, "plugins"), imagesPlugin), "registry")
	mirrors, tls := below(registry, "mirrors"), tlsSettings(registry)
	dirs, _ := registry["config_path"].(string)
	if len(mirrors)+len(tls) == 0 || dirs == "" {
		return nil, nil
	}
	if !slices.Contains(strings.Split(dirs, ":"), CertsDir) {
		return nil, fmt.Errorf("registry.mirrors needs config_path to be %s, and it is %s", CertsDir, dirs)
	}
	out := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(union(mirrors, tls))) {
		file, err := hostsFile(name, below(mirrors, name), tls)
		if err != nil {
			return nil, err
		}
		out[directory(name)] = file
	}
	delete(registry, "mirrors")
	dropTLS(registry)
	return out, nil
}

// below is a table in a table; nil when there is none.
func below(t table, key string) table {
	out, _ := t[key].(table)
	return out
}

// tlsSettings are the TLS settings of registries, by host.
func tlsSettings(registry table) table {
	out := table{}
	for host, config := range below(registry, "configs") {
		config, _ := config.(table)
		if tls := below(config, "tls"); tls != nil {
			out[host] = tls
		}
	}
	return out
}

func dropTLS(registry table) {
	configs := below(registry, "configs")
	for host := range configs {
		config := below(configs, host)
		if delete(config, "tls"); len(config) == 0 {
			delete(configs, host)
		}
	}
	if len(configs) == 0 {
		delete(registry, "configs")
	}
}

func union(a, b table) table {
	out := maps.Clone(b)
	maps.Copy(out, a)
	return out
}

// directory is the name of the directory of a registry's hosts.
func directory(registry string) string {
	if registry == "*" {
		return "_default"
	}
	return registry
}

// hostsFile is the hosts.toml of a registry: its mirrors in their order, and
// itself where there are TLS settings for it.
func hostsFile(registry string, mirror, tls table) ([]byte, error) {
	if strings.ContainsAny(registry, "/\\") || registry == "" || registry == ".." {
		return nil, fmt.Errorf("registry %q is not a host", registry)
	}
	endpoints, err := endpoints(registry, mirror)
	if err != nil {
		return nil, err
	}
	itself := func(u *url.URL) bool { return u.Host == registry }
	if _, ok := tls[registry]; ok && !slices.ContainsFunc(endpoints, itself) {
		endpoints = append(endpoints, &url.URL{Scheme: "https", Host: registry})
	}
	var out strings.Builder
	for _, u := range endpoints {
		if err := writeHost(&out, u.String(), hostOf(u, below(tls, u.Host))); err != nil {
			return nil, err
		}
	}
	return []byte(out.String()), nil
}

func endpoints(registry string, mirror table) ([]*url.URL, error) {
	list, _ := mirror["endpoint"].([]any)
	var out []*url.URL
	for _, one := range list {
		text, _ := one.(string)
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, fmt.Errorf("mirror of registry %s: %q is not an http or https URL", registry, one)
		}
		same := func(o *url.URL) bool { return *o == *u }
		if !slices.ContainsFunc(out, same) {
			out = append(out, u)
		}
	}
	return out, nil
}

// Server is a host that containerd asks for images of a registry.
type Server struct {
	URL string // to which containerd adds /v2
	CA  string // path of a file in the node; empty: none
	// DialTimeout bounds the connecting, "1s"; empty: containerd's own.
	DialTimeout string
}

// HostsFile is the hosts.toml of a registry: mirrors are asked in their order,
// and itself at last. Without a URL, containerd has its own idea of where a
// registry is.
func HostsFile(mirrors []Server, itself Server) ([]byte, error) {
	var out strings.Builder
	data, err := toml.Marshal(struct {
		Server string `toml:"server,omitempty"`
		CA     string `toml:"ca,omitempty"`
	}{itself.URL, itself.CA})
	if err != nil {
		return nil, err
	}
	out.Write(data)
	for _, m := range mirrors {
		h := host{Capabilities: []string{"pull", "resolve"}, CA: m.CA, DialTimeout: m.DialTimeout}
		if err := writeHost(&out, m.URL, h); err != nil {
			return nil, err
		}
	}
	return []byte(out.String()), nil
}

// host is what hosts.toml says of one host.
type host struct {
	Capabilities []string   `toml:"capabilities"`
	OverridePath bool       `toml:"override_path,omitempty"`
	SkipVerify   bool       `toml:"skip_verify,omitempty"`
	CA           string     `toml:"ca,omitempty"`
	Client       [][]string `toml:"client,omitempty"`
	DialTimeout  string     `toml:"dial_timeout,omitempty"`
}

// hostOf is a mirror as containerd 1 had it, with its TLS settings.
func hostOf(u *url.URL, tls table) host {
	h := host{Capabilities: []string{"pull", "resolve"}}
	// mirrors had their whole path written out; hosts.toml adds /v2 to a path
	h.OverridePath = strings.Trim(u.Path, "/") != "" && strings.Trim(u.Path, "/") != "v2"
	h.SkipVerify, _ = tls["insecure_skip_verify"].(bool)
	h.CA, _ = tls["ca_file"].(string)
	cert, _ := tls["cert_file"].(string)
	if key, _ := tls["key_file"].(string); cert != "" {
		h.Client = [][]string{{cert, key}}
	}
	return h
}

// writeHost adds one host. Each is written on its own: the order of a file's
// hosts is the order in which containerd asks them.
func writeHost(out *strings.Builder, address string, h host) error {
	data, err := toml.Marshal(map[string]map[string]host{"host": {strings.TrimSuffix(address, "/"): h}})
	if err != nil {
		return err
	}
	// the head of the table around it can be there once only
	out.WriteString(strings.TrimPrefix(string(data), "[host]\n"))
	return nil
}
