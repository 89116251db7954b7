package containerdconf

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/petri-cluster/petri/pkg/internal/jsonpatch"
)

// The CRI plugin of containerd 1, and the two that took over most of it.
const (
	criPlugin     = "io.containerd.grpc.v1.cri"
	imagesPlugin  = "io.containerd.cri.v1.images"
	runtimePlugin = "io.containerd.cri.v1.runtime"
)

// oldPlugins are the names of the CRI plugin in versions 2 and 1.
var oldPlugins = []string{criPlugin, "cri"}

// What became of the settings of that plugin (plugins/cri in containerd's
// source: each plugin migrates its part). All that is not here went to the
// runtime's plugin.
var (
	imageSettings = []string{
		"registry", "image_decryption", "max_concurrent_downloads", "image_pull_progress_timeout",
		"image_pull_with_sync_fs",
	}
	snapshotSettings  = []string{"snapshotter", "disable_snapshot_annotations", "discard_unpacked_layers"}
	streamingSettings = []string{
		"disable_tcp_service", "stream_server_address", "stream_server_port", "stream_idle_timeout",
		"enable_tls_streaming", "x509_key_pair_streaming",
	}
	goneSettings = map[string]string{
		"systemd_cgroup":                        "set SystemdCgroup in the options of the runtime",
		"disable_cgroup":                        "containerd 2 has nothing in its place",
		"containerd.default_runtime":            "set containerd.default_runtime_name and containerd.runtimes",
		"containerd.untrusted_workload_runtime": "set containerd.runtimes.untrusted",
		"containerd.no_pivot":                   "set NoPivotRoot in the options of the runtime",
	}
)

// modernise moves the settings of the old CRI plugin to where containerd 2 has
// them.
func modernise(patch table) error {
	plugins, _ := patch["plugins"].(table)
	for _, name := range oldPlugins {
		old, ok := plugins[name].(table)
		if !ok {
			continue
		}
		delete(plugins, name)
		if err := moveAll(plugins, nil, old); err != nil {
			return err
		}
	}
	return nil
}

// moveAll moves every setting of a table of the old plugin, which stands there
// at path.
func moveAll(plugins table, path []string, old table) error {
	for _, key := range slices.Sorted(maps.Keys(old)) {
		at := append(slices.Clone(path), key)
		if below, ok := old[key].(table); ok && len(below) > 0 {
			if err := moveAll(plugins, at, below); err != nil {
				return err
			}
			continue
		}
		if slices.Equal(at, []string{"enable_cdi"}) {
			if old[key] != true {
				return errors.New("sets enable_cdi to false, and containerd 2 cannot be without CDI")
			}
			continue
		}
		to, err := modern(at)
		if err != nil {
			return err
		}
		value := old[key]
		if slices.Equal(at, []string{"cni", "bin_dir"}) {
			value = []any{value}
		}
		set(plugins, to, value)
	}
	return nil
}

// set puts a value at a path of tables, which are made.
func set(into table, path []string, value any) {
	for _, key := range path[:len(path)-1] {
		below, ok := into[key].(table)
		if !ok {
			below = table{}
			into[key] = below
		}
		into = below
	}
	into[path[len(path)-1]] = value
}

// modern is where a setting of the old plugin is now, from the plugins on.
func modern(path []string) ([]string, error) {
	if why, gone := goneSettings[strings.Join(path[:min(2, len(path))], ".")]; gone {
		return nil, fmt.Errorf("sets %s, which is gone: %s", strings.Join(path, "."), why)
	}
	first, rest := path[0], path[1:]
	switch {
	case first == "sandbox_image":
		return []string{imagesPlugin, "pinned_images", "sandbox"}, nil
	case slices.Contains(imageSettings, first):
		return append([]string{imagesPlugin}, path...), nil
	case slices.Contains(streamingSettings, first):
		return append([]string{criPlugin}, path...), nil
	case first == "containerd" && len(rest) > 0 && slices.Contains(snapshotSettings, rest[0]):
		return append([]string{imagesPlugin}, rest...), nil
	case first == "containerd" && len(rest) == 3 && rest[0] == "runtimes" && rest[2] == "sandbox_mode":
		return []string{runtimePlugin, first, "runtimes", rest[1], "sandboxer"}, nil
	case first == "cni" && len(rest) == 1 && rest[0] == "bin_dir":
		return []string{runtimePlugin, first, "bin_dirs"}, nil
	case first == "tolerate_missing_hugepages_controller":
		return []string{runtimePlugin, "tolerate_missing_hugetlb_controller"}, nil
	}
	return append([]string{runtimePlugin}, path...), nil
}

// modernPointer is modern for the path of a JSON patch. One that means a whole
// that is in several places now, or a value that has another form, has no
// equivalent.
func modernPointer(pointer string) (string, error) {
	tokens := jsonpatch.Tokens(pointer)
	if len(tokens) < 2 || tokens[0] != "plugins" || !slices.Contains(oldPlugins, tokens[1]) {
		return pointer, nil
	}
	path := tokens[2:]
	switch strings.Join(path, ".") {
	case "", "containerd", "cni.bin_dir", "enable_cdi":
		return "", fmt.Errorf("%s is not in the configuration of containerd 2: use the paths of %s and %s", pointer, imagesPlugin, runtimePlugin)
	}
	to, err := modern(path)
	if err != nil {
		return "", err
	}
	return jsonpatch.Pointer(append([]string{"plugins"}, to...)), nil
}
