package release

import (
	"fmt"

	"golang.org/x/mod/semver"
	"sigs.k8s.io/yaml"
)

// Versions is the content of node-image/versions.yaml.
type Versions struct {
	Kubernetes Pin            `json:"kubernetes"` // what is built when nothing is asked for
	Debian     Debian         `json:"debian"`
	Components map[string]Pin `json:"components"` // by component name
}

// Pin is one module at one version.
type Pin struct {
	Module  string `json:"module"`
	Version string `json:"version"`
}

// Debian is the distribution that the image's base is made of.
type Debian struct {
	Suite string `json:"suite"`
}

// LoadVersions reads versions.yaml. Unknown fields, missing components and
// versions that are none are errors.
func LoadVersions(data []byte) (Versions, error) {
	var v Versions
	if err := yaml.UnmarshalStrict(data, &v); err != nil {
		return Versions{}, fmt.Errorf("read versions.yaml: %w", err)
	}
	if v.Debian.Suite == "" {
		return Versions{}, fmt.Errorf("read versions.yaml: debian.suite is missing")
	}
	if err := v.Kubernetes.check("kubernetes"); err != nil {
		return Versions{}, err
	}
	for name := range v.Components {
		if r, known := recipes[name]; !known || r.of != "" {
			return Versions{}, fmt.Errorf("read versions.yaml: nothing is known about component %q", name)
		}
	}
	for name, recipe := range recipes {
		if recipe.module != "" || recipe.of != "" {
			continue // Kubernetes prescribes its version, or it has another's
		}
		if err := v.Components[name].check("components." + name); err != nil {
			return Versions{}, err
		}
	}
	return v, nil
}

func (p Pin) check(at string) error {
	if p.Module == "" {
		return fmt.Errorf("read versions.yaml: %s.module is missing", at)
	}
	if !semver.IsValid(p.Version) {
		return fmt.Errorf("read versions.yaml: %s.version %q is not a version such as v1.2.3", at, p.Version)
	}
	return nil
}
