package approver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

const worker = "dev-worker"

var workerAddrs = []netip.Addr{netip.MustParseAddr("10.201.7.3"), netip.MustParseAddr("fd5a::3")}

// asked is what the kubelet of the worker asks for.
func asked() *x509.CertificateRequest {
	return &x509.CertificateRequest{
		Subject:     pkix.Name{CommonName: "system:node:" + worker, Organization: []string{"system:nodes"}},
		DNSNames:    []string{worker},
		IPAddresses: []net.IP{net.ParseIP("10.201.7.3"), net.ParseIP("fd5a::3")},
	}
}

// request is a request of the worker's kubelet for a certificate.
func request(t testing.TB, template *x509.CertificateRequest) Request {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	var r Request
	r.Metadata.Name, r.Metadata.ResourceVersion = "csr-1", "7"
	r.Spec.SignerName, r.Spec.Username = signer, "system:node:"+worker
	r.Spec.Groups = []string{"system:nodes", "system:authenticated"}
	r.Spec.Usages = []string{"digital signature", "server auth"}
	r.Spec.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	return r
}

func TestCheck(t *testing.T) {
	if err := request(t, asked()).Check(workerAddrs); err != nil {
		t.Errorf("a kubelet does not get its certificate: %v", err)
	}
	for name, c := range map[string]struct {
		ask func(*x509.CertificateRequest)
		by  func(*Request)
		why string
	}{
		"for another node": {ask: func(a *x509.CertificateRequest) { a.Subject.CommonName = "system:node:dev-control-plane" }, why: "subject"},
		"more groups": {ask: func(a *x509.CertificateRequest) {
			a.Subject.Organization = append(a.Subject.Organization, "system:masters")
		}, why: "subject"},
		"another's name":    {ask: func(a *x509.CertificateRequest) { a.DNSNames = []string{worker, "dev-control-plane"} }, why: `names host "dev-control-plane"`},
		"a wildcard":        {ask: func(a *x509.CertificateRequest) { a.DNSNames = []string{"*"} }, why: "names host"},
		"another's address": {ask: func(a *x509.CertificateRequest) { a.IPAddresses = []net.IP{net.ParseIP("10.201.7.2")} }, why: "10.201.7.2 is not an address of the node"},
		"loopback":          {ask: func(a *x509.CertificateRequest) { a.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }, why: "127.0.0.1 is not"},
		"mail":              {ask: func(a *x509.CertificateRequest) { a.EmailAddresses = []string{"a@b"} }, why: "other names"},
		"a URI":             {ask: func(a *x509.CertificateRequest) { a.URIs = []*url.URL{{Scheme: "spiffe", Host: "x"}} }, why: "other names"},
		"nobody":            {ask: func(a *x509.CertificateRequest) { a.DNSNames, a.IPAddresses = nil, nil }, why: "names no host"},
		"by a pod":          {by: func(r *Request) { r.Spec.Username = "system:serviceaccount:default:default" }, why: "no kubelet"},
		"by a user":         {by: func(r *Request) { r.Spec.Groups = []string{"system:authenticated"} }, why: "no kubelet"},
		"by another node":   {by: func(r *Request) { r.Spec.Username = "system:node:dev-worker2" }, why: "subject"},
		"by a strange node": {by: func(r *Request) { r.Spec.Username = "system:node:$(id)" }, why: "no kubelet"},
		"as a client":       {by: func(r *Request) { r.Spec.Usages = append(r.Spec.Usages, "client auth") }, why: "client auth"},
		"not to serve":      {by: func(r *Request) { r.Spec.Usages = []string{"digital signature"} }, why: "not for serving"},
		"another signer":    {by: func(r *Request) { r.Spec.SignerName = "kubernetes.io/kube-apiserver-client" }, why: "signer"},
		"two requests":      {by: func(r *Request) { r.Spec.Request = append(r.Spec.Request, r.Spec.Request...) }, why: "not one request"},
		"no PEM":            {by: func(r *Request) { r.Spec.Request = []byte("x") }, why: "not one request"},
		"not signed": {by: func(r *Request) {
			block, _ := pem.Decode(r.Spec.Request)
			block.Bytes[len(block.Bytes)-1] ^= 1
			r.Spec.Request = pem.EncodeToMemory(block)
		}, why: ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := asked()
			if c.ask != nil {
				c.ask(a)
			}
			r := request(t, a)
			if c.by != nil {
				c.by(&r)
			}
			if err := r.Check(workerAddrs); err == nil || !strings.Contains(err.Error(), c.why) {
				t.Errorf("got %v, want %q", err, c.why)
			}
		})
	}
}

// FuzzCheck: nothing that is not the kubelet's own request passes.
func FuzzCheck(f *testing.F) {
	f.Add(request(f, asked()).Spec.Request)
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := request(t, asked())
		r.Spec.Request = data
		if r.Check(workerAddrs) != nil {
			return
		}
		block, _ := pem.Decode(data)
		a, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil || a.Subject.CommonName != r.Spec.Username {
			t.Errorf("%q was approved: %v", data, err)
		}
	})
}

// api serves some requests to a watch, and keeps what is approved.
type api struct {
	requests []Request

	mu       sync.Mutex
	watches  int
	approved map[string]string
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.Method == http.MethodPatch {
		body, _ := io.ReadAll(r.Body)
		a.approved[r.URL.Path] = string(body)
		return
	}
	if a.watches++; a.watches == 1 {
		http.Error(w, "not yet", http.StatusForbidden) // as an API server says that has just started
		return
	}
	if r.URL.Query().Get("fieldSelector") != "spec.signerName="+signer {
		http.Error(w, "too much", http.StatusBadRequest)
	}
	for _, one := range a.requests {
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "ADDED", "object": one})
	}
}

// What is a node's is approved, nothing else is, and one that cannot be looked
// up does not keep others waiting.
func TestRun(t *testing.T) {
	good, elsewhere, lost, decided := request(t, asked()), request(t, asked()), request(t, asked()), request(t, asked())
	elsewhere.Metadata.Name, elsewhere.Spec.Username = "csr-elsewhere", "system:node:dev-control-plane"
	lost.Metadata.Name, lost.Spec.Username = "csr-lost", "system:node:lost"
	decided.Metadata.Name = "csr-decided"
	decided.Status.Conditions = []struct{ Type string }{{"Denied"}}
	a := &api{requests: []Request{lost, elsewhere, decided, good}, approved: map[string]string{}}
	server := httptest.NewServer(a)
	defer server.Close()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	approver := &Approver{
		API: func() (*http.Client, string, error) { return server.Client(), server.URL, nil },
		Lookup: func(_ context.Context, node string) ([]netip.Addr, error) {
			if node == "lost" {
				return nil, errors.New("no such host")
			}
			return workerAddrs, nil
		},
		Log: slog.New(slog.DiscardHandler),
	}
	go func() { done <- approver.Run(ctx) }()
	const path = "/apis/certificates.k8s.io/v1/certificatesigningrequests/csr-1/approval"
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		a.mu.Lock()
		_, ok := a.approved[path]
		a.mu.Unlock()
		if ok {
			break
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(a.approved) != 1 || !strings.Contains(a.approved[path], `"resourceVersion":"7"`) || !strings.Contains(a.approved[path], `"Approved"`) {
		t.Errorf("approved were %v", a.approved)
	}
}
