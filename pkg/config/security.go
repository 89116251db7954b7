package config

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/petri-cluster/petri/pkg/config/v1alpha1"
)

// The profiles of security.
const (
	ProfileDefault  = "default"
	ProfileHardened = "hardened"
)

var profiles = []string{ProfileDefault, ProfileHardened}

// The levels of the Pod Security Standards that petri names itself.
const (
	levelPrivileged = "privileged"
	levelRestricted = "restricted"
)

var podSecurityLevels = []string{levelPrivileged, "baseline", levelRestricted}

// Hardened reports whether the profile is hardened.
func (s Security) Hardened() bool { return s.Profile == ProfileHardened }

// Restricts reports whether pods are held against any level that not every one
// has.
func (s PodSecurity) Restricts() bool {
	return slices.ContainsFunc([]string{s.Enforce, s.Audit, s.Warn}, func(level string) bool {
		return level != "" && level != levelPrivileged
	})
}

func resolveSecurity(p *problems, in v1alpha1.Security) Security {
	out := Security{Profile: cmp.Or(in.Profile, ProfileDefault)}
	if !slices.Contains(profiles, out.Profile) {
		p.add("security.profile", "%q is not one of %s", out.Profile, strings.Join(profiles, ", "))
	}
	level := levelPrivileged
	if out.Hardened() {
		level = levelRestricted
	}
	pods := in.PodSecurity
	out.PodSecurity = PodSecurity{
		Enforce: podSecurityLevel(p, "enforce", pods.Enforce, level), EnforceVersion: podSecurityVersion(p, "enforceVersion", pods.EnforceVersion),
		Audit: podSecurityLevel(p, "audit", pods.Audit, level), AuditVersion: podSecurityVersion(p, "auditVersion", pods.AuditVersion),
		Warn: podSecurityLevel(p, "warn", pods.Warn, level), WarnVersion: podSecurityVersion(p, "warnVersion", pods.WarnVersion),
		ExemptNamespaces: slices.Clone(pods.ExemptNamespaces),
	}
	checkNamespaces(p, "security.podSecurity.exemptNamespaces", pods.ExemptNamespaces)
	return out
}

func podSecurityLevel(p *problems, field, level, fallback string) string {
	level = cmp.Or(level, fallback)
	if !slices.Contains(podSecurityLevels, level) {
		p.add("security.podSecurity."+field, "%q is not one of %s", level, strings.Join(podSecurityLevels, ", "))
	}
	return level
}

// latest is the version of Pod Security that the API server itself has.
const latest = "latest"

var minorForm = regexp.MustCompile(`^v1\.(0|[1-9][0-9]{0,2})$`)

func podSecurityVersion(p *problems, field, version string) string {
	version = cmp.Or(version, latest)
	if version != latest && !minorForm.MatchString(version) {
		p.add("security.podSecurity."+field, "must be %s or a minor version such as v1.36, and is %q", latest, version)
	}
	return version
}

func checkNamespaces(p *problems, path string, names []string) {
	for i, name := range names {
		if why := validation.IsDNS1123Label(name); len(why) > 0 {
			p.add(index(path, i), "%q is not the name of a namespace: %s", name, strings.Join(why, "; "))
		}
		if slices.Contains(names[:i], name) {
			p.add(index(path, i), "%s is there already", name)
		}
	}
}
