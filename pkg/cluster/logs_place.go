package cluster

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// exportSuffix is of targets that are to be one file.
const exportSuffix = ".tar.zst"

// exportPlace is where an export goes: a directory, of which one file is made
// in the end when that was asked for. Nothing is written outside.
type exportPlace struct {
	path string // that was asked for
	dir  string
	root *os.Root
}

// openExportPlace makes the directory. Errors name what is wrong with a target
// before anything is written.
func openExportPlace(cluster, target string) (*exportPlace, error) {
	for _, other := range []string{".tar", ".tar.gz", ".tgz", ".zip", ".zst"} {
		if strings.HasSuffix(target, other) && !strings.HasSuffix(target, exportSuffix) {
			return nil, errdefs.New(errdefs.ClassUsage, "EXPORT-TARGET", "%s: an archive can only be of the form %s", target, exportSuffix).
				WithHint("name a file that ends in %s, or a directory", exportSuffix)
		}
	}
	p := &exportPlace{path: target, dir: target}
	var err error
	switch {
	case target == "":
		p.dir, err = os.MkdirTemp("", "petri-logs-"+cluster+"-")
		p.path = p.dir
	case strings.HasSuffix(target, exportSuffix):
		p.dir, err = besideFile(target)
	default:
		err = os.MkdirAll(target, 0o755)
	}
	if err != nil {
		return nil, errdefs.New(errdefs.ClassUsage, "EXPORT-TARGET", "make a place for the logs: %w", err).
			WithHint("name a directory, or a file that ends in %s, where you may write", exportSuffix)
	}
	p.root, err = os.OpenRoot(p.dir)
	return p, err
}

// besideFile makes a directory in which the content of a file is gathered, on
// the same disk.
func besideFile(target string) (string, error) {
	if info, err := os.Stat(target); err == nil && !info.Mode().IsRegular() {
		return "", errors.New(target + " is there, and is not a file")
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return "", err
	}
	return os.MkdirTemp(filepath.Dir(target), "."+filepath.Base(target)+".*.tmp")
}

// finish makes the file that was asked for, if one was.
func (p *exportPlace) finish() error {
	if p.dir == p.path {
		return p.root.Close()
	}
	file := p.dir + exportSuffix
	err := errors.Join(p.pack(file), p.root.Close(), os.RemoveAll(p.dir))
	if err == nil {
		err = os.Rename(file, p.path)
	}
	if err != nil {
		_ = os.Remove(file) // what is wrong is in err
	}
	return err
}

// pack writes the directory as an archive, in a folder of the file's name.
func (p *exportPlace) pack(file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	compressed, err := zstd.NewWriter(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	archive := tar.NewWriter(compressed)
	top := strings.TrimSuffix(filepath.Base(p.path), exportSuffix)
	err = fs.WalkDir(p.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return p.packOne(archive, top, name, d)
	})
	return errors.Join(err, archive.Close(), compressed.Close(), f.Close())
}

func (p *exportPlace) packOne(archive *tar.Writer, top, name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	link := ""
	if d.Type() == fs.ModeSymlink {
		if link, err = p.root.Readlink(name); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, filepath.ToSlash(link))
	if err != nil {
		return err
	}
	header.Name = strings.TrimSuffix(top+"/"+name, "/.")
	if d.IsDir() {
		header.Name += "/"
	}
	header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
	if err := archive.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := p.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(archive, f)
	return err
}
