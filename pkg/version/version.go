// Package version says which version of petri this is.
package version

import "runtime/debug"

// release is set by the linker for released binaries; others say what the Go
// toolchain recorded.
var release string

// String is petri's version: "v0.1.0", or "dev" from a checkout.
func String() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}
