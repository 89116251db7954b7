package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/image"
	"github.com/petri-cluster/petri/pkg/image/imagetest"
)

// app is an image with layers that differ.
func app(arch string) imagetest.Image {
	return imagetest.Image{Name: "app:1", Arch: arch, Layers: [][]byte{
		imagetest.Layer("large", bytes.Repeat([]byte("x"), 200_000)), imagetest.Layer("small", []byte(arch)),
	}}
}

func compress(t *testing.T, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

// asFile writes an archive to a file.
func asFile(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// asDir writes the files of a layout to a directory.
func asDir(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// read opens a source and reads all of it: its images, and its layers by the
// digest of their content.
func read(src image.Source, err error) ([]*image.Image, map[digest.Digest]bool, error) {
	if err != nil {
		return nil, nil, err
	}
	defer src.Close()
	content := map[digest.Digest]bool{}
	err = src.Layers(context.Background(), func(image.Blob) bool { return true }, func(b image.Blob, r io.Reader) error {
		data, err := io.ReadAll(r)
		if int64(len(data)) != b.Size && err == nil {
			err = fmt.Errorf("%d bytes of %d", len(data), b.Size)
		}
		content[digest.FromBytes(data)] = true
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	images, err := src.Images()
	return images, content, err
}

// Every form of an archive gives the same image.
func TestArchives(t *testing.T) {
	want := app("amd64")
	saved, layout := imagetest.Tar(want.Saved()), imagetest.Tar(imagetest.Layout(want))
	zipped := want
	zipped.Gzip = true
	nodes := image.ForNodes("amd64")
	open := func(data []byte) func(*testing.T) (image.Source, error) {
		return func(t *testing.T) (image.Source, error) { return image.OpenArchive(asFile(t, data), nodes, "") }
	}
	stream := func(data []byte) func(*testing.T) (image.Source, error) {
		return func(*testing.T) (image.Source, error) { return image.ReadArchive(bytes.NewReader(data), nodes, "") }
	}
	for name, source := range map[string]func(*testing.T) (image.Source, error){
		"saved":                   open(saved),
		"saved, gzip":             open(imagetest.Gzip(saved)),
		"saved, zstd":             open(compress(t, saved)),
		"saved, stream":           stream(saved),
		"saved, gzip, stream":     stream(imagetest.Gzip(saved)),
		"layout":                  open(layout),
		"layout, zstd":            open(compress(t, layout)),
		"layout, stream":          stream(layout),
		"layout, zstd, stream":    stream(compress(t, layout)),
		"layout, packed layers":   open(imagetest.Tar(imagetest.Layout(zipped))),
		"packed layers, streamed": stream(imagetest.Tar(imagetest.Layout(zipped))),
		"directory": func(t *testing.T) (image.Source, error) {
			return image.OpenArchive(asDir(t, imagetest.Layout(want)), nodes, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			images, content, err := read(source(t))
			if err != nil {
				t.Fatal(err)
			}
			if len(images) != 1 {
				t.Fatalf("%d images", len(images))
			}
			i := images[0]
			if diff := cmp.Diff([]string{"docker.io/library/app:1"}, i.Names); diff != "" {
				t.Error(diff)
			}
			if i.ID() != want.ID() {
				t.Errorf("ID %s, want %s", i.ID(), want.ID())
			}
			if diff := cmp.Diff(want.DiffIDs(), i.DiffIDs()); diff != "" {
				t.Error(diff)
			}
			for _, l := range i.Layers {
				if !content[l.Digest] {
					t.Errorf("layer %s was not read: %v", l.Digest, content)
				}
			}
			for _, d := range i.Documents {
				if digest.FromBytes(d.Content) != d.Digest || int64(len(d.Content)) != d.Size {
					t.Errorf("document %+v is %q", d.Descriptor, d.Content)
				}
			}
		})
	}
}

// The same saved image has the same manifest each time, which points to it.
func TestSavedManifestIsStable(t *testing.T) {
	t.Parallel()
	var targets []digest.Digest
	for range 2 {
		images, _, err := read(image.OpenArchive(asFile(t, imagetest.Tar(app("amd64").Saved())), image.ForNodes("amd64"), ""))
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, images[0].Target().Digest)
	}
	if targets[0] != targets[1] {
		t.Errorf("twice the same archive, and two manifests: %v", targets)
	}
}

// Layers that nobody wants are not read.
func TestOnlyWantedLayers(t *testing.T) {
	t.Parallel()
	img := app("amd64")
	saved := imagetest.Tar(img.Saved())
	for name, data := range map[string][]byte{"plain": saved, "packed": imagetest.Gzip(saved)} {
		src, err := image.OpenArchive(asFile(t, data), image.ForNodes("amd64"), "")
		if err != nil {
			t.Fatal(err)
		}
		var taken []digest.Digest
		err = src.Layers(t.Context(), func(b image.Blob) bool { return b.Digest == img.DiffIDs()[1] }, func(b image.Blob, _ io.Reader) error {
			taken = append(taken, b.Digest)
			return nil
		})
		if err != nil || len(taken) != 1 || taken[0] != img.DiffIDs()[1] {
			t.Errorf("%s: took %v (%v)", name, taken, err)
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Of an index the wanted platform is taken. Its index stays the target only
// where nodes would find in it what was loaded.
func TestPlatforms(t *testing.T) {
	t.Parallel()
	both := imagetest.Layout(app("amd64"), app("arm64"))
	exact := func(platform, arch string) image.Want {
		w, err := image.ParsePlatform(platform, arch)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	for _, c := range []struct {
		name    string
		files   map[string][]byte
		want    image.Want
		arch    string // of the image that is found; empty: none
		indexed bool
		message string
	}{
		{name: "native", files: both, want: image.ForNodes("amd64"), arch: "amd64", indexed: true},
		{name: "native arm", files: both, want: image.ForNodes("arm64"), arch: "arm64", indexed: true},
		{name: "foreign", files: both, want: exact("linux/arm64", "amd64"), arch: "arm64"},
		{name: "named and native", files: both, want: exact("linux/amd64", "amd64"), arch: "amd64", indexed: true},
		{name: "not there", files: both, want: image.ForNodes("s390x"), message: "not there for linux/s390x, but for: linux/amd64, linux/arm64"},
		{name: "one for another", files: imagetest.Layout(app("arm64")), want: image.ForNodes("amd64"), message: "not there for linux/amd64, but for: linux/arm64"},
		{name: "saved for another", files: app("arm64").Saved(), want: image.ForNodes("amd64"), message: "not there for linux/amd64, but for: linux/arm64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			images, _, err := read(image.OpenArchive(asFile(t, imagetest.Tar(c.files)), c.want, ""))
			if c.arch == "" {
				if !errdefs.Is(err, errdefs.ClassNotFound) || !strings.Contains(err.Error(), c.message) {
					t.Fatalf("error %v, want %q", err, c.message)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			i := images[0]
			if i.Platform.Architecture != c.arch {
				t.Errorf("got the image for %s", i.Platform.Architecture)
			}
			if indexed := i.Target().MediaType == ocispec.MediaTypeImageIndex; indexed != c.indexed {
				t.Errorf("the target is a %s", i.Target().MediaType)
			}
		})
	}
	if _, err := image.ParsePlatform("linux/amd64/v1/x", "amd64"); !errdefs.Is(err, errdefs.ClassUsage) {
		t.Errorf("a platform that is none: %v", err)
	}
}

// An index may name more than has come with it, as engines save one platform.
func TestIndexWithOnePlatformThere(t *testing.T) {
	t.Parallel()
	files := imagetest.Layout(app("amd64"), app("arm64"))
	for _, absent := range [][]byte{app("arm64").Manifest(), app("arm64").Config(), app("arm64").Layers[1]} {
		delete(files, "blobs/sha256/"+digest.FromBytes(absent).Encoded())
	}
	images, _, err := read(image.OpenArchive(asFile(t, imagetest.Tar(files)), image.ForNodes("amd64"), ""))
	if err != nil || images[0].Platform.Architecture != "amd64" {
		t.Fatalf("%v", err)
	}
	if images[0].Target().MediaType != ocispec.MediaTypeImageIndex {
		t.Errorf("the target is a %s", images[0].Target().MediaType)
	}
	if _, _, err = read(image.OpenArchive(asFile(t, imagetest.Tar(files)), image.ForNodes("arm64"), "")); !errdefs.Is(err, errdefs.ClassNotFound) {
		t.Errorf("for a platform that has not come: %v", err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	nameless := app("amd64")
	nameless.Name = ""
	_, _, err := read(image.OpenArchive(asFile(t, imagetest.Tar(imagetest.Layout(nameless))), image.ForNodes("amd64"), ""))
	if !errdefs.Is(err, errdefs.ClassUsage) || !strings.Contains(err.Error(), "does not say what image") {
		t.Errorf("an image without a name: %v", err)
	}
	images, _, err := read(image.OpenArchive(asFile(t, imagetest.Tar(imagetest.Layout(nameless))), image.ForNodes("amd64"), "example.com/mine:2"))
	if err != nil || !slices.Equal(images[0].Names, []string{"example.com/mine:2"}) {
		t.Errorf("%v", err)
	}
	for in, want := range map[string]string{
		"app": "docker.io/library/app:latest", "a/app:1": "docker.io/a/app:1", "localhost:5000/app": "localhost:5000/app:latest",
		"app@sha256:" + strings.Repeat("a", 64): "docker.io/library/app@sha256:" + strings.Repeat("a", 64),
	} {
		if got, err := image.FullName(in); got != want || err != nil {
			t.Errorf("FullName(%q) is %q (%v), want %q", in, got, err, want)
		}
	}
	if _, err := image.FullName("App:1"); !errdefs.Is(err, errdefs.ClassUsage) {
		t.Errorf("a name that is none: %v", err)
	}
}

// headers is an archive with these headers and no content.
func headers(t *testing.T, hs ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range hs {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// edited is a layout of which one file was changed.
func edited(fn func(files map[string][]byte)) []byte {
	files := maps.Clone(imagetest.Layout(app("amd64")))
	fn(files)
	return imagetest.Tar(files)
}

// What is wrong or hostile is refused with a message that says so, from a file
// as from a pipe.
func TestBadArchives(t *testing.T) {
	img := app("amd64")
	layer := "blobs/sha256/" + img.DiffIDs()[0].Encoded()
	config := "blobs/sha256/" + img.ID().Encoded()
	saved := imagetest.Tar(img.Saved())
	many := make([]tar.Header, 50_001)
	for i := range many {
		many[i] = tar.Header{Name: fmt.Sprint(i), Typeflag: tar.TypeReg}
	}
	for name, c := range map[string]struct {
		data    []byte
		message string
	}{
		"empty":               {nil, "no image archive"},
		"not an archive":      {[]byte(strings.Repeat("this is text. ", 100)), "read the archive"},
		"no image":            {imagetest.Layer("file", []byte("content")), "no image archive"},
		"truncated":           {saved[:len(saved)/2], "read the archive: unexpected EOF"},
		"truncated gzip":      {imagetest.Gzip(saved)[:300], "read the archive: unexpected EOF"},
		"bzip2":               {append([]byte("BZh91AY"), saved...), "neither by gzip nor by zstd"},
		"path traversal":      {headers(t, tar.Header{Name: "../../etc/passwd", Typeflag: tar.TypeReg}), "outside of itself"},
		"absolute path":       {headers(t, tar.Header{Name: "/etc/passwd", Typeflag: tar.TypeReg}), "outside of itself"},
		"link out":            {headers(t, tar.Header{Name: "manifest.json", Linkname: "../../etc/passwd", Typeflag: tar.TypeSymlink}), "outside of itself"},
		"absolute link":       {headers(t, tar.Header{Name: "manifest.json", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink}), "outside of itself"},
		"link to itself":      {headers(t, tar.Header{Name: "manifest.json", Linkname: "manifest.json", Typeflag: tar.TypeSymlink}), "lead to each other"},
		"device":              {headers(t, tar.Header{Name: "manifest.json", Typeflag: tar.TypeBlock}), "neither a file nor a link"},
		"bomb of headers":     {imagetest.Gzip(headers(t, many...)), "more than 50000 files"},
		"bomb of documents":   {documentBomb(), "MB of manifests"},
		"index is no JSON":    {edited(func(f map[string][]byte) { f["index.json"] = []byte("{") }), "index.json of the archive"},
		"index is empty":      {edited(func(f map[string][]byte) { f["index.json"] = []byte("{}") }), "names no image"},
		"layer is missing":    {edited(func(f map[string][]byte) { delete(f, layer) }), "has no file " + layer},
		"layer is cut":        {edited(func(f map[string][]byte) { f[layer] = f[layer][:1000] }), ""},
		"config is wrong":     {edited(func(f map[string][]byte) { f[config] = []byte(`{"os":"linux"}`) }), "has the digest"},
		"config is missing":   {edited(func(f map[string][]byte) { delete(f, config) }), "has no file " + config},
		"digest is no digest": {badDigest("sha256:../../../../etc/passwd"), "digest"},
		"another algorithm":   {badDigest("sha512:" + strings.Repeat("0", 128)), "not SHA-256"},
		"an index of itself":  {endless(), "index in an index"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, form := range []struct {
				name string
				open func() (image.Source, error)
			}{
				{"file", func() (image.Source, error) { return image.OpenArchive(asFile(t, c.data), image.ForNodes("amd64"), "") }},
				{"stream", func() (image.Source, error) {
					return image.ReadArchive(bytes.NewReader(c.data), image.ForNodes("amd64"), "")
				}},
			} {
				_, _, err := read(form.open())
				if e, ok := errors.AsType[*errdefs.Error](err); !ok || e.ID != "IMAGE-BROKEN" || !strings.Contains(err.Error(), c.message) {
					t.Errorf("%s: error %v, want %q", form.name, err, c.message)
				}
			}
		})
	}
}

// documentBomb is an archive with many large files that look like manifests.
func documentBomb() []byte {
	files := map[string][]byte{}
	for i := range 10 {
		files[fmt.Sprint(i)] = append([]byte("{"), bytes.Repeat([]byte(" "), 7<<19)...)
	}
	return imagetest.Tar(files)
}

func badDigest(d string) []byte {
	return edited(func(f map[string][]byte) {
		index, _ := json.Marshal(ocispec.Index{Manifests: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.Digest(d)}}})
		f["index.json"] = index
	})
}

// endless is a layout with indexes in indexes, deeper than anybody needs.
func endless() []byte {
	return edited(func(f map[string][]byte) {
		inner := imagetest.Descriptor(ocispec.MediaTypeImageManifest, app("amd64").Manifest())
		inner.Platform = new(app("amd64").Platform())
		for range 6 {
			index, _ := json.Marshal(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{inner}})
			platform := inner.Platform
			inner = imagetest.Descriptor(ocispec.MediaTypeImageIndex, index)
			inner.Platform = platform
			f["blobs/sha256/"+inner.Digest.Encoded()] = index
		}
		index, _ := json.Marshal(ocispec.Index{Manifests: []ocispec.Descriptor{inner}})
		f["index.json"] = index
	})
}

// Links in a directory are followed as long as they stay in it.
func TestDirectoryLinks(t *testing.T) {
	t.Parallel()
	dir := asDir(t, imagetest.Layout(app("amd64")))
	if err := os.Symlink("index.json", filepath.Join(dir, "inside")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(image.OpenArchive(dir, image.ForNodes("amd64"), "")); err != nil {
		t.Errorf("with a link inside: %v", err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "outside")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(image.OpenArchive(dir, image.ForNodes("amd64"), "")); err == nil || !strings.Contains(err.Error(), "outside") {
		t.Errorf("with a link out of it: %v", err)
	}
}

func TestNoSuchArchive(t *testing.T) {
	t.Parallel()
	_, err := image.OpenArchive(filepath.Join(t.TempDir(), "none"), image.ForNodes("amd64"), "")
	if !errdefs.Is(err, errdefs.ClassNotFound) {
		t.Errorf("%v", err)
	}
}

// Whatever bytes an archive has, reading it ends with images that are whole or
// with an error of ours.
func FuzzArchive(f *testing.F) {
	img := app("amd64")
	img.Layers = [][]byte{imagetest.Layer("a", []byte("b"))}
	for _, files := range []map[string][]byte{img.Saved(), imagetest.Layout(img), imagetest.Layout(img, app("arm64"))} {
		f.Add(imagetest.Tar(files))
		f.Add(imagetest.Gzip(imagetest.Tar(files)))
	}
	f.Add(badDigest("sha256:x"))
	f.Add(endless())
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, stream := range []bool{false, true} {
			var src image.Source
			var err error
			if stream {
				src, err = image.ReadArchive(bytes.NewReader(data), image.ForNodes("amd64"), "")
			} else {
				src, err = image.OpenArchive(asFile(t, data), image.ForNodes("amd64"), "")
			}
			images, _, err := read(src, err)
			if err != nil {
				if _, ok := errors.AsType[*errdefs.Error](err); !ok {
					t.Fatalf("stream %v: an error of no class: %v", stream, err)
				}
				continue
			}
			for _, i := range images {
				if len(i.Names) == 0 || len(i.Documents) < 2 || digest.FromBytes(i.Documents[0].Content) != i.ID() {
					t.Fatalf("stream %v: %+v", stream, i)
				}
			}
		}
	})
}
