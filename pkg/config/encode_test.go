package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/errdefs"
)

// reload encodes a cluster and loads it again.
func reload(t *testing.T, c *config.Cluster) *config.Cluster {
	t.Helper()
	data, err := config.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	again, err := config.Load(data, "encoded", config.Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	return again
}

func TestEncode(t *testing.T) {
	for name, text := range map[string]string{
		"default":    "",
		"rich":       rich,
		"numbers":    begin + "kubeadm: [{apiVersion: kubelet.config.k8s.io/v1beta1, kind: KubeletConfiguration, a: 18446744073709551615, b: 9007199254740993, c: 1e30, d: 0.1, e: [null, true], \"f\": \"1\"}]\n",
		"kind":       kindRich,
		"registries": begin + "registries: [{host: docker.io, mirrors: [\"https://m\"]}, {host: \"r:5000\", username: u, passwordEnv: HOME}]\nlocalRegistries: [local]\nimages: {share: engine}\n",
		"hardened":   begin + "security: {profile: hardened, podSecurity: {enforce: baseline, enforceVersion: v1.36, exemptNamespaces: [a]}}\n",
		"search":     begin + "networking: {dnsSearch: []}\n",
		"names":      begin + "name: dev\nnodes: [{role: control-plane}, {role: worker}, {role: worker, name: dev-worker4}, {role: worker, name: dev-worker2}]\n",
		"odd":        begin + "containerdConfigPatches: [\"#\\t\\u00e9\\r\\n\"]\nnodes: [{labels: {\"y\": \"n\", \"1\": \"2\"}}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := load(t, text, config.Options{DefaultImage: imageOf, Dir: directory(t)})
			if diff := cmp.Diff(c, reload(t, c), compare); diff != "" {
				t.Errorf("reading back what was printed (-want +got):\n%s", diff)
			}
		})
	}
}

// The printed form says everything that was left out.
func TestEncodeSaysDefaults(t *testing.T) {
	data, err := config.Encode(load(t, "", config.Options{DefaultImage: imageOf}))
	if err != nil {
		t.Fatal(err)
	}
	const want = `apiVersion: petri.dev/v1alpha1
kind: Cluster
name: petri
networking:
  apiServerAddress: 127.0.0.1
  cni: default
  dnsDomain: cluster.local
  ipFamily: ipv4
  kubeProxyMode: nftables
  podSubnet: 10.244.0.0/16
  serviceSubnet: 10.96.0.0/16
nodes:
- count: 1
  image: petri/node:default
  role: control-plane
security:
  podSecurity:
    audit: privileged
    auditVersion: latest
    enforce: privileged
    enforceVersion: latest
    warn: privileged
    warnVersion: latest
  profile: default
`
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEncodeRefusesWhatIsNoDocument(t *testing.T) {
	_, err := config.Encode(&config.Cluster{Kubeadm: []config.RawDocument{{Kind: "JoinConfiguration", YAML: "["}}})
	if err == nil || !strings.Contains(err.Error(), "encode document JoinConfiguration") {
		t.Errorf("the error is %v", err)
	}
}

// FuzzLoad: whatever is read, Load does not panic, says what is wrong as an
// error of use, and what it accepts survives being printed.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(rich))
	for _, test := range fieldProblems {
		f.Add([]byte(begin + test.text + "\n"))
	}
	for _, test := range formProblems {
		f.Add([]byte(test.text))
	}
	for _, test := range kindProblems {
		f.Add([]byte(beginKind + test.text + "\n"))
	}
	f.Add([]byte(kindRich))
	f.Add([]byte(begin + "nodes: [&a {labels: &l {x: y}}, {<<: *a, role: worker, labels: {<<: [*l]}}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Load(data, "fuzz", config.Options{DefaultImage: imageOf})
		if err != nil {
			if !errdefs.Is(err, errdefs.ClassUsage) || c != nil {
				t.Fatalf("Load gave %v, %v", c, err)
			}
			return
		}
		if diff := cmp.Diff(c, reload(t, c), compare); diff != "" {
			t.Errorf("reading back what was printed (-want +got):\n%s", diff)
		}
	})
}
