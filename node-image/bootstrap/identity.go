package bootstrap

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"time"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// signingInterval is how often a request for a certificate is looked at.
const signingInterval = 100 * time.Millisecond

// signingPatience is how long a node that joins waits for its certificate before
// its kubelet starts without one, and asks for it itself.
const signingPatience = 15 * time.Second

// awaitIdentity gets the kubelet its client certificate before it starts, as it
// would get it itself (k8s.io/kubernetes pkg/kubelet/certificate): with the
// bootstrap token, from the signer for kubelets, which kubeadm's bindings let the
// controller-manager approve. A kubelet that starts without one asks for everything
// else as nobody in the meantime, is refused, and then reads the list of Services
// so late that its first pods, kube-proxy among them, wait ten seconds more. It
// returns when the certificate is there, or when nobody has given one in time.
func (n *Node) awaitIdentity(ctx context.Context, plan nodeimage.Plan, c cluster) error {
	who, err := n.bootstrapUser(plan)
	if err != nil || who.token == "" {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	client, err := clientOf(c.CA)
	if err != nil {
		return fmt.Errorf("what to join: %w", err)
	}
	defer client.CloseIdleConnections()
	defer n.Events.phase("node/certificate")()
	request := &signingRequest{client: client, server: c.Server, user: who, key: key}
	err = until(ctx, cmp.Or(n.signing, signingPatience), signingInterval, func() bool { return request.advance(ctx) })
	if err != nil || request.certificate == nil {
		return err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return n.keepClientCertificate(request.certificate, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), time.Now())
}

// bootstrapUser is who a node is to the cluster before it is a member, and as
// what node it wants to be one.
type bootstrapUser struct {
	node, token string
}

// bootstrapUser reads kubeadm's configuration. One without a token for this has
// credentials that petri does not make, and one with another host name gives the node
// another name: both are left to kubeadm.
func (n *Node) bootstrapUser(plan nodeimage.Plan) (bootstrapUser, error) {
	var conf struct {
		Discovery        struct{ TLSBootstrapToken string }
		NodeRegistration struct {
			Name             string
			KubeletExtraArgs []struct{ Name string }
		}
	}
	if err := n.kubeadmDocument("JoinConfiguration", &conf); err != nil {
		return bootstrapUser{}, err
	}
	for _, arg := range conf.NodeRegistration.KubeletExtraArgs {
		if arg.Name == "hostname-override" {
			return bootstrapUser{}, nil
		}
	}
	return bootstrapUser{node: cmp.Or(conf.NodeRegistration.Name, plan.Name), token: conf.Discovery.TLSBootstrapToken}, nil
}

// signingRequest is a CertificateSigningRequest on its way.
type signingRequest struct {
	client *http.Client
	server string
	user   bootstrapUser
	key    *ecdsa.PrivateKey

	name        string // of the object, when there is one
	certificate []byte // PEM, when it was signed
}

const signingRequests = "/apis/certificates.k8s.io/v1/certificatesigningrequests"

// csr is the part of a CertificateSigningRequest that is used here.
type csr struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Metadata   csrName   `json:"metadata"`
	Spec       csrSpec   `json:"spec"`
	Status     csrStatus `json:"status,omitzero"`
}

type (
	csrName struct {
		Name         string `json:"name,omitempty"`
		GenerateName string `json:"generateName,omitempty"`
	}
	csrSpec struct {
		Request    []byte   `json:"request"`
		SignerName string   `json:"signerName"`
		Usages     []string `json:"usages"`
	}
	csrStatus struct {
		Certificate []byte `json:"certificate,omitempty"`
		// Conditions say what became of it: "Approved", "Denied", "Failed".
		Conditions []struct {
			Type string `json:"type"`
		} `json:"conditions,omitempty"`
	}
)

// advance makes the request, or looks whether it was signed, and reports whether
// there is nothing left to do. The roles that allow it to a bootstrap token are
// among the last that an API server makes: until then it is tried again.
func (r *signingRequest) advance(ctx context.Context) bool {
	if r.name == "" {
		r.name = r.post(ctx)
		return false
	}
	var answer csr
	r.do(ctx, http.MethodGet, signingRequests+"/"+r.name, nil, &answer)
	r.certificate = answer.Status.Certificate
	for _, c := range answer.Status.Conditions {
		if c.Type == "Denied" || c.Type == "Failed" {
			return true
		}
	}
	return r.certificate != nil
}

// post makes the request as a kubelet does: without the usage of keys that only
// RSA has.
func (r *signingRequest) post(ctx context.Context) (name string) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "system:node:" + r.user.node, Organization: []string{"system:nodes"}},
	}, r.key)
	if err != nil {
		return ""
	}
	body, err := json.Marshal(csr{
		APIVersion: "certificates.k8s.io/v1", Kind: "CertificateSigningRequest",
		Metadata: csrName{GenerateName: "csr-"},
		Spec: csrSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: "kubernetes.io/kube-apiserver-client-kubelet",
			Usages:     []string{"digital signature", "client auth"},
		},
	})
	if err != nil {
		return ""
	}
	var answer csr
	if !r.do(ctx, http.MethodPost, signingRequests, body, &answer) {
		return ""
	}
	return answer.Metadata.Name
}

// do reads the object that answers a request, and reports whether one did.
func (r *signingRequest) do(ctx context.Context, method, path string, body []byte, into *csr) bool {
	request, err := http.NewRequestWithContext(ctx, method, r.server+path, bytes.NewReader(body))
	if err != nil {
		return false
	}
	request.Header.Set("Authorization", "Bearer "+r.user.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := r.client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode < http.StatusMultipleChoices && json.NewDecoder(response.Body).Decode(into) == nil
}
