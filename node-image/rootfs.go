// Package nodeimage holds what goes into a node image besides programs: the
// files of its root file system at their own paths, and the versions of the
// components. The builder reads them from here; nothing else should.
package nodeimage

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed all:rootfs
var rootfs embed.FS

// RootFS are the files of the image, by their path without the leading "/".
func RootFS() (fs.FS, error) { return fs.Sub(rootfs, "rootfs") }

//go:embed packages.txt
var packages string

// Versions is versions.yaml, which pkg/release reads.
//
//go:embed versions.yaml
var Versions []byte

// Packages are the Debian packages of the image's base.
func Packages() []string {
	var out []string
	for line := range strings.Lines(packages) {
		name, _, _ := strings.Cut(line, "#")
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, name)
		}
	}
	return out
}
