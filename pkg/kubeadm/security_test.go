package kubeadm

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/petri-cluster/petri/pkg/config"
)

func hardened(workers int) *config.Cluster {
	c := cluster(workers)
	c.Security = config.Security{Profile: config.ProfileHardened, PodSecurity: config.PodSecurity{
		Enforce: "restricted", EnforceVersion: "latest", Audit: "restricted", AuditVersion: "latest",
		Warn: "restricted", WarnVersion: "v1.36", ExemptNamespaces: []string{"monitoring", "kube-system"},
	}}
	return c
}

// hardenedPatched has an audit log and volumes of its own, in kind's way, and
// does without signed serving certificates.
func hardenedPatched() Input {
	c := hardened(0)
	c.KubeadmPatches = []string{`kind: ClusterConfiguration
apiServer:
  extraArgs: {audit-policy-file: /etc/kubernetes/policies/mine.yaml, tls-min-version: VersionTLS13}
  extraVolumes:
  - {name: policies, hostPath: /etc/kubernetes/policies, mountPath: /etc/kubernetes/policies}
`, "{kind: KubeletConfiguration, serverTLSBootstrap: false}"}
	return input(c, 0)
}

// anonymousPatched says itself who users are: the API server would refuse to be
// told twice.
func anonymousPatched() Input {
	c := cluster(0)
	c.KubeadmPatches = []string{`{kind: ClusterConfiguration, apiServer: {extraArgs: {oidc-issuer-url: "https://issuer.example"}}}`}
	return input(c, 0)
}

// oldest is of a Kubernetes that cannot limit anonymous users to paths.
func oldest() Input {
	in := input(hardened(0), 0)
	in.KubernetesVersion = "v1.31.14"
	return in
}

// The files that the API server reads are what they were.
func TestSecurityFiles(t *testing.T) {
	warned := cluster(0)
	warned.Security.PodSecurity = config.PodSecurity{Enforce: "privileged", EnforceVersion: "latest", Audit: "privileged", AuditVersion: "latest", Warn: "baseline", WarnVersion: "latest"}
	for name, c := range map[string]*config.Cluster{"security-default": cluster(0), "security-warned": warned, "security-hardened": hardened(0)} {
		files, err := SecurityFiles(c, "v1.36.3")
		if err != nil {
			t.Fatal(err)
		}
		var all bytes.Buffer
		for _, path := range slices.Sorted(maps.Keys(files)) {
			all.WriteString("--- # " + path + "\n")
			all.Write(files[path])
		}
		golden(t, name, all.Bytes())
	}
}

// The API server is told of nothing that it would refuse to start with.
func TestSecurityGivesWay(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*config.Cluster)
		gone   string
	}{
		"OIDC": {func(c *config.Cluster) {
			c.KubeadmPatches = []string{"{kind: ClusterConfiguration, apiServer: {extraArgs: {oidc-client-id: a}}}"}
		}, authenticationConfig},
		"anonymous": {func(c *config.Cluster) {
			c.KubeadmPatches = []string{"{kind: ClusterConfiguration, apiServer: {extraArgs: {anonymous-auth: 'false'}}}"}
		}, authenticationConfig},
		"self-signed": {func(c *config.Cluster) {
			c.KubeadmPatches = []string{"{kind: KubeletConfiguration, serverTLSBootstrap: false}"}
		}, "kubelet-certificate-authority"},
	} {
		for when, change := range map[string]func(*config.Cluster){"before": func(*config.Cluster) {}, "after": test.change} {
			c := hardened(0)
			change(c)
			args, _ := at(documentsOf(t, c)["ClusterConfiguration"], "apiServer", extraArgs).([]any)
			there := slices.ContainsFunc(args, func(one any) bool { return nameOf(one) == test.gone })
			if there != (when == "before") {
				t.Errorf("%s, %s: %s is there: %v", name, when, test.gone, there)
			}
		}
	}
	c := hardened(0)
	c.KubeadmPatches = []string{"{kind: ClusterConfiguration, apiServer: null}"}
	if got := at(documentsOf(t, c)["ClusterConfiguration"], "apiServer"); got != nil {
		t.Errorf("who wants no arguments has %v", got)
	}
}

// Up to v1.33 anonymous users are limited by features in beta, which somebody may
// have switched off, one by one or with all others.
func TestAnonymousGates(t *testing.T) {
	gate := func(args string) string {
		return "{kind: ClusterConfiguration, apiServer: {extraArgs: {feature-gates: '" + args + "'}}}"
	}
	for _, test := range []struct {
		kubernetes, gates string
		limited           bool
	}{
		{"v1.33.6", "", true},
		{"v1.33.6", "AllBeta=false", false},
		{"v1.33.6", "AllBeta=true", true},
		{"v1.33.6", "StructuredAuthenticationConfiguration=false", false},
		{"v1.32.13", "AllBeta=false,AnonymousAuthConfigurableEndpoints=true,StructuredAuthenticationConfiguration=true", true},
		{"v1.32.13", "AllBeta=false,AnonymousAuthConfigurableEndpoints=true", false},
		{"v1.34.2", "AllBeta=false", true},
		{"v1.31.14", "", false},
	} {
		c := cluster(0)
		if test.gates != "" {
			c.KubeadmPatches = []string{gate(test.gates)}
		}
		in := input(c, 0)
		in.KubernetesVersion = test.kubernetes
		text, err := Render(in)
		if err != nil {
			t.Fatal(err)
		}
		if limited := strings.Contains(string(text), "name: "+authenticationConfig+"\n"); limited != test.limited {
			t.Errorf("%s with %q: anonymous users are limited: %v", test.kubernetes, test.gates, limited)
		}
	}
}

// A plugin that is switched off is not switched on too.
func TestAdmissionPluginsGiveWay(t *testing.T) {
	for off, want := range map[string]string{
		"DenyServiceExternalIPs":                 "NodeRestriction",
		"NodeRestriction,PodSecurity":            "DenyServiceExternalIPs",
		"NodeRestriction,DenyServiceExternalIPs": "",
		"PodSecurity":                            "NodeRestriction,DenyServiceExternalIPs",
	} {
		c := hardened(0)
		c.KubeadmPatches = []string{"{kind: ClusterConfiguration, apiServer: {extraArgs: {disable-admission-plugins: '" + off + "'}}}"}
		args, _ := at(documentsOf(t, c)["ClusterConfiguration"], "apiServer", extraArgs).([]any)
		if got := strings.Join(values(args, enabledPlugins), ","); got != want {
			t.Errorf("without %s: %q", off, got)
		}
	}
}

// Arguments that are no list stay, for kubeadm to refuse.
func TestArgumentsThatAreNoList(t *testing.T) {
	c := cluster(0)
	c.Kubeadm = []config.RawDocument{{APIVersion: kubeadmAPI, Kind: "ClusterConfiguration", YAML: "{apiVersion: kubeadm.k8s.io/v1beta4, kind: ClusterConfiguration, apiServer: {extraArgs: {v: '4'}}}"}}
	if got := at(documentsOf(t, c)["ClusterConfiguration"], "apiServer", extraArgs); got == nil {
		t.Error("arguments were dropped without a word")
	}
}
