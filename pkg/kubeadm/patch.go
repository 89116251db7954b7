package kubeadm

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	mergepatch "gopkg.in/evanphx/json-patch.v4"
	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/internal/jsonpatch"
)

// olderVersions are the versions of kubeadm's API that patches may be written
// for. In them, arguments are an object, which v1beta4 has as a list.
var olderVersions = []string{"kubeadm.k8s.io/v1beta2", "kubeadm.k8s.io/v1beta3"}

// findForPatch is find, for a patch that may be written for an older version.
func findForPatch(documents []object, version, kind, only string) (object, error) {
	if slices.Contains(olderVersions, version) {
		version = kubeadmAPI
	}
	d, err := find(documents, version, kind)
	if err == nil && only != "" && kind != only {
		err = fmt.Errorf("%s is the cluster's, and a worker reads %s only", kind, only)
	}
	return d, err
}

// applyMerge applies one merge patch (RFC 7386). As with kind, arguments are
// merged by name and names in certificates are added.
func applyMerge(documents []object, source, only string) error {
	var over object
	if err := yaml.Unmarshal([]byte(source), &over); err != nil {
		return err
	}
	d, err := findForPatch(documents, text(over, "apiVersion"), text(over, "kind"), only)
	if err != nil {
		return err
	}
	// what says which document it is, and what kind's patches had for that once
	for _, field := range []string{"apiVersion", "kind", "metadata"} {
		delete(over, field)
	}
	mergeNamed(d, over)
	change, err := json.Marshal(over)
	if err != nil {
		return err
	}
	return rewrite(d, func(before []byte) ([]byte, error) { return mergepatch.MergePatch(before, change) })
}

// applyJSON applies one JSON patch (RFC 6902). One that is written for an older
// version, or that names an argument in a path, sees arguments as objects.
func applyJSON(documents []object, one config.JSONPatch, only string) error {
	d, err := findForPatch(documents, one.APIVersion(), one.Kind, only)
	if err != nil {
		return err
	}
	patch, err := jsonpatch.Parse(one.Patch)
	if err != nil {
		return err
	}
	addArguments(d)
	byName := slices.Contains(olderVersions, one.APIVersion()) || namesArguments(patch)
	if byName {
		if err := argumentsToObjects(d); err != nil {
			return err
		}
	}
	if err := rewrite(d, patch.Apply); err != nil {
		return err
	}
	argumentsToLists(d)
	dropEmptyArguments(d)
	return nil
}

// rewrite changes a document as JSON, in its place.
func rewrite(d object, by func([]byte) ([]byte, error)) error {
	before, err := json.Marshal(d)
	if err != nil {
		return err
	}
	after, err := by(before)
	if err != nil {
		return err
	}
	var changed object
	if err := json.Unmarshal(after, &changed); err != nil || changed == nil {
		return errors.New("it leaves something else than an object")
	}
	clear(d)
	maps.Copy(d, changed)
	return nil
}

// namesArguments reports whether a patch says which argument it means by name:
// a path goes on below a list of arguments with what is no index.
func namesArguments(patch jsonpatch.Patch) bool {
	for _, one := range patch {
		for _, path := range []string{one.Path, one.From} {
			tokens := jsonpatch.Tokens(path)
			at := slices.IndexFunc(tokens, isArguments)
			if at >= 0 && at+1 < len(tokens) && strings.Trim(tokens[at+1], "0123456789-") != "" {
				return true
			}
		}
	}
	return false
}
