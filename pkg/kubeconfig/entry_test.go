package kubeconfig

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestFromAdmin(t *testing.T) {
	admin := readAdmin(t)
	e, err := FromAdmin([]byte(admin), EntryName("petri", "dev"), "https://127.0.0.1:40001")
	if err != nil {
		t.Fatal(err)
	}
	out, err := Render(e)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "rendered", out)
}

func TestFromAdminRefuses(t *testing.T) {
	admin := readAdmin(t)
	for name, tc := range map[string]struct{ in, want string }{
		"empty":      {"", "have 0 and 0"},
		"broken":     {"clusters: [", "line"},
		"no key":     {strings.Replace(admin, "client-key-data", "client-key", 1), "client-key-data is missing"},
		"bad base64": {strings.Replace(admin, "LS0tIGNhIC0tLQo=", "~~~", 1), "certificate-authority-data is missing or not base64"},
		"wrong type": {strings.Replace(admin, "client-key-data: LS", "client-key-data: {LS", 1) + "}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := FromAdmin([]byte(tc.in), "n", "s")
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want an error with %q", err, tc.want)
			}
			if strings.Contains(err.Error(), "LS0t") {
				t.Errorf("the error shows content: %v", err)
			}
		})
	}
}

func TestRenderRefuses(t *testing.T) {
	for _, e := range []Entry{{}, {Name: "n"}, {Name: "n\nx: y", Server: "s"}, {Name: "n", Server: "s\x00"}} {
		if out, err := Render(e); err == nil {
			t.Errorf("%q: want an error, got\n%s", e.Name, out)
		}
	}
}

func TestEntryHidesKey(t *testing.T) {
	data, err := json.Marshal(dev)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(dev), fmt.Sprintf("%+v", dev), fmt.Sprintf("%#v", dev), string(data)} {
		if strings.Contains(s, "key") || strings.Contains(s, "107, 101, 121") || strings.Contains(s, encode64(dev.ClientKey)) {
			t.Errorf("shows the key: %s", s)
		}
	}
}

func TestScalar(t *testing.T) {
	for _, s := range []string{"plain", "true", "no", "1e3", "a: b", "# x", "it's", `"`, "- x", "*a", "~", " pad ", "ü", "2001-01-01", "<<", "="} {
		var got any
		text := scalar(s)
		if err := yaml.Unmarshal([]byte("k: "+text+"\n"), &struct{ K *any }{&got}); err != nil {
			t.Errorf("%q as %s: %v", s, text, err)
		} else if got != s {
			t.Errorf("%q as %s reads as %v", s, text, got)
		}
	}
}

func readAdmin(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "admin.conf"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
