//go:build e2e

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/petri-cluster/petri/hack/cis"
)

// canary is the value of a Secret that must be nowhere but in the API.
const canary = "canary-in-the-coal-mine"

// A hardened cluster holds against what a default one lets happen. One cluster
// of a control plane and a worker goes through all attacks; a control plane
// comes later, and has what the first one has.
func TestHardened(t *testing.T) {
	c := create(t, "--profile", "hardened", "--workers", "1")
	c.must(t, "create", "secret", "generic", "canary", "--from-literal=value="+canary)
	attackAll(t, c)
	t.Run("CIS", func(t *testing.T) { checkCIS(t, c, func(c cis.Check) cis.Result { return c.Hardened }) })
	t.Run("Secrets", func(t *testing.T) { attackSecrets(t, c, c.name+"-control-plane") })
	t.Run("audit log", func(t *testing.T) { checkAudit(t, c) })
	t.Run("pods", func(t *testing.T) { attackAsPods(t, c) })
	t.Run("external addresses", func(t *testing.T) {
		r := c.kubectl(t.Context(), t, "{apiVersion: v1, kind: Service, metadata: {name: steal}, spec: {ports: [{port: 80}], externalIPs: [8.8.8.8]}}", "create", "-f", "-")
		if r.code == 0 || !strings.Contains(r.stderr, "externalIPs") {
			t.Errorf("a Service takes an address that is not the cluster's: %s%s", r.stdout, r.stderr)
		}
	})
	t.Run("kubelet's certificate", func(t *testing.T) { attackAsKubelet(t, c) })
	t.Run("another's certificate", func(t *testing.T) { attackApprover(t, c) })
	t.Run("configuration", func(t *testing.T) {
		r := c.petri(t.Context(), "get", "config", "--name", c.name)
		if r.code != 0 || !strings.Contains(r.stdout, "profile: hardened") || !strings.Contains(r.stdout, "enforce: restricted") {
			t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
		}
	})
	t.Run("a control plane later", func(t *testing.T) { checkLaterControlPlane(t, c) })
	t.Run("the key", func(t *testing.T) { searchKey(t, c) })
}

// attackSecrets reads the disk of etcd, as who has it could.
func attackSecrets(t *testing.T, c *cluster, node string) {
	const pki = "/etc/kubernetes/pki/etcd/"
	r := run(t.Context(), "", "", "docker", "exec", node, "etcdctl", "--cacert="+pki+"ca.crt", "--cert="+pki+"server.crt", "--key="+pki+"server.key",
		"get", "/registry/secrets/default/canary", "--print-value-only")
	if r.code != 0 || !strings.HasPrefix(r.stdout, "k8s:enc:secretbox:v1:petri:") || strings.Contains(r.stdout, canary) {
		t.Errorf("etcd has of the Secret: %.80q %s", r.stdout, r.stderr)
	}
	if got := c.must(t, "get", "secret", "canary", "-o", "jsonpath={.data.value}"); got != base64.StdEncoding.EncodeToString([]byte(canary)) {
		t.Errorf("the API gives %q", got)
	}
}

// checkAudit finds who made the Secret in the log, and not what is in it.
func checkAudit(t *testing.T, c *cluster) {
	node := c.name + "-control-plane"
	log := func() string { return docker(t, "exec", node, "cat", "/var/log/kubernetes/audit/audit.log") }
	before := log()
	found := false
	for line := range strings.Lines(before) {
		found = found || strings.Contains(line, `"verb":"create"`) && strings.Contains(line, `"name":"canary"`) &&
			strings.Contains(line, `"username":"kubernetes-admin"`) && strings.Contains(line, `"level":"Metadata"`)
	}
	if !found {
		t.Error("nothing in the log says who made the Secret")
	}
	for _, value := range []string{canary, base64.StdEncoding.EncodeToString([]byte(canary)), `"requestObject"`, `"responseObject"`} {
		if strings.Contains(before, value) {
			t.Errorf("the log has %q", value)
		}
	}
	c.must(t, "create", "configmap", "noted")
	eventually(t, 20*time.Second, func() error {
		if !strings.Contains(log()[len(before):], `"name":"noted"`) {
			return fmt.Errorf("the log does not grow")
		}
		return nil
	})
	if mode := docker(t, "exec", node, "stat", "-c", "%a", "/var/log/kubernetes/audit/audit.log"); mode != "600" {
		t.Errorf("the log has mode %s", mode)
	}
}

// attackAsPods tries to run pods that own the node, and one that may run.
func attackAsPods(t *testing.T, c *cluster) {
	for what, spec := range map[string]string{
		"privileged": "{containers: [{name: a, image: x, securityContext: {privileged: true}}]}",
		"hostPath":   "{containers: [{name: a, image: x}], volumes: [{name: v, hostPath: {path: /}}]}",
		"hostPID":    "{hostPID: true, containers: [{name: a, image: x}]}",
		"root":       "{containers: [{name: a, image: x}]}",
	} {
		r := c.kubectl(t.Context(), t, "{apiVersion: v1, kind: Pod, metadata: {name: evil}, spec: "+spec+"}", "apply", "-f", "-")
		if r.code == 0 || !strings.Contains(r.stderr, `violates PodSecurity "restricted:latest"`) {
			t.Errorf("%s: exit code %d: %s", what, r.code, r.stderr)
		}
	}
	good := pod("good", c.name+"-worker") + `    securityContext:
      runAsNonRoot: true
      runAsUser: 1000
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL]}
      seccompProfile: {type: RuntimeDefault}
`
	c.apply(t, good)
	c.waitReady(t, "default", "pod/good")

	// where pods may do anything, they run with a filter all the same
	c.must(t, "create", "namespace", "loose")
	c.must(t, "label", "namespace", "loose", "pod-security.kubernetes.io/enforce=privileged")
	if r := c.kubectl(t.Context(), t, pod("silent", c.name+"-worker"), "-n", "loose", "apply", "-f", "-"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	c.waitReady(t, "loose", "pod/silent")
	status := c.must(t, "-n", "loose", "exec", "silent", "--", "/usr/bin/busybox", "grep", "-w", "Seccomp", "/proc/1/status")
	if strings.Fields(status)[1] != "2" {
		t.Errorf("a pod that asks for nothing has %q, and 2 is a filter", status)
	}
	limits := docker(t, "exec", c.name+"-worker", "sh", "-c", `find /sys/fs/cgroup -regex '.*[/-]pod[^/]*/pids.max' -exec cat {} + | sort -u`)
	if limits != "4096" {
		t.Errorf("pods may have as many processes as %q", limits)
	}
}

// attackAsKubelet puts a certificate that nobody signed in the place of a
// kubelet's: the API server no longer talks to it.
func attackAsKubelet(t *testing.T, c *cluster) {
	const current = "/var/lib/kubelet/pki/kubelet-server-current.pem"
	node := c.name + "-worker"
	address := net.JoinHostPort(addressOf(t, node), "10250")
	ca := []byte(docker(t, "exec", node, "cat", "/etc/kubernetes/pki/ca.crt"))
	genuine, err := certificateOf(t, address, ca)
	if err != nil || genuine.Subject.CommonName != "system:node:"+node {
		t.Fatalf("the kubelet is not who the cluster's CA says: %v", err)
	}
	c.must(t, "logs", "good") // works before
	restart := func(swap string) {
		docker(t, "exec", node, "sh", "-c", swap+" && systemctl restart kubelet")
	}
	target := docker(t, "exec", node, "readlink", current)
	if r := run(t.Context(), "", string(selfSigned(t, genuine)), "docker", "exec", "-i", node, "sh", "-c", "cat > /tmp/false.pem && chmod 600 /tmp/false.pem"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	restart("ln -sfn /tmp/false.pem " + current)
	eventually(t, time.Minute, func() error {
		r := c.kubectl(t.Context(), t, "", "logs", "good")
		if r.code == 0 || !strings.Contains(r.stderr, "certificate signed by unknown authority") {
			return fmt.Errorf("exit code %d: %s", r.code, r.stderr)
		}
		return nil
	})
	restart("ln -sfn " + target + " " + current)
	eventually(t, time.Minute, func() error {
		if r := c.kubectl(t.Context(), t, "", "logs", "good"); r.code != 0 {
			return fmt.Errorf("with its own certificate again: %s", r.stderr)
		}
		return nil
	})
}

// selfSigned is a certificate, with its key, that says the same as another.
func selfSigned(t *testing.T, like *x509.Certificate) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: like.Subject, DNSNames: like.DNSNames, IPAddresses: like.IPAddresses,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: like.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: certificate}, {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := pem.Encode(&out, block); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// attackApprover has the worker's kubelet ask for certificates of the control
// plane, by its name and by its address. In its name it cannot ask at all: the API
// server refuses that itself.
func attackApprover(t *testing.T, c *cluster) {
	worker, other := c.name+"-worker", c.name+"-control-plane"
	for what, ask := range map[string]x509.CertificateRequest{
		"name":    {Subject: pkix.Name{CommonName: "system:node:" + worker}, DNSNames: []string{worker, other}},
		"address": {Subject: pkix.Name{CommonName: "system:node:" + worker}, IPAddresses: []net.IP{net.ParseIP(addressOf(t, other))}},
	} {
		ask.Subject.Organization = []string{"system:nodes"}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, &ask, key)
		if err != nil {
			t.Fatal(err)
		}
		text := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
		request := fmt.Sprintf(`{"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "evil-%s"},
			"spec": {"signerName": "kubernetes.io/kubelet-serving", "usages": ["digital signature", "server auth"], "request": "%s"}}`, what, text)
		r := run(t.Context(), "", request, "docker", "exec", "-i", worker, "kubectl", "--kubeconfig=/etc/kubernetes/kubelet.conf", "create", "-f", "-")
		if r.code != 0 {
			t.Fatalf("%s: a kubelet cannot ask: %s", what, r.stderr)
		}
		eventually(t, 30*time.Second, func() error {
			log := docker(t, "exec", other, "journalctl", "--no-pager", "--output=cat", "--unit=petri-approver")
			if !strings.Contains(log, `msg="not approved" request=evil-`+what) {
				return fmt.Errorf("%s: the approver says nothing of it:\n%s", what, log)
			}
			return nil
		})
		if got := c.must(t, "get", "csr", "evil-"+what, "-o", "jsonpath={.status}"); got != "" && got != "{}" {
			t.Errorf("%s: the request is %s", what, got)
		}
	}
}

// checkLaterControlPlane makes another control plane: it reads the Secrets of
// the first one, logs, and has a certificate that the cluster signed.
func checkLaterControlPlane(t *testing.T, c *cluster) {
	if r := c.petri(t.Context(), "create", "node", "--role", "control-plane", "--name", c.name); r.code != 0 {
		t.Fatalf("exit code %d\n%s", r.code, r.stderr)
	}
	first, node := c.name+"-control-plane", c.name+"-control-plane2"
	sum := func(node string) string {
		return strings.Fields(docker(t, "exec", node, "sha256sum", "/etc/kubernetes/pki/petri/encryption.yaml"))[0]
	}
	if sum(first) != sum(node) {
		t.Error("the two have different keys")
	}
	server := "--server=https://" + net.JoinHostPort(addressOf(t, node), "6443")
	if got := c.must(t, server, "get", "secret", "canary", "-o", "jsonpath={.data.value}"); got == "" {
		t.Error("the new control plane does not know the Secret")
	}
	for _, path := range []string{"/var/log/kubernetes/audit/audit.log", "/etc/kubernetes/pki/petri/encryption.yaml", "/etc/kubernetes/pki/ca.crt"} {
		if mode := docker(t, "exec", node, "stat", "-c", "%a", path); mode != "600" {
			t.Errorf("%s has mode %s", path, mode)
		}
	}
	ca := []byte(docker(t, "exec", first, "cat", "/etc/kubernetes/pki/ca.crt"))
	if _, err := certificateOf(t, net.JoinHostPort(addressOf(t, node), "10250"), ca); err != nil {
		t.Errorf("the new kubelet: %v", err)
	}
	if got := docker(t, "exec", node, "systemctl", "is-active", "petri-approver"); got != "active" {
		t.Errorf("the new approver is %s", got)
	}
}

// searchKey looks for the key of Secrets wherever it might have gone.
func searchKey(t *testing.T, c *cluster) {
	node := c.name + "-control-plane"
	key := docker(t, "exec", node, "sed", "-n", `s/^ *\(- \)\?secret: *//p`, "/etc/kubernetes/pki/petri/encryption.yaml")
	if raw, err := base64.StdEncoding.DecodeString(key); err != nil || len(raw) != 32 {
		t.Fatalf("no key: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "logs")
	if r := c.petri(t.Context(), "export", "logs", dir, "--name", c.name); r.code != 0 {
		t.Fatal(r.stderr)
	}
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(key)) || bytes.Contains(data, []byte(canary)) {
			t.Errorf("%s has the key or the Secret", path)
		}
		return err
	})
	if err != nil || files < 10 {
		t.Errorf("%d files were looked at: %v", files, err)
	}
	for what, text := range map[string]string{
		"the engine":     docker(t, "inspect", node),
		"the ConfigMaps": c.must(t, "get", "configmaps", "-A", "-o", "yaml"),
		"the nodes":      c.must(t, "get", "nodes", "-o", "yaml"),
		"the pods":       c.must(t, "-n", "kube-system", "get", "pods", "-o", "yaml"),
		"the journal":    docker(t, "exec", node, "journalctl", "--no-pager"),
	} {
		if strings.Contains(text, key) {
			t.Errorf("%s know the key", what)
		}
	}
}
