package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// PetriModule is petri's own module.
const PetriModule = "github.com/petri-cluster/petri"

// Petri is where petri's own programs come from: a checkout, or the module as
// it was released.
type Petri struct {
	Dir      string // the checkout; empty for the released module
	Version  string
	Checksum string // the checkout's, "git:..."; empty when it has none
}

// FindPetri finds the source of petri's own programs: dir when it is given,
// else the checkout that the working directory is in, else the module at
// version, which is that of the running program ("v0.3.0").
func (b *Builder) FindPetri(ctx context.Context, dir, version string) (Petri, error) {
	if dir == "" {
		cwd, err := os.Getwd()
		if err != nil {
			return Petri{}, err
		}
		if dir, err = checkoutAround(cwd); err != nil {
			return Petri{}, err
		}
	} else if ok, err := isPetri(dir); err != nil || !ok {
		return Petri{}, errdefs.New(errdefs.ClassUsage, "NOT-PETRI", "%s is not a checkout of %s", dir, PetriModule)
	}
	if dir != "" {
		dir, err := filepath.Abs(dir)
		if err != nil {
			return Petri{}, err
		}
		return Petri{Dir: dir, Version: version, Checksum: b.revision(ctx, dir).checksum()}, nil
	}
	if !semver.IsValid(version) {
		return Petri{}, errdefs.New(errdefs.ClassUsage, "NO-PETRI-SOURCE", "find petri's own source: this is a development build (%q), which no module proxy has", version).
			WithHint("Run it inside a checkout of %s, or name one.", PetriModule)
	}
	return Petri{Version: version}, nil
}

// checkoutAround walks up from dir to petri's go.mod; none gives "".
func checkoutAround(dir string) (string, error) {
	for {
		ok, err := isPetri(dir)
		if err != nil {
			return "", err
		}
		if ok {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", nil
		}
		dir = parent
	}
}

func isPetri(dir string) (bool, error) {
	data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for petri's source: %w", err)
	}
	return modfile.ModulePath(data) == PetriModule, nil
}

// step builds the programs that petri adds to a node image.
func (p Petri) step() Step {
	s := Step{
		Name: "petri", Version: p.Version, Module: PetriModule, Dir: p.Dir, Checksum: p.Checksum, Weight: 8,
		// not petri-node: it is started often, and needs little of what they have
		// in common
		Combine: []string{"petri-cni", "petri-images"},
		Programs: map[string]string{
			"pause":        PetriModule + "/images/pause",
			"petri-cni":    PetriModule + "/images/cni",
			"petri-images": PetriModule + "/node-image/petri-images",
			"petri-node":   PetriModule + "/node-image/petri-node",
		},
	}
	if p.Dir != "" {
		s.Env = []string{"GOFLAGS=-mod=readonly"} // never write into the checkout
	}
	return s
}
