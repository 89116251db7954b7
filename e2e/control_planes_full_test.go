//go:build e2e && full

package e2e

import "testing"

// Control planes come and go in clusters whose addresses are of IPv6, alone or
// too.
func TestControlPlanesComeAndGoByIPv6(t *testing.T) {
	for _, family := range []string{"ipv6", "dual"} {
		t.Run(family, func(t *testing.T) {
			c := createFrom(t, "{apiVersion: petri.dev/v1alpha1, kind: Cluster, networking: {ipFamily: "+family+"}, nodes: [{}, {role: worker}]}\n")
			c.controlPlanesComeAndGo(t)
		})
	}
}
