// Package containerdconf changes the configuration of a node's containerd as
// the configuration of a cluster asks: TOML documents are merged into it, then
// JSON patches are applied, as kind does it. What was written for version 2 of
// that configuration (containerd 1) is translated, because a node's containerd
// would pass over it or not start. It is a pure function of texts: the host
// checks patches with it, and the node applies them.
package containerdconf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pelletier/go-toml/v2"

	"github.com/petri-cluster/petri/pkg/internal/jsonpatch"
)

// Versions of the configuration: the newest that the node image's containerd
// reads, and the last of containerd 1.
const (
	newestVersion = 4
	oldVersion    = 2
)

// table is a TOML table.
type table = map[string]any

// Result is a changed configuration.
type Result struct {
	TOML []byte
	// Hosts are hosts.toml files for registries, by the name of their directory
	// under CertsDir.
	Hosts map[string][]byte
}

// CertsDir is where containerd looks for the hosts of a registry.
const CertsDir = "/etc/containerd/certs.d"

// CheckPatch says what is wrong with a TOML patch; nil when it can be applied.
func CheckPatch(text string) error {
	patch, err := read(text)
	if err != nil {
		return err
	}
	document := table{}
	set(document, []string{"plugins", imagesPlugin, "registry", "config_path"}, CertsDir) // as nodes have it
	merge(document, patch)
	_, err = takeHosts(document)
	return err
}

// CheckJSONPatch says what is wrong with a JSON patch. Whether its paths are in
// the configuration is known on the node only.
func CheckJSONPatch(text string) error {
	_, err := readJSON(text)
	return err
}

// Apply merges files, which are the node's configuration and what that imports,
// and applies the patches to the whole. What was imported then is not any more.
//
// A configuration of version 2, as images of kind have it, gets patches as they
// are written; those that say that they are for a newer version are not for it,
// and are passed over, as kind does.
func Apply(files, patches, jsonPatches []string) (Result, error) {
	document := table{}
	for i, text := range files {
		var one table
		if err := toml.Unmarshal([]byte(text), &one); err != nil {
			return Result{}, err
		}
		if merge(document, one); i > 0 {
			delete(document, "imports")
		}
	}
	if version, ok := document["version"].(int64); ok && version <= oldVersion {
		return applyAsWritten(document, version, patches, jsonPatches)
	}
	for i, text := range patches {
		one, err := read(text)
		if err != nil {
			return Result{}, fmt.Errorf("containerdConfigPatches[%d] %w", i, err)
		}
		merge(document, one)
	}
	for i, text := range jsonPatches {
		patch, err := readJSON(text)
		if err == nil {
			err = applyJSON(&document, patch)
		}
		if err != nil {
			return Result{}, fmt.Errorf("containerdConfigPatchesJSON6902[%d] %w", i, err)
		}
	}
	hosts, err := takeHosts(document)
	if err != nil {
		return Result{}, err
	}
	out, err := toml.Marshal(document)
	return Result{TOML: out, Hosts: hosts}, err
}

// WithoutSystemd has every runtime of a configuration make the groups of its
// containers by itself, as the kubelet does on cgroup v1.
func WithoutSystemd(configuration []byte) ([]byte, error) {
	var document table
	if err := toml.Unmarshal(configuration, &document); err != nil {
		return nil, err
	}
	for _, plugin := range below(document, "plugins") {
		plugin, _ := plugin.(table)
		for _, runtime := range below(below(plugin, "containerd"), "runtimes") {
			runtime, _ := runtime.(table)
			if options := below(runtime, "options"); options["SystemdCgroup"] != nil {
				options["SystemdCgroup"] = false
			}
		}
	}
	return toml.Marshal(document)
}

// applyAsWritten applies patches to a configuration of an old version.
func applyAsWritten(document table, version int64, patches, jsonPatches []string) (Result, error) {
	for i, text := range patches {
		var one table
		if err := toml.Unmarshal([]byte(text), &one); err != nil {
			return Result{}, fmt.Errorf("containerdConfigPatches[%d] is not TOML: %w", i, err)
		}
		if its, given := one["version"].(int64); !given || its <= version {
			delete(one, "version")
			merge(document, one)
		}
	}
	for i, text := range jsonPatches {
		patch, err := jsonpatch.Parse(text)
		if err == nil {
			err = applyJSON(&document, patch)
		}
		if err != nil {
			return Result{}, fmt.Errorf("containerdConfigPatchesJSON6902[%d] %w", i, err)
		}
	}
	out, err := toml.Marshal(document)
	return Result{TOML: out}, err
}

// read parses a patch and puts its settings where containerd 2 has them.
func read(text string) (table, error) {
	var patch table
	if err := toml.Unmarshal([]byte(text), &patch); err != nil {
		return nil, fmt.Errorf("is not TOML: %w", err)
	}
	if version, given := patch["version"]; given {
		if n, ok := version.(int64); !ok || n < 1 || n > newestVersion {
			return nil, fmt.Errorf("is for version %v of containerd's configuration, and nodes read versions 1 to %d", version, newestVersion)
		}
		delete(patch, "version")
	}
	return patch, modernise(patch)
}

// merge lays a table over another: tables key by key, all else whole.
func merge(into, over table) {
	for key, value := range over {
		below, ok := value.(table)
		have, also := into[key].(table)
		if ok && also {
			merge(have, below)
			continue
		}
		into[key] = value
	}
}

// readJSON parses a JSON patch, its paths as containerd 2 has them.
func readJSON(text string) (jsonpatch.Patch, error) {
	patch, err := jsonpatch.Parse(text)
	if err != nil {
		return nil, err
	}
	for i := range patch {
		for _, path := range []*string{&patch[i].Path, &patch[i].From} {
			if *path, err = modernPointer(*path); err != nil {
				return nil, fmt.Errorf("operation %d: %w", i, err)
			}
		}
	}
	return patch, nil
}

func applyJSON(document *table, patch jsonpatch.Patch) error {
	before, err := json.Marshal(*document)
	if err != nil {
		return err
	}
	after, err := patch.Apply(before)
	if err != nil {
		return fmt.Errorf("does not fit the configuration of the node: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(after))
	decoder.UseNumber() // an integer must stay one
	changed := table{}
	if err := decoder.Decode(&changed); err != nil {
		return errors.New("leaves something else than a table")
	}
	*document, _ = fromJSON(changed).(table)
	return nil
}

// fromJSON gives numbers the types that TOML knows, and leaves out null, which
// it does not.
func fromJSON(value any) any {
	switch value := value.(type) {
	case json.Number:
		if n, err := value.Int64(); err == nil {
			return n
		}
		f, _ := value.Float64() // JSON that was read has no others
		return f
	case table:
		for key, one := range value {
			if value[key] = fromJSON(one); one == nil {
				delete(value, key)
			}
		}
	case []any:
		for i, one := range value {
			value[i] = fromJSON(one)
		}
	}
	return value
}
