package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// zipped is a gzipped tar archive of regular files.
func zipped(files map[string]string) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for name, text := range files {
		_ = w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(text)), Mode: 0o644}) // into memory
		_, _ = w.Write([]byte(text))
	}
	_, _ = w.Close(), z.Close()
	return out.Bytes()
}

// FuzzServerArchive: whatever an archive holds, only programs of Kubernetes are
// written, and into the one directory.
func FuzzServerArchive(f *testing.F) {
	whole := map[string]string{"kubernetes/server/bin/kube-apiserver.docker_tag": "v1.36.3\n", "kubernetes/LICENSES/LICENSE": "terms"}
	for _, p := range KubernetesPrograms() {
		whole["kubernetes/server/bin/"+p] = p
	}
	f.Add(zipped(whole))
	f.Add(zipped(map[string]string{"../x": "", "/x": ""}))
	f.Add(zipped(map[string]string{"kubernetes/kubernetes-src.tar.gz": string(zipped(map[string]string{constantsPath: "package constants", "LICENSE": "terms"}))}))
	f.Fuzz(func(t *testing.T, data []byte) {
		top := t.TempDir()
		archive, bin := filepath.Join(top, "archive"), filepath.Join(top, "bin")
		if err := os.WriteFile(archive, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(bin, 0o700); err != nil {
			t.Fatal(err)
		}
		_, err := extractServer(t.Context(), archive, bin)
		entries, readErr := os.ReadDir(bin)
		if readErr != nil {
			t.Fatal(readErr)
		}
		for _, e := range entries {
			if !e.Type().IsRegular() || !slices.Contains(KubernetesPrograms(), e.Name()) {
				t.Fatalf("%s was written", e.Name())
			}
		}
		if err == nil && len(entries) != len(KubernetesPrograms()) {
			t.Fatalf("accepted with %d programs", len(entries))
		}
		if outside, err := os.ReadDir(top); err != nil || len(outside) != 2 {
			t.Fatalf("outside there are %v, %v", outside, err)
		}
	})
}
