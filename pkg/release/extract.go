package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// Limits on what an archive may make us write or keep in memory.
const (
	maxProgram = 1 << 30
	maxText    = 4 << 20
)

// serverArchive is what was found in an archive beside the programs.
type serverArchive struct {
	version   string
	constants []byte
	licence   []byte
}

// extractServer writes the programs of Kubernetes from the server archive at
// archivePath into the directory bin, and nothing else. An archive with names
// that lead out of it, or with a program twice or as a link, is refused.
func extractServer(ctx context.Context, archivePath, bin string) (serverArchive, error) {
	f, err := os.Open(archivePath)
	if err != nil {
		return serverArchive{}, err
	}
	defer f.Close()
	root, err := os.OpenRoot(bin)
	if err != nil {
		return serverArchive{}, err
	}
	defer root.Close()
	x := extraction{root: root, programs: KubernetesPrograms()}
	err = eachEntry(ctx, f, func(name string, h *tar.Header, r io.Reader) error {
		return x.entry(ctx, name, h, r)
	})
	if err != nil {
		return serverArchive{}, err
	}
	if len(x.programs) > 0 {
		return serverArchive{}, fmt.Errorf("it has no kubernetes/server/bin/%s: is it a kubernetes-server-linux archive?", x.programs[0])
	}
	return x.found, nil
}

// eachEntry calls fn for each entry of a gzipped tar archive, by clean name.
func eachEntry(ctx context.Context, r io.Reader, fn func(name string, h *tar.Header, r io.Reader) error) error {
	unzipped, err := gzip.NewReader(r)
	if err != nil {
		return fmt.Errorf("it is not a gzipped archive: %w", err)
	}
	archive := tar.NewReader(unzipped)
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(h.Name) && path.Clean(h.Name) != "." {
			return fmt.Errorf("refusing it: the name %q leads out of it", h.Name)
		}
		if err := fn(path.Clean(h.Name), h, archive); err != nil {
			return err
		}
	}
}

// extraction is an archive being read.
type extraction struct {
	root     *os.Root
	programs []string // not seen yet
	seen     []string
	found    serverArchive
}

func (x *extraction) entry(ctx context.Context, name string, h *tar.Header, r io.Reader) error {
	program, inBin := strings.CutPrefix(name, "kubernetes/server/bin/")
	switch {
	case inBin && slices.Contains(KubernetesPrograms(), program):
		return x.program(program, h, r)
	case name == "kubernetes/server/bin/kube-apiserver.docker_tag":
		tag, err := readText(h, r)
		// the reverse of what makes a tag of a version
		x.found.version = strings.ReplaceAll(strings.TrimSpace(string(tag)), "_", "+")
		return err
	case name == "kubernetes/LICENSES/LICENSE" || name == "kubernetes/LICENSE":
		var err error
		x.found.licence, err = readText(h, r)
		return err
	case name == "kubernetes/kubernetes-src.tar.gz" && h.Typeflag == tar.TypeReg:
		return x.source(ctx, r)
	}
	return nil
}

func (x *extraction) program(name string, h *tar.Header, r io.Reader) error {
	if h.Typeflag != tar.TypeReg {
		return fmt.Errorf("refusing it: %s is not a regular file in it", name)
	}
	if slices.Contains(x.seen, name) {
		return fmt.Errorf("refusing it: it has %s twice", name)
	}
	if h.Size > maxProgram {
		return fmt.Errorf("refusing it: %s has %d bytes", name, h.Size)
	}
	x.seen = append(x.seen, name)
	x.programs = slices.DeleteFunc(x.programs, func(p string) bool { return p == name })
	f, err := x.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// errFound ends the reading of the source archive early.
var errFound = errors.New("found")

// source looks for kubeadm's constants in the archive of the source.
func (x *extraction) source(ctx context.Context, r io.Reader) error {
	err := eachEntry(ctx, r, func(name string, h *tar.Header, r io.Reader) error {
		switch strings.TrimPrefix(name, "kubernetes/") {
		case "LICENSE":
			var err error
			x.found.licence, err = readText(h, r)
			return err
		case constantsPath:
			var err error
			if x.found.constants, err = readText(h, r); err != nil {
				return err
			}
		}
		if x.found.constants != nil && x.found.licence != nil {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read its kubernetes-src.tar.gz: %w", err)
	}
	return nil
}

func readText(h *tar.Header, r io.Reader) ([]byte, error) {
	if h.Typeflag != tar.TypeReg || h.Size > maxText {
		return nil, fmt.Errorf("refusing it: %s is not a text of a sensible size", h.Name)
	}
	var out bytes.Buffer
	_, err := out.ReadFrom(r)
	return out.Bytes(), err
}

// machines are the processors of ELF files by Go's names.
var machines = map[string]elf.Machine{
	"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "ppc64le": elf.EM_PPC64, "s390x": elf.EM_S390,
}

// checkELF finds an archive of another architecture before a node does.
func checkELF(program, arch string) error {
	f, err := elf.Open(program)
	if err != nil {
		return fmt.Errorf("%s is not a Linux program: %w", filepath.Base(program), err)
	}
	defer f.Close()
	if want, known := machines[arch]; known && f.Machine != want {
		return errdefs.New(errdefs.ClassUsage, "WRONG-ARCHITECTURE", "%s in the archive is for %v, not for %s", filepath.Base(program), f.Machine, arch).
			WithHint("Use the archive whose name ends in linux-%s.tar.gz.", arch)
	}
	return nil
}
