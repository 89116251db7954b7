package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testOptions() *options {
	return &options{version: "v0.1.0", commit: "abc", made: time.Unix(1700000000, 0).UTC()}
}

var content = []file{{"petri", []byte("program"), 0o755}, {"LICENSE", []byte("terms"), 0o644}}

func TestTarGzip(t *testing.T) {
	f, err := testOptions().pack("linux", "petri_v0.1.0_linux_amd64", content)
	if err != nil || f.name != "petri_v0.1.0_linux_amd64.tar.gz" {
		t.Fatalf("%s, %v", f.name, err)
	}
	plain, err := gzip.NewReader(bytes.NewReader(f.data))
	if err != nil || !plain.ModTime.IsZero() || plain.Name != "" {
		t.Fatalf("gzip says %+v, %v", plain, err)
	}
	archive := tar.NewReader(plain)
	for _, want := range content {
		h, err := archive.Next()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if h.Name != "petri_v0.1.0_linux_amd64/"+want.name || h.Mode != want.mode || h.ModTime.Unix() != 1700000000 || h.Uid != 0 || h.Uname != "" || !bytes.Equal(data, want.data) {
			t.Errorf("%+v: %q, %v", h, data, err)
		}
	}
	if _, err := archive.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("there is more: %v", err)
	}
}

func TestZip(t *testing.T) {
	f, err := testOptions().pack("windows", "petri", content)
	if err != nil || f.name != "petri.zip" {
		t.Fatalf("%s, %v", f.name, err)
	}
	archive, err := zip.NewReader(bytes.NewReader(f.data), int64(len(f.data)))
	if err != nil || len(archive.File) != 2 || archive.File[0].Name != "petri/petri" || archive.File[0].Modified.Unix() != 1700000000 {
		t.Errorf("%+v, %v", archive, err)
	}
}

// TestBill names each module once, with its sum, whoever brought it.
func TestBill(t *testing.T) {
	a := &debug.Module{Path: "example.com/a", Version: "v1.0.0+incompatible", Sum: "h1:a="}
	b := &debug.Module{Path: "example.com/b", Version: "v2.0.0", Sum: "h1:b="}
	old := &debug.Module{Path: "example.com/old", Replace: b}
	m := materialsOf([]*debug.BuildInfo{{GoVersion: "go1.26.6", Deps: []*debug.Module{old, a}}, {GoVersion: "go1.26.6", Deps: []*debug.Module{a, b}}})
	data, err := testOptions().bill("linux/amd64", m)
	if err != nil {
		t.Fatal(err)
	}
	var got document
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range got.Components {
		names = append(names, c.PURL)
	}
	want := []string{"pkg:golang/std@1.26.6", "pkg:golang/example.com/a@v1.0.0%2Bincompatible", "pkg:golang/example.com/b@v2.0.0"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("components (-want +got):\n%s", diff)
	}
	if got.Format != "CycloneDX" || got.Metadata.Component.Version != "v0.1.0" || got.Metadata.Timestamp != "2023-11-14T22:13:20Z" || strings.Contains(string(data), "serialNumber") {
		t.Errorf("the bill is\n%s", data)
	}
}

func TestLicences(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	if err := appendLicences(&out, "example.com/a", "v1.0.0", dir); err == nil || !strings.Contains(err.Error(), "has no licence") {
		t.Errorf("without one: %v", err)
	}
	for _, name := range []string{"LICENSE.md", "NOTICE", "licensing.go"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("text of "+name+"\n\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := appendLicences(&out, "example.com/a", "v1.0.0", dir); err != nil {
		t.Fatal(err)
	}
	want := "=== example.com/a v1.0.0: LICENSE.md ===\n\ntext of LICENSE.md\n\n=== example.com/a v1.0.0: NOTICE ===\n\ntext of NOTICE\n\n"
	if out.String() != want {
		t.Errorf("got %q", out.String())
	}
}

func TestWrongUse(t *testing.T) {
	for _, args := range [][]string{nil, {"-version", "v1"}, {"-version", "v1", "-epoch", "1"}, {"-version", "v1", "-epoch", "1", "-platforms", "linux", "-out", filepath.Join(t.TempDir(), "x")}} {
		if err := run(t.Context(), args); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
