package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"strings"
	"testing"
)

const pem = `-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIEqj7D3mPZ8bGm7mBqfH4LC0f2J5oRkXZQWv7Yl2cPq9oAoGCCqGSM49
AwEHoUQDQgAE3xZ2
-----END EC PRIVATE KEY-----
`

const certificate = "-----BEGIN CERTIFICATE-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n-----END CERTIFICATE-----\n"

func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func quoted(s string) string {
	data, _ := json.Marshal(s)
	return string(data)
}

const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQifQ.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"

// TestForms has what is a secret by its form alone, and what only looks so.
func TestForms(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"key":                {"before\n" + pem + "after\n", "before\nREDACTED\nafter\n"},
		"key in JSON":        {`{"key":` + quoted(pem) + `,"b":1}`, `{"key":"REDACTED\n","b":1}`},
		"key without end":    {"-----BEGIN PRIVATE KEY-----\nMII", "REDACTED"},
		"certificate":        {certificate, certificate},
		"kubeconfig":         {"    client-key-data: " + encoded(pem) + "\n    server: https://x:6443\n", "    client-key-data: REDACTED\n    server: https://x:6443\n"},
		"key in base64":      {"x " + encoded(pem) + " y", "x REDACTED y"},
		"CA data":            {"certificate-authority-data: " + encoded(certificate), "certificate-authority-data: " + encoded(certificate)},
		"web token":          {"got " + jwt + " here", "got REDACTED here"},
		"bearer":             {`"Authorization: Bearer abc123def456"`, `"Authorization: Bearer REDACTED"`},
		"hosts.toml":         {`  Authorization = ["Basic dXNlcjpodW50ZXIy"]`, `  Authorization = ["Basic REDACTED"]`},
		"containerd":         {`password = "hunter22" # mine`, `password = "REDACTED" # mine`},
		"docker":             {`{"auths":{"r.example":{"auth":"dXNlcjpodW50ZXIy"}}}`, `{"auths":{"r.example":{"auth":"REDACTED"}}}`},
		"variable":           {"DB_PASSWORD=correct-horse OTHER=1", "DB_PASSWORD=REDACTED OTHER=1"},
		"quoted JSON":        {`"{\"token\":\"abcdefgh\"}"`, `"{\"token\":\"REDACTED\"}"`},
		"proxy":              {"HTTP_PROXY=http://user:s3cret@proxy.example:3128,x", "HTTP_PROXY=http://REDACTED@proxy.example:3128,x"},
		"user alone":         {"https://token@host/a@b", "https://REDACTED@host/a@b"},
		"bootstrap token":    {"kubeadm join --token abcdef.0123456789abcdef --x", "kubeadm join --token abcdef.REDACTED --x"},
		"no bootstrap token": {"kube-system.v1.apps xabcdef.0123456789abcdef a.b", "kube-system.v1.apps xabcdef.0123456789abcdef a.b"},
		"plain":              {"the token bucket was empty; keys: 4\n", "the token bucket was empty; keys: 4\n"},
		"a path":             {"--tls-private-key-file=/etc/kubernetes/pki/apiserver.key", "--tls-private-key-file=/etc/kubernetes/pki/apiserver.key"},
	} {
		if got := new(Redactor).String(tc.in); got != tc.want {
			t.Errorf("%s: got\n%q, want\n%q", name, got, tc.want)
		}
	}
}

// TestAdd finds values that were told however they are written.
func TestAdd(t *testing.T) {
	var r Redactor
	const value = `pa$$ "word" <1>&2;'3`
	long := strings.Repeat("0123456789abcdef", 200)
	r.Add(value, "first line\nsecond line\n", long, "abc")
	for name, text := range map[string]string{
		"plain": value, "base64": encoded(value), "JSON": quoted(value), "TOML": `"pa$$ \"word\" <1>&2;'3"`, "TOML in JSON": quoted(`"pa$$ \"word\" <1>&2;'3"`), "HTML": html.EscapeString(value), "in a line": "x" + value + "y",
		"a line of two": "second line", "base64 of two": encoded("first line\nsecond line\n"),
		"long": long, "long in base64": encoded(long), "part of long": long[512:1024],
	} {
		got := r.String(text)
		if !strings.Contains(got, Mark) || strings.Contains(got, "word") || strings.Contains(got, "0123") || strings.Contains(got, "line") {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := r.String("abc"); got != "abc" {
		t.Errorf("a word became %q", got)
	}
}

// TestLearn finds a value that a configuration names where nothing names it.
func TestLearn(t *testing.T) {
	var r Redactor
	r.Learn([]byte(`
[plugins."io.containerd.cri.v1.images".registry.configs."r.example".auth]
  username = "me"
  password = "hunter22"
HTTPS_PROXY=http://user:p%40ssw0rd@proxy:1
`))
	for _, secret := range []string{"hunter22", "p%40ssw0rd", "p@ssw0rd", encoded("hunter22")} {
		if got := r.String("login with " + secret + "."); got != "login with REDACTED." {
			t.Errorf("%s: %q", secret, got)
		}
	}
}

// TestLongLine holds that a secret is found at every place of a line that is
// longer than what is kept in memory.
func TestLongLine(t *testing.T) {
	var r Redactor
	r.Add("the-secret-of-all")
	for _, at := range []int{0, longest - overlap - 8, longest - overlap, longest - 8, longest, 2*longest - 5} {
		longLine(t, &r, at, "the-secret-of-all")
	}
	for _, back := range []int{10, 30, 70, 90, len(jwt), len(jwt) + 1} { // of the token, this much is seen first
		longLine(t, &r, longest-back, jwt)
	}
}

// longLine has one secret at a place of a line.
func longLine(t *testing.T, r *Redactor, at int, secret string) {
	t.Helper()
	before, after := strings.Repeat("a", max(0, at-1))+" ", " "+strings.Repeat("b", longest+overlap)
	text := before + secret + after
	var out bytes.Buffer
	w := r.Writer(&out)
	if _, err := io.Copy(w, io.LimitReader(strings.NewReader(text), int64(len(text)))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if want := before + Mark + after; out.String() != want {
		t.Errorf("at %d: %d bytes, want %d", at, out.Len(), len(want))
	}
}

// failing takes nothing.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestWriterFails(t *testing.T) {
	w := new(Redactor).Writer(failing{})
	if _, err := fmt.Fprintln(w, "x"); err != io.ErrShortWrite {
		t.Errorf("error %v", err)
	}
	if _, err := w.Write(bytes.Repeat([]byte("x"), longest)); err != io.ErrShortWrite {
		t.Errorf("a long line: error %v", err)
	}
}

// FuzzWriter: however text is cut into writes, the same comes out, and no
// secret that was told is in it.
func FuzzWriter(f *testing.F) {
	f.Add("a "+pem+"b", 3)
	f.Add("x hush-hush y\nhush-hush", 1)
	f.Add(strings.Repeat("-----BEGIN PRIVATE KEY-----", 2)+"\n\n-----END PRIVATE KEY-----hush-hush", 7)
	f.Add("abcdef.0123456789abcdef://user:pass@host eyJ", 5)
	f.Fuzz(func(t *testing.T, text string, size int) {
		var r Redactor
		r.Add("hush-hush")
		want := r.String(text)
		if strings.Contains(want, "hush-hush") {
			t.Fatalf("the secret is in %q", want)
		}
		var out bytes.Buffer
		w := r.Writer(&out)
		for rest := []byte(text); len(rest) > 0; {
			n := min(max(size, 1), len(rest))
			if _, err := w.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil || out.String() != want {
			t.Fatalf("in parts of %d: %q, want %q (%v)", size, out.String(), want, err)
		}
	})
}

func BenchmarkWriter(b *testing.B) {
	var r Redactor
	for i := range 200 {
		r.Add(fmt.Sprintf("secret-number-%d", i))
	}
	line := []byte("2026-11-21T16:00:00.000000000Z stderr F I1121 16:00:00.000000 1 reflector.go:436] \"Caches populated\" type=\"*v1.Service\" reflector=\"k8s.io/client-go/informers/factory.go:160\"\n")
	w := r.Writer(io.Discard)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		_, _ = w.Write(line)
	}
}
