//go:build e2e

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What nobody can do to a cluster of the default profile.
func TestAttacksDefault(t *testing.T) {
	t.Parallel()
	attackAll(t, shared.get(t).cluster)
}

// attackAll tries what no cluster may let happen, whatever its profile.
func attackAll(t *testing.T, c *cluster) {
	t.Run("anonymous", func(t *testing.T) { attackAsNobody(t, c) })
	t.Run("tokens", func(t *testing.T) { attackWithTokens(t, c) })
	t.Run("kubelet", func(t *testing.T) { attackKubelet(t, c) })
	t.Run("etcd", func(t *testing.T) { attackEtcd(t, c) })
	t.Run("another network", func(t *testing.T) { attackFromAnotherNetwork(t, c) })
	t.Run("superuser", func(t *testing.T) {
		if out := docker(t, "exec", c.name+"-control-plane", "sh", "-c", "ls /etc/kubernetes"); strings.Contains(out, "super-admin") {
			t.Errorf("the superuser's credentials are left: %s", out)
		}
	})
}

func addressOf(t *testing.T, node string) string {
	t.Helper()
	return docker(t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", node)
}

// stranger is a client that has no certificate, and trusts anybody.
func stranger() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
	}}
}

// status is what a server answers to a stranger, who may have a token.
func status(t *testing.T, url, token string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := stranger().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

func attackAsNobody(t *testing.T, c *cluster) {
	api := "https://" + addressOf(t, c.name+"-control-plane") + ":6443"
	for path, want := range map[string]int{
		"/readyz": 200, "/livez": 200, "/healthz": 200, "/api/v1/namespaces/kube-public/configmaps/cluster-info": 200,
		"/api": 401, "/version": 401, "/openapi/v2": 401, "/metrics": 401, "/readyz/etcd": 401, "/debug/pprof/": 401,
		"/api/v1/namespaces/kube-public/configmaps": 401, "/api/v1/namespaces/kube-system/secrets": 401,
	} {
		if got := status(t, api+path, ""); got != want {
			t.Errorf("%s answers nobody with %d, want %d", path, got, want)
		}
	}
	// not even the administrator gets profiles
	if r := c.kubectl(t.Context(), t, "", "get", "--raw", "/debug/pprof/"); r.code == 0 {
		t.Errorf("the API server gives profiles:\n%.200s", r.stdout)
	}
}

// attackWithTokens tries the token that kind's clusters have, and the one by
// which the nodes of this one joined.
func attackWithTokens(t *testing.T, c *cluster) {
	node := c.name + "-control-plane"
	used := docker(t, "exec", node, "sh", "-c", "grep -m1 'tlsBootstrapToken:' /kind/kubeadm.conf | cut -d: -f2 | tr -d ' '")
	if len(used) != 23 || used == "abcdef.0123456789abcdef" {
		t.Errorf("nodes joined by %q", used)
	}
	api := "https://" + addressOf(t, node) + ":6443/api"
	if got := status(t, api, "abcdef.0123456789abcdef"); got != 401 {
		t.Errorf("kind's token gets %d", got)
	}
	// an API server remembers for ten seconds who had a token
	eventually(t, 20*time.Second, func() error {
		if got := status(t, api, used); got != 401 {
			return fmt.Errorf("the token of nodes that have joined gets %d", got)
		}
		return nil
	})
	if out := c.must(t, "-n", "kube-system", "get", "secrets", "--field-selector", "type=bootstrap.kubernetes.io/token", "-o", "name"); out != "" {
		t.Errorf("tokens are left: %s", out)
	}
}

func attackKubelet(t *testing.T, c *cluster) {
	for _, node := range []string{c.name + "-control-plane", c.name + "-worker"} {
		address := addressOf(t, node)
		if conn, err := net.DialTimeout("tcp", net.JoinHostPort(address, "10255"), 5*time.Second); err == nil {
			conn.Close()
			t.Errorf("the read-only port of %s is open", node)
		}
		for _, path := range []string{"/pods", "/metrics", "/run/a/b/c", "/configz"} {
			if got := status(t, "https://"+address+":10250"+path, ""); got != 401 {
				t.Errorf("the kubelet of %s answers %s with %d", node, path, got)
			}
		}
		if got := docker(t, "exec", node, "stat", "-c", "%a", "/var/lib/kubelet/config.yaml"); got != "600" {
			t.Errorf("the kubelet's configuration on %s has mode %s", node, got)
		}
	}
}

// attackEtcd asks for a connection without a certificate. TLS 1.3 says no with
// the first answer.
func attackEtcd(t *testing.T, c *cluster) {
	for _, port := range []string{"2379", "2380"} {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(addressOf(t, c.name+"-control-plane"), port), 5*time.Second)
		if err != nil {
			t.Fatal(err) // nothing was shown then
		}
		secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		_ = secure.SetDeadline(time.Now().Add(10 * time.Second))
		_, err = fmt.Fprint(secure, "GET /version HTTP/1.1\r\nHost: etcd\r\n\r\n")
		if err == nil {
			_, err = secure.Read(make([]byte, 1))
		}
		secure.Close()
		if err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("etcd at %s says to nobody: %v", port, err)
		}
	}
}

// attackFromAnotherNetwork tries to reach a control plane from a container that
// is not the cluster's. That it can reach its own network is the control.
func attackFromAnotherNetwork(t *testing.T, c *cluster) {
	network, node := c.name+"-elsewhere", c.name+"-control-plane"
	docker(t, "network", "create", network)
	t.Cleanup(func() { run(cleanupContext(t), "", "", "docker", "network", "rm", network) })
	target := addressOf(t, node)
	try := func(in, port string) result {
		return run(t.Context(), "", "", "docker", "run", "--rm", "--network", in, "--entrypoint", "timeout",
			docker(t, "inspect", "-f", "{{.Image}}", node), "3", "bash", "-c", "exec 3<>/dev/tcp/"+target+"/"+port)
	}
	own := docker(t, "inspect", "-f", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}", node)
	if r := try(own, "2379"); r.code != 0 {
		t.Fatalf("nothing is shown: etcd cannot be reached from the cluster's network either: %s", r.stderr)
	}
	for _, port := range []string{"2379", "2380", "6443", "10250"} {
		if r := try(network, port); r.code == 0 {
			t.Errorf("port %s is reached from another network", port)
		}
	}
}

// certificateOf is what a server shows, which must be good for its address by a
// CA.
func certificateOf(t *testing.T, address string, ca []byte) (*x509.Certificate, error) {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatal("no CA")
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, &tls.Config{RootCAs: roots})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}
