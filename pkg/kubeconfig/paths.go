package kubeconfig

import (
	"os"
	"path/filepath"
	"slices"
)

// Paths says which kubeconfig files count, by kubectl's rules: the explicit
// one (--kubeconfig) alone if given; else those listed in env, the value of
// KUBECONFIG; else .kube/config in the home directory. All is that list
// without empty and repeated names; write is the one to put entries in: the
// first that exists, else the last. It only looks at files and reads none.
func Paths(explicit, env, home string) (write string, all []string) {
	if explicit != "" {
		return explicit, []string{explicit}
	}
	for _, path := range filepath.SplitList(env) {
		if path != "" && !slices.Contains(all, path) {
			all = append(all, path)
		}
	}
	if len(all) == 0 {
		path := filepath.Join(home, ".kube", "config")
		return path, []string{path}
	}
	for _, path := range all {
		if _, err := os.Stat(path); err == nil {
			return path, all
		}
	}
	return all[len(all)-1], all
}
