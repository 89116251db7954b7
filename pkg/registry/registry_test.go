package registry

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/containerdconf"
)

var (
	push  = Local{Port: 5001, Endpoint: "http://local.registry.petri:5000"}
	hub   = Local{Port: 5002, Endpoint: "http://hub.registry.petri:5000", Upstream: "https://registry-1.docker.io"}
	plain = Local{Port: 5003, Endpoint: "http://plain.registry.petri:5000", Upstream: "http://10.0.0.1:80"}
)

const capable = "capabilities = ['pull', 'resolve']\n"

func TestFiles(t *testing.T) {
	const certs = "/etc/containerd/certs.d/"
	ca := map[string][]byte{"corp": []byte("PEM"), "mirror": []byte("PEM2")}
	corp := config.Registry{Host: "corp", Mirrors: []string{"https://mirror/x"}, CAFile: "given"}
	mirror := config.Registry{Host: "mirror", CAFile: "given"}
	for name, test := range map[string]struct {
		setup Setup
		want  map[string]string
	}{
		"nothing":          {Setup{Registries: []config.Registry{{Host: "corp", Username: "u"}}}, map[string]string{}},
		"for pushing":      {Setup{Local: []Local{push}}, map[string]string{"localhost:5001/hosts.toml": "server = 'http://local.registry.petri:5000'\n"}},
		"a cache":          {Setup{Local: []Local{hub}}, map[string]string{"docker.io/hosts.toml": "[host.'http://hub.registry.petri:5000']\n" + capable}},
		"a cache of plain": {Setup{Local: []Local{plain}}, map[string]string{"10.0.0.1:80/hosts.toml": "server = 'http://10.0.0.1:80'\n[host.'http://plain.registry.petri:5000']\n" + capable}},
		"mirrors and certificates": {Setup{Registries: []config.Registry{corp, mirror}, CA: ca}, map[string]string{
			"corp/hosts.toml":   "ca = '" + certs + "corp/ca.pem'\n[host.'https://mirror/x']\n" + capable + "ca = '" + certs + "mirror/ca.pem'\n",
			"corp/ca.pem":       "PEM",
			"mirror/hosts.toml": "ca = '" + certs + "mirror/ca.pem'\n",
			"mirror/ca.pem":     "PEM2",
		}},
		"the engine first": {Setup{Local: []Local{push, hub}, ImageServer: "http://a-images:5000"}, map[string]string{
			"localhost:5001/hosts.toml": "server = 'http://local.registry.petri:5000'\n",
			"docker.io/hosts.toml":      "[host.'http://a-images:5000']\n" + capable + "dial_timeout = '1s'\n[host.'http://hub.registry.petri:5000']\n" + capable,
			"_default/hosts.toml":       "[host.'http://a-images:5000']\n" + capable + "dial_timeout = '1s'\n",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := test.setup.Files()
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for path, data := range files {
				got[strings.TrimPrefix(path, certs)] = string(data)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUpstreamURL(t *testing.T) {
	for text, want := range map[string]string{
		"docker.io":             "https://registry-1.docker.io",
		"ghcr.io":               "https://ghcr.io",
		"http://10.0.0.1:5000/": "http://10.0.0.1:5000",
		"https://u:p@corp":      "",
		"ftp://corp":            "",
		"corp/library":          "",
		"":                      "",
	} {
		got, err := UpstreamURL(text)
		if got != want || (err == nil) == (want == "") {
			t.Errorf("%q is %q (%v), want %q", text, got, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "p@") {
			t.Errorf("%q: the error has the password: %v", text, err)
		}
	}
}

// Credentials are read by containerd of every version, whatever is in them.
func TestAuth(t *testing.T) {
	auth, err := Auth(map[string]Credentials{"docker.io": {"u", `p'"` + "\\\n"}, "corp:5000": {"v", "q"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := containerdconf.CheckPatch(auth); err != nil {
		t.Errorf("%v\n%s", err, auth)
	}
	got, err := containerdconf.Apply([]string{"version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d'\n"}, []string{auth}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"'io.containerd.cri.v1.images'.registry.configs.'registry-1.docker.io'.auth]", "'corp:5000'.auth]", "username = 'v'"} {
		if !strings.Contains(string(got.TOML), want) {
			t.Errorf("%s is not in\n%s", want, got.TOML)
		}
	}
	if auth, err := Auth(nil); auth != "" || err != nil {
		t.Errorf("nobody's credentials are %q, %v", auth, err)
	}
}

func TestConfig(t *testing.T) {
	own, err := Config(5000, "", Credentials{})
	if err != nil || strings.Contains(string(own), "proxy") {
		t.Errorf("%v\n%s", err, own)
	}
	cache, err := Config(5000, "https://corp", Credentials{"u", "p: #"})
	const want = "proxy:\n  password: 'p: #'\n  remoteurl: https://corp\n  username: u\n"
	if err != nil || !strings.Contains(string(cache), want) {
		t.Errorf("%v\n%s", err, cache)
	}
}

func TestHosting(t *testing.T) {
	got, err := Hosting([]Local{hub, push})
	const want = "host: localhost:5001\nhostFromClusterNetwork: local.registry.petri:5000\nhostFromContainerRuntime: local.registry.petri:5000\n"
	if err != nil || got != want {
		t.Errorf("%v\n%s", err, got)
	}
	if got, err := Hosting([]Local{hub}); got != "" || err != nil {
		t.Errorf("caches are announced: %q, %v", got, err)
	}
}

// odd has what ends a value in other languages than TOML.
const odd = `p&q;r's"t u(v)\w`

// TestPasswords reads back what Auth renders, and what users write themselves.
func TestPasswords(t *testing.T) {
	auth, err := Auth(map[string]Credentials{"corp:5000": {"me", odd}})
	if err != nil {
		t.Fatal(err)
	}
	both := base64.StdEncoding.EncodeToString([]byte("me:" + odd))
	for name, test := range map[string]struct {
		text string
		want []Credentials
	}{
		"nothing":         {"", nil},
		"as rendered":     {auth, []Credentials{{"me", odd}}},
		"escaped":         {`[plugins.'io.containerd.cri.v1.images'.registry.configs.corp.auth]` + "\nusername = 'me'\npassword = \"p&q;r's\\\"t\\u0020u(v)\\\\w\"\n", []Credentials{{"me", odd}}},
		"of old versions": {"plugins.cri.registry.auths.'https://corp'.Password = 'short'", []Credentials{{"", "short"}}},
		"both in one":     {"[plugins.a.registry.configs.corp.auth]\nauth = '" + both + "'\n", []Credentials{{"me", odd}}},
		"a token":         {"[plugins.a.registry.configs.corp.auth]\nidentitytoken = 'abc'\n", []Credentials{{"", "abc"}}},
		"in a list":       {"a = [{password = 'x'}, 1]", []Credentials{{"", "x"}}},
	} {
		got, err := Passwords(test.text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, err := Passwords("password = 'hunter22"); err == nil || strings.Contains(err.Error(), "hunter22") {
		t.Errorf("error %v", err)
	}
}
