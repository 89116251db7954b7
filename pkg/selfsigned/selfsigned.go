// Package selfsigned makes the serving certificates that programs of Kubernetes make
// for themselves where nobody gives them one, and that nobody verifies. They would
// take RSA keys, for which a small machine computes for tenths of a second while the
// cluster waits; these have keys on an elliptic curve. It writes no files.
package selfsigned

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"
)

// backdated is how long before it was made a certificate begins to hold, for a clock
// that is behind.
const backdated = time.Hour

// Serving makes a certificate for a server of one DNS name, which holds from now on
// for a time, and its key, both as PEM.
func Serving(commonName, dnsName string, now time.Time, valid time.Duration) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: commonName},
		DNSNames:     []string{dnsName},
		NotBefore:    now.Add(-backdated), NotAfter: now.Add(valid),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}
