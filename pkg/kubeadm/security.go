package kubeadm

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// noProfiling closes the profiles of a component, which tell what it works on.
func noProfiling() any { return argument("profiling", "false") }

// authenticationConfig is the argument that anonymous users are limited by.
const authenticationConfig = "authentication-config"

// limitsAnonymous is the first Kubernetes whose API server limits anonymous
// users to some paths without a feature gate. One before knows all or nothing,
// and without them nobody could ask for its health. Since alwaysLimits no gate
// takes it away, and the API of the file is stable.
var (
	limitsAnonymous = version.MustParseSemantic("v1.32.0-0")
	alwaysLimits    = version.MustParseSemantic("v1.34.0-0")
)

// anonymousGates are the feature gates without which it cannot.
var anonymousGates = []string{"AnonymousAuthConfigurableEndpoints", "StructuredAuthenticationConfiguration"}

func atLeast(kubernetes string, v *version.Version) bool {
	have, err := version.ParseSemantic(kubernetes)
	return err == nil && have.AtLeast(v)
}

// apiServerSecurity are the API server's arguments of the profile.
func apiServerSecurity(in Input) []any {
	args := []any{noProfiling()}
	if atLeast(in.KubernetesVersion, limitsAnonymous) {
		args = append(args, argument(authenticationConfig, nodeimage.AuthenticationPath))
	}
	if in.Cluster.Security.PodSecurity.Restricts() {
		args = append(args, argument("admission-control-config-file", nodeimage.AdmissionPath))
	}
	if !in.Cluster.Security.Hardened() {
		return args
	}
	return append(args,
		argument(enabledPlugins, strings.Join(admissionPlugins, ",")),
		kubeletAuthority(),
		argument("encryption-provider-config", nodeimage.EncryptionPath),
		argument("service-account-extend-token-expiration", "false"),
		argument("audit-policy-file", nodeimage.AuditPolicyPath),
		argument(auditLogPath, nodeimage.AuditLogDir+"/audit.log"),
		argument("audit-log-maxage", "30"),
		argument("audit-log-maxbackup", "10"),
		argument("audit-log-maxsize", "100"),
		argument("tls-min-version", tlsVersion),
		argument("tls-cipher-suites", strings.Join(cipherSuites, ",")),
	)
}

const enabledPlugins = "enable-admission-plugins"

// admissionPlugins are those of profile hardened. The first is kubeadm's.
var admissionPlugins = []string{"NodeRestriction", "DenyServiceExternalIPs"}

// kubeletAuthority has the API server verify kubelets' certificates.
func kubeletAuthority() any {
	return argument("kubelet-certificate-authority", nodeimage.CertificatesDir+"/ca.crt")
}

// managerSecurity are the controller-manager's arguments of the profile.
func managerSecurity(c *config.Cluster) []any {
	args := []any{noProfiling()}
	if c.Security.Hardened() {
		args = append(args, argument("terminated-pod-gc-threshold", "1000"))
	}
	return args
}

// kubeletSecurity is what kubelets are told in profile hardened.
// protectKernelDefaults is not in it: the kernel is the host's.
func kubeletSecurity() object {
	return object{
		"serverTLSBootstrap": true,
		"seccompDefault":     true,
		"podPidsLimit":       4096,
		"tlsMinVersion":      tlsVersion,
		"tlsCipherSuites":    toAny(cipherSuites),
	}
}

const tlsVersion = "VersionTLS12"

// cipherSuites are those of TLS 1.2 that keep what was said secret also when a
// key is lost later, and authenticate it. Those of TLS 1.3 all do.
var cipherSuites = []string{
	"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
	"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
	"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}

func toAny(texts []string) []any {
	out := []any{}
	for _, text := range texts {
		out = append(out, text)
	}
	return out
}

// settleSecurity makes what petri says of security fit what the configuration
// laid over it: it gives way where the API server would refuse both, and the
// audit log keeps its place.
func settleSecurity(documents []object, kubernetes string) {
	selfSigned := slices.ContainsFunc(documents, func(d object) bool {
		return text(d, "kind") == "KubeletConfiguration" && d["serverTLSBootstrap"] != true
	})
	for _, d := range documents {
		if text(d, "kind") != "ClusterConfiguration" {
			continue
		}
		keepServingVolumes(d)
		apiServer, ok := d["apiServer"].(object)
		if !ok || apiServer[extraArgs] == nil {
			continue
		}
		yieldAuthentication(apiServer, kubernetes)
		yieldPlugins(apiServer)
		keepAuditVolume(apiServer)
		if selfSigned {
			dropArguments(apiServer, []any{kubeletAuthority()})
		}
	}
}

// yieldAuthentication takes petri's limit of anonymous users out where the
// configuration says itself who they are, or who others are: the API server
// takes it from one place only. It also does where the gates for it are off.
func yieldAuthentication(apiServer object, kubernetes string) {
	args, _ := apiServer[extraArgs].([]any)
	said := slices.ContainsFunc(args, func(one any) bool {
		name := nameOf(one)
		return name == "anonymous-auth" || strings.HasPrefix(name, "oidc-")
	})
	if said || !atLeast(kubernetes, alwaysLimits) && gatesOff(values(args, "feature-gates")) {
		dropArguments(apiServer, []any{argument(authenticationConfig, nodeimage.AuthenticationPath)})
	}
}

// gatesOff reports whether one of anonymousGates, which are in beta, is off.
func gatesOff(pairs []string) bool {
	gates := map[string]string{}
	for _, pair := range pairs {
		gate, on, _ := strings.Cut(pair, "=")
		gates[strings.TrimSpace(gate)] = strings.ToLower(strings.TrimSpace(on))
	}
	return slices.ContainsFunc(anonymousGates, func(gate string) bool {
		on, said := gates[gate]
		return said && on != "true" || !said && gates["AllBeta"] == "false"
	})
}

// yieldPlugins takes those of petri's admission plugins out that the
// configuration switches off: the API server refuses to have them both on and off.
func yieldPlugins(apiServer object) {
	args, _ := apiServer[extraArgs].([]any)
	off := values(args, "disable-admission-plugins")
	own := argument(enabledPlugins, strings.Join(admissionPlugins, ","))
	on := slices.DeleteFunc(slices.Clone(admissionPlugins), func(plugin string) bool { return slices.Contains(off, plugin) })
	if len(on) == len(admissionPlugins) || !slices.Equal(values(args, enabledPlugins), admissionPlugins) {
		return
	}
	dropArguments(apiServer, []any{own})
	if args, ok := apiServer[extraArgs].([]any); ok && len(on) > 0 {
		apiServer[extraArgs] = append(args, argument(enabledPlugins, strings.Join(on, ",")))
	}
}

// values are the parts, with commas between, of the arguments of a name.
func values(args []any, name string) []string {
	var out []string
	for _, one := range args {
		o, _ := one.(object)
		if text(o, "name") == name && text(o, "value") != "" {
			out = append(out, strings.Split(text(o, "value"), ",")...)
		}
	}
	return out
}

const auditLogPath = "audit-log-path"

// keepAuditVolume gives the API server's pod the directory of petri's audit log,
// where that is still used. Volumes of the configuration replaced all others.
func keepAuditVolume(apiServer object) {
	args, _ := apiServer[extraArgs].([]any)
	if !slices.ContainsFunc(args, func(one any) bool {
		o, _ := one.(object)
		return text(o, "name") == auditLogPath && strings.HasPrefix(text(o, "value"), nodeimage.AuditLogDir+"/")
	}) {
		return
	}
	keepVolume(apiServer, object{
		"name": "petri-audit-log", "hostPath": nodeimage.AuditLogDir, "mountPath": nodeimage.AuditLogDir,
		"pathType": "DirectoryOrCreate",
	})
}

// keepVolume gives a component's pod a volume, unless something is mounted there.
func keepVolume(component, volume object) {
	volumes, _ := component[extraVolumes].([]any)
	if !slices.ContainsFunc(volumes, func(one any) bool {
		o, _ := one.(object)
		return text(o, "mountPath") == volume["mountPath"]
	}) {
		component[extraVolumes] = append(slices.Clone(volumes), volume)
	}
}

// SecurityFiles are the files that the API server's arguments name, by their
// paths on every control plane of a version of Kubernetes. None is a secret.
func SecurityFiles(c *config.Cluster, kubernetes string) (map[string][]byte, error) {
	documents := map[string]object{nodeimage.AuthenticationPath: authentication(kubernetes)}
	if c.Security.PodSecurity.Restricts() {
		documents[nodeimage.AdmissionPath] = admission(c.Security.PodSecurity)
	}
	if c.Security.Hardened() {
		documents[nodeimage.AuditPolicyPath] = auditPolicy()
	}
	out := map[string][]byte{}
	for path, document := range documents {
		data, err := yaml.Marshal(document)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", path, err)
		}
		out[path] = data
	}
	return out, nil
}

// anonymousPaths are what has to be known of an API server before anybody has
// credentials: kubelets and kubeadm ask for its health, and kubeadm, before a
// node joins, for the cluster's address. It does so even when it was told that
// address, and takes a 401 for an answer that will change.
var anonymousPaths = []string{"/livez", "/readyz", "/healthz", "/api/v1/namespaces/kube-public/configmaps/cluster-info"}

// authentication lets anonymous users ask for anonymousPaths alone.
func authentication(kubernetes string) object {
	api := "apiserver.config.k8s.io/v1beta1"
	if atLeast(kubernetes, alwaysLimits) {
		api = "apiserver.config.k8s.io/v1"
	}
	conditions := []any{}
	for _, path := range anonymousPaths {
		conditions = append(conditions, object{"path": path})
	}
	return object{
		"apiVersion": api, "kind": "AuthenticationConfiguration",
		"anonymous": object{"enabled": true, "conditions": conditions},
	}
}

// ownNamespaces are those of the cluster's own parts, which need the node.
var ownNamespaces = []string{"kube-system", "local-path-storage"}

func admission(p config.PodSecurity) object {
	exempt := slices.Clone(ownNamespaces)
	for _, name := range p.ExemptNamespaces {
		if !slices.Contains(exempt, name) {
			exempt = append(exempt, name)
		}
	}
	return object{
		"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
		"plugins": []any{object{"name": "PodSecurity", "configuration": object{
			"apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
			"defaults": object{
				"enforce": p.Enforce, "enforce-version": p.EnforceVersion,
				"audit": p.Audit, "audit-version": p.AuditVersion,
				"warn": p.Warn, "warn-version": p.WarnVersion,
			},
			"exemptions": object{"namespaces": toAny(exempt)},
		}}},
	}
}

// auditPolicy writes down who did what, and never what is in an object: that of
// a Secret would be in the log. Health and heartbeats, which come every few
// seconds, are left out.
func auditPolicy() object {
	heartbeat := func(field string, who ...any) object {
		return object{
			"level": "None", "verbs": []any{"get", "update"}, field: who,
			"resources": []any{object{"group": "coordination.k8s.io", "resources": []any{"leases"}}},
		}
	}
	return object{
		"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
		"omitStages": []any{"RequestReceived"},
		"rules": []any{
			object{"level": "None", "nonResourceURLs": []any{"/healthz*", "/livez*", "/readyz*"}},
			heartbeat("users", "system:kube-controller-manager", "system:kube-scheduler", "system:apiserver"),
			heartbeat("userGroups", "system:nodes"),
			object{"level": "Metadata"},
		},
	}
}
