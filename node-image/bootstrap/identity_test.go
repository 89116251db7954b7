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
	"strings"
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
	never          bool   // does not sign
	verdict        string // says so
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
		if s.verdict != "" {
			answer.Status.Conditions = append(answer.Status.Conditions, struct {
				Type string `json:"type"`
			}{s.verdict})
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
	node, fake, _ := newNode(t, nodeimage.Plan{Name: "other", KubeletApart: true}, joinConf)
	fake.configureKubelet()
	fake.kubeadm = func(context.Context, exec.Cmd) error { return nil }
	fake.systemctl = func(command string) {
		if command != "restart kubelet" {
			return
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
	}
	if err := node.Join(t.Context(), joinInput(t, endpointOf(s.server), nil)); err != nil {
		t.Fatal(err)
	}
	if len(fake.run("kubeadm")) != 3 || s.posted != 2 || s.looked != 2 {
		t.Errorf("kubeadm ran as %q; posted %d times, looked %d times", fake.run("kubeadm"), s.posted, s.looked)
	}
}

// TestJoinWithoutIdentity: where nobody signs in time or at all, or the node is not
// known by petri's name or token, kubeadm and the kubelet see to it.
func TestJoinWithoutIdentity(t *testing.T) {
	for name, test := range map[string]struct {
		conf, verdict string
		posted        bool
	}{
		"nobody signs":      {joinConf, "", true},
		"somebody denies":   {joinConf, "Denied", true},
		"no token":          {"kind: JoinConfiguration\ndiscovery: {file: {kubeConfigPath: /mine}}\n", "", false},
		"another host name": {strings.Replace(joinConf, "{name: a-worker}", "{name: a-worker, kubeletExtraArgs: [{name: v, value: '2'}, {name: hostname-override, value: b}]}", 1), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSigner(t)
			s.never, s.verdict = true, test.verdict
			node, fake, _ := newNode(t, nodeimage.Plan{}, test.conf)
			if test.verdict == "" {
				node.signing = 300 * time.Millisecond // else it is not waited for
			}
			fake.kubeadm = func(context.Context, exec.Cmd) error { return nil }
			if err := node.Join(t.Context(), joinInput(t, endpointOf(s.server), nil)); err != nil {
				t.Fatal(err)
			}
			if len(fake.run("kubeadm")) != 1 {
				t.Errorf("kubeadm ran as %q", fake.run("kubeadm"))
			}
			if _, err := os.Lstat(node.path(kubeletClientPath)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a certificate that nobody signed: %v", err)
			}
			if (s.posted > 0) != test.posted {
				t.Errorf("posted %d times", s.posted)
			}
		})
	}
}

// TestJoinFailsBesideIdentity: a check of kubeadm's that fails is not waited with.
func TestJoinFailsBesideIdentity(t *testing.T) {
	s := newSigner(t)
	s.never = true
	node, fake, _ := newNode(t, nodeimage.Plan{KubeletApart: true}, joinConf)
	broken := errors.New("preflight failed")
	fake.kubeadm = func(context.Context, exec.Cmd) error { return broken }
	began := time.Now()
	if err := node.Join(t.Context(), joinInput(t, endpointOf(s.server), nil)); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > signingPatience/2 {
		t.Errorf("it took %s", took)
	}
}
