//go:build linux

package netguard

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/knftables"
)

// fakeRoutes is a routing table in memory.
type fakeRoutes struct {
	have []netip.Prefix
	fail error
}

func (f *fakeRoutes) List() ([]netip.Prefix, error) { return slices.Clone(f.have), nil }

func (f *fakeRoutes) Add(p netip.Prefix) error {
	if f.fail != nil {
		return f.fail
	}
	if !slices.Contains(f.have, p) {
		f.have = append(f.have, p)
	}
	return nil
}

func (f *fakeRoutes) Delete(p netip.Prefix) error {
	f.have = slices.DeleteFunc(f.have, func(q netip.Prefix) bool { return p == q })
	return nil
}

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func texts(prefixes []netip.Prefix) []string {
	var out []string
	for _, p := range prefixes {
		out = append(out, p.String())
	}
	return out
}

func TestRefusePods(t *testing.T) {
	tests := []struct {
		name string
		have []netip.Prefix
		pods []netip.Prefix
		want []string
	}{
		{"first", nil, prefixes("10.244.0.0/16"), []string{"10.244.0.0/16"}},
		{"again", prefixes("10.244.0.0/16"), prefixes("10.244.0.0/16"), []string{"10.244.0.0/16"}},
		{"another range", prefixes("10.244.0.0/16"), prefixes("10.9.0.0/16", "fd00::/56"), []string{"10.9.0.0/16", "fd00::/56"}},
		{"host bits", prefixes("10.244.0.0/16"), prefixes("10.244.1.1/16"), []string{"10.244.0.0/16"}},
		{"unknown range", prefixes("10.244.0.0/16"), nil, []string{"10.244.0.0/16"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeRoutes{have: tt.have}
			if err := refusePods(f, tt.pods); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, texts(f.have)); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefusePodsSaysWhichFailed(t *testing.T) {
	f := &fakeRoutes{fail: errors.New("not permitted")}
	err := refusePods(f, prefixes("10.244.0.0/16"))
	if !errors.Is(err, f.fail) || !strings.Contains(err.Error(), "10.244.0.0/16") {
		t.Errorf("error is %v", err)
	}
}

func TestClearRoutes(t *testing.T) {
	f := &fakeRoutes{have: prefixes("10.244.0.0/16", "fd00::/56")}
	if err := clearRoutes(f); err != nil {
		t.Fatal(err)
	}
	if len(f.have) != 0 {
		t.Errorf("left over: %v", f.have)
	}
}

const wantRules = `add table inet petri-guard
add chain inet petri-guard forward { type filter hook forward priority -10 ; }
add chain inet petri-guard output { type filter hook output priority -10 ; }
add chain inet petri-guard refuse
add rule inet petri-guard forward oifname != "lo" ip daddr 10.96.0.0/16 jump refuse
add rule inet petri-guard forward oifname != "lo" ip6 daddr fd00:10:96::/112 jump refuse
add rule inet petri-guard output oifname != "lo" ip daddr 10.96.0.0/16 jump refuse
add rule inet petri-guard output oifname != "lo" ip6 daddr fd00:10:96::/112 jump refuse
add rule inet petri-guard refuse meta l4proto tcp reject with tcp reset
add rule inet petri-guard refuse reject with icmpx type port-unreachable
`

func TestGuardTransaction(t *testing.T) {
	nft := knftables.NewFake(knftables.InetFamily, table)
	services := prefixes("10.96.0.0/16", "fd00:10:96::/112")
	for _, step := range [][]netip.Prefix{prefixes("10.7.0.0/16"), services, services} {
		if err := nft.Run(t.Context(), guardTransaction(nft, step)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(wantRules, nft.Dump()); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

func TestRefuseServicesWithoutNFT(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := refuseServices(t.Context(), prefixes("10.96.0.0/16"))
	if err == nil || !strings.Contains(err.Error(), "nft") {
		t.Errorf("error is %v, want one that names nft", err)
	}
}
