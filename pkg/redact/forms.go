package redact

import (
	"regexp"
	"strings"
)

// named are forms in which a text says of a value that it is a secret: by the
// key before it, by the header it is in, or by its place in a URL.
var named = []*regexp.Regexp{
	// password = "x", "auth": "x", DB_PASSWORD=x, client-key-data: x, --token=x
	regexp.MustCompile(`(?i)(?P<keep>(?:passwor[dt]|passwd|passphrase|secret[_-]?(?:access[_-]?)?key|api[_-]?key|private[_-]?key|client-key-data|certificate-?key|(?:identity|access|refresh|auth|bearer|bootstrap|session)[_-]?token|token-secret|\btoken|_token|\bauth)\\?["']?(?:\s*[:=]\s*|\s+=>\s+)\\?["']?)(?P<secret>[^\s"'\\,;&(){}\[\]<>]{6,})`),
	// Authorization: Bearer x, Authorization = ["Basic x"]
	regexp.MustCompile(`(?i)(?P<keep>authorization\\?["']?\s*[:=]\s*\[?\s*\\?["']?(?:basic|bearer|token)\s+)(?P<secret>[^\s"'\\,;\]]{4,})`),
	// http://user:password@proxy
	regexp.MustCompile(`(?i)(?P<keep>[a-z][a-z0-9+.-]*://[^/@:\s"']*:)(?P<secret>[^/@\s"']+)@`),
}

var (
	// userInfo is the user and password of a URL, as proxies' addresses have them.
	userInfo = regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://)[^/@\s"']+@`)
	// wholeKey is a private key on one line, as JSON has it.
	wholeKey = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?-----END [A-Z0-9 ]*PRIVATE KEY-----`)
	beginKey = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----`)
	endKey   = regexp.MustCompile(`-----END [A-Z0-9 ]*PRIVATE KEY-----`)
	// encodedKey is a private key in base64: what "-----BEGIN " becomes, and
	// then EC, RSA, DSA, OPENSSH, ENCRYPTED or PRIVATE.
	encodedKey = regexp.MustCompile(`LS0tLS1CRUdJTiB(?:FQy|SU0E|EU0|PUE|FTk|QUkl)[A-Za-z0-9+/_-]*=*`)
	// webToken is a JSON web token, as service accounts have.
	webToken = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}`)
)

// hints are what a line has in lower case when one of the named forms may be
// in it. Most lines have none, and looking for these is cheap.
var hints = []string{"passw", "passphrase", "token", "auth", "key"}

// withoutForms is a line without what has the form of a secret.
func withoutForms(line string) string {
	if strings.Contains(line, "PRIVATE KEY-----") {
		line = wholeKey.ReplaceAllString(line, Mark)
	}
	if strings.Contains(line, "LS0tLS1CRUdJTiB") {
		line = encodedKey.ReplaceAllString(line, Mark)
	}
	if strings.Contains(line, "eyJ") {
		line = webToken.ReplaceAllString(line, Mark)
	}
	if strings.Contains(line, "://") && strings.Contains(line, "@") {
		line = userInfo.ReplaceAllString(line, "${1}"+Mark+"@")
	}
	line = withoutBootstrapTokens(line)
	lower := strings.ToLower(line)
	for _, hint := range hints {
		if strings.Contains(lower, hint) {
			for _, form := range named[:2] { // URLs are done
				line = form.ReplaceAllString(line, "${keep}"+Mark)
			}
			break
		}
	}
	return line
}

// The two parts of a bootstrap token, "abcdef.0123456789abcdef". The first one
// is its name.
const (
	tokenID     = 6
	tokenSecret = 16
)

// withoutBootstrapTokens takes the secret parts of bootstrap tokens out of a
// line. An expression would look at every letter for them.
func withoutBootstrapTokens(line string) string {
	for from := 0; ; {
		dot := strings.IndexByte(line[from:], '.')
		if dot < 0 {
			return line
		}
		dot += from
		from = dot + 1
		begin, end := dot-tokenID, dot+1+tokenSecret
		if begin < 0 || end > len(line) || !lowAlnum(line[begin:dot]) || !lowAlnum(line[dot+1:end]) {
			continue
		}
		if begin > 0 && lowAlnum(line[begin-1:begin]) || end < len(line) && lowAlnum(line[end:end+1]) {
			continue
		}
		line = line[:dot+1] + Mark + line[end:]
	}
}

func lowAlnum(s string) bool {
	for i := range len(s) {
		if (s[i] < 'a' || s[i] > 'z') && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return true
}
