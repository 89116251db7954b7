package release

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// unreleased is the version under which a repository's modules require each
// other; a replace directive makes it work inside the repository alone.
const unreleased = "v0.0.0"

// generatedModule is the path of the module in which a component is built.
func generatedModule(component string) string { return "petri.local/build/" + component }

// generateModule writes dir/go.mod and go.sum so that the packages of m can be
// built there as they are in their own repository: with the same go and
// godebug lines and the same requirements. It leaves an existing pair alone,
// which the go command has completed meanwhile.
func generateModule(dir, name string, m module) error {
	target := filepath.Join(dir, "go.mod")
	if _, err := os.Stat(target); err == nil {
		return nil
	}
	upstream, err := os.ReadFile(m.GoMod)
	if err != nil {
		return err
	}
	data, err := rewriteModule(upstream, name, m.Path, m.Version)
	if err != nil {
		return fmt.Errorf("rewrite go.mod of %s@%s: %w", m.Path, m.Version, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// what is missing here the go command adds, checked by its database
	sums, err := os.ReadFile(filepath.Join(m.Dir, "go.sum"))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644); err != nil {
		return err
	}
	// last, and at once: its presence says that the pair is complete
	if err := os.WriteFile(target+".new", data, 0o644); err != nil {
		return err
	}
	return os.Rename(target+".new", target)
}

// rewriteModule turns the go.mod of a released module into that of a module
// which requires it. Replacements by directories are of use in the module's
// repository only: they go, and what they stood for, required at v0.0.0, is
// required at the sibling's release. Other replacements stay, because the
// release was tested with them.
func rewriteModule(upstream []byte, name, path, version string) ([]byte, error) {
	f, err := modfile.Parse("go.mod", upstream, nil)
	if err != nil {
		return nil, err
	}
	if err := f.AddModuleStmt(generatedModule(name)); err != nil {
		return nil, err
	}
	if err := dropDirectives(f); err != nil {
		return nil, err
	}
	if err := requireSiblings(f, version); err != nil {
		return nil, err
	}
	f.AddNewRequire(path, version, false)
	f.Cleanup()
	return f.Format()
}

// dropDirectives removes what is about developing or releasing the module.
func dropDirectives(f *modfile.File) error {
	f.DropToolchainStmt()
	for _, r := range slices.Clone(f.Retract) {
		if err := f.DropRetract(r.VersionInterval); err != nil {
			return err
		}
	}
	for _, t := range slices.Clone(f.Tool) {
		if err := f.DropTool(t.Path); err != nil {
			return err
		}
	}
	for _, i := range slices.Clone(f.Ignore) {
		if err := f.DropIgnore(i.Path); err != nil {
			return err
		}
	}
	for _, r := range slices.Clone(f.Replace) {
		if r.New.Version != "" {
			continue
		}
		if err := f.DropReplace(r.Old.Path, r.Old.Version); err != nil {
			return err
		}
	}
	return nil
}

// requireSiblings gives requirements at v0.0.0 the version that Kubernetes
// releases its staging repositories with: v0.36.3 with v1.36.3.
func requireSiblings(f *modfile.File, version string) error {
	for _, r := range slices.Clone(f.Require) {
		if r.Mod.Version != unreleased {
			continue
		}
		rest, ok := strings.CutPrefix(version, "v1.")
		if !ok || !strings.HasPrefix(r.Mod.Path, "k8s.io/") {
			return fmt.Errorf("it requires %s %s, which was never released", r.Mod.Path, unreleased)
		}
		if err := f.AddRequire(r.Mod.Path, "v0."+rest); err != nil {
			return err
		}
	}
	return nil
}
