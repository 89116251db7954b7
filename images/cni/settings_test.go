//go:build linux

package main

import (
	"strings"
	"testing"
)

func TestSettings(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		errs []string // what the error names; none: no error
	}{
		{"kind", map[string]string{"NODE_NAME": "a", "POD_SUBNET": "10.244.0.0/16"}, nil},
		{"dual", map[string]string{"NODE_NAME": "a", "POD_SUBNET": "10.244.0.0/16,fd00::/56", "SERVICE_SUBNET": "10.96.0.0/16, fd01::/112"}, nil},
		{"nothing", nil, []string{"NODE_NAME", "POD_SUBNET"}},
		{"untemplated", map[string]string{"NODE_NAME": "a", "POD_SUBNET": "{{ .PodSubnet }}"}, []string{"POD_SUBNET"}},
		{"no length", map[string]string{"NODE_NAME": "a", "POD_SUBNET": "10.244.0.0/16", "SERVICE_SUBNET": "10.96.0.0"}, []string{"SERVICE_SUBNET"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := settingsFrom(func(name string) string { return tt.env[name] })
			if (err != nil) != (len(tt.errs) > 0) {
				t.Fatalf("error is %v, want one of %v", err, tt.errs)
			}
			for _, name := range tt.errs {
				if !strings.Contains(err.Error(), name) {
					t.Errorf("error %q does not name %s", err, name)
				}
			}
			if err == nil && len(s.pods) != 1+strings.Count(tt.env["POD_SUBNET"], ",") {
				t.Errorf("pods are %v", s.pods)
			}
		})
	}
}
