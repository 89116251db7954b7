package main

import (
	"bytes"
	"cmp"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/petri-cluster/petri/pkg/exec"
)

// materials are what a program was linked from, as it says itself.
type materials struct {
	toolchain string // "go1.26.6"
	modules   []debug.Module
}

// helpers are the programs that are embedded in petri. What they are linked
// from is in petri too.
var helpers = []string{"bin/petri-node-linux-amd64", "bin/petri-node-linux-arm64"}

// linkedInto reads what petri, and what is embedded in it, were linked from.
func linkedInto(program []byte) (materials, error) {
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		return materials{}, err
	}
	all := []*debug.BuildInfo{info}
	for _, helper := range helpers {
		info, err := buildinfo.ReadFile(helper)
		if err != nil {
			return materials{}, fmt.Errorf("the node helper: %w; make release builds it", err)
		}
		all = append(all, info)
	}
	return materialsOf(all), nil
}

func materialsOf(all []*debug.BuildInfo) materials {
	m := materials{toolchain: all[0].GoVersion}
	for _, info := range all {
		for _, dep := range info.Deps {
			if dep.Replace != nil {
				dep = dep.Replace
			}
			m.modules = append(m.modules, *dep)
		}
	}
	slices.SortFunc(m.modules, func(a, b debug.Module) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Version, b.Version))
	})
	m.modules = slices.Compact(m.modules)
	return m
}

// document is a bill of materials in CycloneDX's form. It has no serial number,
// which would be another one in each build.
type document struct {
	Format      string      `json:"bomFormat"`
	SpecVersion string      `json:"specVersion"`
	Version     int         `json:"version"`
	Metadata    metadata    `json:"metadata"`
	Components  []component `json:"components"`
}

type metadata struct {
	Timestamp  string     `json:"timestamp"`
	Component  component  `json:"component"`
	Properties []property `json:"properties"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	PURL       string     `json:"purl"`
	Properties []property `json:"properties,omitempty"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// bill is the bill of materials of the program for a platform.
func (o *options) bill(platform string, m materials) ([]byte, error) {
	d := document{Format: "CycloneDX", SpecVersion: "1.5", Version: 1, Metadata: metadata{
		Timestamp:  o.made.Format("2006-01-02T15:04:05Z"),
		Component:  component{Type: "application", Ref: "petri", Name: "petri", Version: o.version, PURL: purl("github.com/petri-cluster/petri", o.version)},
		Properties: []property{{"petri:commit", o.commit}, {"petri:platform", platform}, {"petri:toolchain", m.toolchain}},
	}}
	std := strings.TrimPrefix(m.toolchain, "go")
	d.Components = []component{{Type: "library", Ref: purl("std", std), Name: "std", Version: std, PURL: purl("std", std)}}
	for _, module := range m.modules {
		ref := purl(module.Path, module.Version)
		d.Components = append(d.Components, component{
			Type: "library", Ref: ref, Name: module.Path, Version: module.Version, PURL: ref,
			Properties: []property{{"go:sum", module.Sum}},
		})
	}
	data, err := json.MarshalIndent(d, "", "  ")
	return append(data, '\n'), err
}

func purl(path, version string) string {
	return "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
}

// licence is the name of a file that says under which terms a module is given.
var licence = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([.-].*)?$`)

// licencesOf are the licences of the toolchain's library and of all modules. A
// module without one may not be given away, and is an error.
func licencesOf(ctx context.Context, m materials) ([]byte, error) {
	var out bytes.Buffer
	root, err := exec.Output(ctx, exec.Host{}, "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	if err := appendLicences(&out, "the Go standard library", m.toolchain, strings.TrimSpace(string(root))); err != nil {
		return nil, err
	}
	for _, module := range m.modules {
		dir, err := exec.Output(ctx, exec.Host{}, "go", "list", "-mod=mod", "-m", "-f", "{{.Dir}}", module.Path+"@"+module.Version)
		if err != nil {
			return nil, err
		}
		if err := appendLicences(&out, module.Path, module.Version, strings.TrimSpace(string(dir))); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

func appendLicences(out *bytes.Buffer, name, version, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("licence of %s %s: %w", name, version, err)
	}
	found := false
	for _, e := range entries {
		if !e.Type().IsRegular() || !licence.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		found = true
		fmt.Fprintf(out, "=== %s %s: %s ===\n\n%s\n\n", name, version, e.Name(), bytes.TrimSpace(text))
	}
	if !found {
		return fmt.Errorf("%s %s has no licence in %s", name, version, dir)
	}
	return nil
}
