package bootstrap

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

const joinConf = `kind: InitConfiguration
bootstrapTokens: [{token: other}]
---
kind: JoinConfiguration
discovery: {tlsBootstrapToken: abcdef.secret}
nodeRegistration: {name: a-worker}
`

// signer is an API server that takes requests for certificates, and signs them
// with the key of its own certificate. As a server that has just started, it refuses
// the first request; it signs when it is looked at for the second time.
type signer struct {
	t              *testing.T
	server         *httptest.Server
	posted, looked int
	request        *x509.CertificateRequest
	never          bool // does not sign
}

func newSigner(t *testing.T) *signer {
	s := &signer{t: t}
	s.server = httptest.NewTLSServer(s)
	t.Cleanup(s.server.Close)
	return s
}

func (s *signer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if got := r.Header.Get("Authorization"); got != "Bearer abcdef.secret" {
		s.t.Errorf("asked by %q", got)
	}
	switch r.Method + " " + r.URL.Path {
	case "POST " + signingRequests:
		if s.posted++; s.posted == 1 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		var request csr
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			s.t.Error(err)
		}
		diff(s.t, csr{
			APIVersion: "certificates.k8s.io/v1", Kind: "CertificateSigningRequest", Metadata: csrName{GenerateName: "csr-"},
			Spec: csrSpec{
				Request: request.Spec.Request, SignerName: "kubernetes.io/kube-apiserver-client-kubelet",
				Usages: []string{"digital signature", "client auth"},
			},
		}, request)
		block, _ := pem.Decode(request.Spec.Request)
		var err error
		if s.request, err = x509.ParseCertificateRequest(block.Bytes); err != nil {
			s.t.Error(err)
		}
		request.Metadata.Name = "csr-7"
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(request)
	case "GET " + signingRequests + "/csr-7":
		var answer csr
		if s.looked++; s.looked == 2 && !s.never {
			answer.Status.Certificate = s.sign()
		}
		_ = json.NewEncoder(w).Encode(answer)
	default:
		s.t.Errorf("asked for %s %s", r.Method, r.URL.Path)
	}
}

func (s *signer) sign() []byte {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: s.request.Subject, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, s.server.Certificate(), s.request.PublicKey, s.server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		s.t.Error(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
}

// TestJoinAwaitsIdentity: the kubelet finds its certificate when it starts.
func TestJoinAwaitsIdentity(t *testing.T) {
	s := newSigner(t)
	node, fake, _ := newNode(t, nodeimage.Plan{Name: "other"}, joinConf)
	fake.kubeadm = func(_ context.Context, cmd exec.Cmd) error {
		if !slices.Contains(phasesOf(cmd), "kubelet-wait-bootstrap") {
			return nil // the kubelet does not run yet
		}
		file, err := os.Readlink(node.path(kubeletClientPath))
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.LoadX509KeyPair(node.path(file), node.path(file))
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "CN=system:node:a-worker,O=system:nodes", pair.Leaf.Subject.String())
		return nil
	}
	if err := node.Join(t.Context(), joinInput(t, endpointOf(s.server), nil)); err != nil {
		t.Fatal(err)
	}
	if len(fake.run("kubeadm")) != 3 || s.posted != 2 || s.looked != 2 {
		t.Errorf("kubeadm ran as %q; posted %d times, looked %d times", fake.run("kubeadm"), s.posted, s.looked)
	}
}

// TestJoinWithoutIdentity: where nobody signs in time, or there is no token,
// kubeadm and the kubelet see to it.
func TestJoinWithoutIdentity(t *testing.T) {
	for name, conf := range map[string]string{
		"nobody signs": joinConf,
		"no token":     "kind: JoinConfiguration\ndiscovery: {file: {kubeConfigPath: /mine}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := newSigner(t)
			s.never = true
			node, fake, _ := newNode(t, nodeimage.Plan{}, conf)
			node.signing = 300 * time.Millisecond
			fake.kubeadm = func(context.Context, exec.Cmd) error { return nil }
			if err := node.Join(t.Context(), joinInput(t, endpointOf(s.server), nil)); err != nil {
				t.Fatal(err)
			}
			if len(fake.run("kubeadm")) != 3 {
				t.Errorf("kubeadm ran as %q", fake.run("kubeadm"))
			}
			if _, err := os.Lstat(node.path(kubeletClientPath)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a certificate that nobody signed: %v", err)
			}
			if asked := s.posted > 0; asked != (name == "nobody signs") {
				t.Errorf("posted %d times", s.posted)
			}
		})
	}
}
