package providertest

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/petri-cluster/petri/pkg/exec"
)

// ImageFile is a file in the image of Archive, and ImageFileData its content.
const (
	ImageFile     = "/etc/testnode"
	ImageFileData = "in vitro\n"
)

const testnode = "github.com/petri-cluster/petri/pkg/provider/providertest/testdata/testnode"

// commands are the names that the program in the image goes by.
var commands = []string{
	"cat", "cp", "echo", "false", "hostname", "init", "ls", "printenv", "sleep", "stat", "true",
}

// Archive builds the tiny image under the given reference and returns it in
// docker-save form, for this machine's architecture. It takes the Go compiler.
// The node dies or never finishes booting when its environment says
// TESTNODE=die or TESTNODE=silent.
func Archive(t *testing.T, ref string) []byte {
	t.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(rootfs(t))), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	image, err = mutate.ConfigFile(image, imageConfig(t, image))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := tarball.Write(tag, image, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func imageConfig(t *testing.T, image v1.Image) *v1.ConfigFile {
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.Entrypoint = []string{"/bin/init"}
	config.Config.Env = []string{"PATH=/bin"}
	return config
}

// rootfs is the image's only layer.
func rootfs(t *testing.T) []byte {
	path := filepath.Join(t.TempDir(), "testnode")
	err := exec.Host{}.Run(t.Context(), exec.Cmd{
		Args: []string{"go", "build", "-ldflags=-s -w", "-o", path, testnode},
		Env:  []string{"CGO_ENABLED=0", "GOOS=linux"},
	})
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(h *tar.Header, data []byte) {
		h.Size = int64(len(data))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin", "etc", "var", "var/lib", "proc", "sys", "dev", "run", "tmp"} {
		add(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}, nil)
	}
	add(&tar.Header{Typeflag: tar.TypeReg, Name: ImageFile[1:], Mode: 0o644}, []byte(ImageFileData))
	add(&tar.Header{Typeflag: tar.TypeReg, Name: "bin/testnode", Mode: 0o755}, program)
	for _, command := range commands {
		add(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + command, Linkname: "testnode", Mode: 0o777}, nil)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
