package build

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

func TestIsSuite(t *testing.T) {
	for base, want := range map[string]bool{
		"trixie": true, "bookworm": true, "sid": true, "trixie-backports": true,
		"": false, "debian:trixie": false, "library/debian": false, "example.org/node": false, "node@sha256:0": false,
	} {
		if got := isSuite(base); got != want {
			t.Errorf("%q: suite %v, want %v", base, got, want)
		}
	}
}

const dpkgStatus = `Package: bash
Status: install ok installed
Conffiles:
 /etc/bash.bashrc 0123
Version: 5.2.37-2
Description: GNU Bourne Again SHell
 Version: this is text
 .
 Package: so is this

Package: removed
Status: deinstall ok config-files
Version: 1.0

Package: zlib1g
Status: install ok installed
Version: 1:1.3.1-1
`

func TestDebianPackages(t *testing.T) {
	diff(t, []nodeimage.Component{
		{Name: "debian/bash", Version: "5.2.37-2", Source: "debian"},
		{Name: "debian/zlib1g", Version: "1:1.3.1-1", Source: "debian"},
	}, debianPackages([]byte(dpkgStatus)))
	diff(t, []nodeimage.Component(nil), debianPackages(nil))
}

// pushBase starts a registry with an image of two layers, the second of which
// removes a file of the first, and returns its reference.
func pushBase(t *testing.T, arch string) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	lower, upper := newTree(), newTree()
	lower.addBytes("var/lib/dpkg/status", 0o644, []byte(dpkgStatus))
	lower.addBytes("usr/bin/kept", 0o755, []byte("kept"))
	lower.addBytes("usr/bin/removed", 0o755, []byte("removed"))
	upper.addBytes("usr/bin/.wh.removed", 0o644, nil)
	upper.put("usr/bin/linked", &entry{header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: "kept"}})
	var image v1.Image = empty.Image
	for _, tr := range []tree{lower, upper} {
		data := archive(t, tr)
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		if err == nil {
			image, err = mutate.AppendLayers(image, l)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = arch, "linux"
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/team/base:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	return ref.String()
}

func TestBaseFromARegistry(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // no credentials of this machine
	ref := pushBase(t, "amd64")
	o := Options{Base: ref, Arch: "amd64", Cache: t.TempDir()}
	base, err := o.base(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(base.name, ref+"@sha256:") {
		t.Errorf("name %q does not say what was taken", base.name)
	}
	if len(base.components) != 2 {
		t.Errorf("components %+v, want those of dpkg", base.components)
	}
	f, err := os.Open(base.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tr, err := readTar(f, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "kept", contentOf(t, tr, "usr/bin/kept"))
	if tr["usr/bin/removed"] != nil || tr["usr/bin/.wh.removed"] != nil {
		t.Error("a file that the upper layer removed is there")
	}
	if e := tr["usr/bin/linked"]; e == nil || e.header.Linkname != "kept" {
		t.Errorf("the link of the upper layer is %+v", e)
	}

	// an archive that is there is used again
	if err := os.WriteFile(base.path, archive(t, newTree()), 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := o.base(t.Context())
	if err != nil || again.path != base.path || len(again.components) != 0 {
		t.Errorf("fetched again: %+v, %v", again, err)
	}
	if left, _ := filepath.Glob(o.Cache + "/*.partial"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestBaseFromARegistryErrors(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	ref := pushBase(t, "arm64")
	for base, test := range map[string]struct {
		class errdefs.Class
		want  string
	}{
		ref:                  {errdefs.ClassUsage, "is for arm64"},
		"a/Name:that/is:not": {errdefs.ClassUsage, "neither a Debian suite nor an image"},
		"":                   {errdefs.ClassUsage, "neither a Debian suite nor an image"},
	} {
		_, err := Options{Base: base, Arch: "amd64", Cache: t.TempDir()}.base(t.Context())
		if !errdefs.Is(err, test.class) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got %v, want %q", base, err, test.want)
		}
	}
	missing := strings.Replace(ref, "team/base", "team/other", 1)
	_, err := Options{Base: missing, Arch: "amd64", Cache: t.TempDir()}.base(t.Context())
	if err == nil || !strings.Contains(err.Error(), "fetch base image "+missing) {
		t.Errorf("got %v, want the image that is missing", err)
	}
}

// fakeDebian stands for mmdebstrap.
type fakeDebian struct {
	args [][]string
	err  error
	data []byte
}

func (f *fakeDebian) Run(_ context.Context, cmd exec.Cmd) error {
	f.args = append(f.args, cmd.Args)
	return errors.Join(f.err, os.WriteFile(cmd.Args[len(cmd.Args)-1], f.data, 0o644))
}

// installed puts an empty mmdebstrap in PATH, where it is looked for only.
func installed(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mmdebstrap"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
}

func TestBaseFromDebian(t *testing.T) {
	installed(t)
	root := newTree()
	root.addBytes("var/lib/dpkg/status", 0o644, []byte(dpkgStatus))
	debian := &fakeDebian{data: archive(t, root)}
	o := Options{Base: "trixie", Arch: hostArch, Cache: t.TempDir(), Packages: []string{"systemd", "nftables"}, Runner: debian}
	for range 2 {
		base, err := o.base(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if base.name != "debian trixie" || len(base.components) != 2 {
			t.Errorf("got %+v", base)
		}
	}
	if len(debian.args) != 1 {
		t.Fatalf("installed %d times, want once", len(debian.args))
	}
	line := strings.Join(debian.args[0], " ")
	for _, want := range []string{"mmdebstrap ", "--architectures=" + hostArch, "--include=systemd,nftables", " trixie "} {
		if !strings.Contains(line, want) {
			t.Errorf("%q lacks %q", line, want)
		}
	}
	o.Packages = append(o.Packages, "more") // another base
	if _, err := o.base(t.Context()); err != nil || len(debian.args) != 2 {
		t.Errorf("other packages: installed %d times (%v)", len(debian.args), err)
	}
}

func TestBaseFromDebianErrors(t *testing.T) {
	t.Run("failed", func(t *testing.T) {
		installed(t)
		cause := errors.New("no mirror")
		o := Options{Base: "trixie", Arch: hostArch, Cache: t.TempDir(), Runner: &fakeDebian{err: cause}}
		if _, err := o.base(t.Context()); !errors.Is(err, cause) || !strings.Contains(err.Error(), "install Debian trixie") {
			t.Errorf("got %v", err)
		}
		if left, _ := os.ReadDir(o.Cache); len(left) > 0 {
			t.Errorf("%d files are left of a failed base", len(left))
		}
	})
	t.Run("not installed", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		_, err := Options{Base: "trixie", Arch: hostArch, Cache: t.TempDir()}.base(t.Context())
		e, ok := errors.AsType[*errdefs.Error](err)
		if !ok || e.Class != errdefs.ClassUnavailable || !strings.Contains(e.Hint, "apt-get install mmdebstrap") {
			t.Errorf("got %v, want what to install", err)
		}
	})
}
