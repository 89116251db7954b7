package cis

import "slices"

// The programs of static pods.
const (
	api       = "kube-apiserver"
	manager   = "kube-controller-manager"
	scheduler = "kube-scheduler"
	etcd      = "etcd"
)

const (
	manifests = "/etc/kubernetes/manifests/"
	pki       = "/etc/kubernetes/pki/"
	root      = "root:root"
)

// Checks are all checks of the benchmark, in its order.
var Checks = slices.Concat(files, apiServer, controllers, etcdChecks, controlPlane, kubeletFiles, kubeletChecks, policies)

var files = []Check{
	{ID: "1.1.1", Title: "manifest of the API server: mode 600", Look: Mode(0o600, manifests+"kube-apiserver.yaml"), Default: Pass, Hardened: Pass},
	{ID: "1.1.2", Title: "manifest of the API server: root's", Look: Owner(root, manifests+"kube-apiserver.yaml"), Default: Pass, Hardened: Pass},
	{ID: "1.1.3", Title: "manifest of the controller-manager: mode 600", Look: Mode(0o600, manifests+"kube-controller-manager.yaml"), Default: Pass, Hardened: Pass},
	{ID: "1.1.4", Title: "manifest of the controller-manager: root's", Look: Owner(root, manifests+"kube-controller-manager.yaml"), Default: Pass, Hardened: Pass},
	{ID: "1.1.5", Title: "manifest of the scheduler: mode 600", Look: Mode(0o600, manifests+"kube-scheduler.yaml"), Default: Pass, Hardened: Pass},
	{ID: "1.1.6", Title: "manifest of the scheduler: root's", Look: Owner(root, manifests+"kube-scheduler.yaml"), Default: Pass, Hardened: Pass},
	{ID: "1.1.7", Title: "manifest of etcd: mode 600", Look: Mode(0o600, manifests+"etcd.yaml"), Default: Pass, Hardened: Pass},
	{ID: "1.1.8", Title: "manifest of etcd: root's", Look: Owner(root, manifests+"etcd.yaml"), Default: Pass, Hardened: Pass},
	{ID: "1.1.9", Title: "configuration of the CNI: mode 600", Look: Mode(0o600, "/etc/cni/net.d/*"), Default: Pass, Hardened: Pass, Why: "petri's own CNI; another one writes its own files"},
	{ID: "1.1.10", Title: "configuration of the CNI: root's", Look: Owner(root, "/etc/cni/net.d/*"), Default: Pass, Hardened: Pass},
	{ID: "1.1.11", Title: "data of etcd: mode 700", Look: Mode(0o700, "/var/lib/etcd"), Default: Pass, Hardened: Pass},
	{ID: "1.1.12", Title: "data of etcd: a user's of its own", Look: Owner("etcd:etcd", "/var/lib/etcd"), Default: Fail, Hardened: Fail, Why: "kubeadm runs etcd as root, in a container; the directory is root's, and nobody else's"},
	{ID: "1.1.13", Title: "credentials of the administrator: mode 600", Look: Mode(0o600, "/etc/kubernetes/admin.conf", "/etc/kubernetes/super-admin.conf"), Default: Pass, Hardened: Pass, Why: "super-admin.conf is removed when the cluster is made"},
	{ID: "1.1.14", Title: "credentials of the administrator: root's", Look: Owner(root, "/etc/kubernetes/admin.conf"), Default: Pass, Hardened: Pass},
	{ID: "1.1.15", Title: "credentials of the scheduler: mode 600", Look: Mode(0o600, "/etc/kubernetes/scheduler.conf"), Default: Pass, Hardened: Pass},
	{ID: "1.1.16", Title: "credentials of the scheduler: root's", Look: Owner(root, "/etc/kubernetes/scheduler.conf"), Default: Pass, Hardened: Pass},
	{ID: "1.1.17", Title: "credentials of the controller-manager: mode 600", Look: Mode(0o600, "/etc/kubernetes/controller-manager.conf"), Default: Pass, Hardened: Pass},
	{ID: "1.1.18", Title: "credentials of the controller-manager: root's", Look: Owner(root, "/etc/kubernetes/controller-manager.conf"), Default: Pass, Hardened: Pass},
	{ID: "1.1.19", Title: "keys and certificates: root's", Look: Owner(root, pki, pki+"*", pki+"etcd/*", pki+"petri/*", pki+"serving/*/*"), Default: Pass, Hardened: Pass},
	{ID: "1.1.20", Title: "certificates: mode 644", Look: Mode(0o644, pki+"*.crt", pki+"etcd/*.crt"), Default: Pass, Hardened: Pass, Why: "600 in profile hardened"},
	{ID: "1.1.21", Title: "keys: mode 600", Look: Mode(0o600, pki+"*.key", pki+"etcd/*.key", pki+"petri/*", pki+"serving/*/*"), Default: Pass, Hardened: Pass},
}

var apiServer = []Check{
	{ID: "1.2.1", Title: "no anonymous users", Look: Is(api, "anonymous-auth", "false"), Default: Fail, Hardened: Fail, Why: "kubelets probe the API server, and kubeadm joins nodes, without credentials: from Kubernetes 1.32 on anonymous users have /livez, /readyz, /healthz and the ConfigMap cluster-info, and are refused (401) everywhere else"},
	{ID: "1.2.2", Title: "no file with tokens", Look: Is(api, "token-auth-file", ""), Default: Pass, Hardened: Pass},
	{ID: "1.2.3", Title: "external addresses of Services are refused", Look: Has(api, "enable-admission-plugins", "DenyServiceExternalIPs"), Default: Fail, Hardened: Pass, Why: "users of kind's clusters have them"},
	{ID: "1.2.4", Title: "a certificate of the API server for kubelets", Look: Set(api, "kubelet-client-certificate", "kubelet-client-key"), Default: Pass, Hardened: Pass},
	{ID: "1.2.5", Title: "kubelets' certificates are verified", Look: Set(api, "kubelet-certificate-authority"), Default: Fail, Hardened: Pass, Why: "without the profile they sign their own"},
	{ID: "1.2.6", Title: "not everything is allowed", Look: Lacks(api, "authorization-mode", "AlwaysAllow"), Default: Pass, Hardened: Pass},
	{ID: "1.2.7", Title: "nodes may what their pods need", Look: Has(api, "authorization-mode", "Node"), Default: Pass, Hardened: Pass},
	{ID: "1.2.8", Title: "roles decide", Look: Has(api, "authorization-mode", "RBAC"), Default: Pass, Hardened: Pass},
	{ID: "1.2.9", Title: "events are limited", Look: Has(api, "enable-admission-plugins", "EventRateLimit"), Default: Fail, Hardened: Fail, Why: "the limit depends on what the cluster is for; a test of many pods would lose events"},
	{ID: "1.2.10", Title: "not everything is admitted", Look: Lacks(api, "enable-admission-plugins", "AlwaysAdmit"), Default: Pass, Hardened: Pass},
	{ID: "1.2.11", Title: "images are pulled each time", Look: Has(api, "enable-admission-plugins", "AlwaysPullImages"), Default: Fail, Hardened: Fail, Why: "images that were loaded into nodes could not be used"},
	{ID: "1.2.12", Title: "pods have service accounts", Look: Lacks(api, "disable-admission-plugins", "ServiceAccount"), Default: Pass, Hardened: Pass},
	{ID: "1.2.13", Title: "namespaces that are going take nothing new", Look: Lacks(api, "disable-admission-plugins", "NamespaceLifecycle"), Default: Pass, Hardened: Pass},
	{ID: "1.2.14", Title: "nodes change themselves only", Look: Has(api, "enable-admission-plugins", "NodeRestriction"), Default: Pass, Hardened: Pass},
	{ID: "1.2.15", Title: "no profiles of the API server", Look: Is(api, "profiling", "false"), Default: Pass, Hardened: Pass},
	{ID: "1.2.16", Title: "an audit log", Look: Set(api, "audit-log-path"), Default: Fail, Hardened: Pass, Why: "it costs CPU and disk for each request"},
	{ID: "1.2.17", Title: "audit logs of 30 days", Look: AtLeast(api, "audit-log-maxage", 30), Default: Fail, Hardened: Pass, Why: "see 1.2.16"},
	{ID: "1.2.18", Title: "10 audit logs", Look: AtLeast(api, "audit-log-maxbackup", 10), Default: Fail, Hardened: Pass, Why: "see 1.2.16"},
	{ID: "1.2.19", Title: "audit logs of 100 MB", Look: AtLeast(api, "audit-log-maxsize", 100), Default: Fail, Hardened: Pass, Why: "see 1.2.16"},
	{ID: "1.2.20", Title: "a limit of the time of a request", Look: Is(api, "request-timeout", "", "1m0s", "60s"), Default: Pass, Hardened: Pass, Why: "the default, 60 s"},
	{ID: "1.2.21", Title: "tokens of accounts that are gone are refused", Look: Is(api, "service-account-lookup", "", "true"), Default: Pass, Hardened: Pass},
	{ID: "1.2.22", Title: "a key of its own for service accounts", Look: Set(api, "service-account-key-file"), Default: Pass, Hardened: Pass},
	{ID: "1.2.23", Title: "a certificate of the API server for etcd", Look: Set(api, "etcd-certfile", "etcd-keyfile"), Default: Pass, Hardened: Pass},
	{ID: "1.2.24", Title: "the API server serves with a certificate", Look: Set(api, "tls-cert-file", "tls-private-key-file"), Default: Pass, Hardened: Pass},
	{ID: "1.2.25", Title: "a CA for clients", Look: Set(api, "client-ca-file"), Default: Pass, Hardened: Pass},
	{ID: "1.2.26", Title: "etcd's certificate is verified", Look: Set(api, "etcd-cafile"), Default: Pass, Hardened: Pass},
	{ID: "1.2.27", Title: "Secrets are encrypted in etcd", Look: Set(api, "encryption-provider-config"), Default: Fail, Hardened: Pass, Why: "who reads etcd's disk reads the keys beside it"},
	{ID: "1.2.28", Title: "by a cipher that is good", Look: Holds(pki+"petri/encryption.yaml", "- secretbox:"), Default: Fail, Hardened: Pass, Why: "see 1.2.27"},
	{ID: "1.2.29", Title: "only strong ciphers of the API server", Look: Strong(func(v View) string { return v.Flags(api)["tls-cipher-suites"] }), Default: Fail, Hardened: Pass, Why: "Go's own list, which has no weak ones either"},
	{ID: "1.2.30", Title: "tokens of pods are not good for longer", Look: Is(api, "service-account-extend-token-expiration", "false"), Default: Fail, Hardened: Pass, Why: "old programs read their token once"},
}

var controllers = []Check{
	{ID: "1.3.1", Title: "ended pods are removed", Look: Set(manager, "terminated-pod-gc-threshold"), Default: Fail, Hardened: Pass, Why: "the default, 12500 pods"},
	{ID: "1.3.2", Title: "no profiles of the controller-manager", Look: Is(manager, "profiling", "false"), Default: Pass, Hardened: Pass},
	{ID: "1.3.3", Title: "each controller is an account", Look: Is(manager, "use-service-account-credentials", "true"), Default: Pass, Hardened: Pass},
	{ID: "1.3.4", Title: "a key for service accounts", Look: Set(manager, "service-account-private-key-file"), Default: Pass, Hardened: Pass},
	{ID: "1.3.5", Title: "pods are given the CA", Look: Set(manager, "root-ca-file"), Default: Pass, Hardened: Pass},
	{ID: "1.3.6", Title: "kubelets may renew serving certificates", Look: Lacks(manager, "feature-gates", "RotateKubeletServerCertificate=false"), Default: Pass, Hardened: Pass},
	{ID: "1.3.7", Title: "the controller-manager serves the loopback", Look: Is(manager, "bind-address", "127.0.0.1", "::1"), Default: Pass, Hardened: Pass},
	{ID: "1.4.1", Title: "no profiles of the scheduler", Look: Is(scheduler, "profiling", "false"), Default: Pass, Hardened: Pass},
	{ID: "1.4.2", Title: "the scheduler serves the loopback", Look: Is(scheduler, "bind-address", "127.0.0.1", "::1"), Default: Pass, Hardened: Pass},
}

var etcdChecks = []Check{
	{ID: "2.1", Title: "etcd serves with a certificate", Look: Set(etcd, "cert-file", "key-file"), Default: Pass, Hardened: Pass},
	{ID: "2.2", Title: "etcd's clients have certificates", Look: Is(etcd, "client-cert-auth", "true"), Default: Pass, Hardened: Pass},
	{ID: "2.3", Title: "etcd does not sign for itself", Look: Is(etcd, "auto-tls", "", "false"), Default: Pass, Hardened: Pass},
	{ID: "2.4", Title: "members have certificates for each other", Look: Set(etcd, "peer-cert-file", "peer-key-file"), Default: Pass, Hardened: Pass},
	{ID: "2.5", Title: "members want certificates of each other", Look: Is(etcd, "peer-client-cert-auth", "true"), Default: Pass, Hardened: Pass},
	{ID: "2.6", Title: "members do not sign for themselves", Look: Is(etcd, "peer-auto-tls", "", "false"), Default: Pass, Hardened: Pass},
	{ID: "2.7", Title: "etcd has a CA of its own", Look: Is(etcd, "trusted-ca-file", pki+"etcd/ca.crt"), Default: Pass, Hardened: Pass},
}

var controlPlane = []Check{
	{ID: "3.1.1", Title: "users have no client certificates", Default: Stated, Hardened: Stated, Why: "the one user has one, as kubeadm makes it: in group kubeadm:cluster-admins, whose rights can be taken away; OIDC can be set by a patch of the API server's arguments"},
	{ID: "3.1.2", Title: "users have no tokens of service accounts", Default: Stated, Hardened: Stated, Why: "petri gives none to users"},
	{ID: "3.1.3", Title: "users have no bootstrap tokens", Default: Stated, Hardened: Stated, Why: "those for joining are random and deleted when nodes have joined"},
	{ID: "3.2.1", Title: "an audit policy", Look: Set(api, "audit-policy-file"), Default: Fail, Hardened: Pass, Why: "see 1.2.16"},
	{ID: "3.2.2", Title: "the policy has what matters", Look: Holds(pki+"petri/audit-policy.yaml", "- level: Metadata\n"), Default: Fail, Hardened: Pass, Why: "who did what to which object, for all but heartbeats; never what is in an object"},
}

var kubeletFiles = []Check{
	{ID: "4.1.1", Title: "the kubelet's service: mode 600", Look: Mode(0o600, "/etc/systemd/system/kubelet.service", "/etc/systemd/system/kubelet.service.d/*.conf"), Default: Pass, Hardened: Pass},
	{ID: "4.1.2", Title: "the kubelet's service: root's", Look: Owner(root, "/etc/systemd/system/kubelet.service", "/etc/systemd/system/kubelet.service.d/*.conf"), Default: Pass, Hardened: Pass},
	{ID: "4.1.3", Title: "kube-proxy's credentials: mode 600", Default: Stated, Hardened: Stated, Why: "it has none in a file of the node: it uses its service account"},
	{ID: "4.1.4", Title: "kube-proxy's credentials: root's", Default: Stated, Hardened: Stated, Why: "see 4.1.3"},
	{ID: "4.1.5", Title: "the kubelet's credentials: mode 600", Look: Mode(0o600, "/etc/kubernetes/kubelet.conf"), Default: Pass, Hardened: Pass},
	{ID: "4.1.6", Title: "the kubelet's credentials: root's", Look: Owner(root, "/etc/kubernetes/kubelet.conf"), Default: Pass, Hardened: Pass},
	{ID: "4.1.7", Title: "the CA for clients: mode 644", Look: Mode(0o644, pki+"ca.crt"), Default: Pass, Hardened: Pass},
	{ID: "4.1.8", Title: "the CA for clients: root's", Look: Owner(root, pki+"ca.crt"), Default: Pass, Hardened: Pass},
	{ID: "4.1.9", Title: "the kubelet's configuration: mode 600", Look: Mode(0o600, "/var/lib/kubelet/config.yaml"), Default: Pass, Hardened: Pass},
	{ID: "4.1.10", Title: "the kubelet's configuration: root's", Look: Owner(root, "/var/lib/kubelet/config.yaml"), Default: Pass, Hardened: Pass},
}

var kubeletChecks = []Check{
	{ID: "4.2.1", Title: "no anonymous users of the kubelet", Look: Kubelet("authentication.anonymous.enabled", "false"), Default: Pass, Hardened: Pass},
	{ID: "4.2.2", Title: "the API server decides who may", Look: Kubelet("authorization.mode", "Webhook"), Default: Pass, Hardened: Pass},
	{ID: "4.2.3", Title: "a CA for clients of the kubelet", Look: Kubelet("authentication.x509.clientCAFile", pki+"ca.crt"), Default: Pass, Hardened: Pass},
	{ID: "4.2.4", Title: "no read-only port", Look: Kubelet("readOnlyPort", "", "0"), Default: Pass, Hardened: Pass},
	{ID: "4.2.5", Title: "idle streams end", Look: KubeletNot("streamingConnectionIdleTimeout", "0s"), Default: Pass, Hardened: Pass},
	{ID: "4.2.6", Title: "the kubelet makes its iptables chains", Look: Kubelet("makeIPTablesUtilChains", "true"), Default: Pass, Hardened: Pass},
	{ID: "4.2.7", Title: "nodes are called what they are", Default: Stated, Hardened: Stated, Why: "kubeadm gives the name of the machine, which is the node's, as an argument"},
	{ID: "4.2.8", Title: "events are not lost", Look: KubeletNot("eventRecordQPS", ""), Default: Pass, Hardened: Pass, Why: "the default, 50 in a second"},
	{ID: "4.2.9", Title: "the kubelet serves with a certificate", Look: Kubelet("serverTLSBootstrap", "true"), Default: Fail, Hardened: Pass, Why: "one that it signed itself; with the profile the cluster's CA signs it, for the names and addresses that the engine knows"},
	{ID: "4.2.10", Title: "the kubelet renews its certificate", Look: Kubelet("rotateCertificates", "true"), Default: Pass, Hardened: Pass},
	{ID: "4.2.11", Title: "and the one that it serves with", Look: KubeletNot("featureGates.RotateKubeletServerCertificate", "false"), Default: Pass, Hardened: Pass},
	{ID: "4.2.12", Title: "only strong ciphers of the kubelet", Look: Strong(func(v View) string { return v.Kubelet("tlsCipherSuites") }), Default: Fail, Hardened: Pass, Why: "see 1.2.29"},
	{ID: "4.2.13", Title: "a limit of a pod's processes", Look: KubeletNot("podPidsLimit", "", "-1"), Default: Fail, Hardened: Pass, Why: "as kind has it"},
	{ID: "4.2.14", Title: "seccomp for all pods", Look: Kubelet("seccompDefault", "true"), Default: Fail, Hardened: Pass, Why: "as kind has it"},
	{ID: "4.3.1", Title: "kube-proxy's metrics on the loopback", Default: Stated, Hardened: Stated, Why: "kubeadm leaves the address out, and 127.0.0.1:10249 is the default"},
}

// policies are what users of a cluster decide. What is stated of the profile is
// what its Pod Security does, which a test shows.
var policies = []Check{
	policy("5.1.1", "few are cluster-admin", "the one user, by group kubeadm:cluster-admins, and nothing of petri's in pods"),
	policy("5.1.2", "few read Secrets", "petri's own pods do not"),
	policy("5.1.3", "few wildcards in roles", "none in roles of petri's; Kubernetes' and kubeadm's have some"),
	policy("5.1.4", "few make pods", "of petri's own parts the storage provisioner, in its own namespace"),
	policy("5.1.5", "default service accounts are not used", "petri's parts have accounts of their own"),
	policy("5.1.6", "tokens are mounted where they are needed", "up to who makes pods"),
	policy("5.1.7", "nobody is in system:masters", "super-admin.conf, which is, is removed when the cluster is made"),
	policy("5.1.8", "few may bind, impersonate or escalate", "Kubernetes' own controllers"),
	policy("5.1.9", "few make persistent volumes", "the storage provisioner"),
	policy("5.1.10", "few reach nodes/proxy", "the API server"),
	policy("5.1.11", "few approve certificates", "Kubernetes' own controllers; with the profile petri's approver on control planes, as administrator"),
	policy("5.1.12", "few change webhooks", "the administrator"),
	policy("5.1.13", "few make tokens of service accounts", "Kubernetes' own controllers, and nodes for their pods"),
	policy("5.2.1", "a policy of pods", "Pod Security admission; with the profile it enforces restricted outside of kube-system and local-path-storage"),
	policy("5.2.2", "few privileged containers", restricted),
	policy("5.2.3", "few share the processes of the node", restricted),
	policy("5.2.4", "few share its IPC", restricted),
	policy("5.2.5", "few share its network", restricted),
	policy("5.2.6", "few may gain privileges", restricted),
	policy("5.2.7", "few are root", restricted),
	policy("5.2.8", "few have NET_RAW", restricted),
	policy("5.2.9", "few have capabilities", restricted),
	policy("5.2.10", "no HostProcess of Windows", "there are no such nodes; "+restricted),
	policy("5.2.11", "few mount paths of the node", restricted),
	policy("5.2.12", "few have ports of the node", restricted),
	policy("5.3.1", "a CNI with NetworkPolicy", "see the page on networking; another CNI can be chosen"),
	policy("5.3.2", "a NetworkPolicy in each namespace", "up to who makes namespaces"),
	policy("5.4.1", "Secrets as files", "up to who makes pods"),
	policy("5.4.2", "Secrets elsewhere", "up to who makes pods"),
	policy("5.5.1", "where images come from", "no webhook is set up: it needs a server"),
	policy("5.6.1", "namespaces as borders", "up to who uses the cluster"),
	policy("5.6.2", "seccomp of pods", "with the profile RuntimeDefault for all that say nothing"),
	policy("5.6.3", "security contexts", restricted),
	policy("5.6.4", "nothing in namespace default", "up to who uses the cluster"),
}

const restricted = "with the profile refused by Pod Security"

func policy(id, title, why string) Check {
	return Check{ID: id, Title: title, Default: Stated, Hardened: Stated, Why: why}
}
