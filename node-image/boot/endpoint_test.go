package boot

import (
	"testing"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

const engineHosts = "127.0.0.1\tlocalhost\n10.201.0.2\tdev-control-plane\n"

func TestEndpoint(t *testing.T) {
	m, _ := machine(t, map[string]string{"/etc/hosts": engineHosts})
	m.Plan = &nodeimage.Plan{Balanced: "dev-external-load-balancer"}
	twice(t, m, endpoint)
	diff(t, "127.0.0.1\tdev-external-load-balancer\t# petri: the node's own balancer\n"+engineHosts, read(t, m, "/etc/hosts"))
}

func TestEndpointOfOneControlPlane(t *testing.T) {
	for name, plan := range map[string]*nodeimage.Plan{"no plan": nil, "one": {}} {
		m, _ := machine(t, map[string]string{"/etc/hosts": engineHosts})
		m.Plan = plan
		if err := endpoint(t.Context(), m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		diff(t, engineHosts, read(t, m, "/etc/hosts"))
	}
}

func TestEndpointNeedsTheFile(t *testing.T) {
	m, _ := machine(t, nil)
	m.Plan = &nodeimage.Plan{Balanced: "dev-external-load-balancer"}
	if err := endpoint(t.Context(), m); err == nil {
		t.Error("a node that cannot find the API was booted")
	}
}
