package containerdconf

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

// image is a configuration as a node image has it, with what it imports.
var image = []string{`version = 3
imports = ["/etc/containerd/conf.d/*.toml"]
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  discard_unpacked_layers = true
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = '/etc/containerd/certs.d'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
`, `version = 3
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
`}

// expect applies patches to image and compares with it as changed says.
func expect(t *testing.T, patches, json []string, changed string) Result {
	t.Helper()
	got, err := Apply(image, patches, json)
	if err != nil {
		t.Fatal(err)
	}
	want := table{}
	for _, text := range append(image, changed) {
		var one table
		if err := toml.Unmarshal([]byte(text), &one); err != nil {
			t.Fatal(err)
		}
		if text != changed {
			delete(one, "imports")
		}
		merge(want, one)
	}
	var have table
	if err := toml.Unmarshal(got.TOML, &have); err != nil {
		t.Fatalf("%v\n%s", err, got.TOML)
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	return got
}

const (
	oldCRI  = `[plugins."io.containerd.grpc.v1.cri"` // what follows closes it
	images  = `[plugins."io.containerd.cri.v1.images"`
	runtime = `[plugins."io.containerd.cri.v1.runtime"`
)

func TestPatches(t *testing.T) {
	for name, test := range map[string]struct{ patch, want string }{
		"of no plugin":      {"oom_score = -5\nimports = ['/x']\n[debug]\nlevel = 'debug'", "oom_score = -5\nimports = ['/x']\n[debug]\nlevel = 'debug'"},
		"of this version":   {"version = 3\n" + images + ".registry]\nconfig_path = '/x'", images + ".registry]\nconfig_path = '/x'"},
		"lists whole":       {"disabled_plugins = ['a']", "disabled_plugins = ['a']"},
		"registry":          {oldCRI + ".registry]\nconfig_path = '/etc/containerd/certs.d'", ""},
		"false wins":        {"version = 2\n" + oldCRI + ".containerd]\ndiscard_unpacked_layers = false", images + "]\ndiscard_unpacked_layers = false"},
		"snapshotter":       {oldCRI + ".containerd]\nsnapshotter = 'native'\ndisable_snapshot_annotations = true", images + "]\nsnapshotter = 'native'\ndisable_snapshot_annotations = true"},
		"version 1":         {"version = 1\n[plugins.cri.containerd]\nsnapshotter = 'native'", images + "]\nsnapshotter = 'native'"},
		"sandbox":           {oldCRI + "]\nsandbox_image = 'pause:1'\nmax_concurrent_downloads = 9", images + "]\nmax_concurrent_downloads = 9\n" + images + ".pinned_images]\nsandbox = 'pause:1'"},
		"runtime":           {oldCRI + "]\nenable_selinux = true\ntolerate_missing_hugepages_controller = true", runtime + "]\nenable_selinux = true\ntolerate_missing_hugetlb_controller = true"},
		"another runtime":   {oldCRI + ".containerd.runtimes.wasm]\nruntime_type = 'w'\nsandbox_mode = 'shim'\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.wasm.options]\nSystemdCgroup = true", runtime + ".containerd.runtimes.wasm]\nruntime_type = 'w'\nsandboxer = 'shim'\n" + runtime + ".containerd.runtimes.wasm.options]\nSystemdCgroup = true"},
		"an empty runtime":  {oldCRI + ".containerd.runtimes.x.options]", runtime + ".containerd.runtimes.x.options]"},
		"streaming":         {oldCRI + "]\nstream_server_port = '1'", oldCRI + "]\nstream_server_port = '1'"},
		"cni":               {oldCRI + ".cni]\nbin_dir = '/b'\nconf_dir = '/c'", runtime + ".cni]\nbin_dirs = ['/b']\nconf_dir = '/c'"},
		"cdi":               {oldCRI + "]\nenable_cdi = true\ncdi_spec_dirs = ['/c']", runtime + "]\ncdi_spec_dirs = ['/c']"},
		"credentials":       {oldCRI + ".registry.configs.'r:5000'.auth]\nusername = 'u'", images + ".registry.configs.'r:5000'.auth]\nusername = 'u'"},
		"mirrors by choice": {oldCRI + ".registry]\nconfig_path = ''\nmirrors.a.endpoint = ['http://b']", images + ".registry]\nconfig_path = ''\nmirrors.a.endpoint = ['http://b']"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := CheckPatch(test.patch); err != nil {
				t.Errorf("the check says %v", err)
			}
			if got := expect(t, []string{test.patch}, nil, test.want); got.Hosts != nil {
				t.Errorf("hosts are %v", got.Hosts)
			}
		})
	}
}

func TestPatchesInOrder(t *testing.T) {
	expect(t, []string{"oom_score = 1\n[debug]\nlevel = 'a'", "[debug]\nlevel = 'b'"},
		[]string{"[{op: replace, path: /oom_score, value: 2}]", "[{op: add, path: /timeouts, value: {a: 2s}}]"},
		"oom_score = 2\n[debug]\nlevel = 'b'\n[timeouts]\na = '2s'")
}

func TestJSONPatches(t *testing.T) {
	const plugins = "/plugins/io.containerd."
	for name, test := range map[string]struct{ patch, want string }{
		"as it is now":  {`[{"op": "replace", "path": "` + plugins + `cri.v1.images/snapshotter", "value": "native"}]`, images + "]\nsnapshotter = 'native'"},
		"in old paths":  {"[{op: replace, path: " + plugins + "grpc.v1.cri/containerd/snapshotter, value: native}]", images + "]\nsnapshotter = 'native'"},
		"a new runtime": {"[{op: copy, from: " + plugins + "grpc.v1.cri/containerd/runtimes/runc, path: " + plugins + "grpc.v1.cri/containerd/runtimes/x}]", runtime + ".containerd.runtimes.x]\nruntime_type = 'io.containerd.runc.v2'"},
		"numbers":       {"[{op: add, path: /a, value: [9007199254740993, 0.5]}, {op: add, path: /b, value: {c: null}}]", "a = [9007199254740993, 0.5]\n[b]"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := CheckJSONPatch(test.patch); err != nil {
				t.Errorf("the check says %v", err)
			}
			expect(t, nil, []string{test.patch}, test.want)
		})
	}
	got, err := Apply(image, nil, []string{"[{op: remove, path: " + plugins + "cri.v1.images/registry}]"})
	if err != nil || strings.Contains(string(got.TOML), "registry") {
		t.Errorf("got %v\n%s", err, got.TOML)
	}
}

func TestHosts(t *testing.T) {
	const mirror = ".registry.mirrors."
	for name, test := range map[string]struct {
		patch string
		want  map[string]string
	}{
		"a mirror": {
			oldCRI + mirror + "'localhost:5001']\nendpoint = ['http://kind-registry:5000', 'http://kind-registry:5000']",
			map[string]string{"localhost:5001": "[host.'http://kind-registry:5000']\ncapabilities = ['pull', 'resolve']\n"},
		},
		"in their order": {
			oldCRI + mirror + "'docker.io']\nendpoint = ['https://b.example/v2/', 'https://a.example/mirror/v2']\n" + images + mirror + "'*']\nendpoint = ['http://c']",
			map[string]string{
				"docker.io": "[host.'https://b.example/v2']\ncapabilities = ['pull', 'resolve']\n[host.'https://a.example/mirror/v2']\ncapabilities = ['pull', 'resolve']\noverride_path = true\n",
				"_default":  "[host.'http://c']\ncapabilities = ['pull', 'resolve']\n",
			},
		},
		"TLS": {
			oldCRI + ".registry.configs.'r:5000'.tls]\ninsecure_skip_verify = true\nca_file = '/ca'\ncert_file = '/c'\nkey_file = '/k'\n" +
				oldCRI + mirror + "x]\nendpoint = ['https://r:5000']",
			map[string]string{
				"x":      "[host.'https://r:5000']\ncapabilities = ['pull', 'resolve']\nskip_verify = true\nca = '/ca'\nclient = [['/c', '/k']]\n",
				"r:5000": "[host.'https://r:5000']\ncapabilities = ['pull', 'resolve']\nskip_verify = true\nca = '/ca'\nclient = [['/c', '/k']]\n",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := CheckPatch(test.patch); err != nil {
				t.Errorf("the check says %v", err)
			}
			got := map[string]string{}
			for registry, hosts := range expect(t, []string{test.patch}, nil, "").Hosts {
				got[registry] = string(hosts)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("hosts (-want +got):\n%s", diff)
			}
		})
	}
}

// Credentials stay where they are when mirrors and TLS settings go.
func TestHostsLeaveCredentials(t *testing.T) {
	const configs = oldCRI + ".registry.configs.'r:5000'"
	got := expect(t, []string{configs + ".tls]\nca_file = '/ca'\n" + configs + ".auth]\nusername = 'u'"}, nil,
		images+".registry.configs.'r:5000'.auth]\nusername = 'u'")
	if len(got.Hosts) != 1 {
		t.Errorf("hosts are %v", got.Hosts)
	}
}

// The images of kind have a configuration of version 2: patches are for it as
// they are.
func TestVersion2(t *testing.T) {
	const own = "version = 2\nimports = ['/elsewhere/*.toml']\n" + oldCRI + "]\nsandbox_image = 'pause:1'\n"
	got, err := Apply([]string{own}, []string{
		oldCRI + ".registry.mirrors.a]\nendpoint = ['http://b']",
		"version = 2\noom_score = 2",
		"version = 3\noom_score = 3",
	}, []string{"[{op: replace, path: /plugins/io.containerd.grpc.v1.cri/sandbox_image, value: 'pause:2'}]"})
	if err != nil {
		t.Fatal(err)
	}
	var have, want table
	const changed = "version = 2\nimports = ['/elsewhere/*.toml']\noom_score = 2\n" + oldCRI + "]\nsandbox_image = 'pause:2'\nregistry.mirrors.a.endpoint = ['http://b']\n"
	if err := errors.Join(toml.Unmarshal(got.TOML, &have), toml.Unmarshal([]byte(changed), &want)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, have); diff != "" || got.Hosts != nil {
		t.Errorf("hosts are %v, the configuration is (-want +got):\n%s", got.Hosts, diff)
	}
	for _, json := range []string{"{}", "[{op: remove, path: /nothing}]"} {
		if _, err := Apply([]string{own}, nil, []string{json}); err == nil {
			t.Errorf("%s was applied", json)
		}
	}
	if _, err := Apply([]string{own}, []string{"="}, nil); err == nil {
		t.Error("what is not TOML was applied")
	}
}

func TestRefused(t *testing.T) {
	for name, test := range map[string]struct{ patch, want string }{
		"no TOML":      {"a =", "is not TOML"},
		"too new":      {"version = 5", "is for version 5 of containerd's configuration, and nodes read versions 1 to 4"},
		"no version":   {"version = 'two'", "is for version two"},
		"gone":         {oldCRI + ".containerd.default_runtime]\nruntime_type = 'x'", "sets containerd.default_runtime.runtime_type, which is gone: set containerd.default_runtime_name"},
		"without CDI":  {oldCRI + "]\nenable_cdi = false", "containerd 2 cannot be without CDI"},
		"no URL":       {oldCRI + ".registry.mirrors.a]\nendpoint = ['b:5000']", `mirror of registry a: "b:5000" is not an http or https URL`},
		"no host":      {oldCRI + ".registry.mirrors.'a/b']\nendpoint = ['http://b']", `registry "a/b" is not a host`},
		"another path": {oldCRI + ".registry]\nconfig_path = '/x'\nmirrors.a.endpoint = ['http://b']", "registry.mirrors needs config_path to be /etc/containerd/certs.d, and it is /x"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := CheckPatch(test.patch); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want one with %q", err, test.want)
			}
			if _, err := Apply(image, []string{test.patch}, nil); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("when it is applied, the error is %v", err)
			}
		})
	}
	for name, test := range map[string]struct{ patch, want string }{
		"no list":     {"{}", "must be a list of operations"},
		"too much":    {"[{op: remove, path: /plugins/io.containerd.grpc.v1.cri/containerd}]", "is not in the configuration of containerd 2"},
		"the plugin":  {"[{op: remove, path: /plugins/cri}]", "is not in the configuration of containerd 2"},
		"gone":        {"[{op: add, path: /plugins/cri/systemd_cgroup, value: true}]", "sets systemd_cgroup, which is gone"},
		"a form gone": {"[{op: add, path: /plugins/cri/cni/bin_dir, value: /b}]", "use the paths of io.containerd.cri.v1.images and"},
	} {
		t.Run("JSON, "+name, func(t *testing.T) {
			if err := CheckJSONPatch(test.patch); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want one with %q", err, test.want)
			}
		})
	}
	for name, text := range map[string]string{
		"what is not there": "[{op: remove, path: /nothing}]",
		"no table":          "[{op: replace, path: '', value: 1}]",
	} {
		t.Run("JSON, "+name, func(t *testing.T) {
			if err := CheckJSONPatch(text); err != nil {
				t.Errorf("the check says %v", err)
			}
			if got, err := Apply(image, nil, []string{text}); err == nil || !strings.Contains(err.Error(), "containerdConfigPatchesJSON6902[0]") {
				t.Errorf("the error is %v\n%s", err, got.TOML)
			}
		})
	}
}

// TestWithoutSystemd finds every runtime, whoever added it.
func TestWithoutSystemd(t *testing.T) {
	const configuration = `version = 3
[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = 'runc'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
options = {SystemdCgroup = true, BinaryName = '/usr/bin/crun'}
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia.options]
SystemdCgroup = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.wasm]
runtime_type = 'io.containerd.wasm.v1'
`
	got, err := WithoutSystemd([]byte(configuration))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(got), "SystemdCgroup = false") != 2 || strings.Contains(string(got), "SystemdCgroup = true") {
		t.Errorf("the configuration is\n%s", got)
	}
	for _, kept := range []string{"BinaryName = '/usr/bin/crun'", "default_runtime_name = 'runc'", "runtime_type = 'io.containerd.wasm.v1'"} {
		if !strings.Contains(string(got), kept) {
			t.Errorf("it lost %s:\n%s", kept, got)
		}
	}
	if _, err := WithoutSystemd([]byte("[")); err == nil {
		t.Error("what is no TOML is read")
	}
}
