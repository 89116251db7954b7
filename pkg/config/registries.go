package config

import (
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Whose images nodes have without loading.
const (
	shareNone   = "none"
	shareEngine = "engine"
)

// registries are those of the file, whose files must be there when dir says
// where they are meant from.
func (s *source) registries(p *problems, dir string) []Registry {
	var out []Registry
	for i, in := range s.Registries {
		path, r := index("registries", i), Registry(in)
		checkRegistryHost(p, path+".host", r.Host)
		if slices.ContainsFunc(out, func(o Registry) bool { return o.Host == r.Host }) {
			p.add(path+".host", "%s is there already", r.Host)
		}
		for n, mirror := range r.Mirrors {
			checkMirror(p, index(path+".mirrors", n), mirror)
		}
		r.CAFile = existing(p, path+".caFile", r.CAFile, dir)
		r.PasswordFile = existing(p, path+".passwordFile", r.PasswordFile, dir)
		checkCredentials(p, path, r)
		out = append(out, r)
	}
	return out
}

// hostForm is a host, with a port or without.
var hostForm = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?$`)

func checkRegistryHost(p *problems, path, host string) {
	switch {
	case host == "":
		p.add(path, "is required")
	case strings.Contains(host, "://"):
		p.add(path, "must be a host as the names of images have it, and is a URL, %q", withoutUser(host))
	case !hostForm.MatchString(host) || strings.Contains(host, ".."):
		p.add(path, "must be a host such as docker.io or registry.example:5000, and is %q", host)
	}
}

// checkMirror never prints what stands before an @: it may be a password.
func checkMirror(p *problems, path, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		p.add(path, "must be an http or https URL, and is %q", withoutUser(text))
	case u.User != nil:
		p.add(path, "must not have a user; give %s an entry with username and passwordFile", u.Host)
	case u.RawQuery != "" || u.Fragment != "":
		p.add(path, "must end with its path, and is %q", withoutUser(text))
	}
}

// withoutUser leaves out what may be a password in what may be a URL.
func withoutUser(text string) string {
	if i := strings.LastIndex(text, "@"); i >= 0 {
		return "..." + text[i:]
	}
	return text
}

// existing is the path of a file that must be there.
func existing(p *problems, path, file, dir string) string {
	if file == "" || dir == "" {
		return file
	}
	file = resolvePath(file, dir)
	if info, err := os.Stat(file); err != nil || info.IsDir() {
		p.add(path, "there is no file %s", file)
	}
	return file
}

// checkCredentials wants a user to have one password. A variable is looked for
// by who makes the cluster: a file may be checked where there is none.
func checkCredentials(p *problems, path string, r Registry) {
	sources := 0
	for _, source := range []string{r.PasswordFile, r.PasswordEnv} {
		if source != "" {
			sources++
		}
	}
	switch {
	case r.Username == "" && sources > 0:
		p.add(path+".username", "is required for a password")
	case r.Username != "" && sources != 1:
		p.add(path+".username", "needs one of passwordFile and passwordEnv, and has %d", sources)
	}
}

// maxRegistryName leaves room for what is around it in names of containers.
const maxRegistryName = 40

var registryForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// ValidRegistryName reports whether a registry of petri's may be called so: the
// name becomes part of a DNS name.
func ValidRegistryName(name string) bool {
	return registryForm.MatchString(name) && len(name) <= maxRegistryName
}

func checkLocalRegistries(p *problems, names []string) {
	for i, name := range names {
		if !ValidRegistryName(name) {
			p.add(index("localRegistries", i), "%q is not the name of a registry", name)
		} else if slices.Contains(names[:i], name) {
			p.add(index("localRegistries", i), "%s is there already", name)
		}
	}
}
