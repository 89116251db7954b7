package noderelease

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// Programs are the programs of Kubernetes in a node.
var Programs = []string{"kubeadm", "kubelet", "kubectl"}

// ImagesDir is the directory in an archive of Pack's that holds a directory
// for each image, called as its Snapshot is.
const ImagesDir = "images"

// Pack writes the programs, the manifest and the files of some images as a tar
// archive: the first two at their own paths. A file that is there under several
// names, as the programs of Kubernetes are, is written once. Large files go
// through scratch.
func (r *Release) Pack(ctx context.Context, images []Image, scratch string, w io.Writer) error {
	paths := []string{nodeimage.ManifestPath, nodeimage.VersionPath}
	for _, name := range Programs {
		paths = append(paths, nodeimage.ImageProgramsDir+"/"+name)
	}
	into := map[string]string{}
	for _, i := range images {
		from := nodeimage.StoreSnapshots + "/" + i.Snapshot + "/fs"
		if _, twice := into[from]; !twice {
			paths = append(paths, from)
		}
		into[from] = ImagesDir + "/" + i.Snapshot
	}
	p := &packer{tar: tar.NewWriter(w), scratch: scratch, seen: map[string]string{}}
	err := r.engine.ReadImageFiles(ctx, r.Ref, paths, func(at string, archive io.Reader) error {
		to, ok := into[at]
		if !ok {
			to = strings.TrimPrefix(at, "/")
		}
		p.from, p.to = path.Base(at), to
		return eachFile(archive, p.add)
	})
	if err != nil {
		return fmt.Errorf("read image %s: %w", r.Ref, err)
	}
	return p.tar.Close()
}

// packer copies archives into one, with other names.
type packer struct {
	tar      *tar.Writer
	scratch  string
	from, to string            // what names begin with, and are to begin with
	seen     map[string]string // names of large files by what is in them
}

// large is from which size on a file is worth looking at twice.
const large = 1 << 20

func (p *packer) add(h *tar.Header, content io.Reader) error {
	h.Name = p.renamed(h.Name)
	h.Format = tar.FormatUnknown // the writer's choice
	if h.Typeflag == tar.TypeLink {
		h.Linkname = p.renamed(h.Linkname)
	}
	if h.Typeflag == tar.TypeReg && h.Size >= large {
		return p.addLarge(h, content)
	}
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(p.tar, content)
	return err
}

func (p *packer) renamed(name string) string {
	return p.to + strings.TrimPrefix(strings.TrimSuffix(name, "/"), p.from)
}

// addLarge writes a file, or a link to an equal one.
func (p *packer) addLarge(h *tar.Header, content io.Reader) (err error) {
	spool, err := os.CreateTemp(p.scratch, "file-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, spool.Close(), os.Remove(spool.Name())) }()
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(spool, hash), content); err != nil {
		return err
	}
	key := fmt.Sprintf("%x %o %d %d", hash.Sum(nil), h.Mode, h.Uid, h.Gid)
	if first, ok := p.seen[key]; ok {
		h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		return p.tar.WriteHeader(h)
	}
	p.seen[key] = h.Name
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(p.tar, spool)
	return err
}
