package bootstrap

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

func TestUsableConditions(t *testing.T) {
	const (
		account    = "the default ServiceAccount is there"
		class      = "a default StorageClass is there"
		ready      = "every node is Ready"
		registered = "every node is registered"
		dns        = "CoreDNS is serving"
	)
	for _, c := range []struct {
		cni, proxy string
		want       []string
	}{
		{"default", "nftables", []string{account, class, ready, dns}},
		{"default", "none", []string{account, class, ready}},
		{"none", "nftables", []string{account, class, registered}},
		{"none", "none", []string{account, class, registered}},
		{"/cilium.yaml", "none", []string{account, class, ready, dns}}, // it replaces kube-proxy
	} {
		var got []string
		for _, condition := range UsableConditions(&config.Cluster{Networking: config.Networking{CNI: c.cni, KubeProxyMode: c.proxy}}) {
			got = append(got, condition.Name)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("CNI %s, kube-proxy %s (-want +got):\n%s", c.cni, c.proxy, diff)
		}
	}
}

func TestCoreDNSPatch(t *testing.T) {
	for nodes, want := range map[int]float64{1: 1, 2: 2, 5: 2} {
		e := &Env{Config: &config.Cluster{Nodes: make([]config.Node, nodes)}}
		var patch struct {
			Spec struct {
				Replicas float64
				Template struct {
					Metadata struct{ Annotations map[string]string }
					Spec     struct {
						Containers []struct {
							Name           string
							ReadinessProbe struct{ PeriodSeconds int }
						}
					}
				}
			}
		}
		if err := yaml.UnmarshalStrict(e.corednsPatch(), &patch); err != nil {
			t.Fatal(err)
		}
		if patch.Spec.Replicas != want {
			t.Errorf("%d nodes: %v replicas, want %v", nodes, patch.Spec.Replicas, want)
		}
		if c := patch.Spec.Template.Spec.Containers; len(c) != 1 || c[0].Name != "coredns" || c[0].ReadinessProbe.PeriodSeconds != 1 {
			t.Errorf("containers of the patch: %+v", c)
		}
		if a := patch.Spec.Template.Metadata.Annotations; a[nodeimage.ShimGroupAnnotation] != nodeimage.ShimGroup {
			t.Errorf("annotations of the patch: %v", a)
		}
	}
}

func TestNewToken(t *testing.T) {
	first, err := newToken()
	if err != nil {
		t.Fatal(err)
	}
	second, err := newToken()
	if err != nil {
		t.Fatal(err)
	}
	if first == second || !regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`).MatchString(first) {
		t.Errorf("tokens %q and %q", first, second)
	}
	e := &Env{token: first}
	if id := e.tokenID(); !strings.HasPrefix(first, id+".") || len(id) != 6 {
		t.Errorf("the ID of %s is %s", first, id)
	}
}
