package image

import (
	"strings"

	"github.com/distribution/reference"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// FullName is the reference that Kubernetes makes of what people write: "app"
// is "docker.io/library/app:latest". It fails with class usage.
func FullName(ref string) (string, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", errdefs.New(errdefs.ClassUsage, "IMAGE-NAME", "%q is not the name of an image: %w", ref, err)
	}
	return named.String(), nil
}

// Digested is the name by which an image is found that has this digest,
// whatever becomes of its tag; empty when name is none.
func Digested(name, digest string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return ""
	}
	return reference.TrimNamed(named).String() + "@" + digest
}

// HasTag reports whether a full name is one with a tag.
func HasTag(name string) bool {
	if strings.HasPrefix(name, "sha256:") {
		return false // an ID
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return false
	}
	_, tagged := named.(reference.Tagged)
	_, digested := named.(reference.Digested)
	return tagged && !digested
}
