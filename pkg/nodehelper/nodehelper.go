// Package nodehelper holds the program that petri runs in nodes, for images
// that do not bring it: those of kind and of others. hack/build.sh builds it
// into petri; a petri that was built without it works with its own images.
package nodehelper

import (
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"io"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

//go:embed programs
var programs embed.FS

// Program is the node helper for Linux on an architecture ("amd64"), or an
// error of class usage with ID NO-NODE-HELPER when this petri has none.
func Program(arch string) ([]byte, error) {
	data, err := programs.ReadFile("programs/petri-node-linux-" + arch + ".gz")
	if err != nil {
		return nil, errdefs.New(errdefs.ClassUsage, "NO-NODE-HELPER",
			"this petri was built without the node helper for %s, which images of others need", arch).
			WithHint("build petri with make, or use an image of petri build node-image")
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("unpack the node helper: %w", err)
	}
	return io.ReadAll(unzipped)
}
