package bench

import (
	"compress/gzip"
	"context"
	"fmt"

	"github.com/petri-cluster/petri/pkg/exec"
)

// imageSizes takes the size of the node image as the engine keeps it, and of
// its archive when that is compressed as a registry does.
func (t *trial) imageSizes(ctx context.Context) error {
	size, err := t.place.docker(ctx, "image", "inspect", "--format", "{{.Size}}", t.target.image)
	if err != nil {
		return err
	}
	var unpacked float64
	if _, err := fmt.Sscan(size, &unpacked); err != nil {
		return fmt.Errorf("size of %s is %q: %w", t.target.image, size, err)
	}
	var compressed tally
	zip := gzip.NewWriter(&compressed)
	err = t.place.Run(ctx, exec.Cmd{Args: []string{"docker", "save", t.target.image}, Env: t.place.env(), Stdout: zip})
	if err != nil {
		return err
	}
	if err := zip.Close(); err != nil {
		return err
	}
	t.set("unpacked", unpacked)
	t.set("compressed", float64(compressed))
	return nil
}

// tally is a writer that only counts bytes.
type tally int64

// Write implements io.Writer; it never fails.
func (t *tally) Write(p []byte) (int, error) {
	*t += tally(len(p))
	return len(p), nil
}
