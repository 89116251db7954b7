package selfsigned

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"
)

func TestServing(t *testing.T) {
	now := time.Date(2026, 11, 20, 1, 2, 3, 0, time.UTC)
	certificate, key, err := Serving("kubelet@7", "a-worker", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	for _, test := range []struct {
		name string
		at   time.Time
		ok   bool
	}{
		{"a-worker", now, true},
		{"a-worker", now.Add(-59 * time.Minute), true},
		{"a-worker", now.Add(2 * time.Hour), false},
		{"another", now, false},
	} {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: test.name, Roots: roots, CurrentTime: test.at})
		if (err == nil) != test.ok {
			t.Errorf("%s at %s: %v", test.name, test.at, err)
		}
	}
	if got := pair.Leaf.Subject.String(); got != "CN=kubelet@7" {
		t.Errorf("it is of %s", got)
	}
}
