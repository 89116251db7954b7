//go:build e2e

package e2e

import (
	"archive/tar"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// A cluster with a secret of every kind, in its configuration, its environment,
// its API and its logs, is exported while it runs, to one file, and when its
// node has stopped: each time with what is wrong on the first page, and never
// with a secret.
func TestExportLogs(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(config, []byte(`apiVersion: petri.dev/v1alpha1
kind: Cluster
containerdConfigPatches:
- |
  [plugins."io.containerd.cri.v1.images".registry.configs."registry.invalid".auth]
    username = "me"
    password = "reg1stry-w0rd"
`), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &cluster{name: testName(t), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	t.Cleanup(func() { c.remove(t) })
	proxy := "HTTPS_PROXY=http://me:pr0xy-w0rd@proxy.invalid:3128"
	if r := run(t.Context(), c.kubeconfig, "", append([]string{"env", proxy, petriBinary(), "create", "cluster", "--name", c.name}, withImage([]string{"--config", config})...)...); r.code != 0 {
		t.Fatalf("create cluster: exit code %d\n%s", r.code, r.stderr)
	}
	c.apply(t, `
apiVersion: v1
kind: Secret
metadata: {name: db, namespace: default}
stringData: {password: "correct-horse & staple"}
---
apiVersion: v1
kind: Pod
metadata: {name: talker, namespace: default}
spec:
  restartPolicy: Always
  containers:
  - name: app
    image: registry.k8s.io/etcd:3.6.8-0
    command: [/usr/local/bin/etcd, --name, "$(PASSWORD)", --data-dir=/proc/none]
    env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: db, key: password}}}]
`)
	secrets := c.secrets(t)
	c.crashes(t, "talker")

	dir := filepath.Join(t.TempDir(), "running")
	if r := c.petri(t.Context(), "export", "logs", dir, "--name", c.name); r.code != 0 || r.stdout != dir+"\n" {
		t.Fatalf("exit code %d, %q\n%s", r.code, r.stdout, r.stderr)
	}
	node := c.name + "-control-plane"
	c.hasNoSecrets(t, dir, secrets)
	has(t, dir, "summary.html", "<h2>What is wrong", "</span> pod default/talker, container app", "&#34;--name&#34;,&#34;REDACTED&#34;")
	has(t, dir, "objects/pods.yaml", "name: talker")
	has(t, dir, "objects/secrets.yaml", "password: REDACTED")
	has(t, dir, "events.txt", "Pod default/talker")
	has(t, dir, "timeline.txt", "node "+node+"  started", "Pod default/talker")
	has(t, dir, "config.yaml", "reg", "REDACTED")
	has(t, dir, node+"/kubelet.log", "kubelet")
	has(t, dir, node+"/containers.log", "talker")

	file := filepath.Join(t.TempDir(), "all.tar.zst")
	if r := c.petri(t.Context(), "export", "logs", file, "--name", c.name); r.code != 0 || r.stdout != file+"\n" {
		t.Fatalf("to a file: exit code %d, %q\n%s", r.code, r.stdout, r.stderr)
	}
	unpacked := t.TempDir()
	unpack(t, file, unpacked)
	c.hasNoSecrets(t, unpacked, secrets)
	has(t, unpacked, "all/summary.html", "pod default/talker")

	docker(t, "kill", node)
	docker(t, "stop", node) // so that it stays so
	dead := filepath.Join(t.TempDir(), "dead")
	r := c.petri(t.Context(), "export", "logs", dead, "--name", c.name)
	if r.code != 1 || r.stdout != dead+"\n" || !strings.Contains(r.stderr, "EXPORT-INCOMPLETE") || !strings.Contains(r.stderr, "node "+node+": it is stopped") {
		t.Fatalf("of a dead node: exit code %d, %q\n%s", r.code, r.stdout, r.stderr)
	}
	c.hasNoSecrets(t, dead, secrets)
	has(t, dead, "summary.html", "node not running</span> node "+node, "API not answering", "What is missing", "kube-apiserver on node "+node)
	has(t, dead, node+"/kubelet.log", "kubelet")
	has(t, dead, node+"/serial.log", "Multi-User System")
	if left := docker(t, "ps", "-aq", "--filter", "volume="+strings.Fields(docker(t, "inspect", "-f", "{{range .Mounts}}{{.Name}} {{end}}", node))[0]); strings.Count(left, "\n") > 0 {
		t.Errorf("more than the node has its volume: %s", left)
	}
}

// A cluster that never came up and was kept is exported with the words of who
// failed.
func TestExportLogsOfFailedCreate(t *testing.T) {
	t.Parallel()
	c := &cluster{name: testName(t), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	t.Cleanup(func() { c.remove(t) })
	config := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(config, []byte(`apiVersion: petri.dev/v1alpha1
kind: Cluster
kubeadmConfigPatches:
- |
  kind: ClusterConfiguration
  apiServer:
    extraArgs:
    - {name: no-such-flag, value: "1"}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan result, 1)
	go func() {
		done <- c.petri(ctx, withImage([]string{"create", "cluster", "--name", c.name, "--config", config, "--retain"})...)
	}()
	dir := filepath.Join(t.TempDir(), "logs")
	eventually(t, 2*time.Minute, func() error {
		r := c.petri(t.Context(), "export", "logs", dir, "--name", c.name)
		text, err := os.ReadFile(filepath.Join(dir, "summary.html"))
		if err != nil || r.code != 1 || !strings.Contains(string(text), "unknown flag: --no-such-flag") {
			return errors.New(r.stderr)
		}
		return nil
	})
	has(t, dir, "summary.html", "API not answering", "kube-apiserver on node "+c.name+"-control-plane")
	cancel() // kubeadm would wait for minutes
	<-done
}

// secrets are what must not be seen of the cluster, by what they are.
func (c *cluster) secrets(t *testing.T) map[string]string {
	t.Helper()
	node := c.name + "-control-plane"
	secrets := map[string]string{
		"the value of a Secret": "correct-horse & staple", "in base64": base64.StdEncoding.EncodeToString([]byte("correct-horse & staple")), "in HTML": "correct-horse &amp; staple",
		"a proxy's password": "pr0xy-w0rd", "a registry's password": "reg1stry-w0rd",
		"a service account's token": c.must(t, "create", "token", "default"),
		"a bootstrap token":         docker(t, "exec", node, "kubeadm", "token", "create"),
	}
	for _, key := range []string{"ca.key", "sa.key", "etcd/ca.key", "front-proxy-ca.key", "apiserver.key"} {
		pem := docker(t, "exec", node, "cat", "/etc/kubernetes/pki/"+key)
		lines := strings.Split(pem, "\n")
		secrets[key], secrets[key+" in base64"] = lines[1], base64.StdEncoding.EncodeToString([]byte(pem+"\n"))
	}
	for line := range strings.Lines(docker(t, "exec", node, "cat", "/etc/kubernetes/admin.conf")) {
		if key, ok := strings.CutPrefix(strings.TrimSpace(line), "client-key-data: "); ok {
			secrets["the administrator's key"] = key
		}
	}
	if secrets["the administrator's key"] == "" {
		t.Fatal("admin.conf has no key")
	}
	// the node's journal says them all, as programs in anger do
	for what, secret := range secrets {
		if strings.HasSuffix(what, ".key") { // a line of it has no form: no program prints one alone
			continue
		}
		docker(t, "exec", node, "systemd-cat", "-t", "leak", "echo", "it is", secret)
	}
	docker(t, "exec", node, "sh", "-c", "systemd-cat -t leak cat /etc/kubernetes/pki/*.key /etc/kubernetes/admin.conf")
	return secrets
}

// crashes waits until a pod has failed more than once.
func (c *cluster) crashes(t *testing.T, pod string) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		if got := c.must(t, "get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].restartCount}"); got == "" || got == "0" {
			return errors.New("the pod has not been restarted")
		}
		return nil
	})
}

// hasNoSecrets looks for each secret in every file of an export.
func (c *cluster) hasNoSecrets(t *testing.T, dir string, secrets map[string]string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		for what, secret := range secrets {
			if strings.Contains(string(data), secret) {
				t.Errorf("%s has %s", path, what)
			}
		}
		return err
	})
	if err != nil || files < 10 {
		t.Errorf("%d files, %v", files, err)
	}
}

// has looks for texts in a file of an export.
func has(t *testing.T, dir, file string, texts ...string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(file)))
	if err != nil {
		t.Error(err)
		return
	}
	for _, text := range texts {
		if !strings.Contains(string(data), text) {
			t.Errorf("%s does not have %q", file, text)
		}
	}
}

// unpack reads the regular files of an archive into a directory.
func unpack(t *testing.T, file, dir string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plain, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for archive := tar.NewReader(plain); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		data, err := io.ReadAll(archive)
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}
