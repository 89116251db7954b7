package podnet

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestConflist(t *testing.T) {
	subnet := netip.MustParsePrefix
	for name, test := range map[string]struct {
		pods []netip.Prefix
		mtu  int
	}{
		"v4.conflist":   {[]netip.Prefix{subnet("10.244.1.0/24")}, 1450},
		"dual.conflist": {[]netip.Prefix{subnet("10.244.1.0/24"), subnet("fd00:10:244:1::/64")}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Conflist(test.pods, test.mtu)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
