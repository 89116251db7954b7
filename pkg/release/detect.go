package release

import (
	"net/http"
	"os"
	"slices"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// The types of source that can be asked for by name.
const (
	TypeRelease = "release" // a released version; "module" is another word for it
	TypeSource  = "source"  // a source tree
	TypeFile    = "file"    // an official server archive
	TypeURL     = "url"     // the same, to download
	TypeCI      = "ci"      // the newest build of Kubernetes' CI: "ci/latest", "ci/latest-1.36"
)

// SourceTypes lists the types in the order in which they are documented.
func SourceTypes() []string { return []string{TypeRelease, TypeSource, TypeFile, TypeURL, TypeCI} }

// Options are what sources need beside their argument.
type Options struct {
	Builder  *Builder
	Versions Versions
	// Checksum is that of an archive: "sha256:..." or "sha512:...". Empty is
	// unknown.
	Checksum string
	// Client downloads; nil is http.DefaultClient.
	Client *http.Client
}

// Detect finds out which source arg names. With an empty typ, an existing
// directory is a source tree, an existing file an archive, http:// or https://
// a URL, ci/ a marker of CI, a version such as v1.36.3 (the v may be missing) a release, and
// nothing at all the default release. Any other typ says what arg is.
func Detect(arg, typ string, o Options) (Source, error) {
	if typ == "" {
		typ = guess(arg)
	}
	if o.Checksum != "" && typ != TypeFile && typ != TypeURL {
		return nil, badSource("a checksum is for a file or a URL; modules are verified by the go command, and a source tree has none")
	}
	switch typ {
	case TypeRelease, "module":
		return detectRelease(arg, o)
	case TypeSource:
		if info, err := os.Stat(arg); err != nil || !info.IsDir() {
			return nil, badSource("%q is not a directory", arg)
		}
		return SourceTree{Dir: arg, Builder: o.Builder}, nil
	case TypeFile:
		if info, err := os.Stat(arg); err != nil || info.IsDir() {
			return nil, badSource("%q is not a file", arg)
		}
		return Tarball{Path: arg, Checksum: o.Checksum, Builder: o.Builder}, nil
	case TypeURL:
		if !isURL(arg) {
			return nil, badSource("%q is not a URL that starts with https:// or http://", arg)
		}
		return URL{URL: arg, Checksum: o.Checksum, Builder: o.Builder, Client: o.Client}, nil
	case TypeCI:
		return CI{Marker: arg, Builder: o.Builder, Client: o.Client}, nil
	case "":
		return nil, badSource("%q is no existing file or directory, no URL and no version", arg)
	}
	return nil, errdefs.New(errdefs.ClassUsage, "BAD-SOURCE", "%q is not a type of source", typ).
		WithHint("Types are %s.", strings.Join(SourceTypes(), ", "))
}

func guess(arg string) string {
	if info, err := os.Stat(arg); err == nil && arg != "" {
		if info.IsDir() {
			return TypeSource
		}
		return TypeFile
	}
	switch {
	case isURL(arg):
		return TypeURL
	case strings.HasPrefix(arg, "ci/"):
		return TypeCI
	case arg == "", semver.IsValid(withV(arg)):
		return TypeRelease
	}
	return ""
}

func detectRelease(arg string, o Options) (Source, error) {
	pin := o.Versions.Kubernetes
	if arg != "" {
		pin.Version = withV(arg)
	}
	if semver.Canonical(pin.Version) != pin.Version {
		return nil, errdefs.New(errdefs.ClassUsage, "BAD-SOURCE", "%q is not a full version of Kubernetes", arg).
			WithHint("Give all three numbers, such as %s.", o.Versions.Kubernetes.Version)
	}
	return Module{Pin: pin, Builder: o.Builder}, nil
}

func withV(version string) string {
	if version != "" && version[0] >= '0' && version[0] <= '9' {
		return "v" + version
	}
	return version
}

func isURL(arg string) bool {
	return slices.ContainsFunc([]string{"https://", "http://"}, func(scheme string) bool {
		return strings.HasPrefix(strings.ToLower(arg), scheme)
	})
}

func badSource(format string, args ...any) error {
	return errdefs.New(errdefs.ClassUsage, "BAD-SOURCE", "kubernetes source: "+format, args...).
		WithHint("Give a version such as v1.36.3, the directory of a Kubernetes checkout, or the path or URL of kubernetes-server-linux-ARCH.tar.gz.")
}
