package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/config"
)

// What a profile means for pods is filled in where the file does not say it.
func TestSecurity(t *testing.T) {
	levels := func(enforce, audit, warn string) config.PodSecurity {
		return config.PodSecurity{
			Enforce: enforce, Audit: audit, Warn: warn,
			EnforceVersion: "latest", AuditVersion: "latest", WarnVersion: "latest",
		}
	}
	for name, c := range map[string]struct {
		text, flag string
		want       config.Security
		restricts  bool
	}{
		"nothing":        {"", "", config.Security{Profile: "default", PodSecurity: levels("privileged", "privileged", "privileged")}, false},
		"warned":         {"security: {podSecurity: {warn: baseline}}", "", config.Security{Profile: "default", PodSecurity: levels("privileged", "privileged", "baseline")}, true},
		"hardened":       {"security: {profile: hardened}", "", config.Security{Profile: "hardened", PodSecurity: levels("restricted", "restricted", "restricted")}, true},
		"less hard":      {"security: {profile: hardened, podSecurity: {enforce: privileged}}", "", config.Security{Profile: "hardened", PodSecurity: levels("privileged", "restricted", "restricted")}, true},
		"by a flag":      {"security: {podSecurity: {enforce: baseline}}", "hardened", config.Security{Profile: "hardened", PodSecurity: levels("baseline", "restricted", "restricted")}, true},
		"flag over file": {"security: {profile: hardened}", "default", config.Security{Profile: "default", PodSecurity: levels("privileged", "privileged", "privileged")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := load(t, begin+c.text, config.Options{Overrides: config.Overrides{Profile: c.flag}}).Security
			if diff := cmp.Diff(c.want, got); diff != "" || got.PodSecurity.Restricts() != c.restricts {
				t.Errorf("restricts pods: %v, want %v; (-want +got):\n%s", got.PodSecurity.Restricts(), c.restricts, diff)
			}
		})
	}
	_, err := config.Load([]byte(begin), "c.yaml", config.Options{Overrides: config.Overrides{Profile: "hard"}})
	if err == nil || !strings.Contains(err.Error(), `--profile: "hard" is not one of default, hardened`) {
		t.Errorf("a profile that is none: %v", err)
	}
}
