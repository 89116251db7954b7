//go:build e2e && full

package e2e

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/petri-cluster/petri/pkg/exec"
)

// A node image for arm64 has programs for arm64 and for nothing else. It is
// not started: this machine may be of another architecture.
func TestImageForArm64(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/sys/fs/binfmt_misc/qemu-aarch64"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI needs qemu-user-static with binfmt_misc:", err)
		}
		t.Skip("this machine does not run arm64 programs, as Debian's packages need: install qemu-user-static")
	}
	const tag = "petri/node:e2e-arm64"
	t.Cleanup(func() { run(cleanupContext(t), "", "", "docker", "rmi", tag) })
	c := &cluster{kubeconfig: filepath.Join(t.TempDir(), "none")}
	r := c.petri(t.Context(), "build", "node-image", "--arch", "arm64", "--image", tag, "--progress", "plain")
	if r.code != 0 {
		t.Fatalf("build node-image: exit code %d\n%s", r.code, r.stderr)
	}
	t.Log(r.stderr)
	if arch := docker(t, "inspect", "-f", "{{.Architecture}}", tag); arch != "arm64" {
		t.Errorf("the image says it is for %s", arch)
	}
	found := inspectPrograms(t, tag)
	for _, want := range []string{"usr/bin/kubelet", "usr/bin/kubeadm", "usr/local/sbin/runc", "usr/local/bin/containerd", "usr/local/bin/petri-node", "petri/store/snapshots/kube-apiserver/fs/usr/local/bin/kube-apiserver", "petri/store/snapshots/pause/fs/pause"} {
		if !found[want] {
			t.Errorf("%s is not in the image", want)
		}
	}
	t.Logf("%d programs and libraries, all for arm64", len(found))
}

// inspectPrograms reads every ELF file of an image, and fails for those of
// another architecture.
func inspectPrograms(t *testing.T, tag string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	r, w := io.Pipe()
	go func() {
		err := exec.Host{}.Run(t.Context(), exec.Cmd{Args: []string{"docker", "save", tag}, Stdout: w})
		w.CloseWithError(err)
	}()
	for archive := tar.NewReader(r); ; {
		_, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		inspectLayer(t, archive, found)
	}
}

func inspectLayer(t *testing.T, r io.Reader, found map[string]bool) {
	t.Helper()
	for layer := tar.NewReader(r); ; {
		h, err := layer.Next()
		if err != nil {
			return // the end, or a file that is no layer
		}
		if h.Typeflag == tar.TypeLink && found[h.Linkname] {
			found[h.Name] = true // one file with several names
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		head := make([]byte, 64)
		if _, err := io.ReadFull(layer, head); err != nil || !bytes.HasPrefix(head, []byte(elf.ELFMAG)) {
			continue
		}
		machine := elf.Machine(uint16(head[18]) | uint16(head[19])<<8)
		if elf.Data(head[elf.EI_DATA]) != elf.ELFDATA2LSB || machine != elf.EM_AARCH64 {
			t.Errorf("%s is for %s", h.Name, machine)
		}
		found[h.Name] = true
	}
}
