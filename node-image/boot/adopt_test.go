package boot

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// TestAdopt takes over a node that the entrypoint of kind's image has booted.
func TestAdopt(t *testing.T) {
	const plan = `{"podSubnets": ["10.244.0.0/16"], "serviceSubnets": ["10.96.0.0/16"], "containerdPatches": ["[debug]\nlevel = 'x'\n"]}`
	const own = "version = 2\n[plugins]\n"
	const patched = "version = 2\n\n[debug]\nlevel = 'x'\n\n[plugins]\n"
	for name, test := range map[string]struct{ plan, config, want, err string }{
		"patches":           {plan, own, patched, ""},
		"imports of others": {plan, "imports = ['/elsewhere']\n" + own, "imports = ['/elsewhere']\n" + patched, ""},
		"JSON patches":      {`{"podSubnets": ["10.244.0.0/16"], "serviceSubnets": ["10.96.0.0/16"], "containerdJSONPatches": ["[{op: add, path: /debug, value: {level: x}}]"]}`, own, patched, ""},
		"no configuration":  {plan, "version = ", "version = ", "patch containerd's configuration"},
		"no patches":        {`{"podSubnets": ["10.244.0.0/16"], "serviceSubnets": ["10.96.0.0/16"]}`, own, own, ""},
	} {
		t.Run(name, func(t *testing.T) {
			runner := &fakeRunner{}
			var guarded []netip.Prefix
			m := &Machine{Root: t.TempDir(), Runner: runner, guard: func(_ context.Context, pods, services []netip.Prefix) error {
				guarded = slices.Concat(pods, services)
				return nil
			}}
			for path, content := range map[string]string{nodeimage.PlanPath: test.plan, containerdConf: test.config} {
				if err := m.write(path, content); err != nil {
					t.Fatal(err)
				}
			}
			err := Adopt(t.Context(), m)
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Fatalf("got %v, want %q", err, test.err)
			}
			if len(guarded) != 2 {
				t.Errorf("guarded are %v", guarded)
			}
			if got, err := os.ReadFile(m.path(containerdConf)); err != nil || string(got) != test.want {
				t.Errorf("containerd's configuration is %q, %v; want %q", got, err, test.want)
			}
			restarted := slices.Contains(runner.commands, "systemctl restart containerd")
			if want := test.err == "" && name != "no patches"; restarted != want {
				t.Errorf("containerd was started again: %v, want %v", restarted, want)
			}
		})
	}
}
