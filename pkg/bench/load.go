package bench

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
)

// The images that are loaded: two that share all layers but the last, small
// one, as builds of one app do.
const (
	firstImage     = "petri-bench/app:1"
	iterativeImage = "petri-bench/app:2"
	smallLayer     = 10_000
)

// appShape is what the image that is loaded consists of: layers of one size,
// which have the bytes together, and the last one of smallLayer.
type appShape struct{ layers, bytes int }

// loadImages loads an image into every node, then another one of which all
// nodes have all layers but the last, and that one again.
func (t *trial) loadImages(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, t.place.removeApps(context.WithoutCancel(ctx))) }()
	for i, ref := range []string{firstImage, iterativeImage} {
		if err := t.place.makeApp(ctx, t.app, ref, byte(i)); err != nil {
			return err
		}
	}
	if err := t.makeUsable(ctx); err != nil {
		return err
	}
	for _, load := range []struct{ figure, ref string }{{"first", firstImage}, {"iterative", iterativeImage}, {"repeated", iterativeImage}} {
		if err := t.loadOne(ctx, load.figure, load.ref); err != nil {
			return err
		}
	}
	return nil
}

// loadOne loads an image, and sees that every node has it.
func (t *trial) loadOne(ctx context.Context, figure, ref string) error {
	start := time.Now()
	if err := t.run(ctx, t.load(t.target, ref)); err != nil {
		return err
	}
	t.mark(start, figure)
	for _, node := range t.target.nodes {
		if _, err := t.place.docker(ctx, "exec", node, "crictl", "inspecti", "docker.io/"+ref); err != nil {
			return fmt.Errorf("look for the loaded image: %w", err)
		}
	}
	return nil
}

func (p *place) removeApps(ctx context.Context) error {
	_, err := p.docker(ctx, "image", "rm", "--force", firstImage, iterativeImage)
	return err
}

// makeApp gives the engine an image whose last layer depends on seed.
func (p *place) makeApp(ctx context.Context, shape appShape, ref string, seed byte) error {
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeImage(w, shape, ref, seed)) }()
	err := p.Run(ctx, exec.Cmd{Args: []string{"docker", "load"}, Env: p.env(), Stdin: r})
	_ = r.CloseWithError(err) // ends the other side, should load end early
	if err != nil {
		return fmt.Errorf("make image %s: %w", ref, err)
	}
	return nil
}

// writeImage writes an image as "docker save" does.
func writeImage(w io.Writer, shape appShape, ref string, seed byte) error {
	var diffIDs, paths []string
	archive := tar.NewWriter(w)
	for n := range shape.layers {
		// seeds of large layers count down from 255, those of small ones are given
		data := layer(fmt.Sprintf("large-%d", n), shape.bytes/(shape.layers-1), byte(255-n))
		if n == shape.layers-1 {
			data = layer("small", smallLayer, seed)
		}
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		diffIDs, paths = append(diffIDs, "sha256:"+sum), append(paths, sum+".tar")
		if err := writeFile(archive, sum+".tar", data); err != nil {
			return err
		}
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	})
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%x.json", sha256.Sum256(config))
	manifest, err := json.Marshal([]map[string]any{{"Config": name, "RepoTags": []string{ref}, "Layers": paths}})
	if err != nil {
		return err
	}
	return errors.Join(writeFile(archive, name, config), writeFile(archive, "manifest.json", manifest), archive.Close())
}

// layer is a layer with one file that does not compress, the same each time.
func layer(name string, size int, seed byte) []byte {
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(content) // it never fails
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	_ = errors.Join(writeFile(archive, name, content), archive.Close()) // a Buffer does not fail
	return out.Bytes()
}

func writeFile(archive *tar.Writer, name string, data []byte) error {
	if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := archive.Write(data)
	return err
}
