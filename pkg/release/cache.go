package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"

	"github.com/petri-cluster/petri/pkg/internal/lockfile"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// output is a directory of the build cache with what one step, or one archive,
// gave: bin/ has programs, files/ what was kept beside them, record.json says
// what is there. A directory without a record that holds is built anew.
type output struct {
	dir string
	record
}

type record struct {
	Component nodeimage.Component `json:"component"`
	Programs  []string            `json:"programs"`
	Files     []string            `json:"files,omitempty"`
	Sums      map[string]string   `json:"sums,omitempty"` // sha256 by path in the directory
}

// Directories and files of an output.
const (
	binDir     = "bin"
	filesDir   = "files"
	recordFile = "record.json"
	licence    = "LICENSE"
)

func (o output) program(name string) string { return filepath.Join(o.dir, binDir, name) }

func (o output) file(name string) string {
	return filepath.Join(o.dir, filesDir, filepath.FromSlash(name))
}

// artifacts describes the output to the world.
func (o output) artifacts() Artifacts {
	a := Artifacts{
		Programs:   map[string]string{},
		Licenses:   map[string]string{},
		Components: []nodeimage.Component{o.Component},
	}
	for _, name := range o.Programs {
		a.Programs[name] = o.program(name)
		if combined, err := os.Readlink(o.program(name)); err == nil {
			a.Programs[name] = o.program(combined)
		}
	}
	for _, name := range o.Files {
		if name == licence {
			a.Licenses[o.Component.Name] = o.file(name)
		}
	}
	return a
}

// lock keeps other processes from making the same output. It waits for them:
// whoever comes second usually finds the work done.
func lock(ctx context.Context, dir string) (unlock func(), err error) {
	return lockfile.Acquire(ctx, dir+".lock")
}

// openOutput returns the output in dir if it is complete and unharmed.
func openOutput(dir string) (output, bool) {
	o := output{dir: dir}
	data, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil || json.Unmarshal(data, &o.record) != nil {
		return output{}, false
	}
	for _, name := range append(subpaths(binDir, o.Programs), subpaths(filesDir, o.Files)...) {
		sum, err := sumFile(filepath.Join(dir, name))
		if err != nil || sum != o.Sums[name] {
			return output{}, false
		}
	}
	return o, true
}

func subpaths(dir string, names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = filepath.Join(dir, filepath.FromSlash(name))
	}
	return out
}

// makeOutput fills a directory next to dir by fill, records what is in it and
// puts it in place of dir at once, so that an interrupted build leaves nothing
// that looks whole. The caller holds the lock.
func makeOutput(dir string, fill func(o *output) error) (output, error) {
	scratch := dir + ".part"
	if err := os.RemoveAll(scratch); err != nil {
		return output{}, err
	}
	defer os.RemoveAll(scratch)
	o := output{dir: scratch}
	o.Sums = map[string]string{}
	if err := os.MkdirAll(filepath.Join(scratch, binDir), 0o755); err != nil {
		return output{}, err
	}
	if err := fill(&o); err != nil {
		return output{}, err
	}
	for _, name := range append(subpaths(binDir, o.Programs), subpaths(filesDir, o.Files)...) {
		sum, err := sumFile(filepath.Join(scratch, name))
		if err != nil {
			return output{}, err
		}
		o.Sums[name] = sum
	}
	data, err := json.MarshalIndent(o.record, "", "  ")
	if err != nil {
		return output{}, err
	}
	if err := os.WriteFile(filepath.Join(scratch, recordFile), data, 0o644); err != nil {
		return output{}, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return output{}, err
	}
	o.dir = dir
	return o, os.Rename(scratch, dir)
}

// keep copies a file into the output.
func (o *output) keep(name, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return o.keepData(name, data)
}

func (o *output) keepData(name string, data []byte) error {
	to := o.file(name)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	o.Files = append(o.Files, name)
	return os.WriteFile(to, data, 0o644)
}

// keepLicence copies the licence of a source directory, if there is one.
func (o *output) keepLicence(dir string) error {
	for _, name := range []string{"LICENSE", "LICENSE.txt", "LICENSE.md", "COPYING"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return o.keep(licence, path)
		}
	}
	return nil
}

// sumFile is the SHA-256 of a file in hexadecimal.
func sumFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
